//! Receivers of OTLP as others wrote them, which hand on what they got to one of ours: every point
//! that the SDK exported is there, over gRPC and HTTP, cumulative and delta.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use opentelemetry_sdk::metrics::Temporality;
use tokio::runtime::{Builder, Runtime};

use super::{Scratch, Server, ask, eventually, found, free_address, program, root};
use crate::export::otlp::receiver::Receiver;
use crate::export::otlp::{every_point_arrives, grpc, http};

/// The Collector's configuration in the demo.
pub(super) const CONFIG: &str = "integration/demo/collector.yaml";

const COLLECTOR: (&str, &str) = ("OTELCOL", "otelcol/otelcol");
const ROTEL: (&str, &str) = ("ROTEL", "rotel/package/rotel-agent");

pub(super) fn collector() -> Option<PathBuf> {
    program(COLLECTOR.0, COLLECTOR.1)
}

/// A Collector with the demo's configuration.
pub(super) struct Collector {
    pub(super) server: Server,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    /// Of its own.
    pub(super) metrics: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Collector {
    /// With more of configuration, which counts where both say something.
    pub(super) fn start(program: &Path, more: &str) -> Self {
        let scratch = Scratch::new();
        let more = scratch.write("more.yaml", more);
        let config = [root().join(CONFIG), more].map(|path| format!("--config={}", path.display()));
        let [grpc, http, metrics] = [(); 3].map(|()| free_address());
        Self::start_at(program.to_owned(), scratch, config.into(), [grpc, http, metrics])
    }

    fn start_at(
        program: PathBuf,
        scratch: Scratch,
        arguments: Vec<String>,
        [grpc, http, metrics]: [SocketAddr; 3],
    ) -> Self {
        let variables = [
            ("OTLP_GRPC", grpc.to_string()),
            ("OTLP_HTTP", http.to_string()),
            ("METRICS_HOST", metrics.ip().to_string()),
            ("METRICS_PORT", metrics.port().to_string()),
        ];
        let mut server = Server::start(&program, scratch, &arguments, &variables);
        server.ready(metrics, "/metrics");
        // Any answer will do.
        eventually("a receiver over HTTP", || ask(http, "GET", "/"));
        Self { server, grpc, http, metrics, program, arguments }
    }

    /// Kills it, and does something before it is there again.
    pub(super) fn restart(self, meanwhile: impl FnOnce()) -> Self {
        let scratch = self.server.kill();
        meanwhile();
        let addresses = [self.grpc, self.http, self.metrics];
        Self::start_at(self.program, scratch, self.arguments, addresses)
    }
}

/// Hands on each push, and answers it when that was answered.
pub(super) fn handing_on_to(sink: &Receiver) -> String {
    format!(
        "exporters:
  otlphttp/sink:
    endpoint: {}
    encoding: json
    compression: none
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service: {{pipelines: {{metrics: {{processors: [], exporters: [debug, otlphttp/sink]}}}}}}
",
        sink.endpoint
    )
}

pub(super) fn runtime() -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("threads can be started")
}

/// Both protocols with both temporalities.
fn every_point_arrives_at(sink: &Receiver, grpc_at: SocketAddr, http_at: SocketAddr) {
    let runtime = runtime();
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        every_point_arrives(sink, http(&format!("http://{http_at}"), temporality));
        every_point_arrives(sink, grpc(&runtime, &format!("http://{grpc_at}"), temporality));
    }
}

#[test]
#[ignore = "needs a receiver of OTLP: integration/test.sh"]
fn there_is_a_receiver_of_others() {
    let any = [COLLECTOR, ROTEL].iter().any(|(variable, path)| found(variable, path).is_some());
    assert!(any, "neither the Collector nor rotel: integration/servers.sh");
}

#[test]
#[ignore = "needs the OpenTelemetry Collector: integration/test.sh"]
fn every_point_arrives_through_the_collector() {
    let Some(program) = collector() else { return };
    let sink = Receiver::http();
    let collector = Collector::start(&program, &handing_on_to(&sink));
    every_point_arrives_at(&sink, collector.grpc, collector.http);
}

#[test]
#[ignore = "needs rotel: integration/test.sh"]
fn every_point_arrives_through_rotel() {
    let Some(program) = program(ROTEL.0, ROTEL.1) else { return };
    // It compresses what it hands on, whatever it is told.
    let sink = Receiver::grpc();
    let scratch = Scratch::new();
    let [grpc, http] = [(); 2].map(|()| free_address());
    let [pid, log] = ["pid", "log"].map(|name| scratch.join(name).display().to_string());
    let (grpc_at, http_at) = (grpc.to_string(), http.to_string());
    let arguments = [
        ["start", "--disable-batching"],
        ["--otlp-grpc-endpoint", &grpc_at],
        ["--otlp-http-endpoint", &http_at],
        ["--exporter", "otlp"],
        ["--otlp-exporter-endpoint", &sink.endpoint],
        ["--pid-file", &pid],
        ["--log-file", &log],
    ];
    let arguments = arguments.concat().into_iter().map(String::from).collect::<Vec<_>>();
    let _server = Server::start(program, scratch, &arguments, &[]);
    // Any answer will do.
    eventually("a receiver over HTTP", || ask(http, "GET", "/"));
    every_point_arrives_at(&sink, grpc, http);
}
