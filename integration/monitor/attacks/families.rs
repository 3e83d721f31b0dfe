//! One connection in both families of metrics at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tcpinfo::Monitor;

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
