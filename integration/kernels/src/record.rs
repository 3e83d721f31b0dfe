//! One socket, asked in every way there is, and what the console says of it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use opentelemetry::KeyValue;
use rustix::net::ipproto;
use tcpinfo::diag::{self, Query};
use tcpinfo::{CongestionInfo, FIELDS, Kernel, Monitor, State, TcpInfo};

use crate::btf;
use crate::raw::{self, ROOM};
use support::loopback::until;
use support::reader::{Collected, Reader};

/// Writes numbered lines, so that a lost or broken one is noticed.
#[derive(Debug)]
pub(crate) struct Recorder {
    lines: usize,
    failures: usize,
    has_diag: bool,
}

/// Where the kernel's tables have a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In none.
    Nowhere,
    Listener(u16),
    Connection(SocketAddr, SocketAddr),
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { lines: 0, failures: 0, has_diag: false }
    }

    pub(crate) fn say(&mut self, what: impl Display) {
        println!("\n@{} {what}", self.lines);
        self.lines += 1;
    }

    pub(crate) fn begin(&mut self, has_diag: bool) {
        self.say(format_args!("release {}", Kernel::running().release()));
        match btf::tcp_info() {
            Ok((size, members)) => {
                self.say(format_args!("btf tcp_info {size} 0 0"));
                members.iter().for_each(|member| self.say(format_args!("btf {member}")));
            }
            Err(error) => self.say(format_args!("without btf: {error}")),
        }
        self.has_diag = has_diag;
        if !has_diag {
            self.say("without diag: its module is not offered");
        }
    }

    pub(crate) fn end(&mut self, whole: bool) {
        let verdict = if whole && self.failures == 0 { "OK" } else { "FAIL" };
        let lines = self.lines;
        self.say(format_args!("end {lines} {verdict}"));
    }

    /// Whether the kernel has `inet_diag`.
    pub(crate) fn has_diag(&self) -> bool {
        self.has_diag
    }

    pub(crate) fn expect(&mut self, case: &str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.failures += 1;
            self.say(format_args!("FAILED {case}: {}", what()));
        }
    }

    /// Asks for a socket's reply in every way, each compared with the raw bytes.
    pub(crate) fn record(&mut self, case: &str, socket: impl AsFd, place: Place) {
        let socket = socket.as_fd();
        let (reply, read) = between(case, socket, || tcpinfo::read(socket).expect("it is TCP"));
        let decoded = decode(&reply);
        self.expect(case, read == decoded, || format!("read {read:?}, the bytes {decoded:?}"));
        let hex: String = reply.iter().map(|byte| format!("{byte:02x}")).collect();
        self.say(format_args!("case {case} {hex}"));
        let fields: Vec<String> =
            read.fields().map(|(field, value)| format!("{}={value}", field.name)).collect();
        self.say(format_args!("read {case} {}", fields.join(" ")));
        if self.has_diag {
            self.diagnose(case, socket, place);
        }
        self.shorten(case, socket, reply.len());
        self.collect(case, socket);
        self.congestion(case, socket);
    }

    /// `sock_diag` has the same bytes for the same socket.
    fn diagnose(&mut self, case: &str, socket: BorrowedFd<'_>, place: Place) {
        let (reply, found) = between(case, socket, || match place {
            Place::Nowhere => None,
            Place::Connection(local, peer) => diag::find(local, peer).expect("inet_diag is there"),
            Place::Listener(port) => {
                let query = Query::new().with_states([State::Listen]).with_local_port(port);
                let mut found = query.dump().expect("inet_diag is there");
                let first = found.next().transpose().expect("a dump of one socket");
                assert!(found.next().is_none(), "{case}: two listeners on port {port}");
                first
            }
        });
        let expected = (!matches!(place, Place::Nowhere)).then(|| decode(&reply));
        let cookie = tcpinfo::socket_cookie(socket).expect("since Linux 4.12");
        // What Multipath TCP has in the tables is its first subflow, a socket of its own.
        let own = rustix::net::sockopt::socket_protocol(socket) != Ok(Some(ipproto::MPTCP));
        let same = found.as_ref().is_none_or(|found| (found.cookie == cookie) == own);
        let info = found.and_then(|found| found.info);
        self.expect(case, same && info == expected, || format!("diag {info:?}, not {expected:?}"));
        let fields = info.map_or(0, |info| info.fields().count());
        self.say(format_args!("diag {case} {fields} fields"));
    }

    /// Less room is what an older kernel's struct is: the same bytes, and fewer.
    fn shorten(&mut self, case: &str, socket: BorrowedFd<'_>, len: usize) {
        for asked in 0..=len + 8 {
            let (full, short) =
                between(case, socket, || raw::tcp_info(socket, asked).expect("it is TCP"));
            let expected = &full[..asked.min(len)];
            self.expect(case, short == expected, || format!("{asked} asked: {short:?}"));
        }
        self.say(format_args!("short {case} {len}"));
    }

    /// A collection of the SDK has every field that has a metric, and nothing else of the socket.
    fn collect(&mut self, case: &str, socket: BorrowedFd<'_>) {
        let (reader, provider) = Reader::with_provider();
        let monitor = Monitor::new();
        monitor.instrument(&provider);
        let watched = monitor.watch(socket, [KeyValue::new("case", case.to_owned())]);
        // Times go on while a collection runs, which takes longer than the other questions.
        let fits = |(point, (least, most)): (&Point, (&Point, &Point))| {
            let same = point.0 == least.0 && point.0 == most.0;
            same && (least.1.min(most.1)..=least.1.max(most.1)).contains(&point.1)
        };
        let reply = || raw::tcp_info(socket, ROOM).expect("it is TCP");
        let points = until(&format!("a collection that has the fields of {case}"), || {
            let before = expected(&decode(&reply()));
            let points = exported(&reader.collected());
            let after = expected(&decode(&reply()));
            let whole = points.len() == before.len() && points.len() == after.len();
            let all_fit = points.iter().zip(before.iter().zip(&after)).all(fits);
            (whole && all_fit).then_some(points.len())
        });
        drop(watched);
        self.say(format_args!("sdk {case} {points} points"));
    }

    fn congestion(&mut self, case: &str, socket: BorrowedFd<'_>) {
        let congestion = tcpinfo::congestion(socket).expect("it is TCP");
        let name = rustix::net::sockopt::tcp_congestion(socket).expect("it is TCP");
        let kind = match &congestion.info {
            None => "none",
            Some(CongestionInfo::Bbr(_)) => "bbr",
            Some(CongestionInfo::Dctcp(_)) => "dctcp",
            Some(CongestionInfo::Vegas(_)) => "vegas",
            Some(_) => "other",
        };
        let fits = match (name.as_str(), kind) {
            ("bbr" | "dctcp", kind) => kind == name,
            ("vegas" | "yeah" | "illinois" | "westwood" | "nv", kind) => kind == "vegas",
            (_, kind) => kind == "none",
        };
        let algorithm = &congestion.algorithm;
        self.expect(case, fits && *algorithm == name, || format!("{name}: {congestion:?}"));
        self.say(format_args!("congestion {case} {algorithm} {kind}"));
    }
}

