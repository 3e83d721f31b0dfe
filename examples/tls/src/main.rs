//! A TLS connection, watched below the encryption: what the network carries, not what we wrote.
//!
//! ```text
//! cargo run -p example-tls
//! ```

use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};
use std::sync::Arc;

use opentelemetry::KeyValue;
use tcpinfo::Monitor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main]
async fn run() -> Result<(), Box<dyn Error>> {
    let (acceptor, connector) = certificate()?;
    let monitor = Monitor::new();
    let clients = monitor.group([KeyValue::new("listener", "tls")]);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        // What changes in a program: watch the TCP stream, then put TLS over it.
        let mut stream = acceptor.accept(clients.watch(stream)).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        stream.write_all(text.to_uppercase().as_bytes()).await?;
        stream.shutdown().await?;
        // The watched stream is still to be had.
        let (below, _) = stream.get_ref();
        below.info()
    });

    let stream = TcpStream::connect(address).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    let text = "what the network carries is more than this\n".repeat(1000);
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;

    let info = server.await??;
    let carried = |bytes: Option<u64>| bytes.map_or("unknown".into(), |bytes| bytes.to_string());
    let mut out = io::stdout();
    writeln!(out, "{:<10}{:>12}{:>14}", "", "text (By)", "TCP (By)")?;
    let received = carried(info.bytes_received);
    writeln!(out, "{:<10}{:>12}{received:>14}", "received", text.len())?;
    writeln!(out, "{:<10}{:>12}{:>14}", "sent", answer.len(), carried(info.bytes_sent))?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => Ok(()),
        ended => ended,
    }
}

/// Both sides of a certificate that only this process trusts.
fn certificate() -> Result<(TlsAcceptor, TlsConnector), Box<dyn Error>> {
    let own = rcgen::generate_simple_self_signed(["localhost".into()])?;
    let certificate = own.cert.der().clone();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok((TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client))))
}
