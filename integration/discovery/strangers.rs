//! Threads that open, close and duplicate descriptors at will while the process is searched for
//! connections: what one descriptor said is never counted for the socket that another one is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use rustix::io::{dup, dup2};
use tcpinfo::{Discovery, Monitor};

use support::alone::as_both;
use support::loopback::until;
use support::random::Rng;
use support::reader::{Collected, Reader};

const WORKERS: u64 = 4;
/// What each connection of a kind writes: no sum of one kind's looks like another's.
const KINDS: [u64; 3] = [0, 1_000, 65_537];

/// How many operations on descriptors there are: 100,000, or what `TCPINFO_OPERATIONS` says.
fn operations() -> u64 {
    let asked = std::env::var("TCPINFO_OPERATIONS").ok();
    asked.map_or(100_000, |asked| asked.parse().expect("a number of operations"))
}

/// The servers of one kind.
struct Kind {
    size: u64,
    listener: TcpListener,
    made: AtomicU64,
}

impl Kind {
    /// A connection that has said all it ever says, and its other end.
    fn connect(&self) -> [TcpStream; 2] {
        let address = self.listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut server, _) = self.listener.accept().expect("it is connected");
        self.made.fetch_add(1, Ordering::Relaxed);
        let mut bytes = vec![7; self.size as usize];
        thread::scope(|scope| {
            scope.spawn(|| client.write_all(&vec![7; self.size as usize]).expect("somebody reads"));
            server.read_exact(&mut bytes).expect("it was sent");
        });
        [client, server]
    }
}

/// One thread's descriptors, opened, closed, duplicated and put in each other's place.
fn churn(number: u64, kinds: &[Kind], left: &AtomicU64) {
    let mut rng = Rng::new(number);
    let mut held: Vec<OwnedFd> = Vec::new();
    let kind = &kinds[number as usize % kinds.len()];
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
        match rng.below(16) {
            0 | 1 => held.extend(kind.connect().map(OwnedFd::from)),
            2 => held.push(File::open("/dev/null").expect("it is everywhere").into()),
            3 => held.push(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").into()),
            4 => held.extend(<[_; 2]>::from(UnixStream::pair().expect("two")).map(OwnedFd::from)),
            5..=7 => {
                if let Some(one) = held.last() {
                    let copy = dup(one).expect("a descriptor");
                    held.push(copy);
                }
            }
            8 | 9 if held.len() > 1 => {
                // One in the place of another, which is closed by that.
                let from = rng.below(held.len() as u64) as usize;
                let mut place = held.swap_remove(rng.below(held.len() as u64) as usize);
                if let Some(from) = held.get(from.min(held.len().saturating_sub(1))) {
                    dup2(from, &mut place).expect("two descriptors");
                }
                held.push(place);
            }
            _ => {
                if !held.is_empty() {
                    let at = rng.below(held.len() as u64) as usize;
                    drop(held.swap_remove(at));
                }
            }
        }
        if held.len() > 200 {
            held.clear();
        }
    }
}

/// Sums by port: opened, closed, bytes sent once, bytes received without a FIN.
fn by_port(collected: &Collected) -> BTreeMap<u16, [u64; 4]> {
    let mut all: BTreeMap<u16, [u64; 4]> = BTreeMap::new();
    for (series, value) in &collected.counters {
        let Some((name, attributes)) = series.split_once('{') else { continue };
        let Some(port) = attributes.strip_prefix("port=") else { continue };
        // Some series have a part of their own behind it.
        let Ok(port) = port.trim_end_matches('}').parse() else { continue };
        let at = [
            "tcp.connection.opened",
            "tcp.connection.closed",
            "tcp.data.sent",
            "tcp.data.received",
        ];
        let sums = all.entry(port).or_default();
        if let Some(at) = at.iter().position(|it| *it == name) {
            sums[at] = sums[at].wrapping_add(*value as u64);
        }
        // It comes before what it is a part of.
        if name == "tcp.data.retransmitted" {
            sums[2] = sums[2].wrapping_sub(*value as u64);
        }
    }
    all
}

