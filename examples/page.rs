//! A server and a page of its connections' metrics for Prometheus, with the standard library alone:
//! `cargo run --features page --example page`. The argument may be another address for the page.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, thread, time::Duration};

use tcpinfo::opentelemetry::KeyValue;
use tcpinfo::{Monitor, Page, PageFormat};

fn main() -> io::Result<()> {
    let monitor = Monitor::new();
    let page = monitor.page();

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

    let at = env::args().nth(1).unwrap_or("127.0.0.1:9464".into());
    let at = TcpListener::bind(&at).map_err(|error| io::Error::other(format!("{at}: {error}")))?;
    let url = format!("http://{}/metrics", at.local_addr()?);
    if writeln!(io::stdout(), "All metrics: curl {url}\nThe server: nc {address}").is_err() {
        return Ok(()); // nobody reads, as in `| head`
    }
    for stream in at.incoming().flatten() {
        let _ = answer(&page, stream); // who left needs no answer
    }
    Ok(())
}

/// Reads a request's head and answers with the page, whatever is asked for.
fn answer(page: &Page, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut format = PageFormat::Text;
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        match line.split_once(':') {
            Some((name, accept)) if name.eq_ignore_ascii_case("accept") => {
                format = PageFormat::negotiate(accept);
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: {}\r\n\r\n", format.content_type())?;
    page.write_as(format, &mut stream)
}
