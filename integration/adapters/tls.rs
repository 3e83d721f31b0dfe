//! TLS over a watched TCP stream: the socket is watched below the encryption.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use tcpinfo::{FieldValue, Monitor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
};

use crate::adapters::servers::{Totals, bound, soon};
use support::replies::field;

/// Both sides of a certificate made for this test.
fn certificate() -> (TlsAcceptor, Arc<ClientConfig>) {
    let own = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a plain name");
    let certificate = own.cert.der().clone();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key of its own");
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![certificate.clone()], key).expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("it signs itself");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), Arc::new(client))
}

/// A stream that counts what TLS hands to the network, and takes from it.
struct Counted {
    stream: TcpStream,
    sent: u64,
    received: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.received += read as u64;
        Ok(read)
    }
}

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(buffer)?;
        self.sent += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

const PAYLOAD: usize = 100_000;

/// Sends the payload, receives it back, and waits for the end of the connection.
fn client(stream: TcpStream, config: Arc<ClientConfig>) -> Counted {
    let name = ServerName::try_from("localhost").expect("a plain name");
    let session = ClientConnection::new(config, name).expect("the name is in the certificate");
    let counted = Counted { stream, sent: 0, received: 0 };
    let mut stream = StreamOwned::new(session, counted);
    stream.write_all(&[7; PAYLOAD]).expect("the server reads");
    stream.flush().expect("the server reads");
    let mut answer = vec![0; PAYLOAD];
    stream.read_exact(&mut answer).expect("the payload comes back");
    assert_eq!(answer, [7; PAYLOAD]);
    stream.conn.send_close_notify();
    stream.flush().expect("the server reads");
    stream.read_to_end(&mut answer).expect("the end");
    assert_eq!(answer.len(), PAYLOAD);
    stream.sock
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_stream_under_tls_counts_what_the_network_carries() {
    let (acceptor, config) = certificate();
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let listener = bound().await;
    let address = listener.local_addr().expect("it is bound");
    let client = tokio::task::spawn_blocking(move || {
        client(TcpStream::connect(address).expect("it listens"), config)
    });
    let (stream, _) = soon(listener.accept()).await.expect("the client connected");
    let mut stream = soon(acceptor.accept(group.watch(stream))).await.expect("a handshake");
    let mut payload = vec![0; PAYLOAD];
    soon(stream.read_exact(&mut payload)).await.expect("the payload");
    soon(stream.write_all(&payload)).await.expect("the client reads");
    soon(stream.flush()).await.expect("the client reads");
    assert_eq!(soon(stream.read(&mut [0; 1])).await.expect("the end"), 0);
    // Under the encryption the stream is still to be had.
    let info = stream.get_ref().0.info().expect("it is open");
    let known = |name| match info.get(field(name)) {
        Some(FieldValue::Integer(count)) => count,
        other => panic!("{name} is {other:?}"),
    };
    assert!(known("bytes_received") > PAYLOAD as u64);
    soon(stream.shutdown()).await.expect("the client reads");
    drop(stream);
    // It still holds its end, so no FIN of it counts.
    let client = soon(client).await.expect("the client did not fail");
    let totals = Totals::of(&monitor);
    let expected = Totals { opened: 1, closed: 1, received: client.sent, sent: client.received };
    assert_eq!(totals, expected);
    let overhead = [totals.received, totals.sent].map(|bytes| bytes - PAYLOAD as u64);
    assert!(overhead.iter().all(|bytes| (100..3_000).contains(bytes)), "{overhead:?}");
}
