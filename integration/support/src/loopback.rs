//! Sockets connected over loopback, and waiting for what they report.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tcpinfo::{TcpInfo, read};

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

/// A connection over which something went both ways.
pub fn used_pair() -> Pair {
    let mut pair = Pair::connect();
    pair.client.write_all(&[1; 40_000]).expect("it is connected");
    pair.server.read_exact(&mut [0; 40_000]).expect("the client sent as much");
    pair.server.write_all(&[2; 7]).expect("it is connected");
    pair.client.read_exact(&mut [0; 7]).expect("the server sent as much");
    pair
}

/// Makes the client wait for the server to read, so that its busy time has parts.
pub fn stall(pair: &mut Pair) {
    pair.client.set_nonblocking(true).expect("it is open");
    let mut sent = 0;
    while let Ok(more) = pair.client.write(&[3; 1 << 16]) {
        sent += more;
    }
    until("a stall by the peer's window", || {
        (read(&pair.client).expect("it is open").rwnd_limited > Some(Duration::ZERO)).then_some(())
    });
    pair.client.set_nonblocking(false).expect("it is open");
    pair.server.read_exact(&mut vec![0; sent]).expect("the client sent as much");
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
