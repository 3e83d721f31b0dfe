//! Connections that code of others opens and never shows, one line for each group:
//! `cargo run --features diag --example discover`. With the argument `host`, those of all programs
//! in the network namespace. Needs no privilege.

use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};
use std::time::Duration;

use tcpinfo::{Discovery, FIELDS, GroupSnapshot, Monitor};

fn run() -> Result<(), Box<dyn Error>> {
    let discovery = match std::env::args().nth(1).as_deref() {
        None => Discovery::process(),
        Some("host") => Discovery::host(),
        Some(other) => return Err(format!("{other}: no argument, or host").into()),
    };
    // The one line of a `main`, before anything connects. `monitor.instrument(&provider)` makes
    // metrics of it: see the example `prometheus`.
    let monitor = Monitor::new();
    let discovered = monitor.discover(discovery)?;

    let shop = others::Shop::open()?;
    for _ in 0..20 {
        shop.sell()?;
    }
    // The kernel tells the ends of sockets a moment later.
    std::thread::sleep(Duration::from_millis(500));

    let mut out = io::stdout();
    writeln!(out, "ends of sockets: {:?}\n", discovered.events())?;
    writeln!(out, "{:>6} {:>5} {:>8} {:>8}  group", "opened", "open", "sent", "received")?;
    for group in &monitor.snapshot().groups {
        let open = group.opened - group.closed;
        let [sent, received] = ["bytes_sent", "bytes_received"].map(|name| bytes(group, name));
        let name = group.attributes().as_slice().iter();
        let name = name.map(|kv| format!("{}={}", kv.key, kv.value)).collect::<Vec<_>>().join(" ");
        writeln!(out, "{:>6} {open:>5} {sent:>8} {received:>8}  {name}", group.opened)?;
    }
    writeln!(out, "\nAs metrics for Prometheus: examples/prometheus.rs")?;
    Ok(())
}

/// A counter over all connections that the group ever had; a dash where none said so.
fn bytes(group: &GroupSnapshot, name: &str) -> String {
    let field = FIELDS.iter().find(|field| field.name == name);
    field.and_then(|field| group.get(field)).map_or("-".into(), |bytes| bytes.to_string())
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => Ok(()),
        ended => ended,
    }
}

/// Code of others: nothing here gives a socket away.
mod others {
    use std::io::{self, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;

    /// A database that stays connected, and a payment service that is asked anew each time.
    pub(crate) struct Shop {
        database: TcpStream,
        payments: SocketAddr,
    }

    impl Shop {
        pub(crate) fn open() -> io::Result<Self> {
            Ok(Self { database: TcpStream::connect(echo()?)?, payments: echo()? })
        }

        pub(crate) fn sell(&self) -> io::Result<()> {
            let mut payment = TcpStream::connect(self.payments)?;
            ask(&mut payment, &[b'p'; 3_000])?;
            ask(&mut &self.database, &[b'd'; 500])
        }
    }

    fn ask(mut server: impl Read + Write, question: &[u8]) -> io::Result<()> {
        server.write_all(question)?;
        server.read_exact(&mut vec![0; question.len()])
    }

    /// A server of a kind: it repeats what it hears.
    fn echo() -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        Ok(address)
    }
}
