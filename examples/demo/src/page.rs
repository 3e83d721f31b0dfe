//! As much HTTP as a scrape needs: one GET a connection, answered and closed.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How many requests are answered at a time.
const WORKERS: usize = 4;
/// How long a client may take for its request, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the head of a request may be.
const HEAD: usize = 8 << 10;

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves `/metrics` for ever, from threads of its own. Receives after each page that was sent
/// completely.
pub fn serve<E: Display>(
    listener: TcpListener,
    metrics: impl Fn() -> Result<String, E> + Send + Sync + 'static,
) -> Receiver<()> {
    let (scraped, scrapes) = mpsc::sync_channel(1);
    let shared = Arc::new((listener, metrics));
    for _ in 0..WORKERS {
        let (shared, scraped) = (Arc::clone(&shared), scraped.clone());
        thread::spawn(move || {
            let (listener, metrics) = &*shared;
            loop {
                match listener.accept() {
                    Ok((stream, _)) => {
                        if answer(&stream, metrics).is_ok_and(|page| page) {
                            // Full: someone has been told already.
                            let _ = scraped.try_send(());
                        }
                    }
                    // Out of descriptors, perhaps; trying again at once would not help.
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            }
        });
    }
    scrapes
}

/// Answers one request, and says whether the answer was a page of metrics.
fn answer<E: Display>(
    mut stream: &TcpStream,
    metrics: impl Fn() -> Result<String, E>,
) -> io::Result<bool> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let (status, kind, body) = match read_head(stream)? {
        Some(head) => respond(&head, metrics),
        None => ("431 Request Header Fields Too Large", TEXT, "too long\n".into()),
    };
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
         Connection: close\r\n\r\n{body}"
    )?;
    stream.shutdown(Shutdown::Write)?;
    // Closed with bytes unread, the kernel would reset the connection and the page be lost: the
    // client closes first.
    let deadline = Instant::now() + PATIENCE;
    while read_until(stream, &mut [0; 1 << 10], deadline)? > 0 {}
    Ok(kind == METRICS)
}

/// Status, content type and body for a request.
fn respond<E: Display>(
    head: &[u8],
    metrics: impl Fn() -> Result<String, E>,
) -> (&'static str, &'static str, String) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = words[..] else {
        return ("400 Bad Request", TEXT, "no HTTP\n".into());
    };
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => match metrics() {
            Ok(page) => ("200 OK", METRICS, page),
            Err(error) => ("500 Internal Server Error", TEXT, format!("{error}\n")),
        },
        (b"GET", b"/") => ("200 OK", TEXT, "The metrics are at /metrics.\n".into()),
        (_, b"/" | b"/metrics") => ("405 Method Not Allowed", TEXT, "only GET\n".into()),
        _ => ("404 Not Found", TEXT, "only /metrics\n".into()),
    }
}

/// The head of a request up to its empty line, `None` if it is too long.
fn read_head(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut head, mut room) = (Vec::new(), [0; 1 << 10]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD {
            return Ok(None);
        }
        let read = read_until(stream, &mut room, deadline)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&room[..read]);
    }
    Ok(Some(head))
}

/// One read that ends by the deadline, however slowly bytes drip in.
fn read_until(mut stream: &TcpStream, room: &mut [u8], deadline: Instant) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.read(room)
}
