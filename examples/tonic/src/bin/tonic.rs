//! A gRPC server whose connections are watched, and whose service asks about the one it is called
//! over:
//!
//! ```text
//! cargo run -p example-tonic
//! ```

use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};

use opentelemetry::KeyValue;
use tcpinfo::{Monitor, SocketProbe};
use tokio_stream::StreamExt;
use tonic::service::InterceptorLayer;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The service of gRPC's own health protocol.
struct AlwaysHealthy;

#[tonic::async_trait]
impl Health for AlwaysHealthy {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let peer = request.remote_addr();
        let probe = request.extensions().get::<SocketProbe>();
        let info = probe.and_then(|probe| probe.info().ok());
        let rtt = info.and_then(|info| info.rtt);
        // Not read, perhaps; the caller has its answer in any case.
        let _ = writeln!(io::stdout(), "called by {peer:?}, round-trip time {rtt:?}");
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only single checks"))
    }
}

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let monitor = Monitor::new();
    let clients = monitor.group([KeyValue::new("listener", "grpc")]);
    // What `serve(address)` does for itself, its default of TCP_NODELAY included.
    let listener = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = listener.local_addr()?;

    // What changes in a program: what the listener accepts is watched. `with_probe` and the
    // interceptor are for services that ask about their connection; without, `watch` is enough.
    let incoming =
        listener.map(move |stream| stream.map(|stream| clients.watch(stream).with_probe()));
    let server = Server::builder()
        .layer(InterceptorLayer::new(tcpinfo::tonic::probed))
        .add_service(HealthServer::new(AlwaysHealthy))
        .serve_with_incoming(incoming);
    tokio::spawn(server);

    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = HealthClient::new(channel);
    for _ in 0..3 {
        client.check(HealthCheckRequest::default()).await?;
    }
    let group = &monitor.snapshot().groups[0];
    writeln!(io::stdout(), "{} connection, {} open", group.opened, group.live())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => Ok(()),
        ended => ended,
    }
}
