//! Groups that nobody uses any more: how long they keep their place, and that making room for
//! another loses nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use tcpinfo::{Group, Monitor, Worst};

use super::{connected, send};
use crate::monitor::exports::Exports;
use support::peers::{Peers, exchange};

const OVERFLOW: &str = "{otel.metric.overflow=true}";

/// A monitor whose groups make room as soon as they can.
fn at_once(groups: usize) -> Monitor {
    Monitor::builder().with_max_groups(groups).with_group_retention(Duration::ZERO).build()
}

fn group(monitor: &Monitor, name: impl Into<String>) -> Group {
    monitor.group([KeyValue::new("group", name.into())])
}

/// One connection that comes and goes in a group, and the group with it.
fn pass(monitor: &Monitor, name: &str, bytes: usize) {
    let (client, server) = connected();
    let client = group(monitor, name).watch(client);
    send(&client, &server, bytes);
}

/// What the latest export says that was opened, by group.
fn opened(exports: &Exports) -> Vec<(&str, f64)> {
    let all = exports.series_of("tcp.connection.opened").into_iter();
    all.map(|series| {
        let labels = series.strip_prefix("tcp.connection.opened").expect("it was asked for");
        (labels, exports.latest(series).expect("it is there"))
    })
    .collect()
}

#[test]
fn a_group_keeps_its_place_for_an_hour_unless_told_otherwise() {
    let monitor = Monitor::builder().with_max_groups(2).build();
    let mut both = Exports::both(&monitor);
    for round in 1..=3 {
        for name in ["a", "b", "c", "d"] {
            pass(&monitor, name, 10);
            both.iter_mut().for_each(Exports::collect);
        }
        let n = f64::from(round);
        let expected = [("{group=a}", n), ("{group=b}", n), (OVERFLOW, 2.0 * n)];
        assert_eq!(opened(&both[0]), expected);
        for exports in &both {
            assert_eq!(exports.sum_of_all("tcp.connection.opened"), 4.0 * n);
            assert_eq!(exports.sent("tcp", "{group=a}"), 10.0 * n);
            assert_eq!(exports.sent("tcp", OVERFLOW), 20.0 * n);
        }
    }
}

#[test]
fn the_overflow_is_there_at_zero_once_the_last_place_is_taken() {
    let monitor = Monitor::builder().with_max_groups(2).build();
    let mut both = Exports::both(&monitor);
    let collected = |both: &mut [Exports; 2]| {
        both.iter_mut().for_each(Exports::collect);
        both.each_ref().map(|exports| exports.latest(&format!("tcp.connection.opened{OVERFLOW}")))
    };
    assert_eq!(collected(&mut both), [None, None]);
    let _a = group(&monitor, "a");
    assert_eq!(collected(&mut both), [None, None]);
    let _b = group(&monitor, "b");
    assert_eq!(collected(&mut both), [Some(0.0), Some(0.0)]);
    pass(&monitor, "c", 10);
    assert_eq!(collected(&mut both), [Some(1.0), Some(1.0)]);
}

#[test]
fn a_group_that_takes_a_place_is_zero_once_to_each_who_collects() {
    let monitor = at_once(1);
    let mut both = Exports::both(&monitor);
    pass(&monitor, "a", 10);
    both.iter_mut().for_each(Exports::collect);
    assert_eq!(opened(&both[0]), [("{group=a}", 1.0), (OVERFLOW, 0.0)]);
    // Reported by both: it can go.
    for _ in 0..3 {
        pass(&monitor, "b", 20);
    }
    for exports in &mut both {
        exports.collect();
        assert_eq!(opened(exports), [("{group=b}", 0.0), (OVERFLOW, 0.0)]);
        assert_eq!(exports.latest("tcp.data.sent{group=b}").unwrap_or_default(), 0.0);
    }
    // As a total, and as a difference.
    for exports in &mut both {
        exports.collect();
        assert_eq!(opened(exports), [("{group=b}", 3.0), (OVERFLOW, 0.0)]);
        assert_eq!(exports.latest_sent("tcp", "{group=b}"), Some(60.0));
        assert_eq!(exports.sum_of_all("tcp.connection.opened"), 4.0);
    }
}

