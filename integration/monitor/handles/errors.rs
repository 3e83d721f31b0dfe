//! What a program is told of failed reads, and when: its callback may do what it likes.

use std::cell::Cell;
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::Temporality;
use tcpinfo::{Group, Monitor, Watched};

use super::connected;
use crate::monitor::exports::Exports;
use support::lateness::PATIENCE;
use support::reader::Reader;

thread_local! {
    static COLLECTS: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("loopback has ports")
}

/// Fails where the work does not come to an end.
#[track_caller]
fn bounded<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    wait.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A monitor that counts the calls of its callback, and those of them inside a collection.
fn counting() -> (Monitor, Arc<[AtomicU64; 2]>) {
    let calls: Arc<[AtomicU64; 2]> = Arc::default();
    let seen = Arc::clone(&calls);
    let monitor = Monitor::builder()
        .on_error(move |_, _| {
            let inside = COLLECTS.with(Cell::get);
            seen[usize::from(inside)].fetch_add(1, Ordering::Relaxed);
        })
        .build();
    (monitor, calls)
}

fn so_far(calls: &[AtomicU64; 2]) -> [u64; 2] {
    calls.each_ref().map(|calls| calls.load(Ordering::Relaxed))
}

fn collect(exports: &mut Exports) {
    COLLECTS.with(|collects| collects.set(true));
    exports.collect();
    COLLECTS.with(|collects| collects.set(false));
}

#[test]
fn an_error_that_a_collection_met_is_told_by_whatever_the_program_does_next() {
    type Next = fn(&Monitor, &Group, &TcpStream, &mut Option<Watched<TcpStream>>);
    let nexts: [(&str, Next); 6] = [
        ("a snapshot", |monitor, _, _, _| drop(monitor.snapshot())),
        ("a group", |monitor, _, _, _| drop(monitor.group([]))),
        ("a watch", |monitor, _, spare, _| std::mem::forget(monitor.watch(spare, []))),
        ("a watch of a group", |_, group, spare, _| std::mem::forget(group.watch(spare))),
        ("the end of a watch", |_, _, _, good| drop(good.take())),
        ("another provider", |monitor, _, _, _| monitor.instrument(&Reader::with_provider().1)),
    ];
    for (what, next) in nexts {
        let (monitor, calls) = counting();
        let mut exports = Exports::new(&monitor, Temporality::Cumulative);
        let group = monitor.group([]);
        // Open to the end, so that no leaked handle of it is an error.
        let (spare, _server) = connected();
        let mut good = Some(group.watch(connected().0));
        let bad = group.watch(udp());
        for _ in 0..3 {
            collect(&mut exports);
        }
        assert_eq!(so_far(&calls), [0, 0], "before {what}");
        next(&monitor, &group, &spare, &mut good);
        assert_eq!(so_far(&calls), [1, 0], "{what}");
        collect(&mut exports);
        drop(bad);
        monitor.snapshot();
        assert_eq!(so_far(&calls), [1, 0], "after {what}");
    }
}

#[test]
fn no_error_is_told_inside_a_collection() {
    const ROUNDS: u64 = 50;
    let (monitor, calls) = counting();
    let mut exports = [Temporality::Cumulative, Temporality::Delta]
        .map(|temporality| Exports::new(&monitor, temporality));
    for round in 1..=ROUNDS {
        let bad = monitor.group([]).watch(udp());
        exports.iter_mut().for_each(collect);
        monitor.snapshot();
        drop(bad);
        assert_eq!(so_far(&calls), [round, 0]);
    }
}

#[test]
fn an_error_of_a_last_read_is_told_at_once() {
    let (monitor, calls) = counting();
    drop(monitor.group([]).watch(udp()));
    assert_eq!(so_far(&calls), [1, 0]);
    assert_eq!(monitor.snapshot().monitor.read_errors, [("EOPNOTSUPP", 1)]);
}

/// The callback does all that a program can do with a monitor and with the provider that it reports
/// to, and fails on the way.
#[test]
fn a_callback_may_do_anything_and_is_not_called_within_itself() {
    const AGAIN: u64 = 3;
    struct World {
        monitor: Monitor,
        exports: Mutex<Exports>,
    }
    let world: Arc<Mutex<Option<Arc<World>>>> = Arc::default();
    let (seen, depths) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (inner, calls, deepest) = (Arc::clone(&world), Arc::clone(&seen), Arc::clone(&depths));
    let monitor = Monitor::builder()
        .on_error(move |_, _| {
            let depth = CALLS.with(|calls| calls.replace(calls.get() + 1)) + 1;
            deepest.fetch_max(depth, Ordering::Relaxed);
            let call = calls.fetch_add(1, Ordering::Relaxed);
            let world = inner.lock().expect("whole").clone().expect("put there below");
            let meter = {
                let exports = world.exports.lock().expect("whole");
                exports.provider().meter("the program's own")
            };
            meter.u64_counter(format!("errors.{call}")).build().add(1, &[]);
            meter.u64_observable_counter(format!("seen.{call}")).with_callback(|_| {}).build();
            world.exports.lock().expect("whole").collect();
            let group = world.monitor.group([]);
            drop(group.watch(connected().0));
            drop(world.monitor.watch(&connected().0, []));
            world.monitor.snapshot();
            if call < AGAIN {
                drop(group.watch(udp()));
                let kept = group.watch(udp());
                world.exports.lock().expect("whole").collect();
                drop(kept);
            }
            // Somebody else can do all this meanwhile: no lock is held.
            let other = Arc::clone(&world);
            let beside = thread::spawn(move || {
                drop(other.monitor.group([]).watch(&connected().0));
                other.exports.lock().expect("whole").collect();
                other.monitor.snapshot();
            });
            beside.join().expect("nothing failed there");
            CALLS.with(|calls| calls.set(calls.get() - 1));
        })
        .build();
    let exports = Exports::new(&monitor, Temporality::Cumulative);
    let all = Arc::new(World { monitor, exports: Mutex::new(exports) });
    *world.lock().expect("whole") = Some(Arc::clone(&all));
    bounded("a callback that uses everything", move || {
        let group = all.monitor.group([]);
        let bad = group.watch(udp());
        for _ in 0..3 {
            all.exports.lock().expect("whole").collect();
        }
        for _ in 0..3 {
            all.monitor.snapshot();
        }
        drop(bad);
        all.monitor.snapshot();
    });
    // The first, and two more of each of the first three calls.
    assert_eq!(seen.load(Ordering::Relaxed), 1 + 2 * AGAIN);
    assert_eq!(depths.load(Ordering::Relaxed), 1);
    // The callback and its monitor hold each other.
    world.lock().expect("whole").take();
}

#[test]
fn a_callback_may_panic_while_a_panic_unwinds() {
    let seen = Arc::new(AtomicU64::new(0));
    let calls = Arc::clone(&seen);
    let monitor = Monitor::builder()
        .on_error(move |_, _| {
            calls.fetch_add(1, Ordering::Relaxed);
            panic!("the callback's own");
        })
        .build();
    let group = monitor.group([]);
    let unwinds = thread::spawn(move || {
        let _both = [group.watch(udp()), group.watch(udp())];
        panic!("the program's own");
    });
    assert!(unwinds.join().is_err());
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    drop(monitor.group([]).watch(udp()));
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}
