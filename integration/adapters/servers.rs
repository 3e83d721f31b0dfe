//! Watched streams under servers on tokio and hyper, and the ends that such servers come to.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use tcpinfo::{FieldValue, Monitor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use support::lateness::PATIENCE;
use support::loopback::until;
use support::replies::field;

/// What the only group of a monitor counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Totals {
    pub(crate) fn of(monitor: &Monitor) -> Self {
        let group = &monitor.snapshot().groups[0];
        let counter = |name| match group.get(field(name)) {
            Some(FieldValue::Integer(count)) => count,
            other => panic!("{name} is {other:?}"),
        };
        // Without what a stalled machine made the sender repeat.
        let sent = counter("bytes_sent") - counter("bytes_retrans");
        let received = counter("bytes_received");
        Self { opened: group.opened, closed: group.closed, received, sent }
    }

    /// As they are when this many connections have been closed.
    #[track_caller]
    pub(crate) fn at_the_end_of(connections: u64, monitor: &Monitor) -> Self {
        let closed = || (monitor.snapshot().groups[0].closed >= connections).then_some(());
        until("the last close", closed);
        Self::of(monitor)
    }
}

/// What a future gives, which it does.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes to an end")
}

pub(crate) async fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports")
}

/// An HTTP client of one connection, beginning with a handshake.
pub(crate) struct Client {
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    pub(crate) async fn over(stream: TcpStream) -> Self {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O yet");
        tokio::spawn(connection);
        Self { sender }
    }

    /// An answer, read to its end.
    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<(StatusCode, String)> {
        let request = Request::get(path).header("host", "loopback").body(Empty::new());
        let request = request.expect("a path is all it takes");
        soon(self.sender.ready()).await?;
        let answer = soon(self.sender.send_request(request)).await?;
        let (head, body) = answer.into_parts();
        let body = soon(body.collect()).await?.to_bytes();
        Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hyper_serves_watched_streams_through_tokio_io() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client comes");
        let stream = group.watch(stream);
        let probe = stream.probe();
        let service = service_fn(move |_: Request<Incoming>| {
            let info = probe.info().expect("the connection that asks is open");
            let received = info.bytes_received.expect("this kernel counts bytes");
            async move { Ok::<_, Infallible>(Response::new(received.to_string())) }
        });
        let builder = hyper::server::conn::http1::Builder::new();
        builder.serve_connection(TokioIo::new(stream), service).await
    });
    let stream = TcpStream::connect(address).await.expect("it listens");
    let mut client = Client::over(stream).await;
    // "GET / HTTP/1.1", "host: loopback" and an empty line.
    const REQUEST: u64 = 16 + 16 + 2;
    for count in 1..=3 {
        let answer = client.get("/").await.expect("it answers");
        assert_eq!(answer, (StatusCode::OK, (count * REQUEST).to_string()));
    }
    assert_eq!(monitor.snapshot().groups[0].opened, 1);
    drop(client);
    soon(server).await.expect("it did not panic").expect("the client ended in order");
    let totals = Totals::at_the_end_of(1, &monitor);
    // The client's FIN counts one.
    assert_eq!((totals.opened, totals.received), (1, 3 * REQUEST + 1));
}

