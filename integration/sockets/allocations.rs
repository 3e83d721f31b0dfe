//! What allocates: `read` nothing, to hold it to its word, and a sweep nothing for a socket.

use support::allocator::allocations;
use support::loopback::Pair;

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn read_allocates_nothing() {
    let pair = Pair::connect();
    // The first call of a process asks for the kernel's release and keeps it.
    tcpinfo::read(&pair.client).expect("it is connected");
    let reads = allocations(|| {
        for _ in 0..100 {
            std::hint::black_box(tcpinfo::read(&pair.client).expect("it is connected"));
            std::hint::black_box(tcpinfo::read(&pair.listener).expect("it listens"));
        }
    });
    assert_eq!(reads, 0);
}

#[test]
fn looking_at_every_field_allocates_nothing() {
    let pair = Pair::connect();
    let info = tcpinfo::read(&pair.client).expect("it is connected");
    let walk = allocations(|| {
        for (field, value) in info.fields() {
            std::hint::black_box((info.supports(field), value.as_f64(), value.is_zero()));
        }
    });
    assert_eq!(walk, 0);
}

#[test]
#[cfg(feature = "otel")]
fn a_sweep_allocates_for_groups_and_not_for_sockets() {
    let sweep = |sockets: usize| {
        let monitor = tcpinfo::Monitor::new();
        let group = monitor.group([]);
        let pairs: Vec<Pair> = (0..sockets).map(|_| Pair::connect()).collect();
        let _watched: Vec<_> =
            pairs.into_iter().map(|pair| (group.watch(pair.client), pair.server)).collect();
        // The first sweeps make room for what later ones need again.
        for _ in 0..2 {
            monitor.snapshot();
        }
        allocations(|| drop(monitor.snapshot()))
    };
    assert_eq!(sweep(1), sweep(250));
}

#[test]
#[cfg(feature = "otel")]
fn a_socket_that_moves_between_two_close_sweeps_allocates_once() {
    use std::io::Write;

    const SOCKETS: u64 = 50;
    let monitor = tcpinfo::Monitor::new();
    let group = monitor.group([]);
    let pairs: Vec<Pair> = (0..SOCKETS).map(|_| Pair::connect()).collect();
    let mut watched: Vec<_> =
        pairs.into_iter().map(|pair| (group.watch(pair.client), pair.server)).collect();
    let mut sweep = || {
        for (client, _) in &mut watched {
            client.write_all(&[7; 100]).expect("room for the bytes");
        }
        allocations(|| drop(monitor.snapshot()))
    };
    sweep();
    sweep();
    // What its counters said when the time of its next verdict began is in a box by now.
    let least = (0..20).map(|_| sweep()).min().expect("twenty sweeps");
    assert!(least < SOCKETS, "{least} allocations");
}
