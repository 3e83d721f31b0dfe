//! Hosts that come one after another, each with a connection or two, as a client of many servers
//! sees them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Deref;

type Client = Box<dyn Deref<Target = TcpStream>>;
type Watch = Box<dyn Fn(&str, TcpStream) -> Client>;

/// A server, the clients of which are watched in groups by host.
pub struct Hosts {
    watch: Watch,
    listener: TcpListener,
    opened: u64,
    sent: u64,
}

impl Hosts {
    /// All hosts are one listener at this address; `watch` puts a connection into the group of its
    /// host.
    pub fn new<W: Deref<Target = TcpStream> + 'static>(
        address: Ipv4Addr,
        watch: impl Fn(&str, TcpStream) -> W + 'static,
    ) -> Self {
        let watch = Box::new(move |host: &str, socket| Box::new(watch(host, socket)) as Client);
        let listener = TcpListener::bind((address, 0)).expect("loopback has ports");
        Self { watch, listener, opened: 0, sent: 0 }
    }

    /// One connection to a host, which is over when this returns.
    pub fn visit(&mut self, host: &str, bytes: usize) {
        let address = self.listener.local_addr().expect("it is bound");
        let socket = TcpStream::connect(address).expect("it listens");
        let client = (self.watch)(host, socket);
        let (mut server, _) = self.listener.accept().expect("the client connected");
        (&**client).write_all(&vec![1; bytes]).expect("it is connected");
        server.read_exact(&mut vec![0; bytes]).expect("the client wrote as much");
        self.opened += 1;
        self.sent += bytes as u64;
    }

    /// Connections there were.
    pub fn opened(&self) -> f64 {
        self.opened as f64
    }

    /// Bytes that they sent.
    pub fn sent(&self) -> f64 {
        self.sent as f64
    }
}
