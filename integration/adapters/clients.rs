//! Clients whose connectors are watched: hyper-util's pool, tonic's channels, TLS, a proxy.

mod connectors;
mod load;
mod server;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector, HttpInfo};
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use tcpinfo::hyper::WatchLayer;
use tcpinfo::{FIELDS, FieldValue, Monitor, Snapshot, SocketProbe};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use server::Server;
use support::lateness::PATIENCE;

fn client<C: Connect + Clone>(connector: C) -> Client<C, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Reads a response to its end, which gives its connection back to the pool.
async fn text(response: Response<hyper::body::Incoming>) -> String {
    let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
    String::from_utf8(body.to_vec()).expect("the server sends text")
}

/// The one group: its attributes, connections opened and closed.
#[track_caller]
fn only_group(snapshot: &Snapshot) -> (String, u64, u64) {
    assert_eq!(snapshot.groups.len(), 1, "{:?}", snapshot.groups);
    let group = &snapshot.groups[0];
    (labels(group.attributes().as_slice()), group.opened, group.closed)
}

fn labels(attributes: &[KeyValue]) -> String {
    let all: Vec<_> = attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
    all.join(",")
}

/// Waits for what happens in tasks that are already on their way.
#[track_caller]
fn eventually(what: &str, is: impl Fn() -> bool) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let waiting = async {
            while !is() {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let end = tokio::time::timeout(PATIENCE, waiting).await;
        end.unwrap_or_else(|_| panic!("{at}: {PATIENCE:?} without: {what}"));
    }
}

#[tokio::test]
async fn a_pooled_connection_counts_once_for_all_its_requests() {
    let server = Server::start().await;
    let monitor = Monitor::new();
    let client = client(WatchLayer::new(&monitor).layer(HttpConnector::new()));
    for _ in 0..50 {
        let response = client.get(server.uri("http")).await.expect("the server answers");
        assert_eq!(text(response).await, "hello");
    }
    let expected = format!("server.address=127.0.0.1,server.port={}", server.port());
    assert_eq!(only_group(&monitor.snapshot()), (expected.clone(), 1, 0));
    assert_eq!(server.accepted(), 1);
    drop(client);
    eventually("the pool's connection closed", || monitor.snapshot().monitor.watched == 0).await;
    let snapshot = monitor.snapshot();
    assert_eq!(only_group(&snapshot), (expected, 1, 1));
    eventually("the server saw the end", || server.ended() == 1).await;
    // Both sides of one connection count the same bytes.
    let field = |name| FIELDS.iter().find(|field| field.name == name).expect("a row");
    let [sent, received] = ["bytes_sent", "bytes_received"].map(field);
    let bytes = |integer: u64| Some(FieldValue::Integer(integer));
    assert_eq!(snapshot.groups[0].get(sent), bytes(server.bytes().0));
    assert_eq!(snapshot.groups[0].get(received), bytes(server.bytes().1));
}

#[tokio::test]
async fn parallel_requests_open_what_the_server_accepts() {
    const PARALLEL: usize = 20;
    let server = Server::answering_together(PARALLEL).await;
    let monitor = Monitor::new();
    let group = monitor.group([KeyValue::new("upstream", "shop")]);
    let client = client(WatchLayer::in_group(&group).layer(HttpConnector::new()));
    for opened in [PARALLEL as u64; 2] {
        let mut requests = JoinSet::new();
        for _ in 0..PARALLEL {
            let response = client.get(server.uri("http"));
            requests.spawn(async { text(response.await.expect("the server answers")).await });
        }
        let answers = requests.join_all().await;
        assert_eq!(answers, vec!["hello"; PARALLEL]);
        // The second time all come from the pool.
        assert_eq!(only_group(&monitor.snapshot()), ("upstream=shop".to_owned(), opened, 0));
        assert_eq!(server.accepted(), opened);
    }
    drop(client);
    eventually("every connection closed", || monitor.snapshot().monitor.watched == 0).await;
    assert_eq!(only_group(&monitor.snapshot()).2, PARALLEL as u64);
}

#[tokio::test]
async fn a_refused_connection_leaves_nothing_behind_and_its_error_as_it_was() {
    let bound = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let port = bound.local_addr().expect("it is bound").port();
    drop(bound);
    let monitor = Monitor::new();
    let bare = client(HttpConnector::new());
    let watched = client(WatchLayer::new(&monitor).layer(HttpConnector::new()));
    let target: Uri = format!("http://127.0.0.1:{port}/").parse().expect("it is a URI");
    let bare = bare.get(target.clone()).await.expect_err("nobody listens");
    let watched = watched.get(target).await.expect_err("nobody listens");
    assert_eq!(format!("{watched:?}"), format!("{bare:?}"));
    assert!(watched.is_connect());
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups.len(), snapshot.monitor.watched), (0, 0));
}

