//! Sockets connected over loopback, and waiting for what they report.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tcpinfo::TcpInfo;

use crate::lateness::PATIENCE;

/// A connection and the listener that accepted it.
#[derive(Debug)]
pub struct Pair {
    /// The end that connected.
    pub client: TcpStream,
    /// The end that was accepted.
    pub server: TcpStream,
    /// Where the client connected to.
    pub listener: TcpListener,
}

impl Pair {
    /// A connection from 127.0.0.1 to itself.
    pub fn connect() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let client = TcpStream::connect(listener.local_addr().expect("it is bound"))
            .expect("the listener listens");
        let (server, _) = listener.accept().expect("the client connected");
        Self { client, server, listener }
    }
}

/// Asks again and again until there is an answer; fails when none ever comes.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_every(Duration::from_micros(100), what, ask)
}

/// The same with a pause between two questions, for whoever works on the answer.
#[track_caller]
pub fn until_every<T>(pause: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{PATIENCE:?} without: {what}");
        std::thread::park_timeout(pause);
    }
}

/// The names of the fields that are present.
pub fn names(info: &TcpInfo) -> Vec<&'static str> {
    info.fields().map(|(field, _)| field.name).collect()
}
