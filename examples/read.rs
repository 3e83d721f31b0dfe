//! Connects somewhere and prints all that the kernel tells about the connection:
//! `cargo run --example read -- example.org:80`.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use tcpinfo::{FIELDS, Kernel, TcpInfo, congestion, read};

fn run(target: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = connect(target).map_err(|error| format!("{target}: {error}"))?;
    let mut out = io::stdout();
    writeln!(out, "connected  {} -> {}", stream.local_addr()?, stream.peer_addr()?)?;
    // Something has to travel before there is a rate.
    stream.write_all(b"\r\n").map_err(|error| format!("{target}: {error}"))?;
    writeln!(out, "sent       2 bytes")?;
    writeln!(out, "received   {}", listen(&mut stream))?;

    // All there is to it.
    let info: TcpInfo = read(&stream)?;
    write!(out, "\n{info:#}")?;

    let absent: Vec<_> = FIELDS.iter().filter(|field| info.get(field).is_none()).collect();
    writeln!(out, "\nnothing to report now:")?;
    for field in absent.iter().filter(|field| info.supports(field)) {
        writeln!(out, "  {:<26} {}", field.name, field.description)?;
    }
    let kernel = Kernel::running();
    writeln!(out, "\nnot reported by Linux {kernel}:")?;
    for field in absent.iter().filter(|field| !info.supports(field)) {
        let newer = kernel.version().is_some_and(|version| version < field.since);
        let since = if newer { format!(" Since Linux {}.", field.since) } else { String::new() };
        writeln!(out, "  {:<26} {}{since}", field.name, field.description)?;
    }

    let congestion = congestion(&stream)?;
    writeln!(out, "\ncongestion control: {}", congestion.algorithm)?;
    match congestion.info {
        Some(info) => writeln!(out, "  {info:?}")?,
        None => writeln!(out, "  reports nothing of itself")?,
    }
    Ok(())
}

/// Tries every address of the name, and gives the last error.
fn connect(target: &str) -> io::Result<TcpStream> {
    let mut error = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in target.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => return Ok(stream),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// What comes within half a second, if anything does.
fn listen(stream: &mut TcpStream) -> String {
    let patience = Some(Duration::from_millis(500));
    let read = stream.set_read_timeout(patience).and_then(|()| stream.read(&mut [0; 4096]));
    match read {
        Ok(0) => "the end: the peer has closed".into(),
        Ok(bytes) => format!("{bytes} bytes"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => "nothing within 500 ms".into(),
        Err(error) => format!("an error: {error}"),
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (target, more) = (arguments.next(), arguments.next());
    let Some(target) =
        target.and_then(|target| target.into_string().ok()).filter(|_| more.is_none())
    else {
        eprintln!("usage: read HOST:PORT");
        return ExitCode::from(2);
    };
    let ended = match target.as_str() {
        "--help" | "-h" => writeln!(io::stdout(), "usage: read HOST:PORT").map_err(Into::into),
        target => run(target),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("read: {error}");
            ExitCode::FAILURE
        }
    }
}
