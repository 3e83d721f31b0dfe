//! The layer over connectors of all kinds, driven by hand.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::future::{pending, poll_fn, ready};
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::Uri;
use hyper::rt::Write;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use tcpinfo::hyper::WatchLayer;
use tcpinfo::{FIELDS, FieldValue, Monitor, SocketProbe, State};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer;
use tower_service::Service;

use super::only_group;
use support::loopback::Pair;

/// A connector from a function of the target.
#[derive(Clone)]
struct ByFn<F>(F);

impl<F> fmt::Debug for ByFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByFn")
    }
}

impl<F, Fut, T, E> Service<Uri> for ByFn<F>
where
    F: FnMut(Uri) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Fut {
        self.0(target)
    }
}

/// Connects to one address whatever the target, in a future that must not move.
pub(super) fn to(address: SocketAddr) -> impl ConnectTokio + Clone + Send {
    ByFn(move |_| async move { TcpStream::connect(address).await.map(TokioIo::new) })
}

/// What `to` returns, in one word.
pub(super) trait ConnectTokio:
    Service<Uri, Response = TokioIo<TcpStream>, Error = io::Error, Future: Send>
{
}

impl<S> ConnectTokio for S where
    S: Service<Uri, Response = TokioIo<TcpStream>, Error = io::Error, Future: Send>
{
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn uri(text: &str) -> Uri {
    text.parse().expect("it is a URI")
}

#[tokio::test]
async fn the_default_attributes_are_the_targets_host_and_port() {
    let (_listener, address) = listen().await;
    let cases = [
        ("http://example.com/a?b", "server.address=example.com,server.port=80"),
        ("https://example.com", "server.address=example.com,server.port=443"),
        ("ws://example.com", "server.address=example.com,server.port=80"),
        ("wss://example.com", "server.address=example.com,server.port=443"),
        ("http://EXAMPLE.com:8080", "server.address=example.com,server.port=8080"),
        ("https://user:secret@example.com", "server.address=example.com,server.port=443"),
        ("http://[2001:db8::1]:81", "server.address=2001:db8::1,server.port=81"),
        ("http://192.0.2.1", "server.address=192.0.2.1,server.port=80"),
        ("amqp://example.com", "server.address=example.com"),
        ("example.com:7000", "server.address=example.com,server.port=7000"),
        ("/path", ""),
        ("http://[]:81", "server.port=81"),
    ];
    for (target, expected) in cases {
        let monitor = Monitor::new();
        let mut connector = WatchLayer::new(&monitor).layer(to(address));
        let _connection = connector.call(uri(target)).await.expect("it listens");
        assert_eq!(only_group(&monitor.snapshot()), (expected.to_owned(), 1, 0), "{target}");
    }
}

#[tokio::test]
async fn a_server_is_one_group_however_its_host_is_written() {
    let (_listener, address) = listen().await;
    let cases: [(&str, &[&str]); 6] = [
        ("example.com", &["example.com", "example.com.", "EXAMPLE.com", "Example.Com."]),
        ("::1", &["[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[0::0.0.0.1]"]),
        ("2001:db8::a", &["[2001:db8::a]", "[2001:DB8::A]", "[2001:0db8:0:0::000a]"]),
        ("192.0.2.1", &["192.0.2.1", "192.0.2.1.", "[::ffff:192.0.2.1]", "[::FFFF:c000:201]"]),
        // No address to the standard library, so a name to us.
        ("127.1", &["127.1", "127.1."]),
        (".", &["."]),
    ];
    for (server, hosts) in cases {
        let monitor = Monitor::new();
        let mut connector = WatchLayer::new(&monitor).layer(to(address));
        let mut connections = Vec::new();
        for host in hosts {
            let target = uri(&format!("http://{host}/"));
            connections.push(connector.call(target).await.expect("it listens"));
        }
        let expected = format!("server.address={server},server.port=80");
        assert_eq!(only_group(&monitor.snapshot()), (expected, hosts.len() as u64, 0));
    }
}

#[test]
fn a_connection_on_its_way_shows_where_to_and_no_secret() {
    let mut connector = WatchLayer::new(&Monitor::new())
        .layer(ByFn(|_| pending::<io::Result<TokioIo<TcpStream>>>()));
    let connecting = connector.call(uri("https://user:secret@example.com:8443/secret?key=secret"));
    assert_eq!(
        format!("{connecting:?} {connector:?}"),
        "Connecting { scheme: Some(\"https\"), host: Some(\"example.com\"), port: Some(8443), .. } \
         WatchConnector(ByFn)"
    );
}

#[tokio::test]
async fn attributes_are_chosen_once_for_each_connection_that_was_made() {
    let (_listener, address) = listen().await;
    let monitor = Monitor::new();
    let (asked, questions) = std::sync::mpsc::channel();
    let layer = WatchLayer::by(&monitor, move |target| {
        asked.send(target.clone()).expect("the test listens");
        target.host().map(|host| KeyValue::new("tenant", host.split('.').count() as i64))
    });
    // The layer as tower uses it.
    let mut working = Layer::layer(&layer, to(address));
    let mut failing = layer.layer(ByFn(|_| async {
        Err::<TokioIo<TcpStream>, _>(io::Error::from(ErrorKind::HostUnreachable))
    }));
    let error = failing.call(uri("http://a.b.c")).await.expect_err("the connector fails");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
    let _one = working.call(uri("http://a.b")).await.expect("it listens");
    let _other = working.clone().call(uri("https://c.d")).await.expect("it listens");
    assert_eq!(questions.try_iter().collect::<Vec<_>>(), [uri("http://a.b"), uri("https://c.d")]);
    assert_eq!(only_group(&monitor.snapshot()), ("tenant=2".to_owned(), 2, 0));
}

#[test]
fn a_connector_dropped_on_its_way_was_never_watched() {
    let monitor = Monitor::new();
    let mut connector =
        WatchLayer::new(&monitor).layer(ByFn(|_| pending::<io::Result<TokioIo<TcpStream>>>()));
    let mut context = Context::from_waker(Waker::noop());
    let mut connecting = connector.call(uri("http://example.com"));
    assert!(Pin::new(&mut connecting).poll(&mut context).is_pending());
    drop(connecting);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups.len(), snapshot.monitor.watched), (0, 0));
}

