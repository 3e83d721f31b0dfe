//! What the clients connect to: a server that keeps connections alive and counts, and a proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Says hello to every request, and counts. It ends with the runtime.
pub(super) struct Server {
    address: SocketAddr,
    tally: Arc<Tally>,
    certificate: Option<CertificateDer<'static>>,
}

#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    ended: AtomicU64,
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::SeqCst);
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::answering_together(1).await
    }

    /// Answers no request before there are `count`.
    pub(super) async fn answering_together(count: usize) -> Self {
        Self::serve(count, None).await
    }

    /// Offers HTTP/2 and HTTP/1.1 over TLS, as `localhost`.
    pub(super) async fn start_tls() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let own = own.expect("ring makes keys");
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(config));
        Self { certificate: Some(certificate), ..Self::serve(1, Some(tls)).await }
    }

    async fn serve(together: usize, tls: Option<TlsAcceptor>) -> Self {
        let (listener, address) = listen().await;
        let tally = Arc::new(Tally::default());
        let counts = Arc::clone(&tally);
        let barrier = Arc::new(Barrier::new(together));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                add(&counts.accepted, 1);
                let stream = Counting { stream, tally: Arc::clone(&counts) };
                let barrier = Arc::clone(&barrier);
                match tls.clone() {
                    None => drop(tokio::spawn(converse(stream, Arc::clone(&counts), barrier))),
                    Some(tls) => {
                        let counts = Arc::clone(&counts);
                        tokio::spawn(async move {
                            let stream = tls.accept(stream).await.expect("the client trusts us");
                            converse(stream, counts, barrier).await;
                        });
                    }
                }
            }
        });
        Self { address, tally, certificate: None }
    }

    /// A client's configuration that trusts this server alone.
    pub(super) fn trusted(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let certificate = self.certificate.clone().expect("the server has TLS");
        roots.add(certificate).expect("it is a certificate");
        ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn uri(&self, scheme: &str) -> Uri {
        format!("{scheme}://{}/", self.address).parse().expect("it is a URI")
    }

    pub(super) fn accepted(&self) -> u64 {
        self.tally.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn ended(&self) -> u64 {
        self.tally.ended.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> u64 {
        self.tally.requests.load(Ordering::SeqCst)
    }

    /// Bytes the server read and wrote.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.tally.received.load(Ordering::SeqCst), self.tally.sent.load(Ordering::SeqCst))
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tally: Arc<Tally>,
    together: Arc<Barrier>,
) {
    let requests = Arc::clone(&tally);
    let service = service_fn(move |_| {
        add(&requests.requests, 1);
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            Ok::<_, io::Error>(Response::new(Full::new(Bytes::from_static(b"hello"))))
        }
    });
    // A client that goes away without a word is an error here, and no matter.
    let builder = Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    add(&tally.ended, 1);
}

/// A stream whose bytes are counted.
struct Counting {
    stream: TcpStream,
    tally: Arc<Tally>,
}

impl AsyncRead for Counting {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, tally } = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(stream).poll_read(context, buffer);
        add(&tally.received, buffer.filled().len() - before);
        result
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, tally } = self.get_mut();
        Pin::new(stream).poll_write(context, buffer).map_ok(|count| {
            add(&tally.sent, count);
            count
        })
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Understands CONNECT and nothing else. Returns where it listens.
pub(super) async fn proxy() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    let count = stream.read_line(&mut head).await.expect("a request is text");
                    assert_ne!(count, 0, "the request ends early: {head:?}");
                }
                let target = head.split(' ').nth(1).expect("CONNECT has a target");
                let mut server = TcpStream::connect(target).await.expect("the target listens");
                let found = b"HTTP/1.1 200 OK\r\n\r\n";
                stream.write_all(found).await.expect("the client waits for it");
                // Whichever side ends first, and how, is theirs to know.
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    address
}

/// A gRPC service, which takes metrics and forgets them. Returns where it listens.
pub(super) async fn grpc() -> SocketAddr {
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

    let (listener, address) = listen().await;
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = MetricsServiceServer::new(Forgetful);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}
