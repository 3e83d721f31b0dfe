//! Connections that come and go by the hundred thousand: nothing is lost, counted twice, or counted
//! for the wrong socket.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use socket2::{Domain, Socket, Type};
use tcpinfo::{Group, Monitor, State};

use super::verdicts::assert_verdicts_add_up;
use support::peers::{Peers, exchange};
use support::reader::{Collected, Reader, Series};

/// Collects until told to stop, and once more; every counter must stay and never go down.
fn watch_for_drops(reader: &Reader, done: &AtomicBool) -> Collected {
    let mut last = Collected::default();
    loop {
        let ends = done.load(Ordering::Acquire);
        let now = reader.collected();
        now.assert_follows(&last);
        last = now;
        if ends {
            return last;
        }
    }
}

/// Adds up what a delta reader exports until told to stop, and once more.
fn add_up(reader: &Reader, done: &AtomicBool) -> BTreeMap<Series, f64> {
    let mut sums: BTreeMap<Series, f64> = BTreeMap::new();
    loop {
        let ends = done.load(Ordering::Acquire);
        for (series, delta) in reader.collected().counters {
            assert!((0.0..1e9).contains(&delta), "{series} by {delta}");
            *sums.entry(series).or_default() += delta;
        }
        if ends {
            return sums;
        }
    }
}

/// A monitor whose groups make room as soon as they are idle and everybody was told of them.
fn short_lived_groups(groups: usize) -> Monitor {
    let builder = Monitor::builder().with_max_groups(groups);
    builder.with_group_retention(Duration::ZERO).build()
}

fn provider(monitor: &Monitor, temporality: Temporality) -> (Reader, SdkMeterProvider) {
    let reader = Reader::new(temporality);
    let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
    monitor.instrument(&provider);
    (reader, provider)
}

#[test]
fn a_hundred_thousand_connections_add_up_to_what_their_peers_counted() {
    const THREADS: u64 = 8;
    const EACH: u64 = 12_500;
    let monitor = Monitor::new();
    let groups: Vec<Group> =
        (0..4).map(|number| monitor.group([KeyValue::new("group", number)])).collect();
    let peers: Vec<Peers> = (0..4).map(|_| Peers::default()).collect();
    let (cumulative, _one) = provider(&monitor, Temporality::Cumulative);
    let (delta, _two) = provider(&monitor, Temporality::Delta);
    let done = AtomicBool::new(false);
    let (total, sums) = thread::scope(|scope| {
        let total = scope.spawn(|| watch_for_drops(&cumulative, &done));
        let sums = scope.spawn(|| add_up(&delta, &done));
        let sweeps = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                assert_verdicts_add_up(&monitor.snapshot());
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (groups, peers) = (&groups, &peers);
                scope.spawn(move || {
                    // An address each: one pair of addresses has not that many ports.
                    let address = Ipv4Addr::new(127, 0, 0, 1 + thread as u8);
                    let listener = TcpListener::bind((address, 0)).expect("loopback has ports");
                    for number in 0..EACH {
                        let group = ((thread + number) % 4) as usize;
                        let size = (number * 37 % 4_096) as usize;
                        let watch = |stream| groups[group].watch(stream);
                        exchange(&listener, watch, &peers[group], size);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no exchange failed"));
        done.store(true, Ordering::Release);
        sweeps.join().expect("no sweep panicked");
        (total.join().expect("no counter fell"), sums.join().expect("no delta was absurd"))
    });
    for (number, peers) in peers.iter().enumerate() {
        let counter = |name: &str| total.counter(&format!("{name}{{group={number}}}"));
        let connections = peers.connections.load(Ordering::Relaxed);
        assert_eq!(connections, THREADS * EACH / 4);
        assert_eq!(counter("tcp.connection.opened"), connections as f64);
        assert_eq!(counter("tcp.connection.closed"), connections as f64);
        // A machine that stands still for 200 ms makes a sender repeat itself.
        let sent = counter("tcp.data.sent") - counter("tcp.data.retransmitted");
        assert_eq!(sent, peers.received.load(Ordering::Relaxed) as f64);
        // The peer's FIN counts one, and so do our SYN and FIN.
        let received = peers.sent.load(Ordering::Relaxed) + connections;
        assert_eq!(counter("tcp.data.received"), received as f64);
        let acked = peers.received.load(Ordering::Relaxed) + 2 * connections;
        assert_eq!(counter("tcp.data.acked"), acked as f64);
    }
    let live = total.levels.iter().filter(|(name, _)| name.starts_with("tcp.connection.count"));
    assert!(live.clone().count() >= 4);
    assert_eq!(live.map(|(_, count)| count).sum::<f64>(), 0.0);
    let judged = total.levels.iter().filter(|(it, _)| it.starts_with("tcp.connection.verdict"));
    assert!(judged.clone().count() >= 4);
    assert_eq!(judged.map(|(_, count)| count).sum::<f64>(), 0.0);
    assert_eq!(total.level("tcp.monitor.watched{}"), 0.0);
    assert_eq!(sums.keys().collect::<Vec<_>>(), total.counters.keys().collect::<Vec<_>>());
    for (series, sum) in &sums {
        let total = total.counter(series);
        assert!((sum - total).abs() <= 1e-6 * total.max(1.0), "{series}: {sum} is not {total}");
    }
}

#[test]
fn a_million_reused_descriptors_are_never_mistaken() {
    const ROUNDS: u32 = 333_334;
    let monitor = Monitor::new();
    let fresh = monitor.group([KeyValue::new("kind", "fresh")]);
    let listeners = monitor.group([KeyValue::new("kind", "listener")]);
    let done = AtomicBool::new(false);
    let reused = AtomicU64::new(0);
    thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            let mut seen = [0_u64; 2];
            while !done.load(Ordering::Acquire) {
                let snapshot = monitor.snapshot();
                for (group, seen) in snapshot.groups.iter().zip(&mut seen) {
                    *seen += group.live();
                }
                assert_verdicts_add_up(&snapshot);
            }
            seen
        });
        let mut last = -1;
        for _ in 0..ROUNDS {
            // Three sockets of different kinds in turn take the same number.
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
            let same = socket.as_raw_fd() == last;
            reused.fetch_add(u64::from(same), Ordering::Relaxed);
            drop(fresh.watch(socket));
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
            socket.listen(1).expect("an unbound socket can listen");
            last = socket.as_raw_fd();
            drop(listeners.watch(socket));
            drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports"));
        }
        done.store(true, Ordering::Release);
        let seen = sweeps.join().expect("no sweep panicked");
        assert!(seen.iter().all(|seen| *seen > 0), "the sweeps met {seen:?} sockets");
    });
    assert!(reused.load(Ordering::Relaxed) > u64::from(ROUNDS) / 2);
    let snapshot = monitor.snapshot();
    assert_eq!(snapshot.monitor.read_errors, []);
    for (group, state, connections) in [
        (&snapshot.groups[0], State::Close, u64::from(ROUNDS)),
        (&snapshot.groups[1], State::Listen, 0),
    ] {
        assert_eq!(group.states().collect::<Vec<_>>(), [(state, 0)]);
        assert_eq!((group.opened, group.closed), (connections, connections));
    }
}

