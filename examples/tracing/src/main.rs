//! A request's span and log line say how its connection was doing, and what limited it:
//!
//! ```text
//! cargo run -p example-tracing
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::stream;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tcpinfo::axum::Peer;
use tcpinfo::{Monitor, Observation, TcpInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
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

/// A long answer: what limited the connection since the request came, and the numbers for it.
#[instrument(skip_all)]
async fn download(observation: Observation) -> Body {
    const CHUNKS: u32 = 256;
    // The span lives as long as the body.
    let span = Span::current();
    let chunks = stream::unfold(0, move |sent| {
        if sent == CHUNKS {
            match observation.verdict() {
                Ok(verdict) => verdict.attributes().take(3).for_each(|attribute| {
                    span.set_attribute(attribute.key, attribute.value);
                }),
                Err(error) => info!(%error, "the visitor is gone"),
            }
        }
        let next = (sent < CHUNKS).then(|| (io::Result::Ok(vec![b'.'; 65_536]), sent + 1));
        async { next }
    });
    Body::from_stream(chunks)
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
    let app = Router::new().route("/", get(hello)).route("/download", get(download));
    let app = app.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(axum::serve(group.listen(listener), app).into_future());

    let mut visitor = TcpStream::connect(address).await?;
    visitor.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
    visitor.read_to_string(&mut String::new()).await?;

    // Another one, who has little room and does something else at first.
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(16_384)?;
    let mut visitor = socket.connect(address).await?;
    visitor.write_all(b"GET /download HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    visitor.read_to_end(&mut Vec::new()).await?;
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
