//! Real loads on an axum server: every connection is counted once, and every byte.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;
use tcpinfo::{Monitor, TcpInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::adapters::axum::Server;
use crate::adapters::servers::{Totals, bound};
use support::reader::Reader;

const CONNECTIONS: u64 = 10_000;
const AT_A_TIME: u64 = 100;

/// What the clients themselves counted.
#[derive(Default)]
struct Clients {
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// Each connection asks so often, and the last time says that it is the last if `says` so.
async fn load(server: &Server, requests: u64, says: bool) -> Arc<Clients> {
    let clients = Arc::new(Clients::default());
    let workers: Vec<_> = (0..AT_A_TIME)
        .map(|_| {
            let (clients, address) = (Arc::clone(&clients), server.address);
            tokio::spawn(async move {
                for _ in 0..CONNECTIONS / AT_A_TIME {
                    let stream = tokio::net::TcpStream::connect(address).await;
                    let stream = stream.expect("it listens");
                    clients.connections.fetch_add(1, Ordering::Relaxed);
                    exchange(stream, requests, says, &clients).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("no client failed");
    }
    clients
}

async fn exchange(mut stream: tokio::net::TcpStream, requests: u64, says: bool, on: &Clients) {
    let mut answer = [0; 1_024];
    for request in 1..=requests {
        let last = says && request == requests;
        let text: &[u8] = if last {
            b"GET / HTTP/1.1\r\nhost: loopback\r\nconnection: close\r\n\r\n"
        } else {
            b"GET / HTTP/1.1\r\nhost: loopback\r\n\r\n"
        };
        stream.write_all(text).await.expect("room for a request");
        on.sent.fetch_add(text.len() as u64, Ordering::Relaxed);
        let mut filled = 0;
        while !answer[..filled].ends_with(b"the whole answer") {
            let read = stream.read(&mut answer[filled..]).await.expect("an answer");
            assert_ne!(read, 0, "the answer ends early");
            filled += read;
        }
        on.received.fetch_add(filled as u64, Ordering::Relaxed);
    }
    if says {
        let more = stream.read(&mut answer).await.expect("the end");
        assert_eq!(more, 0);
    }
}

fn app() -> Router {
    // The extractor is at work in every request.
    Router::new().route("/", get(async |_: TcpInfo| "the whole answer"))
}

/// `opened`, `closed` and bytes as a snapshot and as an exporter have them.
fn totals(monitor: &Monitor, reader: &Reader) -> Totals {
    let totals = Totals::at_the_end_of(CONNECTIONS, monitor);
    let exported = reader.collected();
    let counter = |name: &str| exported.counter(&format!("{name}{{}}")) as u64;
    let exported = Totals {
        opened: counter("tcp.connection.opened"),
        closed: counter("tcp.connection.closed"),
        received: counter("tcp.data.received"),
        sent: counter("tcp.data.sent") - counter("tcp.data.retransmitted"),
    };
    assert_eq!(exported, totals);
    totals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_kept_alive_are_counted_once_each() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let server = Server::start(&monitor.group([]), app()).await;
    let clients = load(&server, 3, false).await;
    server.stop().await;
    let expected = Totals {
        opened: clients.connections.load(Ordering::Relaxed),
        closed: clients.connections.load(Ordering::Relaxed),
        // The clients end the connections, and their FINs count one each.
        received: clients.sent.load(Ordering::Relaxed) + CONNECTIONS,
        sent: clients.received.load(Ordering::Relaxed),
    };
    assert_eq!(expected.opened, CONNECTIONS);
    assert_eq!(totals(&monitor, &reader), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_of_one_request_are_counted_once_each() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let server = Server::start(&monitor.group([]), app()).await;
    let clients = load(&server, 1, true).await;
    server.stop().await;
    let totals = totals(&monitor, &reader);
    assert_eq!((totals.opened, totals.closed), (CONNECTIONS, CONNECTIONS));
    assert_eq!(totals.sent, clients.received.load(Ordering::Relaxed));
    // The server ends the connections: a client's FIN comes before the last read, or after.
    let fins = totals.received - clients.sent.load(Ordering::Relaxed);
    assert!(fins <= CONNECTIONS, "{fins} bytes too many");
}

/// What wrk says it did.
#[derive(Debug)]
struct Wrk {
    requests: u64,
    bytes: u64,
}

/// Drives the server for two seconds with a hundred connections at a time.
fn wrk(address: std::net::SocketAddr, header: &str) -> Wrk {
    let script = std::env::temp_dir().join(format!("tcpinfo-wrk-{}.lua", address.port()));
    let report = "done = function(summary)\n\
        local errors = summary.errors\n\
        local all = errors.connect + errors.read + errors.write + errors.timeout + errors.status\n\
        io.write(string.format('REPORT %d %d %d\\n', summary.requests, summary.bytes, all))\n\
        end\n";
    std::fs::write(&script, report).expect("the temporary folder takes a file");
    let output = Command::new("wrk")
        .args(["--connections", "100", "--duration", "2s", "--threads", "1", "--timeout", "60s"])
        .args(["--header", header])
        .arg("--script")
        .args([script.as_os_str(), format!("http://{address}/").as_ref()])
        .output()
        .expect("wrk is installed");
    std::fs::remove_file(&script).expect("it is still there");
    let output = String::from_utf8(output.stdout).expect("wrk writes text");
    let line = output.lines().find_map(|line| line.strip_prefix("REPORT ")).expect(&output);
    let numbers: Vec<u64> = line.split(' ').map(|it| it.parse().expect(&output)).collect();
    assert_eq!((numbers.len(), numbers[2]), (3, 0), "{output}");
    Wrk { requests: numbers[0], bytes: numbers[1] }
}

/// What the server counted under wrk, how many connections it accepted, and wrk's own numbers.
async fn under_wrk(header: &'static str) -> (Totals, u64, Wrk) {
    let monitor = Monitor::new();
    let accepted = Arc::new(AtomicU64::new(0));
    let accepts = Arc::clone(&accepted);
    // Below the watch: what the kernel handed out, whatever becomes of it.
    let listener = bound().await.tap_io(move |_| {
        accepts.fetch_add(1, Ordering::Relaxed);
    });
    let server = Server::over(listener, &monitor.group([]), app());
    let address = server.address;
    let said = tokio::task::spawn_blocking(move || wrk(address, header)).await.expect("wrk ran");
    server.stop().await;
    let accepted = accepted.load(Ordering::Relaxed);
    (Totals::at_the_end_of(accepted, &monitor), accepted, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs wrk: integration/test.sh"]
async fn connections_that_wrk_keeps_alive_are_counted_once_each() {
    let (totals, accepted, wrk) = under_wrk("accept: */*").await;
    // Before it begins wrk connects once to see whether somebody is there.
    assert_eq!((totals.opened, totals.closed, accepted), (101, 101, 101));
    // What wrk no longer read when its time was up, at most one answer each.
    let answer = wrk.bytes / wrk.requests;
    assert_eq!(wrk.bytes, answer * wrk.requests);
    let unread = totals.sent - wrk.bytes;
    assert!(unread <= 100 * answer, "{unread} bytes of {totals:?} unread by {wrk:?}");
    assert_eq!(unread % answer, 0);
    println!("{totals:?} under {wrk:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs wrk: integration/test.sh"]
async fn connections_that_wrk_uses_once_are_counted_once_each() {
    let (totals, accepted, wrk) = under_wrk("connection: close").await;
    assert_eq!((totals.opened, totals.closed), (accepted, accepted));
    // What was under way when wrk's time was up, and its first look.
    let unfinished = accepted - wrk.requests;
    assert!(unfinished <= 101, "{unfinished} connections of {totals:?} unfinished by {wrk:?}");
    let answer = wrk.bytes / wrk.requests;
    let unread = totals.sent - wrk.bytes;
    assert!(unread <= 100 * answer, "{unread} bytes of {totals:?} unread by {wrk:?}");
    println!("{totals:?} under {wrk:?}");
}