/// A connector that has something to say before it is called.
struct Unready<'t>(&'t Cell<u32>);

impl Service<Uri> for Unready<'_> {
    type Response = TokioIo<TcpStream>;
    type Error = &'static str;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.set(self.0.get() + 1);
        context.waker().wake_by_ref();
        if self.0.get() == 1 { Poll::Pending } else { Poll::Ready(Err("out of order")) }
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn readiness_is_the_connectors_own() {
    let asked = Cell::new(0);
    let mut connector = WatchLayer::new(&Monitor::new()).layer(Unready(&asked));
    let ready = poll_fn(|context| connector.poll_ready(context)).await;
    assert_eq!((ready, asked.get()), (Err("out of order"), 2));
}

#[tokio::test]
async fn the_connectors_options_stay_within_reach() {
    let (_listener, address) = listen().await;
    let mut connector = WatchLayer::new(&Monitor::new()).layer(HttpConnector::new());
    let target = uri(&format!("https://{address}/"));
    connector.call(target.clone()).await.expect_err("HTTPS is not for HttpConnector");
    connector.get_mut().enforce_http(false);
    connector.call(target).await.expect("now it is");
}

/// A stream that says of itself what proxies and TLS say.
struct Talkative(TcpStream);

impl AsFd for Talkative {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Certificate(&'static str);

impl Connection for Talkative {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(true).negotiated_h2();
        connected.extra(Certificate("issuer")).extra(1_u8)
    }
}

#[tokio::test]
async fn what_a_connection_says_of_itself_is_kept() {
    let (_listener, address) = listen().await;
    let monitor = Monitor::new();
    let mut connector = WatchLayer::new(&monitor).with_probes().layer(ByFn(|_| async {
        TcpStream::connect(address).await.map(|stream| TokioIo::new(Talkative(stream)))
    }));
    let connection = connector.call(uri("http://example.com")).await.expect("it listens");
    let connected = connection.connected();
    assert!(connected.is_proxied());
    assert!(connected.is_negotiated_h2());
    let mut extras = extras_of(&connected);
    assert_eq!(extras.remove::<Certificate>(), Some(Certificate("issuer")));
    assert_eq!(extras.remove::<u8>(), Some(1));
    let probe = extras.remove::<SocketProbe>().expect("the layer adds one");
    assert_eq!(probe.info().expect("it is open").state, State::Established);
    assert!(extras.is_empty());

    let mut quiet = WatchLayer::new(&monitor).layer(to(address));
    let connected = quiet.call(uri("http://example.com")).await.expect("it listens").connected();
    assert!(!connected.is_proxied());
    assert!(!connected.is_negotiated_h2());
    // Nobody asked for it.
    assert!(extras_of(&connected).get::<SocketProbe>().is_none());
}

/// What a response's extensions get.
fn extras_of(connected: &Connected) -> hyper::http::Extensions {
    let mut extensions = hyper::http::Extensions::new();
    connected.get_extras(&mut extensions);
    extensions
}

#[tokio::test]
async fn many_slices_are_one_write_and_the_end_is_the_peers_end() {
    let (listener, address) = listen().await;
    let monitor = Monitor::new();
    let mut connector = WatchLayer::new(&monitor).layer(to(address));
    let mut client = connector.call(uri("http://example.com")).await.expect("it listens");
    let (mut server, _) = listener.accept().await.expect("the client connected");
    assert!(client.is_write_vectored());
    let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    let written = poll_fn(|context| Pin::new(&mut client).poll_write_vectored(context, &slices));
    assert_eq!(written.await.expect("room for seven bytes"), 7);
    poll_fn(|context| Pin::new(&mut client).poll_flush(context)).await.expect("nothing waits");
    poll_fn(|context| Pin::new(&mut client).poll_shutdown(context)).await.expect("it is open");
    let mut request = String::new();
    server.read_to_string(&mut request).await.expect("seven bytes and the end");
    assert_eq!(request, "one two");
    // Half closed is not closed.
    assert_eq!(monitor.snapshot().monitor.watched, 1);
}

/// A connection that closes its socket before it is dropped.
struct Hasty {
    socket: Option<StdStream>,
    nowhere: OwnedFd,
}

impl Write for Hasty {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket = None;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_connection_that_closes_its_own_socket_is_never_taken_for_another() {
    let monitor = Monitor::new();
    let layer = WatchLayer::new(&monitor).with_socket(|hasty: &Hasty| {
        hasty.socket.as_ref().map_or(hasty.nowhere.as_fd(), |socket| socket.as_fd())
    });
    let pair = Pair::connect();
    let mut socket = Some(pair.client);
    let mut connector = layer.layer(ByFn(move |_| {
        let nowhere = File::open("/dev/null").expect("every system has it").into();
        ready(Ok::<_, io::Error>(Hasty { socket: socket.take(), nowhere }))
    }));
    let mut hasty = connector.call(uri("http://example.com")).await.expect("it is there");
    assert_eq!(monitor.snapshot().groups[0].live(), 1);
    poll_fn(|context| Pin::new(&mut hasty).poll_shutdown(context)).await.expect("it closes");
    // Somebody else takes the number.
    let mut other = Pair::connect();
    other.client.write_all(&[1; 1_000]).expect("room for the bytes");
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].live(), snapshot.groups[0].closed), (0, 1));
    drop(hasty);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].opened, snapshot.groups[0].closed), (1, 1));
    let sent = FIELDS.iter().find(|field| field.name == "bytes_sent").expect("a row");
    assert_eq!(snapshot.groups[0].get(sent), Some(FieldValue::Integer(0)));
    let errors: Vec<u64> = snapshot.monitor.read_errors.iter().map(|(_, count)| *count).collect();
    assert_eq!(errors, [1]);
}