/// What a delta adds to the bytes sent for the first time.
fn new_bytes(series: &str, delta: f64) -> f64 {
    match series.split('{').next() {
        Some("tcp.data.sent") => delta,
        Some("tcp.data.retransmitted") => -delta,
        _ => 0.0,
    }
}

#[test]
fn groups_that_come_and_go_beyond_the_cap_lose_no_byte() {
    let monitor = short_lived_groups(2);
    let (cumulative, _one) = provider(&monitor, Temporality::Cumulative);
    let (delta, _two) = provider(&monitor, Temporality::Delta);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let (peers, mut exported) = (Peers::default(), 0.0);
    let mut last: BTreeMap<Series, f64> = BTreeMap::new();
    for round in 0..600_u64 {
        let group = monitor.group([KeyValue::new("group", (round * round % 11) as i64)]);
        exchange(&listener, |stream| group.watch(stream), &peers, (round % 900) as usize);
        drop(group);
        if round % 7 == 0 {
            for (series, delta) in delta.collected().counters {
                assert!((0.0..1e9).contains(&delta), "{series} by {delta}");
                exported += new_bytes(&series, delta);
            }
        }
        if round % 5 == 0 {
            // A series may go, and begin again from zero after it was gone; else it never falls.
            let now = cumulative.collected().counters;
            for (series, before) in &last {
                assert!(now.get(series).is_none_or(|after| after >= before), "{series} fell");
            }
            last = now;
        }
    }
    // A group that took another's place is told as zero first.
    for _ in 0..2 {
        for (series, delta) in delta.collected().counters {
            exported += new_bytes(&series, delta);
        }
    }
    assert_eq!(exported, peers.received.load(Ordering::Relaxed) as f64);
}

/// Why groups have to be few in number also over time.
#[test]
fn histograms_of_groups_that_are_gone_stay_where_the_sdk_cumulates() {
    const GROUPS: usize = 40;
    let monitor = short_lived_groups(2);
    let (cumulative, _one) = provider(&monitor, Temporality::Cumulative);
    let (delta, _two) = provider(&monitor, Temporality::Delta);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let lives = |collected: Collected| {
        collected.histograms.keys().filter(|it| it.starts_with("tcp.connection.duration{")).count()
    };
    let mut seen = Vec::new();
    for number in 0..GROUPS {
        let group = monitor.group([KeyValue::new("group", number as i64)]);
        exchange(&listener, |it| group.watch(it), &Peers::default(), 100);
        drop(group);
        // Once more than the groups, which are told as zero first.
        cumulative.collected();
        seen.push((lives(cumulative.collected()), lives(delta.collected())));
    }
    assert_eq!(seen, (1..=GROUPS).map(|all| (all, 1)).collect::<Vec<_>>());
}

#[test]
fn histograms_beyond_their_budget_are_folded_and_lose_no_sample() {
    const AT_A_TIME: i64 = 100;
    let monitor = short_lived_groups(AT_A_TIME as usize);
    let (reader, _provider) = provider(&monitor, Temporality::Cumulative);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let mut collected = Collected::default();
    for round in 0..16 {
        for number in 0..AT_A_TIME {
            let group = monitor.group([KeyValue::new("group", round * AT_A_TIME + number)]);
            exchange(&listener, |it| group.watch(it), &Peers::default(), 100);
        }
        for _ in 0..2 {
            collected = reader.collected();
        }
    }
    let lives = collected.histograms.into_iter();
    let lives: Vec<_> =
        lives.filter(|(it, _)| it.starts_with("tcp.connection.duration{")).collect();
    let of = |overflow| {
        let chosen = lives.iter().filter(move |(it, _)| it.contains("overflow") == overflow);
        chosen.map(|(_, count)| *count).collect::<Vec<_>>()
    };
    // otlp/sizes.rs says how many these should be; here it is what becomes of the others.
    let own = of(false);
    assert!((400..600).contains(&own.len()) && own.iter().all(|count| *count == 1), "{own:?}");
    assert_eq!(of(true), [1_600 - own.len() as u64]);
    assert_eq!(monitor.snapshot().monitor.folded, 0);
}
