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
use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use tcpinfo_support::exchanges::{Made, Plan, Side, connect, listen, serve};

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
    let [server, client]: &[Side; 2] = Box::leak(Box::default());
    serve(&listeners, server)?;
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
