//! Makes short connections and counts what passes over each side, as another process that tests of
//! discovery look at from outside.
//!
//! ```text
//! connections both COUNT RATE HOLD             servers and clients, both in here
//! connections to COUNT RATE HOLD ADDRESS...    clients only, to servers elsewhere
//! connections at COUNT                         servers only; prints their addresses first
//! ```
//!
//! RATE is in connections per second, HOLD the milliseconds that a connection stays open at least.
//! Each carries a request of 1 to 100 kB, a half-close, an answer of 1 to 100 kB, and the end. The
//! first line names the addresses of the servers. The program then waits for a line of input, does
//! its work, prints what it counted, and keeps its listeners until the input ends.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcpinfo_support::made::Made;
use tcpinfo_support::random::Rng;

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
#[derive(Default)]
struct Side {
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Side {
    fn add(&self, sent: u64, received: u64) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }

    fn counted(&self) -> [u64; 3] {
        [&self.connections, &self.sent, &self.received].map(|it| it.load(Ordering::Relaxed))
    }
}

/// Answers whoever connects. The request's first 8 bytes say how long the answer shall be, the next
/// 8 how many milliseconds later it shall come.
fn serve(listener: &TcpListener, side: &Side) -> io::Result<()> {
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

struct Plan {
    count: u64,
    rate: u64,
    hold: u64,
    addresses: Vec<SocketAddr>,
}

/// Every thread makes each `CONNECTING`th connection at its time, or at once if that is over.
fn connect(plan: &Plan, side: &Side) -> io::Result<()> {
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

fn listen() -> io::Result<Vec<TcpListener>> {
    (1..=SERVERS).map(|last| TcpListener::bind((Ipv4Addr::new(127, 0, 1, last), 0))).collect()
}

fn line() -> io::Result<usize> {
    io::stdin().read_line(&mut String::new())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "connections both COUNT RATE HOLD | to COUNT RATE HOLD ADDRESS... | at COUNT";
    let (mode, numbers) = arguments.split_first().ok_or(usage)?;
    let numbers =
        |at: usize| -> Result<u64, Box<dyn Error>> { Ok(numbers.get(at).ok_or(usage)?.parse()?) };
    let (serves, connects) = (mode != "to", mode != "at");
    let count = numbers(0)?;
    let listeners = if serves { listen()? } else { Vec::new() };
    let mut addresses =
        listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    println!("{}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    if !serves {
        let given = arguments.get(4..).ok_or(usage)?;
        addresses = given.iter().map(|it| it.parse()).collect::<Result<_, _>>()?;
    }
    let [server, client] = Box::leak(Box::new([Side::default(), Side::default()]));
    for listener in &listeners {
        for _ in 0..ACCEPTING {
            let listener = listener.try_clone()?;
            let side = &*server;
            thread::spawn(move || {
                if let Err(error) = serve(&listener, side) {
                    eprintln!("connections: {error}");
                    std::process::exit(1);
                }
            });
        }
    }
    line()?;
    let start = Instant::now();
    if connects {
        let (rate, hold) = (numbers(1)?.max(1), numbers(2)?);
        connect(&Plan { count, rate, hold, addresses }, client)?;
    }
    while serves && server.counted()[0] < count {
        thread::sleep(Duration::from_millis(1));
    }
    let made = Made {
        seconds: start.elapsed().as_secs_f64(),
        client: client.counted(),
        server: server.counted(),
    };
    println!("{made}");
    // So that a listener is there for as long as anybody looks.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