#[tokio::test]
async fn a_connection_given_up_on_its_way_was_never_watched() {
    // With its queue full a listener answers no further SYN.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.expect("there are descriptors");
    let any = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).expect("loopback has ports");
    listener.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound").as_socket().expect("it is IPv4");
    let _queued = std::net::TcpStream::connect(address).expect("the queue has one place");

    let monitor = Monitor::new();
    let client = client(WatchLayer::new(&monitor).layer(HttpConnector::new()));
    let target: Uri = format!("http://{address}/").parse().expect("it is a URI");
    let request = tokio::time::timeout(Duration::from_millis(50), client.get(target));
    request.await.expect_err("nobody answers");
    drop(client);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups.len(), snapshot.monitor.watched), (0, 0));
}

#[tokio::test]
async fn a_dropped_request_ends_the_watch_of_its_connection() {
    let server = Server::answering_together(2).await;
    let monitor = Monitor::new();
    let client = client(WatchLayer::new(&monitor).layer(HttpConnector::new()));
    let request = tokio::spawn(client.get(server.uri("http")));
    eventually("the request arrived", || server.requests() == 1).await;
    assert_eq!(monitor.snapshot().monitor.watched, 1);
    request.abort();
    request.await.expect_err("it was aborted");
    eventually("its connection closed", || monitor.snapshot().monitor.watched == 0).await;
    let (_, opened, closed) = only_group(&monitor.snapshot());
    assert_eq!((opened, closed), (1, 1));
}

#[tokio::test]
async fn the_end_of_the_runtime_closes_and_counts_the_pool() {
    let monitor = Monitor::new();
    let inner = monitor.clone();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("there are descriptors");
        let client = runtime.block_on(async {
            let server = Server::start().await;
            let client = client(WatchLayer::new(&inner).layer(HttpConnector::new()));
            let response = client.get(server.uri("http")).await.expect("the server answers");
            text(response).await;
            client
        });
        assert_eq!(inner.snapshot().monitor.watched, 1);
        drop(runtime);
        client
    };
    let _client = tokio::task::spawn_blocking(run).await.expect("it does not panic");
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.monitor.watched, snapshot.groups[0].closed), (0, 1));
    assert_eq!(snapshot.monitor.read_errors, []);
}

