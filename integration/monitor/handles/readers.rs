//! Several who collect at rates of their own, by every temporality, while groups make room, worst
//! connections change, and providers come and go: each is told of everything once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::Temporality;
use tcpinfo::{Group, Monitor, Worst};

use super::{connected, send};
use crate::monitor::exports::Exports;

const GROUPS: usize = 6;
const THREADS: usize = 2;
const EACH: usize = 400;

fn group(monitor: &Monitor, number: usize) -> Group {
    monitor.group([KeyValue::new("group", (number % GROUPS) as i64)])
}

/// Connections in one group, then some in another, and some in series of their own.
fn connect(monitor: &Monitor, thread: usize) -> usize {
    let mut bytes = 0;
    for number in 0..EACH {
        let (client, server) = connected();
        let own = (number % 3 == 0).then(|| client.try_clone().expect("a free descriptor"));
        let _own = own.map(|own| monitor.watch(own, []));
        let mut client = group(monitor, number * 7 + thread).watch(client);
        send(&client, &server, number % 40);
        if number % 4 == 0 {
            client = group(monitor, number * 5 + thread).watch(client.into_inner());
        }
        send(&client, &server, number % 7);
        bytes += number % 40 + number % 7;
    }
    bytes
}

#[test]
fn readers_of_every_temporality_are_told_of_everything_once() {
    let builder =
        Monitor::builder().with_max_groups(3).with_max_sockets(2).with_samples(THREADS * EACH);
    let monitor = builder.with_group_retention(Duration::ZERO).build();
    let all = [Temporality::Cumulative, Temporality::Delta, Temporality::LowMemory];
    let mut readers = all.map(|temporality| Exports::new(&monitor, temporality));
    let done = AtomicBool::new(false);
    let bytes: usize = thread::scope(|scope| {
        let (monitor, done) = (&monitor, &done);
        for (exports, pause) in readers.iter_mut().zip([0, 700, 3_000]) {
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    exports.collect();
                    thread::sleep(Duration::from_micros(pause));
                }
            });
        }
        scope.spawn(move || {
            for round in 0_usize.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                let mut exports = Exports::new(monitor, all[round % 2]);
                (0..round % 5).for_each(|_| exports.collect());
                group(monitor, round).show_worst(Worst::RttInflation, round % 3);
            }
        });
        let workers: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || connect(monitor, thread))).collect();
        let bytes = workers.into_iter().map(|worker| worker.join().expect("nothing failed")).sum();
        done.store(true, Ordering::Release);
        bytes
    });
    for exports in &mut readers {
        // What took a place is at zero first: opened and closed, then each other counter.
        (0..3).for_each(|_| exports.collect());
        let sum = |metric: &str| exports.sum_of_all(metric) as usize;
        assert_eq!(sum("tcp.connection.opened"), THREADS * EACH);
        assert_eq!(sum("tcp.connection.closed"), THREADS * EACH);
        assert_eq!(sum("tcp.data.sent") - sum("tcp.data.retransmitted"), bytes);
        let lives = exports.samples_of_all("tcp.connection.duration");
        assert_eq!(lives, (THREADS * EACH) as u64);
    }
}
