//! Watched tokio sockets: they behave as the sockets themselves.

use std::future::poll_fn;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;

use tcpinfo::{Monitor, ReadHalf, State};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("it listens"), server.expect("the client connected").0)
}

#[tokio::test]
async fn a_watched_stream_reads_writes_and_half_closes() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let (client, mut server) = pair().await;
    let mut client = group.watch(client);
    // What is not reading or writing goes through `Deref`.
    client.set_nodelay(true).expect("it is connected");
    client.writable().await.expect("it is connected");
    assert!(client.is_write_vectored());
    let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
    assert_eq!(client.write_vectored(&slices).await.expect("room for seven bytes"), 7);
    client.flush().await.expect("nothing is buffered");
    client.shutdown().await.expect("it is connected");
    let mut request = String::new();
    server.read_to_string(&mut request).await.expect("seven bytes and the end");
    assert_eq!(request, "one two");
    server.write_all(b"answer").await.expect("only one side is closed");
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("six bytes and the end");
    assert_eq!(answer, "answer");
    drop(client);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].opened, snapshot.groups[0].closed), (1, 1));
}

#[tokio::test]
async fn the_watch_outlasts_a_split_until_both_halves_are_gone() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let (client, server) = pair().await;
    let (mut reader, mut writer) = tokio::io::split(group.watch(client));
    writer.write_all(b"ping").await.expect("room for four bytes");
    drop(writer);
    assert_eq!(monitor.snapshot().groups[0].live(), 1);
    drop(server);
    // Four unread bytes make the end a reset.
    reader.read_to_end(&mut Vec::new()).await.expect_err("the peer reset the connection");
    drop(reader);
    assert_eq!(monitor.snapshot().groups[0].closed, 1);
}

#[tokio::test]
async fn the_socket_comes_back_whole() {
    let monitor = Monitor::new();
    let (client, mut server) = pair().await;
    let mut client = monitor.watch(client, []).into_inner();
    assert_eq!(monitor.snapshot().monitor.watched, 0);
    client.write_all(b"still open").await.expect("it is connected");
    let mut bytes = [0; 10];
    server.read_exact(&mut bytes).await.expect("ten bytes");
    assert_eq!(&bytes, b"still open");
}

#[tokio::test]
async fn owned_halves_read_write_and_send_the_end() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let (client, server) = pair().await;
    let (mut reader, mut writer) = group.watch(client).into_split();
    let (mut from_client, mut to_client) = server.into_split();
    // More than the buffers hold: both directions wait for each other.
    let bytes = vec![7_u8; 8 << 20];
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.expect("the server reads");
        drop(writer);
    });
    let echoing = tokio::spawn(async move {
        let count = tokio::io::copy(&mut from_client, &mut to_client).await;
        assert_eq!(count.expect("the client reads"), 8 << 20);
    });
    let mut echoed = Vec::new();
    reader.read_to_end(&mut echoed).await.expect("the echo and its end");
    assert!(echoed == bytes, "{} bytes came back", echoed.len());
    writing.await.expect("no panic");
    echoing.await.expect("no panic");
    assert_eq!(monitor.snapshot().groups[0].closed, 0);
    drop(reader);
    let snapshot = monitor.snapshot();
    assert_eq!(snapshot.groups[0].closed, 1);
    // Probes of a full window are sent again.
    let bytes = |name: &str| {
        let field = tcpinfo::FIELDS.iter().find(|field| field.name == name).expect("a row");
        snapshot.groups[0]
            .get(field)
            .and_then(tcpinfo::FieldValue::as_f64)
            .expect("it was reported")
    };
    assert_eq!(bytes("bytes_sent") - bytes("bytes_retrans"), f64::from(8 << 20));
}

#[tokio::test]
async fn halves_of_one_stream_become_it_again() {
    let monitor = Monitor::new();
    let ((one, mut peer), (other, _peer)) = (pair().await, pair().await);
    let (reader, writer) = monitor.watch(one, []).into_split();
    let (other_reader, other_writer) = monitor.watch(other, []).into_split();
    let (reader, other_writer) = reader.reunite(other_writer).expect_err("of different streams");
    let mut whole = reader.reunite(writer).expect("of one stream");
    whole.write_all(b"still open").await.expect("nobody shut it down");
    let mut bytes = [0; 10];
    peer.read_exact(&mut bytes).await.expect("ten bytes");
    assert_eq!(&bytes, b"still open");
    drop((other_reader, other_writer));
    assert_eq!(monitor.snapshot().monitor.watched, 1);
}

/// Whether tokio takes the stream for ready after a read of all that was there, one of less, and a
/// write of more than there was room for.
async fn readiness<R, W>(
    (mut reader, mut writer): (R, W),
    mut peer: TcpStream,
    ready: impl Fn(&R, Interest) -> bool,
) -> [bool; 3]
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut left = Vec::new();
    for room in [4, 5] {
        peer.write_all(b"four").await.expect("room for four bytes");
        let read = reader.read(&mut vec![0; room]).await;
        assert_eq!(read.expect("it is connected"), 4);
        left.push(ready(&reader, Interest::READABLE));
    }
    let bytes = vec![0; 64 << 20];
    while writer.write(&bytes).await.expect("it is connected") == bytes.len() {}
    left.push(ready(&reader, Interest::WRITABLE));
    left.try_into().expect("three were asked")
}

#[tokio::test]
async fn halves_make_no_call_that_would_only_be_told_to_wait() {
    let is_ready = |stream: &TcpStream, interest| stream.try_io(interest, || Ok(())).is_ok();
    let (client, server) = pair().await;
    let ready = |half: &OwnedReadHalf, interest| is_ready(half.as_ref(), interest);
    let bare = readiness(client.into_split(), server, ready).await;
    assert_eq!(bare, [true, false, false]);
    let (client, server) = pair().await;
    let ready = |half: &ReadHalf, interest| is_ready(half.as_ref(), interest);
    let halves = Monitor::new().group([]).watch(client).into_split();
    assert_eq!(readiness(halves, server, ready).await, bare);
}

#[tokio::test]
async fn a_read_touches_no_more_of_the_buffer_than_it_fills() {
    let (client, mut server) = pair().await;
    let (mut reader, _writer) = Monitor::new().group([]).watch(client).into_split();
    let mut room = [MaybeUninit::uninit(); 1 << 16];
    let mut buffer = ReadBuf::uninit(&mut room);
    for text in ["four", "fourmore"] {
        server.write_all(&text.as_bytes()[buffer.filled().len()..]).await.expect("room");
        let read = poll_fn(|context| Pin::new(&mut reader).poll_read(context, &mut buffer));
        read.await.expect("it is connected");
        assert_eq!(buffer.filled(), text.as_bytes());
        assert_eq!(buffer.initialized().len(), text.len());
    }
}

#[tokio::test]
async fn sockets_of_tokio_and_mio_are_read_as_any() {
    let (client, _server) = pair().await;
    let cookie = tcpinfo::socket_cookie(&client).expect("this kernel has cookies");
    let read = tcpinfo::read(&client).expect("it is connected");
    assert_eq!(read.state, State::Established);
    let client = mio::net::TcpStream::from_std(client.into_std().expect("it is registered"));
    assert_eq!(tcpinfo::socket_cookie(&client).expect("as above"), cookie);
    assert_eq!(tcpinfo::read(&client).expect("it is connected").state, State::Established);
}
