//! Discoveries that begin and end, with signals and while connections end: nothing stays behind.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tcpinfo::{Discovery, DiscoveryEvents, Monitor};

use super::scene::{Ends, Generator, connections, of_clients, of_servers, providers, role, totals};
use support::allocator::{give_back, live};
use support::alone::in_namespace;
use support::lateness::in_time;
use support::loopback::until;
use support::signals;

/// Descriptors and threads of this process.
fn held() -> [BTreeSet<String>; 2] {
    let names = |path: &str| {
        let all = std::fs::read_dir(path).expect("procfs");
        all.map(|it| it.expect("procfs").file_name().into_string().expect("a number")).collect()
    };
    // The directory itself is open while it is read, with the lowest free number.
    [names("/proc/self/fd"), names("/proc/self/task")]
}

/// Begins and ends discoveries: nothing may be left of any.
fn nothing_is_left(what: &str, times: u64, begin: impl Fn(&Monitor) -> tcpinfo::Discovered) {
    let monitor = Monitor::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("listens");
    let server = listener.accept().expect("it is connected").0;
    let again = |times: u64| {
        for time in 0..times {
            let discovered = begin(&monitor);
            if time % 7 == 0 {
                drop(monitor.snapshot());
            }
            drop(discovered);
        }
    };
    again(times / 10);
    give_back();
    let (before, bytes) = (held(), live());
    again(times);
    let more = live() as i64 - bytes as i64;
    let after = until("every thread to be gone", || {
        let after = held();
        (after.each_ref().map(BTreeSet::len) == before.each_ref().map(BTreeSet::len))
            .then_some(after)
    });
    let [descriptors, threads] = after.map(|it| it.len());
    println!(
        "measured: {times} discoveries of {what} begun and ended: {descriptors} descriptors, \
         {threads} threads, {more} bytes more"
    );
    assert!(more < 65_536, "{more} bytes more than before");
    drop((client, server));
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn thousands_of_discoveries_leave_nothing_behind() {
    in_namespace(|| {
        let begin = |what: fn() -> Discovery| {
            move |monitor: &Monitor| monitor.discover(what()).expect("sock_diag answers")
        };
        nothing_is_left("the process", connections() / 5, begin(Discovery::process));
        // Each has to ask for the host's sockets: milliseconds.
        let times = connections() / 20;
        nothing_is_left("the host", times, begin(Discovery::host));
        let without = begin(|| Discovery::host().without_events());
        nothing_is_left("the host without events", times, without);
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_discovery_that_ends_while_connections_do_counts_no_more() {
    in_namespace(|| {
        in_time(Duration::from_millis(100), |lateness| {
            let ends = Ends::listen();
            let monitor = Monitor::new();
            let providers = providers(&monitor, 1);
            let all = || totals(&providers[0].0.collected(), |_| true);
            let mut generator = Generator::both(connections() / 2, 1_000, 1);
            generator.go();
            let mut last = all();
            let mut rounds = 0;
            while !generator.is_done() {
                let discovery = [Discovery::host, Discovery::process][rounds % 2];
                let discovered = monitor.discover(discovery()).expect("sock_diag answers");
                match rounds % 6 {
                    0 => drop(monitor.snapshot()),
                    // While at least one connection ends.
                    4 => until("an end", || {
                        (all()[1] > last[1] || generator.is_done()).then_some(())
                    }),
                    _ => {}
                }
                drop(discovered);
                rounds += 1;
                let ended = all();
                assert!(
                    ended.iter().zip(last).all(|(now, last)| *now >= last),
                    "{ended:?} {last:?}"
                );
                thread::park_timeout(Duration::from_millis(5));
                assert_eq!(all(), ended, "it counts after its end");
                last = ended;
            }
            println!("measured: {rounds} discoveries, {} ends counted", last[1]);
            if rounds <= 10 || last[1] == 0 {
                lateness.slowed(Duration::from_secs(1));
                return Err(format!("{rounds} discoveries, {last:?}"));
            }
            let made = generator.made();
            let sum = |at: usize| of_clients(made.client)[at] + of_servers(made.server)[at];
            assert!((0..5).all(|at| last[at] <= sum(at)), "{last:?} {made:?}");
            // And once more, as if nothing had been.
            ends.wait(made.client[0] + made.server[0]);
            let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
            let mut again = Generator::both(500, 1_000, 1);
            again.go();
            let made = again.made();
            let expected: Vec<u64> = (0..5)
                .map(|at| last[at] + of_clients(made.client)[at] + of_servers(made.server)[at])
                .collect();
            until("the ends", || (all()[1] == expected[1]).then_some(()));
            assert_eq!(all().to_vec(), expected);
            Ok(())
        });
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn signals_interrupt_nothing() {
    in_namespace(|| {
        signals::handle();
        let monitor = Monitor::new();
        let providers = providers(&monitor, 1);
        let mut generator = Generator::both(connections() / 2, 2_000, 1);
        let discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
        let _own = monitor.discover(Discovery::process()).expect("there are descriptors");
        assert_eq!(discovered.events(), DiscoveryEvents::Told);
        let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let made = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    sent.fetch_add(signals::to_every_thread(), Ordering::Relaxed);
                    thread::park_timeout(Duration::from_micros(200));
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    drop(providers[0].0.collected());
                }
            });
            generator.go();
            let made = generator.made();
            done.store(true, Ordering::Release);
            made
        });
        let settled = until("the end of every connection", || {
            let collected = providers[0].0.collected();
            let both = [totals(&collected, role("client")), totals(&collected, role("server"))];
            (both[0][1] + both[1][1] >= 2 * made.client[0]).then_some(both)
        });
        assert_eq!(settled, [of_clients(made.client), of_servers(made.server)]);
        let snapshot = monitor.snapshot();
        assert_eq!((snapshot.monitor.event_overruns, &snapshot.monitor.read_errors), (0, &vec![]));
        println!(
            "measured: {} signals sent and {} handled while {} connections ended",
            sent.load(Ordering::Relaxed),
            signals::handled(),
            made.client[0]
        );
        assert!(signals::handled() > 0);
    });
}
