//! Hosts that come one after another, each with a connection or two, as a client of many servers
//! sees them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use opentelemetry::KeyValue;
use tcpinfo::Monitor;

/// A server, the clients of which are watched in groups by host.
pub(crate) struct Hosts {
    monitor: Monitor,
    listener: TcpListener,
    opened: u64,
    sent: u64,
}

impl Hosts {
    pub(crate) fn of(monitor: &Monitor, address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("loopback has ports");
        Self { monitor: monitor.clone(), listener, opened: 0, sent: 0 }
    }

    /// One connection to a host, which is over when this returns.
    pub(crate) fn visit(&mut self, host: &str, bytes: usize) {
        let group = self.monitor.group([KeyValue::new("host", host.to_owned())]);
        let address = self.listener.local_addr().expect("it is bound");
        let mut client = group.watch(TcpStream::connect(address).expect("it listens"));
        let (mut server, _) = self.listener.accept().expect("the client connected");
        client.write_all(&vec![1; bytes]).expect("it is connected");
        server.read_exact(&mut vec![0; bytes]).expect("the client wrote as much");
        self.opened += 1;
        self.sent += bytes as u64;
    }

    pub(crate) fn opened(&self) -> f64 {
        self.opened as f64
    }

    pub(crate) fn sent(&self) -> f64 {
        self.sent as f64
    }
}
