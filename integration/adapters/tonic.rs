//! A tonic server over watched streams, called by tonic's own client.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};

use tcpinfo::tonic::{Probed, ProbedInfo};

use tcpinfo::{Cause, Monitor, Observation, SocketProbe};
use tokio::net::TcpStream;
use tokio_stream::{Stream, StreamExt};
use tonic::service::InterceptorLayer;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming, TlsConnectInfo};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::adapters::servers::{Totals, bound, soon};

/// What a handler was told about one request's connection.
struct Told {
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    info: Option<TcpConnectInfo>,
    tls: Option<TlsConnectInfo<ProbedInfo<TcpConnectInfo>>>,
    probe: Option<SocketProbe>,
    observation: io::Result<Observation>,
}

/// A service that keeps what it is told.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Told>>>);

impl Listener {
    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().expect("nobody panics while pushing"))
    }
}

#[tonic::async_trait]
impl Health for Listener {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let told = Told {
            remote: request.remote_addr(),
            local: request.local_addr(),
            info: request.extensions().get().cloned(),
            tls: request.extensions().get().cloned(),
            probe: request.extensions().get().cloned(),
            observation: tcpinfo::tonic::observe(&request),
        };
        self.0.lock().expect("nobody panics while pushing").push(told);
        Ok(Response::new(HealthCheckResponse::default()))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only single checks"))
    }
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    soon(endpoint.connect()).await.expect("it listens")
}

/// Streams with probes in a monitor's group, and where they come in.
async fn probed_streams(
    monitor: &Monitor,
) -> (SocketAddr, impl Stream<Item = io::Result<Probed<TcpStream>>> + use<>) {
    let group = monitor.group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .map(move |stream| stream.map(|stream| group.watch(stream).with_probe()));
    (address, incoming)
}

