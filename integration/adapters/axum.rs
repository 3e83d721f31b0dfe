//! `axum::serve` over a group's listener, as real clients see it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, FromRequestParts};
use axum::http::Request;
use axum::middleware::map_request;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::{self, Listener as _, ListenerExt};
use hyper::StatusCode;
use tcpinfo::axum::{Peer, TcpInfoRejection};
use tcpinfo::{Cause, FieldValue, Group, Monitor, Observation, SocketProbe, TcpInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite;

use crate::adapters::servers::{Client, Totals, bound, soon};
use support::loopback::until;
use support::replies::field;

/// A server of one group, until it is told to stop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(group: &Group, app: Router) -> Self {
        Self::over(bound().await, group, app)
    }

    pub(crate) fn over<L>(listener: L, group: &Group, app: Router) -> Self
    where
        L: serve::Listener<Addr = SocketAddr>,
        L::Io: AsFd,
    {
        let listener = group.listen(listener);
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let app = app.into_make_service_with_connect_info::<Peer>();
        let serve = axum::serve(listener, app).with_graceful_shutdown(async {
            stopped.await.expect("the server is stopped, not dropped");
        });
        Self { address, stop, serving: tokio::spawn(serve.into_future()) }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::over(self.connect().await).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.expect("it listens")
    }

    /// Returns when every connection has been served to its end.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("it still serves");
        soon(self.serving).await.expect("no panic").expect("axum returns no errors");
    }
}

