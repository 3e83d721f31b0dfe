//! The monitor's own gauges, while threads come and go.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcpinfo::Monitor;

/// Each is taken out by the first sweep that meets it, at once.
#[test]
fn sockets_that_sweeps_take_out_are_never_fewer_than_none() {
    const THREADS: u64 = 24;
    let monitor = Monitor::new();
    // One after the other has the same lock, so that whoever has it is interrupted often.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let group = monitor.group([]);
                while !done.load(Ordering::Relaxed) {
                    drop(group.watch(&socket));
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(monitor.snapshot().monitor.watched, Ordering::Relaxed);
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2_500)
            && most.load(Ordering::Relaxed) <= THREADS
        {
            thread::sleep(Duration::from_millis(10));
        }
        done.store(true, Ordering::Relaxed);
    });
    let most = most.into_inner();
    assert!(most <= THREADS, "{most} sockets, of {THREADS}");
    assert_eq!(monitor.snapshot().monitor.watched, 0);
}
