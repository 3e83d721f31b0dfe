//! Short connections, and what their peers counted of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the peers of one group's connections counted.
#[derive(Debug, Default)]
pub struct Peers {
    /// Connections that ended.
    pub connections: AtomicU64,
    /// Bytes that came.
    pub received: AtomicU64,
    /// Bytes that were sent.
    pub sent: AtomicU64,
}

impl Peers {
    /// One more connection that ended.
    pub fn add(&self, received: u64, sent: u64) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }
}

/// One short connection: a request of `size` bytes, a half-close, an answer half as long, the end.
pub fn exchange<W: Deref<Target = TcpStream>>(
    listener: &TcpListener,
    watch: impl FnOnce(TcpStream) -> W,
    peers: &Peers,
    size: usize,
) {
    let bytes = [7; 4_096];
    let address = listener.local_addr().expect("it is bound");
    let client = watch(TcpStream::connect(address).expect("it listens"));
    let (mut server, _) = listener.accept().expect("the client connected");
    (&*client).write_all(&bytes[..size]).expect("room for the request");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut request = Vec::with_capacity(size);
    server.read_to_end(&mut request).expect("the request");
    server.write_all(&bytes[..size / 2]).expect("room for the answer");
    drop(server);
    let mut answer = Vec::with_capacity(size);
    (&*client).read_to_end(&mut answer).expect("the answer");
    peers.add(request.len() as u64, (size / 2) as u64);
}
