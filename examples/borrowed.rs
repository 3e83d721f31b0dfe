//! A connection that somebody else owns and only lends, such as a database driver:
//! `cargo run --example borrowed`.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use opentelemetry::KeyValue;
use tcpinfo::Monitor;

fn main() -> Result<(), Box<dyn Error>> {
    // `monitor.instrument(&provider)` makes metrics of it: see the example `prometheus`.
    let monitor = Monitor::new();
    let orders = monitor.group([KeyValue::new("db", "orders")]);

    let database = Connection::connect(database()?)?;
    {
        // Watched from here to the end of the block; the driver keeps its socket and does not know.
        let watch = orders.watch_borrowed(&database);
        for statement in ["begin", "update", "commit"] {
            println!("{}", database.execute(statement)?);
        }
        println!("{}", watch.info()?);
    }
    // Open, and not watched any more.
    println!("{}", database.execute("select")?);

    let snapshot = monitor.snapshot();
    let group = &snapshot.groups[0];
    println!("{:?}: {} opened, {} ended", group.attributes(), group.opened, group.closed);
    let watched = ["bytes_sent", "bytes_received"];
    for field in tcpinfo::FIELDS.iter().filter(|field| watched.contains(&field.name)) {
        println!("{}: {:?}", field.name, group.get(field));
    }
    Ok(())
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
    fn connect(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(address)? })
    }

    fn execute(&self, statement: &str) -> std::io::Result<String> {
        (&self.stream).write_all(format!("{statement}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&self.stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

/// A database of a kind: it agrees to everything.
fn database() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || -> std::io::Result<()> {
        let (stream, _) = listener.accept()?;
        for statement in BufReader::new(&stream).lines() {
            (&stream).write_all(format!("{}: ok\n", statement?).as_bytes())?;
        }
        Ok(())
    });
    Ok(address)
}