async fn check(channel: &Channel) {
    let mut client = HealthClient::new(channel.clone());
    soon(client.check(HealthCheckRequest::default())).await.expect("it answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_learn_of_a_watched_stream_what_they_did_of_the_bare_one() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let (sender, options) = mpsc::channel();
    let watch = move |stream: TcpStream| {
        let stream = group.watch(stream);
        sender.send(stream.nodelay().expect("a TCP option")).expect("the test waits for it");
        stream
    };
    // As documented: a server that is given its streams sets no options itself.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let incoming = incoming.map(move |stream| stream.map(&watch));
    let service = Listener::default();
    let server = Server::builder().add_service(HealthServer::new(service.clone()));
    let server = tokio::spawn(server.serve_with_incoming(incoming));
    let channel = channel(address).await;
    check(&channel).await;
    check(&channel).await;
    let told = service.told();
    assert_eq!(told.len(), 2);
    for told in &told {
        assert_eq!(told.local, Some(address));
        let remote = told.remote.expect("the stream is TCP");
        assert_eq!(Some(remote), told.info.as_ref().and_then(TcpConnectInfo::remote_addr));
        assert_eq!((remote.ip(), remote == address), (address.ip(), false));
        assert!(told.probe.is_none());
    }
    assert_eq!(Totals::of(&monitor).opened, 1);
    // What `Server::serve` sets by default.
    assert_eq!(options.try_iter().collect::<Vec<_>>(), [true]);
    drop(channel);
    let totals = Totals::at_the_end_of(1, &monitor);
    assert_eq!((totals.opened, totals.closed), (1, 1));
    server.abort();
}

#[test]
fn servers_that_are_shown_set_what_serve_sets_by_default() {
    let shown = [
        include_str!("../../examples/tonic/src/bin/tonic.rs"),
        include_str!("../../examples/tonic/src/bin/tonic_client.rs"),
    ];
    for text in shown {
        assert!(text.contains("serve_with_incoming("), "no server is shown: {text}");
        assert!(text.contains(".with_nodelay(Some(true))"), "as in the test above: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_may_ask_about_their_connection() {
    let monitor = Monitor::new();
    let (address, incoming) = probed_streams(&monitor).await;
    let service = Listener::default();
    let server = Server::builder()
        .layer(InterceptorLayer::new(tcpinfo::tonic::probed))
        .add_service(HealthServer::new(service.clone()));
    let server = tokio::spawn(server.serve_with_incoming(incoming));
    let (one, two) = (channel(address).await, channel(address).await);
    check(&one).await;
    check(&two).await;
    let told = service.told();
    let remotes: Vec<_> = told.iter().map(|told| told.remote.expect("as without us")).collect();
    assert_ne!(remotes[0], remotes[1]);
    let received = |told: &Told| {
        let probe = told.probe.as_ref().expect("the interceptor is there");
        probe.info().expect("it is open").bytes_received.expect("this kernel counts bytes")
    };
    let before: Vec<u64> = told.iter().map(received).collect();
    check(&two).await;
    let after: Vec<u64> = told.iter().map(received).collect();
    // The probes are of one connection each.
    assert_eq!(before[0], after[0]);
    assert!(before[1] < after[1]);
    for told in &told {
        let observation = told.observation.as_ref().expect("the interceptor is there");
        assert_eq!(observation.verdict().expect("it is open").cause, Cause::TooLittle);
    }
    drop((one, two));
    let totals = Totals::at_the_end_of(2, &monitor);
    assert_eq!((totals.opened, totals.closed), (2, 2));
    let gone = told[0].probe.as_ref().expect("seen above").info().expect_err("it is closed");
    assert_eq!(gone.kind(), std::io::ErrorKind::NotConnected);
    let gone = told[0].observation.as_ref().expect("seen above").verdict();
    assert_eq!(gone.expect_err("it is closed").kind(), std::io::ErrorKind::NotConnected);
    server.abort();
}

/// A certificate that signs itself, and its key.
fn identity(name: &str) -> (Identity, Certificate, Vec<u8>) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a plain name");
    let pem = own.cert.pem();
    let identity = Identity::from_pem(&pem, own.signing_key.serialize_pem());
    (identity, Certificate::from_pem(pem), own.cert.der().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_tonics_own_tls_handlers_have_probe_addresses_and_certificates() {
    let monitor = Monitor::new();
    let (address, incoming) = probed_streams(&monitor).await;
    let (own, certificate, _) = identity("localhost");
    let (client, trusted, expected) = identity("client");
    let service = Listener::default();
    let server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(own).client_ca_root(trusted))
        .expect("the key is the certificate's")
        .layer(InterceptorLayer::new(tcpinfo::tonic::probed))
        .add_service(HealthServer::new(service.clone()));
    let server = tokio::spawn(server.serve_with_incoming(incoming));
    let tls = ClientTlsConfig::new().ca_certificate(certificate).identity(client);
    let endpoint = Channel::from_shared(format!("https://{address}")).expect("an address");
    let endpoint = endpoint.tls_config(tls.domain_name("localhost")).expect("it is a certificate");
    let channel = soon(endpoint.connect()).await.expect("both are trusted");
    check(&channel).await;
    let told = service.told();
    assert_eq!((told.len(), told[0].local), (1, Some(address)));
    assert!(told[0].remote.is_some_and(|remote| remote != address));
    let probe = told[0].probe.as_ref().expect("the interceptor is there");
    assert_eq!(probe.info().expect("it is open").state, tcpinfo::State::Established);
    let tls = told[0].tls.as_ref().expect("tonic's own info, with ours inside");
    let certificates = tls.peer_certs().expect("the client has one");
    assert_eq!(certificates.iter().map(AsRef::as_ref).collect::<Vec<_>>(), [expected.as_slice()]);
    drop(channel);
    let totals = Totals::at_the_end_of(1, &monitor);
    assert_eq!((totals.opened, totals.closed), (1, 1));
    server.abort();
}
