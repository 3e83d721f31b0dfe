//! Short connections with a request and an answer of 1 to 100 kB each, and what either side counted
//! of them: by the program `connections`, or by a test that is one of the two sides.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::random::Rng;

/// Servers, each with an address of its own: one pair of addresses has few ports.
const SERVERS: u8 = 4;
/// Threads that accept on each.
const ACCEPTING: usize = 6;
/// Threads that connect.
const CONNECTING: u64 = 24;
/// Sizes of requests and answers.
const SIZES: std::ops::Range<u64> = 1_000..100_001;
/// What they are made of.
static BYTES: [u8; SIZES.end as usize] = [7; SIZES.end as usize];

/// What all threads of one side counted.
#[derive(Debug, Default)]
pub struct Side {
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Side {
    fn add(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
        // Last: whoever sees all connections sees all their bytes.
        self.connections.fetch_add(1, Ordering::Release);
    }

    /// Connections, bytes sent, bytes received.
    pub fn counted(&self) -> [u64; 3] {
        [&self.connections, &self.sent, &self.received].map(|it| it.load(Ordering::Acquire))
    }
}

/// Answers whoever connects. The request's first 8 bytes say how long the answer shall be, the next
/// 8 how many milliseconds later it shall come.
fn answer(listener: &TcpListener, side: &Side) -> io::Result<()> {
    let mut request = Vec::new();
    loop {
        let (mut stream, _) = listener.accept()?;
        request.clear();
        stream.read_to_end(&mut request)?;
        let number = |at: usize| {
            let bytes = request.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| io::Error::other("a short request"))
        };
        let (answer, hold) = (number(0)?, number(8)?);
        thread::sleep(Duration::from_millis(hold));
        stream.write_all(&BYTES[..answer as usize])?;
        drop(stream);
        side.add(answer, request.len() as u64);
    }
}

/// One connection from its beginning to its end.
fn exchange(address: SocketAddr, hold: u64, rng: &mut Rng, side: &Side) -> io::Result<()> {
    let [request, answer] = [(); 2].map(|()| rng.within(SIZES));
    let mut stream = TcpStream::connect(address)?;
    stream.write_all([answer, hold].map(u64::to_le_bytes).as_flattened())?;
    stream.write_all(&BYTES[16..request as usize])?;
    stream.shutdown(Shutdown::Write)?;
    let mut received = Vec::with_capacity(answer as usize);
    stream.read_to_end(&mut received)?;
    drop(stream);
    if received.len() as u64 != answer {
        let text = format!("{} bytes of an answer of {answer}", received.len());
        return Err(io::Error::other(text));
    }
    side.add(request, answer);
    Ok(())
}

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// So many connections.
    pub count: u64,
    /// So many a second.
    pub rate: u64,
    /// Milliseconds that each is open at least.
    pub hold: u64,
    /// Where to, in turns.
    pub addresses: Vec<SocketAddr>,
}

/// Makes all connections of a plan: every thread each `CONNECTING`th one, at its time, or at once
/// if that is over.
///
/// # Errors
///
/// Those of the sockets; an answer that is too short.
pub fn connect(plan: &Plan, side: &Side) -> io::Result<()> {
    let start = Instant::now();
    let worker = |number: u64| -> io::Result<()> {
        let mut rng = Rng::new(number + 1);
        for nth in (number..plan.count).step_by(CONNECTING as usize) {
            let due = start + Duration::from_nanos(nth * 1_000_000_000 / plan.rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let address = plan.addresses[nth as usize % plan.addresses.len()];
            exchange(address, plan.hold, &mut rng, side)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..CONNECTING).map(|number| scope.spawn(move || worker(number))).collect();
        workers.into_iter().try_for_each(|it| it.join().expect("a worker does not panic"))
    })
}

/// Listeners on addresses of loopback.
///
/// # Errors
///
/// Those of `bind`.
pub fn listen() -> io::Result<Vec<TcpListener>> {
    (1..=SERVERS).map(|last| TcpListener::bind((Ipv4Addr::new(127, 0, 1, last), 0))).collect()
}

/// Answers whoever connects to these, on threads that live as long as the process.
///
/// # Errors
///
/// No descriptor is left.
pub fn serve(listeners: &[TcpListener], side: &'static Side) -> io::Result<()> {
    for listener in listeners {
        for _ in 0..ACCEPTING {
            let listener = listener.try_clone()?;
            thread::spawn(move || {
                if let Err(error) = answer(&listener, side) {
                    eprintln!("a server: {error}");
                    std::process::exit(1);
                }
            });
        }
    }
    Ok(())
}

/// What the program `connections` made and counted, as one line of text: connections, bytes sent
/// and bytes received of either side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Made {
    /// How long it took.
    pub seconds: f64,
    /// Of those that connected.
    pub client: [u64; 3],
    /// Of those that accepted.
    pub server: [u64; 3],
}

impl Made {
    /// Connections per second.
    pub fn rate(&self) -> f64 {
        self.client[0].max(self.server[0]) as f64 / self.seconds
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "made seconds {:.3}", self.seconds)?;
        for (name, [connections, sent, received]) in
            [("client", self.client), ("server", self.server)]
        {
            write!(f, " {name} {connections} sent {sent} received {received}")?;
        }
        Ok(())
    }
}

impl FromStr for Made {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let after = |word: &str, from: usize| {
            let at = words[from..].iter().position(|it| *it == word).map(|at| from + at + 1);
            at.filter(|at| *at < words.len()).ok_or_else(|| format!("no {word} in {line}"))
        };
        let number = |at: usize| words[at].parse().map_err(|error| format!("{line}: {error}"));
        let side = |name| {
            let at = after(name, 0)?;
            Ok::<_, String>([
                number(at)?,
                number(after("sent", at)?)?,
                number(after("received", at)?)?,
            ])
        };
        let seconds = words[after("seconds", 0)?].parse();
        Ok(Self {
            seconds: seconds.map_err(|error| format!("{line}: {error}"))?,
            client: side("client")?,
            server: side("server")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let made = Made { seconds: 1.5, client: [1, 2, 3], server: [4, 5, 6] };
        assert_eq!(made.to_string().parse(), Ok(made));
        assert!("made nothing".parse::<Made>().is_err());
    }
}
