//! One connection in both families of metrics at once, and in several series one after the other.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use opentelemetry::KeyValue;
use tcpinfo::{Monitor, SocketIdentity, Watched};

use super::values::{Acting, take};
use super::{Totals, is_empty};
use support::loopback::Pair;

/// A slot that one family gives up may be the other's before a thread of the first has looked.
#[test]
fn a_watch_of_a_group_never_joins_the_series_of_a_socket() {
    const ROUNDS: usize = 5_000;
    let (monitor, Pair { client, .. }) = (Monitor::new(), Pair::connect());
    let group = monitor.group([]);
    let clone = || client.try_clone().expect("there are more");
    let done = AtomicBool::new(false);
    let mut missing = 0;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(monitor.watch(clone(), []));
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(group.watch(clone()));
                }
            });
        }
        for _ in 0..ROUNDS {
            let watched = group.watch(clone());
            missing += usize::from(Totals::of(&monitor).live == 0);
            drop(watched);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(missing, 0, "of {ROUNDS} watches");
    is_empty(&monitor);
}

/// A series of sockets that no attribute tells apart goes with its last socket, also where that is
/// watched elsewhere before the value that watched it here is quite gone.
#[test]
fn a_shared_series_that_its_socket_leaves_while_it_is_dropped_goes() {
    static KEPT: Mutex<Vec<Watched<TcpStream>>> = Mutex::new(Vec::new());
    let monitor = Monitor::builder().with_identity(SocketIdentity::None).build();
    let named = |name: &'static str| [KeyValue::new("series", name)];
    let other = monitor.clone();
    let acting = Acting::new(Pair::connect().client, move |socket| {
        KEPT.lock().expect("nobody panics").push(other.watch(take(socket), named("second")));
    });
    let first = monitor.watch(acting, named("first"));
    monitor.snapshot();
    drop(first);
    let series = || -> Vec<String> {
        let snapshot = monitor.snapshot();
        let all = snapshot.sockets.iter().map(|it| format!("{:?}", it.attributes()));
        all.collect()
    };
    assert_eq!(series(), [r#"{"series": String(Static("second"))}"#]);
    drop(KEPT.lock().expect("nobody panics").pop());
    assert_eq!(series(), [""; 0]);
    is_empty(&monitor);
}
