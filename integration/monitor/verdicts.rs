//! What limits the connections of a group: each is counted under one cause, whoever watches it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use opentelemetry::KeyValue;
use tcpinfo::{Cause, GroupSnapshot, Monitor, Snapshot, Worst};

use support::loopback::{Pair, until_every};
use support::reader::Reader;

/// Sweeps come this often while a test waits for a verdict: it is about a second at least.
const PAUSE: Duration = Duration::from_millis(20);

/// Each live socket of a group has one verdict.
#[track_caller]
pub(crate) fn assert_verdicts_add_up(snapshot: &Snapshot) {
    for group in &snapshot.groups {
        let judged: u64 = group.verdicts().map(|(_, count)| count).sum();
        assert_eq!(judged, group.live(), "{:?}", group.attributes());
    }
}

fn verdicts(group: &GroupSnapshot) -> BTreeMap<Cause, u64> {
    group.verdicts().collect()
}

/// Fills what the other end, which does not read, has room for.
fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).expect("it is open");
    let full = std::iter::repeat_with(|| stream.write(&[7; 65_536])).find_map(Result::err);
    assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
}

/// Sweeps until the only group says this of its sockets.
#[track_caller]
fn until_says(monitor: &Monitor, name: &str, wanted: &[(Cause, u64)]) -> BTreeMap<Cause, u64> {
    until_every(PAUSE, "the verdicts", || {
        let snapshot = monitor.snapshot();
        assert_verdicts_add_up(&snapshot);
        let group =
            snapshot.groups.iter().find(|it| format!("{:?}", it.attributes()).contains(name));
        let all = verdicts(group?);
        wanted.iter().all(|(cause, count)| all.get(cause) == Some(count)).then_some(all)
    })
}

#[test]
fn sockets_are_counted_by_what_limits_them_and_series_go_to_zero() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("name", "all")]);
    let (full, quiet) = (Pair::connect(), Pair::connect());
    let listener = group.watch(quiet.listener);
    let (idle, peer) = (group.watch(quiet.client), quiet.server);
    let (sender, receiver) = (group.watch(full.client), group.watch(full.server));
    fill(&sender);

    let first = monitor.snapshot();
    assert_eq!(verdicts(&first.groups[0]), BTreeMap::from([(Cause::TooLittle, 4)]));
    assert_eq!(sender.verdict(), None);
    // Both ends say it: one waits for a window, the other does not open it.
    let wanted = [(Cause::ReceiveWindow, 2), (Cause::Healthy, 1), (Cause::TooLittle, 1)];
    until_says(&monitor, "all", &wanted);
    let verdict = sender.verdict().expect("it was judged");
    assert_eq!(verdict.cause, Cause::ReceiveWindow, "{verdict}");
    assert!(verdict.to_string().starts_with("the receiver: its window was closed"), "{verdict}");
    assert_eq!(sender.probe().verdict(), Some(verdict));
    assert_eq!(listener.verdict().map(|it| it.cause), Some(Cause::Healthy));
    assert_eq!(idle.verdict().map(|it| it.cause), Some(Cause::TooLittle));

    let level = |cause: &str| {
        let series = format!("tcp.connection.verdict{{name=all,tcp.verdict={cause}}}");
        reader.collected().level(&series)
    };
    assert_eq!(["receive_window", "healthy", "too_little"].map(level), [2.0, 1.0, 1.0]);
    drop((sender, receiver, idle, peer, listener));
    assert_eq!(["receive_window", "healthy", "too_little"].map(level), [0.0; 3]);
}

#[test]
fn a_group_that_others_are_folded_into_counts_each_socket_once() {
    let monitor = Monitor::builder().with_max_groups(1).build();
    let one = monitor.group([KeyValue::new("name", "one")]);
    let others = ["two", "three"].map(|name| monitor.group([KeyValue::new("name", name)]));
    let pairs: Vec<Pair> = (0..3).map(|_| Pair::connect()).collect();
    let mut watched = vec![one.watch(&pairs[0].client)];
    watched.extend(others.iter().zip(&pairs[1..]).map(|(group, pair)| group.watch(&pair.client)));
    watched.iter().for_each(|it| fill(it));
    until_says(&monitor, "one", &[(Cause::ReceiveWindow, 1)]);
    until_says(&monitor, "otel.metric.overflow", &[(Cause::ReceiveWindow, 2)]);
}

