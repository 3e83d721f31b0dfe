//! Traffic to look at: three services, their clients, and visitors who stay only briefly.
//!
//! A request is two numbers, the bytes that follow it and the bytes wanted back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use tcpinfo::Monitor;

const SERVICES: [&Service; 3] = [
    &Service {
        name: "api",
        think: Duration::from_millis(30),
        reading: AT_ONCE,
        visitors: 5,
        clients: &[
            Client { name: "browser", sends: 400, wants: 20_000, pause: MOMENT, reading: AT_ONCE },
            Client { name: "phone", sends: 300, wants: 4_000, pause: SECOND, reading: AT_ONCE },
        ],
    },
    &Service {
        name: "downloads",
        think: Duration::from_millis(1),
        reading: AT_ONCE,
        visitors: 1,
        clients: &[
            Client { name: "mirror", sends: 100, wants: 8 << 20, pause: SECOND, reading: AT_ONCE },
            // The server has to wait for it: `receive_window`, and bytes unsent.
            Client {
                name: "slow-reader",
                sends: 100,
                wants: 64 << 20,
                pause: SECOND,
                reading: SLOW,
            },
        ],
    },
    &Service {
        name: "uploads",
        think: Duration::from_millis(1),
        // Its clients have to wait.
        reading: SLOW,
        visitors: 0,
        clients: &[
            Client { name: "photos", sends: 300_000, wants: 50, pause: SECOND, reading: AT_ONCE },
            Client { name: "backup", sends: 64 << 20, wants: 50, pause: SECOND, reading: AT_ONCE },
        ],
    },
];

const MOMENT: Duration = Duration::from_millis(150);
const SECOND: Duration = Duration::from_secs(1);
/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// Time between two pieces.
const AT_ONCE: Duration = Duration::ZERO;
const SLOW: Duration = Duration::from_millis(50);

/// Starts every service with its clients and visitors, watched by the monitor.
pub fn start(monitor: &Monitor) -> io::Result<()> {
    for service in SERVICES {
        // A server: all that one listener accepts is one group, and has series together (`tcp.*`).
        let group = monitor.group([KeyValue::new("service", service.name)]);
        let listener = group.watch(TcpListener::bind("127.0.0.1:0")?);
        let address = listener.local_addr()?;
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let stream = group.watch(stream);
                thread::spawn(move || service.answer(stream));
                service.take_a_breath();
            }
        });
        // A client: each of its few connections has series of its own (`tcp.socket.*`).
        for client in service.clients {
            let stream = TcpStream::connect(address)?;
            let stream = monitor.watch(stream, [KeyValue::new("client", client.name)]);
            thread::spawn(move || client.ask(stream));
        }
        // What nobody watches on this side the server sees nevertheless.
        thread::spawn(move || service.visit(address));
    }
    Ok(())
}

/// What listens, and how it treats its clients.
struct Service {
    name: &'static str,
    clients: &'static [Client],
    /// From the end of a request to its answer.
    think: Duration,
    reading: Duration,
    /// How many come at once, again and again.
    visitors: usize,
}

/// Who keeps one connection, and asks again and again.
struct Client {
    name: &'static str,
    sends: usize,
    wants: usize,
    /// From an answer to the next request.
    pause: Duration,
    reading: Duration,
}

impl Service {
    /// Answers requests until the client leaves.
    fn answer(&self, mut stream: impl Read + Write) -> io::Result<()> {
        loop {
            let mut request = [[0; 4]; 2];
            stream.read_exact(request.as_flattened_mut())?;
            let [follow, wanted] = request.map(|number| u32::from_be_bytes(number) as usize);
            take(&mut stream, follow, self.reading)?;
            thread::sleep(self.think);
            give(&mut stream, wanted)?;
        }
    }

    /// Between two connections, so that an accept queue can be seen.
    fn take_a_breath(&self) {
        thread::sleep(Duration::from_millis(60));
    }

    /// Comes, asks once and leaves, over and over.
    fn visit(&self, address: SocketAddr) -> io::Result<()> {
        let visitor =
            Client { name: "", sends: 200, wants: 5_000, pause: AT_ONCE, reading: AT_ONCE };
        loop {
            let mut streams = Vec::new();
            for _ in 0..self.visitors {
                streams.push(TcpStream::connect(address)?);
            }
            for stream in streams {
                visitor.ask_once(stream)?;
            }
            thread::sleep(Duration::from_millis(700));
        }
    }
}

impl Client {
    /// Asks for ever.
    fn ask(&self, mut stream: impl Read + Write) -> io::Result<()> {
        loop {
            self.ask_once(&mut stream)?;
            thread::sleep(self.pause);
        }
    }

    fn ask_once(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let request = [self.sends as u32, self.wants as u32].map(u32::to_be_bytes);
        stream.write_all(request.as_flattened())?;
        give(&mut stream, self.sends)?;
        take(&mut stream, self.wants, self.reading)
    }
}

fn give(mut stream: impl Write, mut bytes: usize) -> io::Result<()> {
    while bytes > 0 {
        let piece = bytes.min(PIECE);
        stream.write_all(&[0; PIECE][..piece])?;
        bytes -= piece;
    }
    Ok(())
}

fn take(mut stream: impl Read, mut bytes: usize, pause: Duration) -> io::Result<()> {
    let mut room = [0; PIECE];
    while bytes > 0 {
        let piece = bytes.min(PIECE);
        stream.read_exact(&mut room[..piece])?;
        bytes -= piece;
        thread::sleep(pause);
    }
    Ok(())
}
