//! The TCP connections of an HTTP client, by server:
//! `cargo run -p example-hyper -- http://example.com/`.
//!
//! Without arguments it talks with a server of its own.

use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tcpinfo::hyper::WatchLayer;
use tcpinfo::{Monitor, SocketProbe};

#[tokio::main(flavor = "current_thread")]
async fn run() -> Result<(), Box<dyn Error>> {
    // `monitor.instrument(&provider)` makes metrics of it: see the example `prometheus`.
    let monitor = Monitor::new();

    // One line more than without: the pool's connections are watched, one group per server.
    let connector = WatchLayer::new(&monitor).with_probes().layer(HttpConnector::new());
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);

    let mut targets =
        std::env::args().skip(1).map(|uri| uri.parse()).collect::<Result<Vec<Uri>, _>>()?;
    if targets.is_empty() {
        targets.push(own_server().await?);
    }
    let mut out = io::stdout();
    for target in targets.iter().cycle().take(3 * targets.len()) {
        let response = client.get(target.clone()).await?;
        // Who wants to know it of one request asks the response's connection.
        let probe = response.extensions().get::<SocketProbe>().cloned();
        let status = response.status();
        let length = response.into_body().collect().await?.to_bytes().len();
        let rtt = probe.and_then(|probe| probe.info().ok()?.rtt);
        writeln!(out, "{target}: {status}, {length} bytes, round trip {rtt:?}")?;
    }

    for group in &monitor.snapshot().groups {
        writeln!(out, "{:?}: {} opened, {} open", group.attributes(), group.opened, group.live())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => Ok(()),
        ended => ended,
    }
}

/// A server that says hello, until the program ends.
async fn own_server() -> Result<Uri, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?).parse()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hello = hyper::service::service_fn(async |_| {
                Ok::<_, std::convert::Infallible>(Response::new(String::from("hello\n")))
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), hello));
        }
    });
    Ok(uri)
}