/// As an upstream is that a program knows before it has a connection to it.
#[test]
fn a_group_that_takes_a_place_without_sockets_shows_each_counter_at_zero_first() {
    let monitor = at_once(1);
    let mut both = Exports::both(&monitor);
    pass(&monitor, "a", 10);
    both.iter_mut().for_each(Exports::collect);
    let group = group(&monitor, "b");
    both.iter_mut().for_each(Exports::collect);
    assert_eq!(opened(&both[0]), [("{group=b}", 0.0), (OVERFLOW, 0.0)]);
    let (client, server) = connected();
    let client = group.watch(client);
    for (bytes, latest) in [(100, [0.0, 0.0]), (20, [120.0, 120.0]), (3, [123.0, 3.0])] {
        send(&client, &server, bytes);
        both.iter_mut().for_each(Exports::collect);
        let sent = both.each_ref().map(|exports| exports.latest_sent("tcp", "{group=b}"));
        assert_eq!(sent, latest.map(Some), "the total, and the difference");
    }
}

#[test]
fn a_group_keeps_its_place_until_everybody_reported_it() {
    let monitor = at_once(1);
    let [mut one, mut two] = Exports::both(&monitor);
    pass(&monitor, "a", 10);
    one.collect();
    // The other has not collected since.
    pass(&monitor, "b", 20);
    one.collect();
    assert_eq!(opened(&one), [("{group=a}", 1.0), (OVERFLOW, 1.0)]);
    two.collect();
    pass(&monitor, "c", 30);
    for _ in 0..2 {
        one.collect();
        two.collect();
    }
    for exports in [&one, &two] {
        assert_eq!(exports.latest("tcp.connection.opened{group=a}"), None);
        assert_eq!(exports.sum("tcp.connection.opened{group=c}"), 1.0);
        assert_eq!(exports.sum_of_all("tcp.connection.opened"), 3.0);
        assert_eq!(exports.sent("tcp", "{group=c}"), 30.0);
    }
}

#[test]
fn a_group_that_shows_its_worst_makes_no_room() {
    let monitor = at_once(2);
    let mut both = Exports::both(&monitor);
    let shown = group(&monitor, "shown");
    shown.show_worst(Worst::Stalled, 1);
    drop(shown);
    pass(&monitor, "shown", 10);
    for round in 0..10 {
        pass(&monitor, &format!("other {round}"), 10);
        for _ in 0..2 {
            both.iter_mut().for_each(Exports::collect);
        }
    }
    let of_it = "tcp.connection.opened{group=shown}";
    assert_eq!(both.each_ref().map(|exports| exports.latest(of_it)), [Some(1.0), Some(0.0)]);
    // Until it is told not to.
    group(&monitor, "shown").show_worst(Worst::Stalled, 0);
    for round in 0..4 {
        for _ in 0..2 {
            both.iter_mut().for_each(Exports::collect);
        }
        pass(&monitor, &format!("another {round}"), 10);
    }
    for exports in &mut both {
        exports.collect();
        exports.collect();
        assert_eq!(exports.latest(of_it), None);
        assert_eq!(exports.sum_of_all("tcp.connection.opened"), 15.0);
    }
}

/// What a snapshot says that was opened, by group.
fn shown(monitor: &Monitor) -> Vec<(String, u64)> {
    let snapshot = monitor.snapshot();
    let groups = snapshot.groups.iter().map(|group| {
        let name = group.attributes().as_slice()[0].value.to_string();
        (name, group.opened)
    });
    groups.filter(|(name, _)| name != "true").collect()
}

#[test]
fn without_a_provider_a_group_that_no_snapshot_missed_goes_on() {
    // Either of two can make room, and then the other for it.
    for _ in 0..20 {
        let monitor = at_once(2);
        pass(&monitor, "a", 10);
        pass(&monitor, "b", 10);
        shown(&monitor);
        for name in ["c", "a", "b"] {
            pass(&monitor, name, 10);
        }
        for (name, opened) in shown(&monitor) {
            assert_eq!(opened, if name == "c" { 1 } else { 2 }, "{name}");
        }
    }
}

