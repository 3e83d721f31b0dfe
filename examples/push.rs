//! A server that pushes its connections' metrics to an OpenTelemetry Collector, with the standard
//! library alone: `cargo run --features otlp --example push`. The arguments may be the address of
//! another Collector, and the seconds from push to push.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::{env, thread, time::Duration};

use tcpinfo::opentelemetry::KeyValue;
use tcpinfo::{Monitor, Otlp};

fn main() -> io::Result<()> {
    let collector = env::args().nth(1).unwrap_or("127.0.0.1:4318".into());
    let seconds = env::args().nth(2).and_then(|it| it.parse().ok()).unwrap_or(10.0);
    let monitor = Monitor::new();
    let otlp = monitor.otlp().with_resource([KeyValue::new("service.name", "echo")]);

    // Your server: what it accepts is watched, as one group.
    let clients = monitor.group([KeyValue::new("listener", "echo")]);
    let listener = clients.watch(TcpListener::bind("127.0.0.1:0")?);
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let stream = clients.watch(stream); // read and written as before
            thread::spawn(move || io::copy(&mut &*stream, &mut &*stream));
        }
    });
    let _client = TcpStream::connect(address)?;
    let said = writeln!(io::stdout(), "Every {seconds} s to {collector}\nThe server: nc {address}");
    if said.is_err() {
        return Ok(()); // nobody reads, as in `| head`
    }

    let (mut body, mut failed) = (Vec::new(), 0);
    loop {
        thread::sleep(Duration::from_secs_f64(seconds));
        match push(&otlp, &collector, &mut body) {
            Ok(()) if failed > 0 => {
                let _ = writeln!(io::stderr(), "pushed again, after {failed} failures");
                failed = 0;
            }
            Ok(()) => {}
            // Nothing is lost: the next push has the totals.
            Err(error) => {
                failed += 1;
                let _ = writeln!(io::stderr(), "push failed, {failed} in a row: {error}");
            }
        }
    }
}

/// Pushes one sweep; in several requests where it is long.
fn push(otlp: &Otlp, collector: &str, body: &mut Vec<u8>) -> io::Result<()> {
    let mut requests = otlp.requests();
    while requests.next_request(body) {
        post(collector, body)?;
    }
    Ok(())
}

/// Sends one request. No part of it takes longer than ten seconds.
fn post(collector: &str, body: &[u8]) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let nowhere = || io::Error::other("no address");
    let address = collector.to_socket_addrs()?.next().ok_or_else(nowhere)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (kind, length) = (Otlp::CONTENT_TYPE, body.len());
    write!(stream, "POST /v1/metrics HTTP/1.1\r\nHost: {collector}\r\nConnection: close\r\n")?;
    write!(stream, "Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(format!("the answer is {:?}", status.trim_end()))),
    }
}
