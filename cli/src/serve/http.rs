//! A small server of HTTP/1.1: two pages, and bounds on connections, sizes and time.
//!
//! One thread for each connection, one request for each connection. Whoever reads slowly holds one
//! of the places and delays nobody else; when all places are taken, the next one is told so.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcpinfo::diag::Query;
use tcpinfo::{Page, PageFormat, State};

/// Connections that are answered at the same time.
const PLACES: usize = 32;
/// Bytes of a request's head.
const HEAD: usize = 8 << 10;
/// In which a request has to be there.
const ASKING: Duration = Duration::from_secs(5);
/// In which an answer has to be read.
const READING: Duration = Duration::from_secs(30);
/// What a reader that is told of an error may still send.
const REST: Duration = Duration::from_millis(500);

/// Says how the pushes are.
pub(super) type Health = Box<dyn Fn() -> String + Send + Sync>;

/// What there is to read.
pub(super) struct Pages {
    page: Page,
    pushes: Option<Health>,
}

impl Pages {
    pub(super) fn new(page: Page, pushes: Option<Health>) -> Self {
        Self { page, pushes }
    }
}

/// Answers, for ever.
pub(super) fn serve(listener: &TcpListener, pages: Pages) {
    let (pages, taken) = (Arc::new(pages), Arc::new(AtomicUsize::new(0)));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor is free, perhaps. There will be one again.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let place = Place::take(&taken);
        if place.0.load(Ordering::Relaxed) > PLACES {
            // Into an empty buffer: it does not wait.
            let _ = stream.set_nonblocking(true);
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
                         Content-Length: 0\r\n\r\n";
            let _ = (&stream).write(busy);
            continue;
        }
        let pages = Arc::clone(&pages);
        // Without a thread the connection closes, and its place is free again.
        let _ = thread::Builder::new().name("page".into()).spawn(move || {
            let _place = place;
            // Who leaves needs no answer.
            let _ = answer(&pages, &stream);
        });
    }
}

/// One of the places, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Self {
        taken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection, and until when what is done with it has to be done.
struct Timed<'s> {
    stream: &'s TcpStream,
    until: Instant,
}

impl<'s> Timed<'s> {
    fn new(stream: &'s TcpStream, time: Duration) -> Self {
        Self { stream, until: Instant::now() + time }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Request {
    is_head: bool,
    path: String,
    /// HTTP/1.0 knows no chunks.
    is_old: bool,
    format: PageFormat,
}

/// An answer without a page.
type Refusal = (&'static str, String);

fn refusal(status: &'static str, text: impl Into<String>) -> Refusal {
    (status, text.into())
}

impl Request {
    /// From the head of a request, without the empty line.
    fn parse(head: &[u8]) -> Result<Self, Refusal> {
        let bad = || refusal("400 Bad Request", "that is no HTTP/1.1\n");
        let head = std::str::from_utf8(head).map_err(|_| bad())?;
        let mut lines = head.split('\n').map(|line| line.trim_end_matches('\r'));
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, version @ ("HTTP/1.0" | "HTTP/1.1")] = words[..] else {
            return Err(bad());
        };
        if !["GET", "HEAD"].contains(&method) {
            return Err(refusal("405 Method Not Allowed\r\nAllow: GET, HEAD", "GET or HEAD\n"));
        }
        let mut accept = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            if name.eq_ignore_ascii_case("accept") {
                accept.push(value.trim());
            }
        }
        Ok(Self {
            is_head: method == "HEAD",
            path: target.split(['?', '#']).next().unwrap_or_default().to_owned(),
            is_old: version == "HTTP/1.0",
            format: PageFormat::negotiate(&accept.join(",")),
        })
    }
}

fn answer(pages: &Pages, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let request = read_head(&mut Timed::new(stream, ASKING))?;
    let mut to = Timed::new(stream, READING);
    let request = match request.and_then(|head| Request::parse(&head)) {
        Ok(request) => request,
        Err((status, text)) => {
            write_text(&mut to, status, &text, false)?;
            // To close with something unread would take the answer back.
            stream.shutdown(Shutdown::Write)?;
            let rest = Timed::new(stream, REST).take(1 << 20);
            return io::copy(&mut { rest }, &mut io::sink()).map(drop);
        }
    };
    let is_head = request.is_head;
    match request.path.as_str() {
        "/metrics" => write_page(&mut to, &pages.page, &request),
        "/healthz" => {
            let (status, text) = health(pages);
            write_text(&mut to, status, &text, is_head)
        }
        "/" => write_text(&mut to, "200 OK", "tcpinfo serve: /metrics, /healthz\n", is_head),
        _ => write_text(&mut to, "404 Not Found", "there is /metrics and /healthz\n", is_head),
    }
}

/// The head of a request; what comes after it does not count.
fn read_head(from: &mut Timed<'_>) -> io::Result<Result<Vec<u8>, Refusal>> {
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let len = match from.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // The mark may begin in what was there before.
        let begin = head.len().saturating_sub(3);
        head.extend_from_slice(&part[..len]);
        let end = |mark: &[u8]| head[begin..].windows(mark.len()).position(|it| it == mark);
        if let Some(end) = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().filter_map(end).min() {
            head.truncate(begin + end);
            return Ok(Ok(head));
        }
        if head.len() > HEAD {
            let text = format!("more than {HEAD} bytes of headers\n");
            return Ok(Err(refusal("431 Request Header Fields Too Large", text)));
        }
    }
}