#[tokio::test]
async fn a_response_knows_its_connection_where_that_is_asked_for() {
    let server = Server::start().await;
    let monitor = Monitor::new();
    let client = client(WatchLayer::new(&monitor).with_probes().layer(HttpConnector::new()));
    let response = client.get(server.uri("http")).await.expect("the server answers");
    // The connector's own extra is still there.
    let http: &HttpInfo = response.extensions().get().expect("HttpConnector gives one");
    assert_eq!(http.remote_addr().port(), server.port());
    let probe: SocketProbe = response.extensions().get().cloned().expect("the layer gives one");
    assert_eq!(probe.info().expect("it is in the pool").state, tcpinfo::State::Established);
    text(response).await;
    drop(client);
    eventually("its connection closed", || probe.info().is_err()).await;
    let error = probe.info().expect_err("the connection is gone");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn hosts_beyond_the_cap_are_one_group_together() {
    let server = Server::start().await;
    let monitor = Monitor::builder().with_max_groups(2).build();
    let connector = connectors::to(server.address());
    let client = client(WatchLayer::new(&monitor).layer(connector));
    for host in ["one", "two", "three", "four", "three"] {
        let target: Uri = format!("http://{host}.example/").parse().expect("it is a URI");
        text(client.get(target).await.expect("the server answers")).await;
    }
    let snapshot = monitor.snapshot();
    let groups: Vec<_> = snapshot
        .groups
        .iter()
        .map(|group| (labels(group.attributes().as_slice()), group.opened))
        .collect();
    let own = |host: &str| (format!("server.address={host}.example,server.port=80"), 1);
    let mut expected = vec![("otel.metric.overflow=true".to_owned(), 2), own("one"), own("two")];
    expected.sort();
    let mut groups = groups;
    groups.sort();
    assert_eq!(groups, expected);
    assert_eq!((snapshot.monitor.folded, server.accepted()), (2, 4));
}

#[tokio::test]
async fn over_a_proxy_the_layer_names_the_target_and_under_it_the_proxy() {
    let server = Server::start().await;
    let proxy = server::proxy().await;
    let proxied = format!("http://127.0.0.1:{}/", proxy.port());
    let proxied: Uri = proxied.parse().expect("it is a URI");

    let under = Monitor::new();
    let connector = WatchLayer::new(&under).layer(HttpConnector::new());
    let client_under = client(Tunnel::new(proxied.clone(), connector));
    let answer = client_under.get(server.uri("http")).await.expect("the proxy connects");
    assert_eq!(text(answer).await, "hello");
    let expected = format!("server.address=127.0.0.1,server.port={}", proxy.port());
    assert_eq!(only_group(&under.snapshot()), (expected, 1, 0));

    let over = Monitor::new();
    let tunnel = Tunnel::new(proxied, HttpConnector::new());
    let client_over = client(WatchLayer::new(&over).layer(tunnel));
    let answer = client_over.get(server.uri("http")).await.expect("the proxy connects");
    assert_eq!(text(answer).await, "hello");
    let expected = format!("server.address=127.0.0.1,server.port={}", server.port());
    assert_eq!(only_group(&over.snapshot()), (expected, 1, 0));
}

#[tokio::test]
async fn under_tls_the_tcp_connection_is_watched_and_alpn_is_kept() {
    let server = Server::start_tls().await;
    let monitor = Monitor::new();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(server.trusted())
        .https_only()
        .enable_all_versions()
        .wrap_connector(WatchLayer::new(&monitor).with_probes().layer(http));
    let client = client(connector);
    let target: Uri = format!("https://localhost:{}/", server.port()).parse().expect("a URI");
    for _ in 0..5 {
        let response = client.get(target.clone()).await.expect("the server answers");
        // The server offers both; ALPN chose.
        assert_eq!(response.version(), hyper::Version::HTTP_2);
        let probe: SocketProbe = response.extensions().get().cloned().expect("the layer gives one");
        assert_eq!(probe.info().expect("it is in the pool").state, tcpinfo::State::Established);
        assert_eq!(text(response).await, "hello");
    }
    let expected = format!("server.address=localhost,server.port={}", server.port());
    assert_eq!(only_group(&monitor.snapshot()), (expected, 1, 0));
    drop(client);
    eventually("its connection closed", || monitor.snapshot().monitor.watched == 0).await;
    assert_eq!(only_group(&monitor.snapshot()).2, 1);
}

#[tokio::test]
async fn a_tonic_channel_is_one_connection() {
    let server = server::grpc().await;
    let monitor = Monitor::new();
    let connector = WatchLayer::new(&monitor).layer(HttpConnector::new());
    let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("it is a URI");
    let channel = endpoint.connect_with_connector(connector).await.expect("it listens");
    let mut client = MetricsServiceClient::new(channel.clone());
    for _ in 0..10 {
        let request = ExportMetricsServiceRequest::default();
        client.export(request).await.expect("the service answers");
    }
    let expected = format!("server.address=127.0.0.1,server.port={}", server.port());
    assert_eq!(only_group(&monitor.snapshot()), (expected, 1, 0));
    drop((channel, client));
    eventually("the channel closed", || monitor.snapshot().monitor.watched == 0).await;
    assert_eq!(only_group(&monitor.snapshot()).2, 1);
}

#[tokio::test]
async fn a_lazy_tonic_channel_is_watched_when_it_connects() {
    let server = server::grpc().await;
    let monitor = Monitor::new();
    let connector = WatchLayer::new(&monitor).layer(connectors::to(server));
    let endpoint = Endpoint::from_static("http://metrics.example");
    let channel = endpoint.connect_with_connector_lazy(connector);
    assert_eq!(monitor.snapshot().groups.len(), 0);
    let mut client = MetricsServiceClient::new(channel);
    client.export(ExportMetricsServiceRequest::default()).await.expect("the service answers");
    let expected = "server.address=metrics.example,server.port=80".to_owned();
    assert_eq!(only_group(&monitor.snapshot()), (expected, 1, 0));
}

#[tokio::test]
async fn a_low_level_connection_is_watched_by_hand() {
    let server = Server::start().await;
    let monitor = Monitor::new();
    let stream = tokio::net::TcpStream::connect(server.address()).await.expect("it listens");
    let stream = hyper_util::rt::TokioIo::new(monitor.group([]).watch(stream));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1 needs no handshake");
    let connection = tokio::spawn(connection);
    let request = Request::get("/").header("host", "x").body(Empty::<Bytes>::new());
    let response = sender.send_request(request.expect("it is a request")).await;
    assert_eq!(text(response.expect("the server answers")).await, "hello");
    assert_eq!(only_group(&monitor.snapshot()), (String::new(), 1, 0));
    drop(sender);
    connection.await.expect("it does not panic").expect("it ends well");
    assert_eq!(only_group(&monitor.snapshot()), (String::new(), 1, 1));
}

#[tokio::test]
async fn a_monitor_lives_on_in_its_layer_and_ends_with_it() {
    let monitor = Monitor::new();
    let (reader, provider) = support::reader::Reader::with_provider();
    monitor.instrument(&provider);
    let server = Server::start().await;
    let client = client(WatchLayer::new(&monitor).layer(HttpConnector::new()));
    drop(monitor);
    text(client.get(server.uri("http")).await.expect("the server answers")).await;
    let series = format!("{{server.address=127.0.0.1,server.port={}}}", server.port());
    let opened = reader.collected().counter(&format!("tcp.connection.opened{series}"));
    assert_eq!(opened, 1.0);
    drop(client);
    let silent = || reader.collected().counters.is_empty();
    eventually("the pool is gone, and the monitor with it", silent).await;
}