#[test]
fn groups_that_gone_providers_missed_have_places_again() {
    let monitor = at_once(2);
    let mut both = Exports::both(&monitor);
    pass(&monitor, "a", 10);
    pass(&monitor, "b", 10);
    both.iter_mut().for_each(Exports::collect);
    // One of the two makes room, and one provider of two has missed it when they end.
    drop(group(&monitor, "c"));
    both[0].collect();
    drop(both);
    shown(&monitor);
    for name in ["a", "b", "a", "b"] {
        pass(&monitor, name, 10);
        shown(&monitor);
    }
    assert_eq!(monitor.snapshot().monitor.folded, 0);
}

/// The moment in which the last user of a group leaves, again and again, while another thread asks
/// for the place.
#[test]
fn a_group_that_makes_room_as_its_last_user_leaves_loses_no_byte() {
    const ROUNDS: usize = 4_000;
    let monitor = at_once(30);
    let both = Exports::both(&monitor);
    let done = AtomicBool::new(false);
    let (both, bytes) = thread::scope(|scope| {
        let both = both.map(|exports| scope.spawn(|| exports.until_done(&done)));
        let pressure = scope.spawn(|| {
            let mut number = 0_u64;
            while !done.load(Ordering::Acquire) {
                drop(group(&monitor, format!("unused {number}")));
                number += 1;
            }
        });
        let workers = [0, 1].map(|worker| {
            let monitor = &monitor;
            scope.spawn(move || {
                let ((mut client, server), mut bytes) = (connected(), 0);
                for round in 0..ROUNDS {
                    // Each is used for a while, and is never seen again.
                    let name = format!("{worker} {}", round / 100 * 3 + round % 3);
                    let watched = group(monitor, name).watch(client);
                    send(&watched, &server, round % 5);
                    bytes += round % 5;
                    client = watched.into_inner();
                }
                bytes as f64
            })
        });
        let bytes = workers.map(|worker| worker.join().expect("nothing failed"));
        done.store(true, Ordering::Release);
        pressure.join().expect("nothing failed");
        (both.map(|thread| thread.join().expect("nothing fell")), bytes[0] + bytes[1])
    });
    for exports in &both {
        let sum = |metric: &str| exports.sum_of_all(metric);
        assert_eq!(sum("tcp.data.sent") - sum("tcp.data.retransmitted"), bytes);
    }
}

/// Threads make groups, use them and let them go over a small cap, while two collect without pause.
#[test]
fn groups_that_make_room_while_others_leave_lose_no_connection() {
    const THREADS: u64 = 4;
    const EACH: u64 = 1_000;
    let monitor = at_once(8);
    let both = Exports::both(&monitor);
    let (peers, done) = (Peers::default(), AtomicBool::new(false));
    let both = thread::scope(|scope| {
        let both = both.map(|exports| scope.spawn(|| exports.until_done(&done)));
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (monitor, peers) = (&monitor, &peers);
                scope.spawn(move || {
                    // An address each: one pair of addresses has few ports.
                    let address = Ipv4Addr::new(127, 0, 2, 1 + thread as u8);
                    let listener = TcpListener::bind((address, 0)).expect("loopback has ports");
                    for number in 0..EACH {
                        // Some come back, some are never seen again.
                        let name = match number % 3 {
                            0 => format!("{thread} {number}"),
                            _ => format!("{}", (number * 7 + thread) % 23),
                        };
                        let group = group(monitor, name);
                        exchange(&listener, |it| group.watch(it), peers, (number % 300) as usize);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no exchange failed"));
        done.store(true, Ordering::Release);
        both.map(|thread| thread.join().expect("nothing fell"))
    });
    let connections = peers.connections.load(Ordering::Relaxed) as f64;
    assert_eq!(connections, (THREADS * EACH) as f64);
    for exports in &both {
        let sum = |metric: &str| exports.sum_of_all(metric);
        assert_eq!(sum("tcp.connection.opened"), connections);
        assert_eq!(sum("tcp.connection.closed"), connections);
        let sent = sum("tcp.data.sent") - sum("tcp.data.retransmitted");
        assert_eq!(sent, peers.received.load(Ordering::Relaxed) as f64);
        assert_eq!(
            sum("tcp.data.received"),
            peers.sent.load(Ordering::Relaxed) as f64 + connections
        );
    }
}
