//! Whether HTTP with keep-alive is as fast over watched sockets: axum's server and hyper-util's
//! pooled client, both watched or neither.

mod pairs;

use std::time::Instant;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tcpinfo::Group;
use tcpinfo::hyper::{WatchConnector, WatchLayer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use pairs::{Load, Turn};

/// As many requests at a time, each on a pooled connection.
struct Http {
    connections: usize,
}

/// A pooled client over connections of one kind, and whom it asks.
enum Asker {
    Bare(Client<HttpConnector, Empty<Bytes>>, Uri),
    Watched(Client<WatchConnector<HttpConnector>, Empty<Bytes>>, Uri),
}

/// Answers every request with a kilobyte.
fn app() -> Router {
    static BODY: [u8; 1024] = [b'x'; 1024];
    Router::new().route("/", get(async || Bytes::from_static(&BODY)))
}

async fn ask<C>(client: Client<C, Empty<Bytes>>, target: Uri, turn: Turn)
where
    C: Connect + Clone + Send + Sync + 'static,
{
    loop {
        let began = Instant::now();
        let response = client.get(target.clone()).await.expect("the server answers");
        let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
        assert_eq!(body.len(), 1024);
        if !turn.note(began) {
            return;
        }
    }
}

impl Http {
    async fn ask_together<C>(&self, client: &Client<C, Empty<Bytes>>, target: &Uri, turn: &Turn)
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let mut asking = JoinSet::new();
        for _ in 0..self.connections {
            asking.spawn_local(ask(client.clone(), target.clone(), turn.clone()));
        }
        asking.join_all().await;
    }
}

impl Load for Http {
    type Open = Asker;

    async fn open(&self, group: Option<&Group>) -> Asker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let target: Uri = format!("http://{address}/").parse().expect("it is a URI");
        let watched = group.cloned();
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
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(self.connections);
        match group {
            Some(group) => {
                let connector = WatchLayer::in_group(group).layer(connector);
                Asker::Watched(builder.build(connector), target)
            }
            None => Asker::Bare(builder.build(connector), target),
        }
    }

    async fn take_turn(&self, asker: &mut Asker, turn: &Turn) {
        match asker {
            Asker::Bare(client, target) => self.ask_together(client, target, turn).await,
            Asker::Watched(client, target) => self.ask_together(client, target, turn).await,
        }
    }

    fn sockets(&self) -> u64 {
        2 * self.connections as u64
    }
}

fn main() {
    for connections in [1, 16] {
        let what = format!("HTTP/1.1 with keep-alive, {connections} connections");
        pairs::compare(&what, &Http { connections });
    }
}