/// A stream that becomes another connection when it is shut down, under the same number.
struct Reconnecting {
    socket: OwnedFd,
    next: StdStream,
}

impl AsFd for Reconnecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncWrite for Reconnecting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, next } = self.get_mut();
        Poll::Ready(Ok(rustix::io::dup2(next, socket)?))
    }
}

#[tokio::test]
async fn a_stream_that_reconnects_is_not_taken_for_the_connection_it_was() {
    let monitor = Monitor::new();
    let (first, mut next) = (Pair::connect(), Pair::connect());
    next.client.write_all(&[1; 1_000]).expect("room for the bytes");
    let stream = Reconnecting { socket: first.client.into(), next: next.client };
    let mut stream = Some(TokioIo::new(stream));
    let mut connector = WatchLayer::new(&monitor)
        .layer(ByFn(move |_| ready(Ok::<_, io::Error>(stream.take().expect("it is called once")))));
    let mut stream = connector.call(uri("http://example.com")).await.expect("it is there");
    assert_eq!(monitor.snapshot().groups[0].live(), 1);
    poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await.expect("it reconnects");
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].live(), snapshot.groups[0].closed), (0, 1));
    drop(stream);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].opened, snapshot.groups[0].closed), (1, 1));
    let sent = FIELDS.iter().find(|field| field.name == "bytes_sent").expect("a row");
    assert_eq!(snapshot.groups[0].get(sent), Some(FieldValue::Integer(0)));
    let errors: Vec<u64> = snapshot.monitor.read_errors.iter().map(|(_, count)| *count).collect();
    assert_eq!(errors, [1]);
}
