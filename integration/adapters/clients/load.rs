//! Real loads on a watched client: every connection is counted once, and every byte.

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tcpinfo::hyper::{WatchConnector, WatchLayer};
use tcpinfo::{FieldValue, Monitor, Snapshot};
use tokio::task::JoinSet;

use super::server::Server;
use super::{eventually, text};
use support::reader::Reader;
use support::replies::field;

const CONNECTIONS: u64 = 10_000;
const AT_A_TIME: u64 = 100;

/// A pool of its own over the same watched connector, keeping so many idle connections.
fn pool(
    connector: &WatchConnector<HttpConnector>,
    idle: usize,
) -> Client<WatchConnector<HttpConnector>, Empty<Bytes>> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(idle).build(connector.clone())
}

/// Opens ten thousand connections, a hundred at a time, each of which asks so often.
async fn load(server: &Server, monitor: &Monitor, requests: u64) {
    let connector = WatchLayer::in_group(&monitor.group([])).layer(HttpConnector::new());
    let mut clients = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (connector, target) = (connector.clone(), server.uri("http"));
        clients.spawn(async move {
            for _ in 0..CONNECTIONS / AT_A_TIME {
                let client = pool(&connector, usize::from(requests > 1));
                for _ in 0..requests {
                    let response = client.get(target.clone()).await.expect("the server answers");
                    assert_eq!(text(response).await, "hello");
                }
            }
        });
    }
    clients.join_all().await;
}

fn bytes(snapshot: &Snapshot, name: &str) -> u64 {
    match snapshot.groups[0].get(field(name)) {
        Some(FieldValue::Integer(count)) => count,
        other => panic!("{name} is {other:?}"),
    }
}

async fn are_counted_once_each(requests: u64) {
    let server = Server::start().await;
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    load(&server, &monitor, requests).await;
    eventually("every connection closed", || monitor.snapshot().monitor.watched == 0).await;
    eventually("the server saw every end", || server.ended() == CONNECTIONS).await;
    let snapshot = monitor.snapshot();
    let group = &snapshot.groups[0];
    assert_eq!((group.opened, group.closed), (CONNECTIONS, CONNECTIONS));
    assert_eq!((server.accepted(), server.requests()), (CONNECTIONS, requests * CONNECTIONS));
    let first_time = bytes(&snapshot, "bytes_sent") - bytes(&snapshot, "bytes_retrans");
    let received = bytes(&snapshot, "bytes_received");
    let (reached, answered) = server.bytes();
    assert_eq!(first_time, reached);
    // The client shuts its side down, then closes: a server's FIN comes in between, or too late.
    assert!((answered..=answered + CONNECTIONS).contains(&received), "{received} of {answered}");
    let exported = reader.collected();
    assert_eq!(exported.counter("tcp.connection.opened{}"), CONNECTIONS as f64);
    assert_eq!(exported.counter("tcp.connection.closed{}"), CONNECTIONS as f64);
    assert_eq!(exported.counter("tcp.data.received{}"), received as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_kept_alive_are_counted_once_each() {
    are_counted_once_each(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_of_one_request_are_counted_once_each() {
    are_counted_once_each(1).await;
}