/// Everything that is counted of a kind can be of its connections alone.
fn no_stranger(collected: &Collected, kinds: &[Kind], last: &mut BTreeMap<u16, [u64; 4]>) {
    let now = by_port(collected);
    for kind in kinds {
        let port = kind.listener.local_addr().expect("it is bound").port();
        let [opened, closed, sent, received] = now.get(&port).copied().unwrap_or_default();
        let made = kind.made.load(Ordering::Relaxed);
        let what = format!("{} bytes each, {made} made: {now:?}", kind.size);
        // Two ends each.
        assert!(closed <= opened && opened <= 2 * made, "{what}");
        assert!(sent <= made * kind.size, "{what}");
        // A FIN counts one byte.
        assert!(received <= made * kind.size + 2 * made, "{what}");
        let before = last.insert(port, [opened, closed, sent, received]).unwrap_or_default();
        assert!(
            before.iter().zip([opened, closed, sent, received]).all(|(b, a)| *b <= a),
            "{what}"
        );
    }
    let known: Vec<u16> =
        kinds.iter().map(|it| it.listener.local_addr().expect("it is bound").port()).collect();
    assert!(now.keys().all(|port| known.contains(port)), "a port of nobody: {now:?}");
}

#[test]
fn no_descriptor_speaks_for_another() {
    as_both(|| {
        let kinds: Vec<Kind> = KINDS
            .iter()
            .map(|&size| Kind {
                size,
                listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports"),
                made: AtomicU64::new(0),
            })
            .collect();
        let ports: Vec<u16> =
            kinds.iter().map(|it| it.listener.local_addr().expect("it is bound").port()).collect();
        let group = move |socket: &tcpinfo::diag::Socket| {
            let mut ends = [socket.local.port(), socket.peer.port()].into_iter();
            let port = ends.find(|port| ports.contains(port))?;
            Some(vec![KeyValue::new("port", i64::from(port))])
        };
        let monitor = Monitor::new();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let discovery = Discovery::process().with_groups(group);
        let discovered = monitor.discover(discovery).expect("a process has descriptors");
        let left = AtomicU64::new(operations());
        let done = AtomicBool::new(false);
        let mut last = BTreeMap::new();
        let sweeps = thread::scope(|scope| {
            let sweeper = scope.spawn(|| {
                let mut sweeps = 0_u64;
                while !done.load(Ordering::Acquire) {
                    no_stranger(&reader.collected(), &kinds, &mut last);
                    sweeps += 1;
                }
                sweeps
            });
            let (kinds, left) = (&kinds, &left);
            let workers: Vec<_> = (0..WORKERS)
                .map(|number| scope.spawn(move || churn(number, kinds, left)))
                .collect();
            let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Ordering::Release);
            ended.into_iter().for_each(|it| it.expect("no operation failed"));
            sweeper.join().expect("no stranger")
        });
        // Everything was closed: nothing is left open, and nothing changes any more.
        let patience = Instant::now() + Duration::from_secs(30);
        let all = until("the end of every connection", || {
            let all = by_port(&reader.collected());
            let ended = all.values().all(|it| it[0] == it[1]);
            let own = &monitor.snapshot().monitor;
            assert!(ended || Instant::now() < patience, "not all ended: {all:?} {own:?}");
            ended.then_some(all)
        });
        no_stranger(&reader.collected(), &kinds, &mut last);
        drop(discovered);
        let seen: u64 = all.values().map(|it| it[0]).sum();
        let made: u64 = kinds.iter().map(|it| 2 * it.made.load(Ordering::Relaxed)).sum();
        println!(
            "measured: {} operations, {sweeps} sweeps, {seen} of {made} ends seen, no stranger",
            operations()
        );
    });
}

/// A socket that another process made, and that nobody here has, is never counted.
#[test]
fn a_descriptor_that_was_replaced_is_another_connection() {
    as_both(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let monitor = Monitor::new();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let _discovered = monitor.discover(Discovery::process()).expect("there are descriptors");
        let connect = || {
            let client = TcpStream::connect(address).expect("it listens");
            (client, listener.accept().expect("it is connected").0)
        };
        let (mut first, mut first_server) = connect();
        first.write_all(&[7; 5_000]).expect("room for it");
        first_server.read_exact(&mut [0; 5_000]).expect("it was sent");
        drop(reader.collected());
        // The second takes the first's number, without a moment in which it is free.
        let (second, second_server) = connect();
        let mut place = OwnedFd::from(first);
        dup2(second.as_fd(), &mut place).expect("two descriptors");
        first_server.shutdown(Shutdown::Both).expect("it is connected");
        drop(first_server);
        drop(second);
        let second = TcpStream::from(place);
        let all = |name: &str| -> u64 {
            let collected = reader.collected();
            let of = collected.counters.iter().filter(|(series, _)| series.starts_with(name));
            of.map(|(_, value)| *value as u64).sum()
        };
        until("the end of the first", || (all("tcp.connection.closed{") == 2).then_some(()));
        assert_eq!(all("tcp.connection.opened{"), 4);
        assert_eq!(all("tcp.data.sent{"), 5_000);
        (&second).write_all(&[7; 300]).expect("room for it");
        assert_eq!(all("tcp.data.sent{"), 5_300);
        drop((second, second_server));
    });
}
