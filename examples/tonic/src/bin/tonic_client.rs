//! The TCP connection of a gRPC channel: `cargo run -p example-tonic --bin tonic_client`.
//!
//! The service is OTLP's own, which takes metrics; any other is called the same way.

use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};

use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    metrics_service_client::MetricsServiceClient,
    metrics_service_server::{MetricsService, MetricsServiceServer},
};
use tcpinfo::Monitor;
use tcpinfo::hyper::WatchLayer;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

#[tokio::main(flavor = "current_thread")]
async fn run() -> Result<(), Box<dyn Error>> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    let server = Server::builder().add_service(MetricsServiceServer::new(Forgetful));
    tokio::spawn(server.serve_with_incoming(incoming));

    let monitor = Monitor::new();
    let upstream = monitor.group([KeyValue::new("upstream", "metrics")]);

    // Instead of `endpoint.connect()`. A channel that loses its connection makes the next one the
    // same way. Where the endpoint has TLS, tonic puts it over the connector.
    let connector = WatchLayer::in_group(&upstream).layer(HttpConnector::new());
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let channel = endpoint.connect_with_connector(connector).await?;

    let mut client = MetricsServiceClient::new(channel);
    for _ in 0..10 {
        client.export(ExportMetricsServiceRequest::default()).await?;
    }
    for group in &monitor.snapshot().groups {
        let (opened, open) = (group.opened, group.live());
        writeln!(io::stdout(), "{:?}: {opened} opened, {open} open", group.attributes())?;
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

struct Forgetful;

#[tonic::async_trait]
impl MetricsService for Forgetful {
    async fn export(
        &self,
        _: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}