#[tokio::test]
async fn a_unix_stream_is_reported_as_an_error_once_and_works_on() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&errors);
    let on_error = move |attributes: &tcpinfo::Attributes, error: &std::io::Error| {
        seen.lock().expect("nobody panics").push(format!("{attributes:?} {error}"));
    };
    let monitor = Monitor::builder().on_error(on_error).build();
    let group = monitor.group([KeyValue::new("kind", "unix")]);
    let (near, mut far) = UnixStream::pair().expect("two descriptors");
    let mut near = group.watch(near);
    monitor.snapshot();
    monitor.snapshot();
    near.write_all(b"works").await.expect("the other side is open");
    let mut bytes = [0; 5];
    far.read_exact(&mut bytes).await.expect("five bytes");
    let error = near.info().expect_err("it is no TCP socket");
    assert_eq!(error.to_string(), "Operation not supported (os error 95)");
    drop(near);
    let expected = r#"{"kind": String(Static("unix"))} Operation not supported (os error 95)"#;
    assert_eq!(*errors.lock().expect("nobody panics"), [expected]);
    assert_eq!(monitor.snapshot().groups[0].opened, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_accepts_lose_no_connection() {
    const CLIENTS: u64 = 200;
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let clients = tokio::spawn(async move {
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            client.write_all(b"hello").await.expect("room for five bytes");
            client.shutdown().await.expect("it is connected");
            client.read_to_end(&mut Vec::new()).await.expect("the end");
        }
    });
    let (mut accepted, mut cancelled) = (0, 0);
    while accepted < CLIENTS {
        let stream = tokio::select! {
            biased;
            stream = async { group.watch(listener.accept().await.expect("a client").0) } => stream,
            () = tokio::task::yield_now() => {
                cancelled += 1;
                continue;
            }
        };
        accepted += 1;
        tokio::spawn(async move {
            let mut stream = stream;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("five bytes and the end");
            assert_eq!(text, "hello");
        });
    }
    soon(clients).await.expect("no client failed");
    assert!(cancelled > 0, "every accept was ready at once");
    let totals = Totals::at_the_end_of(CLIENTS, &monitor);
    // The client's FIN counts one.
    let expected = Totals { opened: CLIENTS, closed: CLIENTS, received: 6 * CLIENTS, sent: 0 };
    assert_eq!(totals, expected);
}

/// Clients that sent five bytes each, and the watched streams of their server.
async fn connected(
    group: &tcpinfo::Group,
    count: usize,
) -> Vec<(TcpStream, tcpinfo::Watched<TcpStream>)> {
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let mut pairs = Vec::new();
    for _ in 0..count {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let mut server = group.watch(listener.accept().await.expect("the client connected").0);
        client.write_all(b"hello").await.expect("room for five bytes");
        server.read_exact(&mut [0; 5]).await.expect("five bytes");
        pairs.push((client, server));
    }
    pairs
}

const TEN: Totals = Totals { opened: 10, closed: 10, received: 50, sent: 0 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_are_aborted_or_panic_are_read_one_last_time() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let mut clients = Vec::new();
    for (number, (client, mut server)) in connected(&group, 10).await.into_iter().enumerate() {
        let task = tokio::spawn(async move {
            assert_ne!(number % 2, 0, "every other task panics");
            server.read_u8().await
        });
        if number % 2 == 1 {
            task.abort();
        }
        let error = soon(task).await.expect_err("no task ends by itself");
        assert_eq!(error.is_panic(), number % 2 == 0);
        clients.push(client);
    }
    assert_eq!(Totals::of(&monitor), TEN);
}

#[test]
fn connections_that_a_runtime_takes_along_are_read_one_last_time() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let clients = {
        let runtime = tokio::runtime::Runtime::new().expect("threads are to be had");
        let pairs = runtime.block_on(connected(&group, 10));
        let (clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        for mut server in servers {
            runtime.spawn(async move { server.read_u8().await });
        }
        let std = |client: TcpStream| client.into_std().expect("it leaves the runtime");
        let _context = runtime.enter();
        clients.into_iter().map(std).collect::<Vec<_>>()
    };
    // The runtime is gone, the clients are still connected to nobody.
    assert_eq!(Totals::of(&monitor), TEN);
    drop(clients);
}

#[test]
fn a_watched_stream_may_outlive_its_runtime() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let runtime = tokio::runtime::Runtime::new().expect("threads are to be had");
    let pairs = runtime.block_on(connected(&group, 10));
    runtime.shutdown_background();
    assert_eq!(Totals::of(&monitor), Totals { closed: 0, ..TEN });
    // The clients go first, and their FINs count one each.
    let (clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    drop(clients);
    until("ten FINs", || (Totals::of(&monitor).received == 60).then_some(()));
    drop(servers);
    assert_eq!(Totals::of(&monitor), Totals { received: 60, ..TEN });
}
