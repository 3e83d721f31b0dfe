//! A connection that somebody else owns and only lends, such as a database driver:
//! `cargo run --example borrowed`.

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind::BrokenPipe, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use opentelemetry::KeyValue;
use tcpinfo::Monitor;

fn run() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    // `monitor.instrument(&provider)` makes metrics of it: see the example `prometheus`.
    let monitor = Monitor::new();
    let orders = monitor.group([KeyValue::new("db", "orders")]);

    let database = Connection::connect(database()?)?;
    {
        // Watched from here to the end of the block; the driver keeps its socket and does not know.
        let watch = orders.watch_borrowed(&database);
        for statement in ["begin", "update", "commit"] {
            writeln!(out, "{}", database.execute(statement)?)?;
        }
        writeln!(out, "{}", watch.info()?)?;
    }
    // Open, and not watched any more.
    writeln!(out, "{}", database.execute("select")?)?;

    let snapshot = monitor.snapshot();
    let group = &snapshot.groups[0];
    writeln!(out, "{:?}: {} opened, {} ended", group.attributes(), group.opened, group.closed)?;
    let watched = ["bytes_sent", "bytes_received"];
    for field in tcpinfo::FIELDS.iter().filter(|field| watched.contains(&field.name)) {
        writeln!(out, "{}: {:?}", field.name, group.get(field))?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => Ok(()),
        ended => ended,
    }
}

/// What a driver offers: no socket to take away, but one to look at.
struct Connection {
    stream: TcpStream,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Connection {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(address)? })
    }

    fn execute(&self, statement: &str) -> io::Result<String> {
        (&self.stream).write_all(format!("{statement}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&self.stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

/// A database of a kind: it agrees to everything.
fn database() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || -> io::Result<()> {
        let (stream, _) = listener.accept()?;
        for statement in BufReader::new(&stream).lines() {
            (&stream).write_all(format!("{}: ok\n", statement?).as_bytes())?;
        }
        Ok(())
    });
    Ok(address)
}
