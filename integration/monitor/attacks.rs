//! Programs that go to the limits of what safe code can do to a monitor: many threads, handles in
//! every order, descriptors that change under it.

mod crowds;
mod families;
mod gauges;
mod moves;
mod values;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::Temporality;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tcpinfo::{FIELDS, FieldValue, Monitor, SocketSnapshot};

use crate::monitor::exports::Exports;

/// What the groups of a monitor counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Totals {
    opened: u64,
    closed: u64,
    live: u64,
    /// For the first time: a busy machine makes TCP repeat itself.
    sent: u64,
}

impl Totals {
    fn of(monitor: &Monitor) -> Self {
        let mut totals = Self { opened: 0, closed: 0, live: 0, sent: 0 };
        for group in &monitor.snapshot().groups {
            let integer = |name: &str| {
                let field = FIELDS.iter().find(|field| field.name == name);
                match group.get(field.expect("a row of the table")) {
                    Some(FieldValue::Integer(integer)) => integer,
                    _ => 0,
                }
            };
            totals.opened += group.opened;
            totals.closed += group.closed;
            totals.live += group.live();
            totals.sent += integer("bytes_sent") - integer("bytes_retrans");
        }
        totals
    }
}

/// Two threads sweep without a pause until `work` is done, and one of them collects: how often.
fn sweeping(monitor: &Monitor, work: impl FnOnce(&AtomicBool)) -> u64 {
    let (done, sweeps) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut exports = Exports::new(monitor, Temporality::Delta);
            while !done.load(Ordering::Relaxed) {
                exports.collect();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                monitor.snapshot();
                sweeps.fetch_add(1, Ordering::Relaxed);
            }
        });
        work(&done);
        done.store(true, Ordering::Relaxed);
    });
    sweeps.into_inner()
}

/// Nothing is left in the monitor once everything is closed.
#[track_caller]
fn is_empty(monitor: &Monitor) {
    monitor.snapshot();
    let snapshot = monitor.snapshot();
    // What was folded stays in the totals of the overflow.
    let is_overflow = |it: &KeyValue| it.key.as_str() == "otel.metric.overflow";
    let is_own = |it: &&SocketSnapshot| !it.attributes().as_slice().iter().any(is_overflow);
    let own: Vec<_> = snapshot.sockets.iter().filter(is_own).collect();
    let left = (snapshot.monitor.watched, snapshot.monitor.given_back, own.len());
    assert_eq!(left, (0, 0, 0), "watched, given back, series of their own: {own:?}");
}

/// Raises the limit of descriptors for this process, if it must.
fn make_room(descriptors: u64) {
    let limit = getrlimit(Resource::Nofile);
    // Other tests run beside this one.
    let wanted = descriptors + 2_048;
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }).expect("allowed");
    }
}
