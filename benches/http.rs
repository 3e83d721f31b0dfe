//! Whether HTTP with keep-alive is as fast over watched sockets: axum's server and hyper-util's
//! pooled client, both watched or neither, in turns on one thread. A watched round is swept once
//! in its middle.

mod pairs;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tcpinfo::{Group, Monitor, WatchLayer};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};

use pairs::{Plan, Side, Slice};

/// Answers every request with a kilobyte.
fn app() -> Router {
    static BODY: [u8; 1024] = [b'x'; 1024];
    Router::new().route("/", get(async || Bytes::from_static(&BODY)))
}

async fn ask<C: Connect + Clone + Send + Sync + 'static>(
    client: Client<C, Empty<Bytes>>,
    target: Uri,
    slice: Rc<RefCell<Slice>>,
) {
    loop {
        let began = Instant::now();
        let response = client.get(target.clone()).await.expect("the server answers");
        let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
        assert_eq!(body.len(), 1024);
        if !slice.borrow_mut().note(began) {
            return;
        }
    }
}

async fn ask_together<C: Connect + Clone + Send + Sync + 'static>(
    connector: C,
    target: Uri,
    connections: usize,
    length: Duration,
    middle: impl FnOnce(),
) -> Slice {
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let slice = Rc::new(RefCell::new(Slice::start(length)));
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn_local(ask(client.clone(), target.clone(), Rc::clone(&slice)));
    }
    tokio::time::sleep(length / 2).await;
    middle();
    clients.join_all().await;
    Rc::into_inner(slice).expect("the clients are done").into_inner()
}

async fn run(
    side: Side,
    connections: usize,
    length: Duration,
    monitor: &Monitor,
    group: &Group,
) -> Slice {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let target: Uri = format!("http://{address}/").parse().expect("it is a URI");
    let watched = (side == Side::Watched).then(|| group.clone());
    tokio::spawn(async move {
        let listener = listener.tap_io(|stream| {
            stream.set_nodelay(true).expect("it is connected");
        });
        match watched {
            Some(group) => axum::serve(group.listen(listener), app()).await,
            None => axum::serve(listener, app()).await,
        }
    });
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    if side == Side::Watched {
        let connector = WatchLayer::in_group(group).layer(connector);
        let sweep = || {
            if !pairs::sweeps() {
                return;
            }
            let watched = monitor.snapshot().monitor.watched;
            assert_eq!(watched, 2 * connections as u64);
        };
        ask_together(connector, target, connections, length, sweep).await
    } else {
        ask_together(connector, target, connections, length, || ()).await
    }
}

fn main() {
    let plan = Plan::of_arguments();
    let monitor = Monitor::new();
    let group = monitor.group([]);
    for connections in [1, 16] {
        let what = format!("HTTP/1.1 with keep-alive, {connections} connections");
        pairs::compare(&what, plan, |side| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("there are descriptors");
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, run(side, connections, plan.slice, &monitor, &group))
        });
    }
    assert_eq!(monitor.snapshot().monitor.read_errors, []);
}
