//! A request's span and log line say how its connection was doing:
//!
//! ```text
//! cargo run -p example-tracing
//! ```

use std::error::Error;
use std::io::{self, Write};

use axum::Router;
use axum::routing::get;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tcpinfo::axum::Peer;
use tcpinfo::{Monitor, TcpInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::{Span, info, instrument};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// All that are there would be seventy.
const CHOSEN: [&str; 4] = ["tcp.state", "tcp.rtt", "tcp.total_retrans", "tcp.bytes_received"];

#[instrument(skip_all)]
async fn hello(connection: TcpInfo) -> &'static str {
    // On the span, as OpenTelemetry attributes.
    let span = Span::current();
    for attribute in connection.attributes().filter(|it| CHOSEN.contains(&it.key.as_str())) {
        span.set_attribute(attribute.key, attribute.value);
    }
    // On a log line, as the struct has them.
    info!(rtt = ?connection.rtt, retransmitted = connection.total_retrans, "a visitor");
    "hello\n"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = SdkTracerProvider::builder().with_simple_exporter(Print).build();
    let log = tracing_subscriber::fmt::layer().without_time().with_ansi(false);
    // Not a line on standard error for each that nobody reads, as in `| head`.
    let log = log.log_internal_errors(false);
    tracing_subscriber::registry()
        .with(log)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("example")))
        .init();

    let group = Monitor::new().group([]);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/", get(hello));
    let app = app.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(axum::serve(group.listen(listener), app).into_future());

    let mut visitor = TcpStream::connect(address).await?;
    visitor.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
    visitor.read_to_string(&mut String::new()).await?;
    provider.shutdown()?;
    Ok(())
}

/// Prints finished spans. A program has an exporter here, of OTLP for instance.
#[derive(Debug)]
struct Print;

impl SpanExporter for Print {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        // What nobody reads, as in `| head`, is no failure of the program.
        let mut out = io::stdout();
        for span in spans {
            let _ = writeln!(out, "span {}", span.name);
            for attribute in span.attributes.iter().filter(|it| it.key.as_str().contains("tcp.")) {
                let _ = writeln!(out, "  {:<20} {}", attribute.key.as_str(), attribute.value);
            }
        }
        Ok(())
    }
}
