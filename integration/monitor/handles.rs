//! A connection is counted once, whatever handles watch it and however often: in its group, and in
//! the series of its own.

mod descriptors;
mod ends;
mod errors;
mod families;
mod identities;
mod one_connection;
mod readers;
mod remembered;
mod retention;
mod reused_descriptors;
mod scopes;
mod watched_again;
mod worst;

use std::io::{Read, Write};
use std::net::TcpStream;

use opentelemetry::KeyValue;
use tcpinfo::{FIELDS, FieldValue, GroupSnapshot, Monitor, SocketSnapshot, TcpInfo};

use crate::monitor::exports::Exports;
use support::loopback::{Pair, until};

/// A monitor and two who collect from it, one of totals and one of differences.
struct Scene {
    monitor: Monitor,
    exports: [Exports; 2],
}

impl Scene {
    fn new() -> Self {
        Self::of(Monitor::new())
    }

    fn of(monitor: Monitor) -> Self {
        let exports = Exports::both(&monitor);
        Self { monitor, exports }
    }

    fn group(&self, name: &'static str) -> tcpinfo::Group {
        self.monitor.group([KeyValue::new("group", name)])
    }

    /// Both collect.
    #[track_caller]
    fn collect(&mut self) {
        for exports in &mut self.exports {
            exports.collect();
        }
    }

    /// What everybody who can say it says of a group now.
    #[track_caller]
    fn counted(&mut self, name: &str) -> Counted {
        // Whoever closed a socket, a sweep has to find that.
        self.monitor.snapshot();
        self.collect();
        let snapshot = self.monitor.snapshot();
        let label = format!("{{group={name}}}");
        let named = format!(r#"{{"group": String(Static("{name}"))}}"#);
        let mut groups = snapshot.groups.iter();
        let group = groups.find(|group| format!("{:?}", group.attributes()) == named);
        let group = group.unwrap_or_else(|| panic!("no group {name} in {snapshot:#?}"));
        let counted = Counted {
            opened: group.opened,
            closed: group.closed,
            live: group.live(),
            sent: sent(group),
        };
        for exports in &self.exports {
            let sum = |metric: &str| exports.sum(&format!("{metric}{label}")) as u64;
            let exported = Counted {
                opened: sum("tcp.connection.opened"),
                closed: sum("tcp.connection.closed"),
                live: counted.live,
                sent: exports.sent("tcp", &label) as u64,
            };
            assert_eq!(exported, counted, "exported, and of the snapshot");
            let lives = exports.samples(&format!("tcp.connection.duration{label}"));
            assert_eq!(lives, counted.closed, "samples of the duration");
        }
        counted
    }

    /// The last export of both readers says that a socket sent as much, or has no such series.
    #[track_caller]
    fn latest(&self, labels: &str, cumulative: Option<f64>, delta: Option<f64>) {
        let latest = self.exports.each_ref().map(|it| it.latest_sent("tcp.socket", labels));
        assert_eq!(latest, [cumulative, delta], "{labels}: the total, and the difference");
    }
}

/// What a group counted: connections, and bytes sent for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    opened: u64,
    closed: u64,
    live: u64,
    sent: u64,
}

/// In the order of its fields.
const fn counted(opened: u64, closed: u64, live: u64, sent: u64) -> Counted {
    Counted { opened, closed, live, sent }
}

fn integer(value: Option<FieldValue>) -> u64 {
    match value {
        Some(FieldValue::Integer(integer)) => integer,
        None => 0,
        other => panic!("{other:?} is no integer"),
    }
}

fn field(name: &str) -> &'static tcpinfo::Field {
    FIELDS.iter().find(|field| field.name == name).expect("a row of the table")
}

/// Payload that a group sent, once: a busy machine makes TCP repeat itself.
fn sent(group: &GroupSnapshot) -> u64 {
    let [sent, again] = ["bytes_sent", "bytes_retrans"].map(|it| integer(group.get(field(it))));
    sent - again
}

/// The same of a series of its own.
fn sent_by(socket: &SocketSnapshot) -> u64 {
    let [sent, again] = ["bytes_sent", "bytes_retrans"].map(|it| integer(socket.get(field(it))));
    sent - again
}

/// The same of a reading.
fn sent_in(info: &TcpInfo) -> u64 {
    info.bytes_sent.expect("since 4.19") - info.bytes_retrans.expect("since 4.19")
}

/// Sends so many bytes, which are at the other end when this returns.
#[track_caller]
fn send(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) {
    from.write_all(&vec![1; bytes]).expect("it is connected");
    to.read_exact(&mut vec![0; bytes]).expect("the other end wrote as much");
}

/// A connection whose client's descriptor is closed by whoever drops it.
fn connected() -> (TcpStream, TcpStream) {
    let Pair { client, server, .. } = Pair::connect();
    client.set_nodelay(true).expect("it is connected");
    (client, server)
}

/// What tells its series from others, where the program gave no attributes.
fn cookie(socket: &TcpStream) -> String {
    let cookie = tcpinfo::socket_cookie(socket).expect("this kernel has cookies");
    format!("tcp.socket.cookie={cookie}")
}

/// Sends at least so many bytes to a peer that does not read before the sender has stalled: how
/// many there were.
fn stall(client: &TcpStream, server: &TcpStream, at_least: usize) -> u64 {
    client.set_nonblocking(true).expect("it is open");
    let (mut client, mut server, mut total) = (client, server, 0);
    while total < at_least {
        let (before, mut now) = (stalled(client), 0);
        until("a stall", || {
            while let Ok(written) = client.write(&[1; 65_536]) {
                now += written;
            }
            (stalled(client) > before).then_some(())
        });
        server.read_exact(&mut vec![0; now]).expect("the other end wrote as much");
        total += now;
    }
    client.set_nonblocking(false).expect("it is open");
    total as u64
}

/// For how long a socket was stalled by its peer or its own buffer, in microseconds.
fn stalled(socket: &TcpStream) -> u128 {
    let info = tcpinfo::read(socket).expect("it is open");
    let times = [info.rwnd_limited, info.sndbuf_limited];
    times.iter().map(|time| time.expect("since 4.9").as_micros()).sum()
}
