//! The program's function that groups connections: it panics, takes long, and finds its discovery
//! gone. And what a sweep allocates.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use opentelemetry::KeyValue;
use tcpinfo::diag::{Filter, Query, Socket};
use tcpinfo::{Discovery, Monitor};

use support::allocator::allocations;
use support::loopback::until;
use support::reader::Reader;
use support::totals::totals;

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports")
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
}

fn connect(listener: &TcpListener) -> [TcpStream; 2] {
    let client = TcpStream::connect(listener.local_addr().expect("it is bound"));
    [client.expect("it listens"), listener.accept().expect("it is connected").0]
}

/// The accepted ends at these listeners, whose other ports are high.
fn served(listeners: &[&TcpListener]) -> Query {
    let at = |it: &&TcpListener| Filter::local_port(port(it)..=port(it));
    Query::new().with_filter(Filter::any(listeners.iter().map(at)) & Filter::peer_port(1..))
}

#[test]
fn a_grouping_that_panics_costs_its_connection_only() {
    let (good, bad) = (listener(), listener());
    for discovery in [Discovery::process(), Discovery::host()] {
        let errors = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&errors);
        let note = move |_: &tcpinfo::Attributes, error: &std::io::Error| {
            told.lock().expect("no panic").push(error.to_string());
        };
        let monitor = Monitor::builder().on_error(note).build();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let panics_at = port(&bad);
        let grouping = move |socket: &Socket| {
            assert!(socket.local.port() != panics_at, "as the test wants it");
            Some(vec![KeyValue::new("port", "good")])
        };
        let discovery = discovery.with_query(served(&[&good, &bad])).with_groups(grouping);
        let _discovered = monitor.discover(discovery).expect("sock_diag answers");
        let all = || totals(&reader.collected(), |_| true);
        // Met by a pass: each of two connections at both.
        let pairs = [&good, &bad, &good, &bad].map(connect);
        assert_eq!(all()[..2], [2, 0]);
        assert_eq!(all()[..2], [2, 0], "it is asked once");
        drop(pairs);
        until("their ends", || (all()[1] == 2).then_some(()));
        // Met by their events only.
        (0..10).for_each(|_| drop([&bad, &good].map(connect)));
        until("the ends of all", || (all()[1] == 12).then_some(()));
        assert_eq!(all()[..2], [12, 12]);
        let snapshot = monitor.snapshot();
        let panics: u64 = snapshot.monitor.read_errors.iter().map(|(_, count)| count).sum();
        // The last ones may not have been met yet. An end is asked about once more, as it is new.
        assert!(panics >= 2, "{:?}", snapshot.monitor.read_errors);
        drop(monitor.group([]));
        let errors = errors.lock().expect("no panic");
        assert!(!errors.is_empty() && errors.iter().all(|it| it.contains("panic")), "{errors:?}");
    }
}

#[test]
fn a_discovery_may_end_while_it_is_collected() {
    let listener = listener();
    for discovery in [Discovery::process, Discovery::host] {
        let monitor = Monitor::new();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let (within, ended) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let waits = Arc::new(AtomicBool::new(true));
        let grouping = {
            let (within, ended, waits) = (within.clone(), ended.clone(), waits.clone());
            move |_: &Socket| {
                if waits.swap(false, Ordering::AcqRel) {
                    within.wait();
                    ended.wait();
                }
                Some(vec![KeyValue::new("found", true)])
            }
        };
        let query = served(&[&listener]);
        let counted = discovery().with_query(query.clone()).with_groups(grouping);
        let discovered = monitor.discover(counted).expect("sock_diag answers");
        let pairs = [(); 5].map(|()| connect(&listener));
        thread::scope(|scope| {
            let collecting = scope.spawn(|| reader.collected());
            // The pass is in the grouping of the first connection.
            within.wait();
            drop(discovered);
            ended.wait();
            let collected = collecting.join().expect("a collection");
            assert_eq!(totals(&collected, |_| true), [0; 5], "it had ended");
        });
        assert_eq!(totals(&reader.collected(), |_| true), [0; 5]);
        // And once more, as if nothing had been: all five are there before.
        let _again = monitor.discover(discovery().with_query(query)).expect("sock_diag answers");
        let live = || monitor.snapshot().groups.iter().map(|it| it.live()).sum::<u64>();
        assert_eq!((totals(&reader.collected(), |_| true), live()), ([0; 5], 5));
        drop(pairs);
        until("the ends", || (live() == 0).then_some(()));
        assert_eq!(totals(&reader.collected(), |_| true)[..2], [0, 0]);
    }
}

#[test]
fn a_sweep_that_finds_nothing_new_allocates_nothing_for_a_socket() {
    for discovery in [Discovery::process, Discovery::host] {
        let counts = [20, 200].map(|count| {
            let listener = listener();
            let groups = AtomicU64::new(0);
            let grouping = move |_: &Socket| {
                groups.fetch_add(1, Ordering::Relaxed);
                Some(vec![KeyValue::new("found", true)])
            };
            let monitor = Monitor::new();
            let discovery = discovery().with_query(served(&[&listener])).with_groups(grouping);
            let _discovered = monitor.discover(discovery).expect("sock_diag answers");
            let pairs: Vec<_> = (0..count).map(|_| connect(&listener)).collect();
            (0..3).for_each(|_| drop(monitor.snapshot()));
            assert_eq!(monitor.snapshot().monitor.discovered, count);
            let allocated = allocations(|| drop(monitor.snapshot()));
            drop(pairs);
            allocated
        });
        // Samples and buffers grow by doubling, whatever there is.
        assert!(counts[1] <= counts[0] + 8, "{counts:?}");
        println!("measured: {counts:?} allocations a sweep of 20 and of 200 sockets");
    }
}
