//! Connections that live between two collections: every one is counted once, and every byte of it.

use std::time::{Duration, Instant};

use tcpinfo::diag::{Event, Events, Query};
use tcpinfo::{Discovery, DiscoveryEvents, Monitor};

use super::scene::{
    Generator, Totals, connections, of_clients, of_servers, providers, role, totals,
    while_collecting,
};
use support::alone::in_namespace;
use support::exchanges::{Made, Plan, Side, connect, listen, serve};
use support::loopback::until;
use support::reader::{Collected, Reader};

const RATE: u64 = 2_500;

fn both(collected: &Collected) -> [Totals; 2] {
    [totals(collected, role("client")), totals(collected, role("server"))]
}

fn of(made: &Made) -> [Totals; 2] {
    [of_clients(made.client), of_servers(made.server)]
}

/// What both say as soon as so many connections have ended.
fn settled(reader: &Reader, ended: u64) -> [Totals; 2] {
    let patience = Instant::now() + Duration::from_secs(30);
    until("the end of every connection", || {
        let both = both(&reader.collected());
        (both[0][1] + both[1][1] >= ended || Instant::now() > patience).then_some(both)
    })
}

fn told(monitor: &Monitor) {
    let snapshot = monitor.snapshot();
    let own = &snapshot.monitor;
    assert_eq!((own.event_overruns, &own.read_errors), (0, &vec![]));
    assert!(own.discoveries.iter().all(|it| it.events == DiscoveryEvents::Told), "{own:?}");
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_that_is_collected_every_second_loses_nothing() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let providers = providers(&monitor, 2);
        let readers: Vec<_> = providers.iter().map(|(reader, _)| reader.clone()).collect();
        let mut generator = Generator::both(connections(), RATE, 0);
        let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
        let made = while_collecting(&readers, || {
            generator.go();
            generator.made()
        });
        for reader in &readers {
            assert_eq!(settled(reader, 2 * connections()), of(&made));
        }
        // Both ends are in a group of either role, and no other group has anything.
        let all = totals(&readers[0].collected(), |_| true);
        let sums = of(&made);
        assert_eq!(all, std::array::from_fn(|at| sums[0][at] + sums[1][at]));
        told(&monitor);
        println!("measured: {} connections of a host, {:.0}/s", made.client[0], made.rate());
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_that_is_collected_once_loses_nothing() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let providers = providers(&monitor, 1);
        let mut events = Events::open()
            .and_then(|events| events.with_receive_buffer(4 << 20))
            .expect("sock_diag answers");
        let mut generator = Generator::both(connections(), RATE, 0);
        let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
        generator.go();
        // Somebody else who is told of every end: then the kernel has told the monitor as well.
        for _ in 0..2 * connections() {
            let event = events.next_within(Duration::from_secs(60)).expect("well-formed");
            assert!(matches!(event, Some(Event::Ended(_))), "{event:?}");
        }
        let made = generator.made();
        assert_eq!(both(&providers[0].0.collected()), of(&made));
        told(&monitor);
        println!("measured: {} connections, one collection, {:.0}/s", made.client[0], made.rate());
    });
}

/// Dumps and walks run all the time, so that many an event comes while a dump is under way that
/// still shows its socket.
fn without_a_pause(discoveries: &[fn() -> Discovery]) {
    let monitor = Monitor::new();
    let providers = providers(&monitor, 1);
    let reader = &providers[0].0;
    let mut generator = Generator::both(connections() / 2, RATE, 1);
    let _all: Vec<_> = discoveries
        .iter()
        .map(|discovery| monitor.discover(discovery()).expect("sock_diag answers"))
        .collect();
    generator.go();
    let mut collections = 0;
    while !generator.is_done() {
        drop(reader.collected());
        collections += 1;
    }
    let made = generator.made();
    assert_eq!(settled(reader, connections()), of(&made));
    told(&monitor);
    println!("measured: {collections} collections beside {} connections", made.client[0]);
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_that_is_collected_without_a_pause_loses_nothing() {
    in_namespace(|| without_a_pause(&[Discovery::host]));
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_and_a_process_that_are_collected_without_a_pause_lose_nothing() {
    in_namespace(|| without_a_pause(&[Discovery::host, Discovery::process]));
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn servers_that_begin_later_are_servers() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let providers = providers(&monitor, 1);
        let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
        let mut generator = Generator::both(connections() / 10, RATE, 0);
        generator.go();
        let made = generator.made();
        assert_eq!(settled(&providers[0].0, connections() / 5), of(&made));
        told(&monitor);
    });
}

