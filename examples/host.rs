//! Every TCP socket of this host, or of one port:
//! `cargo run --features diag --example host -- 443`.
//!
//! Listeners with their queues first, then connections, those that lost most first. Needs no
//! privilege.

use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};
use std::time::Duration;

use tcpinfo::State;
use tcpinfo::diag::{Query, Socket};

fn run() -> Result<(), Box<dyn Error>> {
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => 0,
    };
    let mut sockets =
        Query::new().with_local_port(port).dump()?.collect::<Result<Vec<Socket>, _>>()?;
    sockets.sort_by_key(|socket| {
        let lost = socket.info.as_ref().and_then(|info| info.bytes_retrans);
        (socket.state != State::Listen, std::cmp::Reverse(lost))
    });

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<13} {:<28} {:<28} {:>9} {:>9}  tcp_info",
        "state", "local", "peer", "recv", "send"
    )?;
    for socket in &sockets {
        let Socket { state, local, peer, receive_queue, send_queue, .. } = socket;
        writeln!(
            out,
            "{:<13} {:<28} {:<28} {receive_queue:>9} {send_queue:>9}  {}",
            state.to_string(),
            local.to_string(),
            peer.to_string(),
            summary(socket),
        )?;
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

/// What one wants to know first; what the kernel did not report is left out.
fn summary(socket: &Socket) -> String {
    let Some(info) = &socket.info else { return String::new() };
    let time = |name: &str, time: Option<Duration>| time.map(|time| format!("{name} {time:?}"));
    let count = |name: &str, count: Option<u64>| count.map(|count| format!("{name} {count}"));
    let parts = [
        time("rtt", info.rtt),
        count("acked", info.bytes_acked),
        count("received", info.bytes_received),
        count("retransmitted", info.bytes_retrans),
        count("backlog", info.backlog.map(u64::from)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
