//! Watched tokio sockets: they behave as the sockets themselves.

use std::io::IoSlice;

use tcpinfo::Monitor;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