#[test]
fn single_sockets_and_the_worst_have_their_verdicts() {
    let monitor = Monitor::new();
    let group = monitor.group([KeyValue::new("name", "shown")]);
    let pairs: Vec<Pair> = (0..3).map(|_| Pair::connect()).collect();
    let alone = monitor.watch_borrowed(&pairs[0].client, [KeyValue::new("name", "alone")]);
    let watched: Vec<_> = pairs.iter().map(|pair| group.watch(&pair.client)).collect();
    fill(&alone);
    let shown = |snapshot: &Snapshot| -> Vec<(bool, Option<Cause>)> {
        let sockets = snapshot.sockets.iter();
        let mut all: Vec<_> = sockets
            .map(|it| {
                let is_alone = format!("{:?}", it.attributes()).contains("alone");
                (is_alone, it.verdict().map(|verdict| verdict.cause))
            })
            .collect();
        all.sort();
        all
    };
    let window = Some(Cause::ReceiveWindow);
    for (worst, chosen) in [
        (Worst::Verdict, vec![(false, window)]),
        (Worst::Cause(Cause::ReceiveWindow), vec![(false, window)]),
        (Worst::Cause(Cause::TooLittle), vec![(false, Some(Cause::TooLittle)); 2]),
        (Worst::Cause(Cause::Loss), vec![]),
    ] {
        group.show_worst(worst, 5);
        until_every(PAUSE, "the chosen ones", || {
            let all = shown(&monitor.snapshot());
            let mut wanted = chosen.clone();
            wanted.push((true, window));
            (all == wanted).then_some(())
        });
    }
    drop(watched);
}

#[test]
fn an_observation_begins_when_it_is_told_to() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let pair = Pair::connect();
    let (client, mut server) = (group.watch(pair.client), pair.server);
    let observation = client.probe().observe().expect("it is watched");
    let at_once = observation.verdict().expect("it is watched");
    assert_eq!(at_once.cause, Cause::TooLittle, "{at_once}");
    fill(&client);
    let verdict = until_every(PAUSE, "a verdict", || {
        let verdict = observation.verdict().expect("it is watched");
        (verdict.cause != Cause::TooLittle).then_some(verdict)
    });
    assert_eq!(verdict.cause, Cause::ReceiveWindow, "{verdict}");
    let attributes: Vec<_> = verdict.attributes().take(2).map(|it| it.key.to_string()).collect();
    assert_eq!(attributes, ["tcp.verdict", "tcp.evidence.rwnd_limited"]);
    // No sweep has seen it.
    assert_eq!(client.verdict(), None);
    drop(client);
    let gone = observation.verdict().expect_err("it is not watched any more");
    assert_eq!(gone.kind(), ErrorKind::NotConnected);
    assert!(server.read(&mut [0; 16]).is_ok());
}

#[test]
fn a_monitor_without_verdicts_has_none() {
    let monitor = Monitor::builder().with_verdicts(false).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let pair = Pair::connect();
    let watched = monitor.group([]).watch(&pair.client);
    let collected = reader.collected();
    assert!(collected.levels.keys().any(|name| name.starts_with("tcp.connection.count{")));
    assert!(!collected.levels.keys().any(|name| name.starts_with("tcp.connection.verdict{")));
    assert_eq!(watched.verdict(), None);
}

#[test]
#[cfg(feature = "diag")]
fn discovered_connections_have_verdicts_too() {
    use tcpinfo::Discovery;

    let monitor = Monitor::new();
    let pair = Pair::connect();
    let port = pair.listener.local_addr().expect("it is bound").port();
    let discovery = Discovery::process().with_groups(move |socket| {
        let is_ours = [socket.local.port(), socket.peer.port()].contains(&port);
        is_ours.then(|| vec![KeyValue::new("name", "discovered")])
    });
    let _discovered = monitor.discover(discovery).expect("this process can be searched");
    fill(&pair.client);
    let wanted = [(Cause::ReceiveWindow, 2), (Cause::Healthy, 1)];
    until_says(&monitor, "discovered", &wanted);
    // The one that is watched moves with its verdict's time, and counts once.
    let watched = monitor.group([KeyValue::new("name", "watched")]).watch(&pair.client);
    until_says(&monitor, "watched", &[(Cause::ReceiveWindow, 1)]);
    until_says(&monitor, "discovered", &[(Cause::ReceiveWindow, 1), (Cause::Healthy, 1)]);
    drop(watched);
}
