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
use support::lateness::Lateness;
use support::loopback::until;
use support::reader::{Collected, Reader};

const RATE: u64 = 2_500;

fn both(collected: &Collected) -> [Totals; 2] {
    [totals(collected, role("client")), totals(collected, role("server"))]
}

fn of(made: &Made) -> [Totals; 2] {
    [of_clients(made.client), of_servers(made.server)]
}

/// What both say as soon as so many connections have ended, or some ends were lost.
fn settled(monitor: &Monitor, reader: &Reader, ended: u64) -> [Totals; 2] {
    let patience = Instant::now() + Duration::from_secs(30);
    until("the end of every connection", || {
        let both = both(&reader.collected());
        let is_over = both[0][1] + both[1][1] >= ended
            || Instant::now() > patience
            || monitor.snapshot().monitor.event_overruns > 0;
        is_over.then_some(both)
    })
}

/// Whether the kernel told every end. On a machine that gave the monitor's thread no time for a
/// second it did not, and said so.
fn told(monitor: &Monitor, lateness: &Lateness) -> Result<(), String> {
    let snapshot = monitor.snapshot();
    let own = &snapshot.monitor;
    assert!(own.discoveries.iter().all(|it| it.events == DiscoveryEvents::Told), "{own:?}");
    if own.event_overruns > 0 {
        lateness.slowed(Duration::from_secs(1));
        return Err(format!("{} overruns", own.event_overruns));
    }
    assert_eq!(own.read_errors, []);
    Ok(())
}

/// Plays a scene in a namespace, again if ends were lost because the machine was late.
fn in_time(scene: impl FnMut(&Lateness) -> Result<(), String>) {
    support::lateness::in_time(Duration::from_millis(100), scene);
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_that_is_collected_every_second_loses_nothing() {
    in_namespace(|| {
        in_time(|lateness| {
            let monitor = Monitor::new();
            let providers = providers(&monitor, 2);
            let readers = [0, 1].map(|at: usize| providers[at].0.clone());
            let mut generator = Generator::both(connections(), RATE, 0);
            let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
            let made = while_collecting(&readers, || {
                generator.go();
                generator.made()
            });
            let settled = readers.each_ref().map(|it| settled(&monitor, it, 2 * connections()));
            told(&monitor, lateness)?;
            assert_eq!(settled, [of(&made); 2]);
            // Both ends are in a group of either role, and no other group has anything.
            let all = totals(&readers[0].collected(), |_| true);
            let sums = of(&made);
            assert_eq!(all, std::array::from_fn(|at| sums[0][at] + sums[1][at]));
            println!("measured: {} connections of a host, {:.0}/s", made.client[0], made.rate());
            Ok(())
        });
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_that_is_collected_once_loses_nothing() {
    in_namespace(|| {
        in_time(|lateness| {
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
                if matches!(event, Some(Event::Lost)) {
                    lateness.slowed(Duration::from_secs(1));
                    return Err("the test itself lost events".to_owned());
                }
                assert!(matches!(event, Some(Event::Ended(_))), "{event:?}");
            }
            let made = generator.made();
            let collected = both(&providers[0].0.collected());
            told(&monitor, lateness)?;
            assert_eq!(collected, of(&made));
            println!(
                "measured: {} connections, one collection, {:.0}/s",
                made.client[0],
                made.rate()
            );
            Ok(())
        });
    });
}

/// Dumps and walks run all the time, so that many an event comes while a dump is under way that
/// still shows its socket.
fn without_a_pause(discoveries: &[fn() -> Discovery], lateness: &Lateness) -> Result<(), String> {
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
    let settled = settled(&monitor, reader, connections());
    told(&monitor, lateness)?;
    assert_eq!(settled, of(&made));
    println!("measured: {collections} collections beside {} connections", made.client[0]);
    Ok(())
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_that_is_collected_without_a_pause_loses_nothing() {
    in_namespace(|| in_time(|lateness| without_a_pause(&[Discovery::host], lateness)));
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_host_and_a_process_that_are_collected_without_a_pause_lose_nothing() {
    in_namespace(|| {
        in_time(|lateness| without_a_pause(&[Discovery::host, Discovery::process], lateness));
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn servers_that_begin_later_are_servers() {
    in_namespace(|| {
        in_time(|lateness| {
            let monitor = Monitor::new();
            let providers = providers(&monitor, 1);
            let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
            let mut generator = Generator::both(connections() / 10, RATE, 0);
            generator.go();
            let made = generator.made();
            let settled = settled(&monitor, &providers[0].0, connections() / 5);
            told(&monitor, lateness)?;
            assert_eq!(settled, of(&made));
            Ok(())
        });
    });
}

/// Connections that another process makes to this one.
fn accepted(hold: u64, strangers: bool, lateness: &Lateness) -> Result<(), String> {
    let monitor = Monitor::new();
    let providers = providers(&monitor, 2);
    let readers = [0, 1].map(|at: usize| providers[at].0.clone());
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
    let settled = readers.each_ref().map(|reader| settled(&monitor, reader, connections()));
    told(&monitor, lateness)?;
    assert_eq!(settled, [expected; 2]);
    println!("measured: {} connections accepted here, {:.0}/s", made.client[0], made.rate());
    Ok(())
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_process_that_accepts_for_a_few_milliseconds_loses_nothing() {
    in_namespace(|| in_time(|lateness| accepted(3, false, lateness)));
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_process_does_not_count_what_others_do() {
    in_namespace(|| in_time(|lateness| accepted(1, true, lateness)));
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
    /// What one discovery sees of them, and what was made.
    fn scene(
        [hold, count, rate]: [u64; 3],
        lateness: &Lateness,
    ) -> Result<(Totals, Totals), String> {
        let monitor = Monitor::new();
        let discovered = monitor.discover(Discovery::process());
        let _discovered = discovered.expect("a process has descriptors");
        let (seen, made) = seen(&monitor, count, rate, hold);
        // What is seen is seen in full, and nothing twice.
        assert!(seen.iter().zip(made).all(|(seen, made)| *seen <= made), "{seen:?} {made:?}");
        told(&monitor, lateness)?;
        Ok((seen, made))
    }

    in_namespace(|| {
        in_time(|lateness| {
            for [hold, count, rate] in [[1, 4_000, 2_000], [5, 4_000, 2_000], [50, 1_000, 400]] {
                let (seen, made) = scene([hold, count, rate], lateness)?;
                println!(
                    "measured: of {count} hidden clients open for {hold} ms, {} seen ({:.1} %)",
                    seen[0],
                    100.0 * seen[0] as f64 / made[0] as f64
                );
            }
            Ok(())
        });
        // Open for longer than from one collection to the next: all of them, to the byte.
        in_time(|lateness| {
            let (seen, made) = scene([2_500, 24, 1_000], lateness)?;
            if seen[0] < made[0] {
                lateness.slowed(Duration::from_secs(1));
                return Err(format!("{} of {} seen", seen[0], made[0]));
            }
            assert_eq!(seen, made);
            Ok(())
        });
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_query_leaves_out_what_ends_unseen_too() {
    in_namespace(|| {
        in_time(|lateness| {
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
            let [clients, servers] = settled(&monitor, &providers[0].0, expected);
            told(&monitor, lateness)?;
            assert_eq!((clients, servers[0], servers[1]), (Totals::default(), expected, expected));
            let mut other = Generator::both(100, RATE, 0);
            other.go();
            other.made();
            told(&monitor, lateness)?;
            assert_eq!(both(&providers[0].0.collected()), [clients, servers]);
            Ok(())
        });
    });
}