/// Whether the kernel still says what it is asked.
fn health(pages: &Pages) -> (&'static str, String) {
    let asked = Query::new().with_states([State::Listen]).dump();
    if let Err(error) = asked.and_then(|mut sockets| sockets.next().transpose().map(drop)) {
        return ("503 Service Unavailable", format!("the kernel does not answer: {error}\n"));
    }
    // A Collector that is down does not become better by a new start of this program.
    ("200 OK", pages.pushes.as_ref().map_or("ok\n".into(), |pushes| format!("ok, {}\n", pushes())))
}

fn write_text(to: &mut Timed<'_>, status: &str, text: &str, is_head: bool) -> io::Result<()> {
    let len = text.len();
    let body = if is_head { "" } else { text };
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {len}\r\n\r\n{body}"
    );
    to.write_all(answer.as_bytes())
}

/// The page in chunks, as it is written. So whoever reads it knows whether it is whole.
fn write_page(to: &mut Timed<'_>, page: &Page, request: &Request) -> io::Result<()> {
    let kind = request.format.content_type();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n");
    if request.is_head {
        return to.write_all(format!("{head}\r\n").as_bytes());
    }
    if request.is_old {
        let mut body = Vec::new();
        page.write_as(request.format, &mut body)?;
        to.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes())?;
        return to.write_all(&body);
    }
    to.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
    page.write_as(request.format, &mut Chunks(to))?;
    to.write_all(b"0\r\n\r\n")
}

struct Chunks<'t, 's>(&'t mut Timed<'s>);

impl Write for Chunks<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.0.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_wants() {
        let request = |is_head, path: &str, is_old, format| {
            Ok(Request { is_head, path: path.to_owned(), is_old, format })
        };
        let open = PageFormat::OpenMetrics;
        for (head, expected) in [
            ("GET / HTTP/1.1", request(false, "/", false, PageFormat::Text)),
            ("HEAD /a?b=c#d HTTP/1.0\r\nHost: a", request(true, "/a", true, PageFormat::Text)),
            (
                "GET /metrics HTTP/1.1\nACCEPT: text/html\naccept:application/openmetrics-text",
                request(false, "/metrics", false, open),
            ),
        ] {
            assert_eq!(Request::parse(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (head, expected) in [
            (&b""[..], "400 Bad Request"),
            (b"GET /metrics", "400 Bad Request"),
            (b"GET /metrics HTTP/2", "400 Bad Request"),
            (b"GET  /metrics HTTP/1.1", "400 Bad Request"),
            (b"GET / HTTP/1.1\r\nno header", "400 Bad Request"),
            (b"\x16\x03\x01\x02\x00\x01\xff", "400 Bad Request"),
            (b"POST / HTTP/1.1", "405 Method Not Allowed\r\nAllow: GET, HEAD"),
        ] {
            let (status, _) = Request::parse(head).expect_err("it is none");
            assert_eq!(status, expected);
        }
    }
}