async fn about(
    ConnectInfo(peer): ConnectInfo<Peer>,
    probe: SocketProbe,
    info: TcpInfo,
    observation: Observation,
) -> String {
    let verdict = observation.verdict().expect("the connection that asks is open");
    assert_eq!(verdict.cause, Cause::TooLittle, "{verdict}");
    let later = probe.info().expect("the connection that asks is open");
    format!("{} {:?} {:?}", peer.address, info.bytes_received, later.bytes_received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_see_the_connection_of_the_request_at_hand() {
    let monitor = Monitor::new();
    let server = Server::start(&monitor.group([]), Router::new().route("/", get(about))).await;
    for _ in 0..2 {
        let stream = server.connect().await;
        let own = stream.local_addr().expect("it is connected");
        let mut client = Client::over(stream).await;
        // Kept alive: 34 bytes a request.
        for received in [34, 68, 102] {
            let expected = format!("{own} Some({received}) Some({received})");
            assert_eq!(client.get("/").await.expect("it answers"), (StatusCode::OK, expected));
        }
    }
    let totals = Totals::at_the_end_of(2, &monitor);
    // The FIN of each client counts one.
    assert_eq!((totals.opened, totals.received), (2, 2 * (3 * 34 + 1)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_info_may_be_the_bare_address() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let show = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
    let app = Router::new().route("/", get(show));
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(group.listen(group.watch(listener)), app).into_future());
    let stream = soon(TcpStream::connect(address)).await.expect("it listens");
    let own = stream.local_addr().expect("it is connected").to_string();
    let answer = Client::over(stream).await.get("/").await.expect("it answers");
    assert_eq!(answer, (StatusCode::OK, own));
}

/// What a layer does that knows no type of ours: it looks for axum's own, and refuses without.
async fn refuse_strangers(request: Request<Body>) -> Result<Request<Body>, StatusCode> {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if address.is_some() { Ok(request) } else { Err(StatusCode::IM_A_TEAPOT) }
}

async fn everything(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(probe): Extension<SocketProbe>,
    info: TcpInfo,
) -> String {
    let probed = probe.info().expect("the connection that asks is open");
    format!("{address} {} {:?} {:?}", peer.address, info.bytes_received, probed.bytes_received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_for_the_bare_address_finds_it_beside_the_peer() {
    let monitor = Monitor::new();
    let app = Router::new().route("/", get(everything)).layer(map_request(refuse_strangers));
    let (plain, addressed) = (app.clone(), app.layer(map_request(tcpinfo::axum::addressed)));
    let server = Server::start(&monitor.group([]), plain).await;
    let (status, _) = server.client().await.get("/").await.expect("it answers");
    assert_eq!(status, StatusCode::IM_A_TEAPOT);
    server.stop().await;

    let server = Server::start(&monitor.group([]), addressed).await;
    for _ in 0..2 {
        let stream = server.connect().await;
        let own = stream.local_addr().expect("it is connected");
        let expected = format!("{own} {own} Some(34) Some(34)");
        let answer = Client::over(stream).await.get("/").await.expect("it answers");
        assert_eq!(answer, (StatusCode::OK, expected));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_a_proxy_told_stays() {
    let told: SocketAddr = "192.0.2.1:7".parse().expect("an address");
    let show = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
    let app = Router::new().route("/", get(show)).layer(map_request(tcpinfo::axum::addressed));
    let app = app.layer(Extension(ConnectInfo(told)));
    let server = Server::start(&Monitor::new().group([]), app).await;
    let answer = server.client().await.get("/").await.expect("it answers");
    assert_eq!(answer, (StatusCode::OK, told.to_string()));
    server.stop().await;
}

#[tokio::test]
async fn a_request_without_a_peer_passes_as_it_is() {
    let request = Request::get("/").body(Body::empty()).expect("a path is all it takes");
    assert!(tcpinfo::axum::addressed(request).await.extensions().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_may_be_prepared_below_the_watch() {
    let group = Monitor::new().group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let listener = group.watch(listener).tap_io(|stream| {
        stream.set_nodelay(true).expect("a TCP option");
    });
    let app = Router::new().route("/", get(about));
    let app = app.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(axum::serve(group.listen(listener), app).into_future());
    let stream = soon(TcpStream::connect(address)).await.expect("it listens");
    let expected = format!("{} Some(34) Some(34)", stream.local_addr().expect("it is connected"));
    let answer = Client::over(stream).await.get("/").await.expect("it answers");
    assert_eq!(answer, (StatusCode::OK, expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_connect_info_the_handler_says_what_is_missing() {
    let group = Monitor::new().group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let optional = async |info: Result<TcpInfo, TcpInfoRejection>| info.is_ok().to_string();
    let app = Router::new().route("/", get(|_: TcpInfo| async {})).route("/may", get(optional));
    tokio::spawn(axum::serve(group.listen(listener), app).into_future());
    let stream = soon(TcpStream::connect(address)).await.expect("it listens");
    let mut client = Client::over(stream).await;
    let (status, text) = client.get("/").await.expect("it answers");
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        text,
        "no tcpinfo::SocketProbe: serve with `into_make_service_with_connect_info::<Peer>()`"
    );
    let answer = client.get("/may").await.expect("it answers");
    assert_eq!(answer, (StatusCode::OK, "false".into()));
}

#[tokio::test]
async fn a_connection_that_is_gone_is_a_rejection_of_its_own() {
    let (group, listener) = (Monitor::new().group([]), bound().await);
    let address = listener.local_addr().expect("it is bound");
    let stream = TcpStream::connect(address).await.expect("it listens");
    let watched = group.watch(stream);
    // A server that is not axum's gives the probe itself.
    let request = Request::get("/").extension(watched.probe()).body(Body::empty());
    let (mut parts, _) = request.expect("a path is all it takes").into_parts();
    let info = TcpInfo::from_request_parts(&mut parts, &()).await.expect("it is open");
    assert_eq!(info.bytes_received, Some(0));
    drop(watched);
    let error = TcpInfo::from_request_parts(&mut parts, &()).await.expect_err("it is gone");
    let TcpInfoRejection::Unread(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let response = TcpInfoRejection::Unread(error).into_response();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_end_waits_for_answers_and_closes_what_is_idle() {
    let monitor = Monitor::new();
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_asked, handler_go) = (Arc::clone(&asked), Arc::clone(&go));
    let slow = async move || {
        handler_asked.notify_one();
        handler_go.notified().await;
        "late"
    };
    let app = Router::new().route("/", get("idle")).route("/slow", get(slow));
    let server = Server::start(&monitor.group([]), app).await;
    let (mut idle, mut busy) = (server.client().await, server.client().await);
    idle.get("/").await.expect("it answers");
    let answer = tokio::spawn(async move { (busy.get("/slow").await, busy) });
    soon(asked.notified()).await;
    assert_eq!(monitor.snapshot().groups[0].live(), 2);
    let stopped = tokio::spawn(server.stop());
    // The idle connection goes first.
    assert_eq!(Totals::at_the_end_of(1, &monitor).closed, 1);
    go.notify_one();
    let (answer, busy) = soon(answer).await.expect("no panic");
    assert_eq!(answer.expect("it answers"), (StatusCode::OK, "late".into()));
    soon(stopped).await.expect("no panic");
    let totals = Totals::at_the_end_of(2, &monitor);
    assert_eq!((totals.opened, totals.closed), (2, 2));
    drop((idle, busy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_stays_watched_after_its_upgrade() {
    async fn echo(mut socket: WebSocket) {
        // It answers a close frame itself when it is asked for more.
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_)) {
                socket.send(message).await.expect("the client listens");
            }
        }
    }
    let upgrade = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo);
    let monitor = Monitor::new();
    let app = Router::new().route("/", get(upgrade));
    let server = Server::start(&monitor.group([]), app).await;
    let stream = server.connect().await;
    let client = tokio_tungstenite::client_async("ws://loopback/", stream);
    let (mut client, _) = soon(client).await.expect("it upgrades");
    let before = Totals::of(&monitor);
    let text = "x".repeat(1_000);
    for _ in 0..10 {
        send(&mut client, text.clone().into()).await;
        assert_eq!(receive(&mut client).await.into_text().expect("text"), text);
    }
    let after = Totals::of(&monitor);
    assert_eq!((after.opened, after.closed), (1, 0));
    // Two bytes of head, two of length, four of mask which only clients send.
    assert_eq!(after.received - before.received, 10 * (1_000 + 8));
    assert_eq!(after.sent - before.sent, 10 * (1_000 + 4));
    send(&mut client, tungstenite::Message::Close(None)).await;
    assert!(receive(&mut client).await.is_close());
    drop(client);
    let end = Totals::at_the_end_of(1, &monitor);
    // A close frame is its head, and a mask.
    assert_eq!((end.opened, end.sent - after.sent), (1, 2));
    server.stop().await;
}

type Talk = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn send(client: &mut Talk, message: tungstenite::Message) {
    use futures_util::SinkExt;
    soon(client.send(message)).await.expect("the server listens");
}

async fn receive(client: &mut Talk) -> tungstenite::Message {
    use tokio_stream::StreamExt;
    soon(client.next()).await.expect("it is open").expect("a message")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_listener_reports_who_waits() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let listener = TcpSocket::new_v4().expect("a descriptor");
    listener.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback has ports");
    let listener = listener.listen(7).expect("it is bound");
    let mut listener = group.listen(group.watch(listener));
    let address = listener.local_addr().expect("it is bound");
    let waiting = || monitor.snapshot().groups[0].get(field("accept_queue"));
    assert_eq!(waiting(), Some(FieldValue::Integer(0)));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(soon(TcpStream::connect(address)).await.expect("it listens"));
    }
    let all_wait = || (waiting() == Some(FieldValue::Integer(3))).then_some(());
    until("three waiting", all_wait);
    let (_stream, from) = soon(listener.accept()).await;
    assert_eq!(from, clients[0].local_addr().expect("it is connected"));
    assert_eq!(waiting(), Some(FieldValue::Integer(2)));
    let group = &monitor.snapshot().groups[0];
    // The listener is live, and no connection.
    assert_eq!((group.opened, group.live()), (1, 2));
    assert_eq!(group.get(field("backlog")), Some(FieldValue::Integer(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_loses_no_bytes() {
    let monitor = Monitor::new();
    let panics = async |info: TcpInfo| {
        assert_eq!(info.bytes_received, None, "this handler believes in old kernels");
    };
    let app = Router::new().route("/", get(panics)).route("/well", get("well"));
    let server = Server::start(&monitor.group([]), app).await;
    let mut broken = server.connect().await;
    broken.write_all(b"GET / HTTP/1.1\r\nhost: loopback\r\n\r\n").await.expect("room for it");
    let mut answer = Vec::new();
    soon(broken.read_to_end(&mut answer)).await.expect("the end");
    assert_eq!(answer, b"");
    let expected = Totals { opened: 1, closed: 1, received: 34, sent: 0 };
    assert_eq!(Totals::at_the_end_of(1, &monitor), expected);
    let answer = server.client().await.get("/well").await.expect("it still serves");
    assert_eq!(answer, (StatusCode::OK, "well".into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_accepts_of_the_listener_lose_no_connection() {
    const CLIENTS: u64 = 100;
    let monitor = Monitor::new();
    let mut listener = monitor.group([]).listen(bound().await);
    let address = listener.local_addr().expect("it is bound");
    let clients = tokio::spawn(async move {
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            client.read_to_end(&mut Vec::new()).await.expect("the end");
        }
    });
    let (mut accepted, mut cancelled) = (0, 0);
    while accepted < CLIENTS {
        tokio::select! {
            biased;
            _ = listener.accept() => accepted += 1,
            () = tokio::task::yield_now() => cancelled += 1,
        }
    }
    soon(clients).await.expect("no client failed");
    assert!(cancelled > 0, "every accept was ready at once");
    let totals = Totals::of(&monitor);
    assert_eq!((totals.opened, totals.closed), (CLIENTS, CLIENTS));
}