pub(crate) fn decode(reply: &[u8]) -> TcpInfo {
    TcpInfo::decode(reply, Kernel::running()).expect("the kernel says something")
}

/// An answer that came while the socket did not change, and the reply at that time.
fn between<T>(case: &str, socket: BorrowedFd<'_>, ask: impl Fn() -> T) -> (Vec<u8>, T) {
    let reply = || raw::tcp_info(socket, ROOM).expect("it is TCP");
    until(&format!("a moment's rest of {case}"), || {
        let before = reply();
        let answer = ask();
        (before == reply()).then_some((before, answer))
    })
}

/// A metric's name and telling attribute, and its value.
type Point = (String, f64);

/// The points of the one watched socket.
fn exported(collected: &Collected) -> Vec<Point> {
    let all = collected.counters.iter().chain(&collected.levels);
    let mut points: Vec<Point> = all
        .filter_map(|(series, value)| Some((name(series.strip_prefix("tcp.socket.")?), *value)))
        .collect();
    points.sort_by(|a, b| a.0.cmp(&b.0));
    points
}

fn name(series: &str) -> String {
    let (name, attributes) = series.split_once('{').expect("a series has attributes");
    let keys = ["tcp.limited_by=", "tcp.ecn.codepoint="];
    let part = attributes
        .trim_end_matches('}')
        .split(',')
        .find_map(|attribute| keys.iter().find_map(|key| attribute.strip_prefix(key)));
    format!("{name} {}", part.unwrap_or("-"))
}

/// What the fields of a reply make of it: busy time is exported in parts that sum to it.
fn expected(info: &TcpInfo) -> Vec<Point> {
    let limited = info.rwnd_limited.zip(info.sndbuf_limited);
    let mut points: Vec<Point> = FIELDS
        .iter()
        .filter_map(|field| {
            let mut value = info.get(field)?.as_f64()?;
            if field.name == "busy_time" {
                let (receiver, buffer) = limited?;
                value = (info.busy_time? - receiver - buffer).as_secs_f64();
            }
            Some((format!("{} {}", field.stem?, field.part.map_or("-", |part| part.value)), value))
        })
        .collect();
    points.sort_by(|a, b| a.0.cmp(&b.0));
    points
}