/// Connections that another process makes to this one.
fn accepted(hold: u64, strangers: bool) {
    let monitor = Monitor::new();
    let providers = providers(&monitor, 2);
    let readers: Vec<_> = providers.iter().map(|(reader, _)| reader.clone()).collect();
    let listeners = listen().expect("loopback has ports");
    let addresses: Vec<_> =
        listeners.iter().map(|it| it.local_addr().expect("it is bound")).collect();
    let server: &Side = Box::leak(Box::default());
    serve(&listeners, server).expect("there are descriptors");
    let mut generator = Generator::to(&addresses, connections(), RATE, hold);
    let mut others = strangers.then(|| Generator::both(connections() / 4, RATE / 4, hold));
    let _discovered = monitor.discover(Discovery::process()).expect("a process has descriptors");
    let made = while_collecting(&readers, || {
        generator.go();
        others.iter_mut().for_each(Generator::go);
        assert!(others.iter().all(|it| it.made().rate() > 0.0));
        generator.made()
    });
    until("the last answer", || (server.counted()[0] == connections()).then_some(()));
    let expected = [Totals::default(), of_servers(server.counted())];
    for reader in &readers {
        assert_eq!(settled(reader, connections()), expected);
    }
    told(&monitor);
    println!("measured: {} connections accepted here, {:.0}/s", made.client[0], made.rate());
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_process_that_accepts_for_a_few_milliseconds_loses_nothing() {
    in_namespace(|| accepted(3, false));
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_process_does_not_count_what_others_do() {
    in_namespace(|| accepted(1, true));
}

/// What a process sees of connections that it makes itself and shows to nobody.
fn seen(monitor: &Monitor, count: u64, rate: u64, hold: u64) -> (Totals, Totals) {
    let providers = providers(monitor, 1);
    let readers = [providers[0].0.clone()];
    let mut generator = Generator::at(count);
    generator.go();
    let addresses = generator.addresses.clone();
    let before = totals(&readers[0].collected(), |_| true);
    let client = Side::default();
    let plan = Plan { count, rate, hold, addresses };
    while_collecting(&readers, || connect(&plan, &client).expect("the servers answer"));
    let made = of_clients(client.counted());
    assert_eq!(generator.made().server[0], count);
    let clients = until("the end of what was seen", || {
        let collected = readers[0].collected();
        assert_eq!(totals(&collected, role("server")), Totals::default());
        let now = totals(&collected, role("client"));
        (now[0] == now[1]).then_some(now)
    });
    (std::array::from_fn(|at| clients[at] - before[at]), made)
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_process_sees_its_own_clients_as_far_as_they_live() {
    in_namespace(|| {
        for (hold, count, rate) in [(1, 4_000, 2_000), (5, 4_000, 2_000), (50, 1_000, 400)] {
            let monitor = Monitor::new();
            let discovered = monitor.discover(Discovery::process());
            let _discovered = discovered.expect("a process has descriptors");
            let (seen, made) = seen(&monitor, count, rate, hold);
            // What is seen is seen in full, and nothing twice.
            assert!(seen.iter().zip(made).all(|(seen, made)| *seen <= made), "{seen:?} {made:?}");
            println!(
                "measured: of {count} hidden clients open for {hold} ms, {} seen ({:.1} %)",
                seen[0],
                100.0 * seen[0] as f64 / made[0] as f64
            );
            told(&monitor);
        }
        // Open for longer than from one collection to the next: all of them, to the byte.
        let monitor = Monitor::new();
        let discovered = monitor.discover(Discovery::process());
        let _discovered = discovered.expect("a process has descriptors");
        let (seen, made) = seen(&monitor, 24, 1_000, 2_500);
        assert_eq!(seen, made);
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_query_leaves_out_what_ends_unseen_too() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let providers = providers(&monitor, 1);
        let mut generator = Generator::both(connections() / 5, RATE, 0);
        let wanted = generator.addresses[0].port();
        let query = Query::new().with_local_port(wanted);
        let discovery = Discovery::host().with_query(query);
        let _discovered = monitor.discover(discovery).expect("sock_diag answers");
        generator.go();
        let made = generator.made();
        // The servers take turns.
        let expected = made.server[0].div_ceil(generator.addresses.len() as u64);
        let [clients, servers] = settled(&providers[0].0, expected);
        assert_eq!((clients, servers[0], servers[1]), (Totals::default(), expected, expected));
        let mut other = Generator::both(100, RATE, 0);
        other.go();
        other.made();
        assert_eq!(both(&providers[0].0.collected()), [clients, servers]);
    });
}
