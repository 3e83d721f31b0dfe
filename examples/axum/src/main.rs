//! An HTTP server that shows visitors their own connection, and Prometheus all of them:
//!
//! ```text
//! cargo run -p example-axum
//! curl http://127.0.0.1:8080/
//! curl http://127.0.0.1:8080/metrics
//! ```
//!
//! Another address than this is the program's argument; port 0 takes a free one.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tcpinfo::axum::Peer;
use tcpinfo::{Monitor, TcpInfo};
use tokio::net::TcpListener;

/// The connection that the request came over, from the server's side.
async fn show(ConnectInfo(peer): ConnectInfo<Peer>, info: TcpInfo) -> String {
    format!("You are {}.\n\n{info:#}", peer.address)
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    // The monitor, with an OpenTelemetry provider for Prometheus' registry.
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    let monitor = Monitor::new();
    monitor.instrument(&provider);

    let metrics = async move || {
        // Gathering reads every connection: no work for the thread that serves them.
        let page = move || prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        match tokio::task::spawn_blocking(page).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    };
    let app = Router::new().route("/", get(show)).route("/metrics", get(metrics));

    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    writeln!(io::stdout(), "http://{}/ and /metrics, Ctrl-C ends", listener.local_addr()?)?;

    // What changes in a program: the listener is watched, and what it accepts, as one group.
    let public = monitor.group([KeyValue::new("listener", "public")]);
    let listener = public.listen(public.watch(listener));
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => Ok(()),
        ended => ended,
    }
}
