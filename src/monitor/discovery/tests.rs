//! Discoveries of real sockets on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use super::super::*;
use crate::diag::{Filter, Query, Socket};
use crate::info::{FIELDS, FieldValue};

/// A pair of connected sockets: the client's, and the server's.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

struct Server(TcpListener);

impl Server {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("loopback has ports"))
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }

    fn pair(&self) -> Pair {
        let client = TcpStream::connect(("127.0.0.1", self.port())).expect("it listens");
        let (server, _) = self.0.accept().expect("it was connected");
        Pair { client, server }
    }

    /// Everything at either end of its connections, listeners aside.
    fn query(&self) -> Query {
        let port = self.port();
        Query::new().with_filter(
            (Filter::local_port(port..=port) & Filter::peer_port(1..))
                | Filter::peer_port(port..=port),
        )
    }
}

impl Pair {
    /// Sends so many bytes from the client to the server, and waits until they are there.
    fn send(&mut self, bytes: usize) {
        self.client.write_all(&vec![7; bytes]).expect("the server lives");
        let mut room = vec![0; bytes];
        self.server.read_exact(&mut room).expect("the client lives");
        let acked = || crate::read::read(&self.client).ok()?.unacked;
        in_time("acknowledged", || acked() == Some(0));
    }
}

fn in_time(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what} in time");
        std::thread::yield_now();
    }
}

/// Opened, closed, live, bytes acknowledged and received, of all groups with this role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    opened: u64,
    closed: u64,
    live: u64,
    acked: u64,
    received: u64,
}

fn sum(monitor: &Monitor) -> Sum {
    let snapshot = monitor.snapshot();
    let mut sum = Sum::default();
    for group in &snapshot.groups {
        let get = |name: &str| {
            let field = FIELDS.iter().find(|field| field.name == name).expect("a row");
            match group.get(field) {
                Some(FieldValue::Integer(value)) => value,
                _ => 0,
            }
        };
        sum.opened += group.opened;
        sum.closed += group.closed;
        sum.live += group.live();
        sum.acked += get("bytes_acked");
        sum.received += get("bytes_received");
    }
    sum
}

fn each(server: &Server) -> [Discovery; 4] {
    let query = server.query();
    [
        Discovery::host().with_query(query.clone()),
        Discovery::process().with_query(query.clone()),
        Discovery::host().with_query(query.clone()).without_events(),
        Discovery::process().with_query(query).without_events(),
    ]
}

#[test]
fn what_was_there_is_the_base_and_what_comes_later_counts_in_full() {
    let server = Server::new();
    for discovery in each(&server) {
        let has_events = discovery.events;
        let text = format!("{discovery:?}");
        let mut before = server.pair();
        before.send(10_000);
        let monitor = Monitor::new();
        let guard = monitor.discover(discovery).expect("a discovery");
        assert_eq!(sum(&monitor), Sum { live: 2, ..Sum::default() }, "{text}");
        before.send(500);
        let live = Sum { live: 2, acked: 500, received: 500, ..Sum::default() };
        assert_eq!(sum(&monitor), live, "{text}");
        let mut later = server.pair();
        later.send(3_000);
        let both =
            Sum { opened: 2, live: 4, acked: 500 + 3_001, received: 3_500, ..Sum::default() };
        assert_eq!(sum(&monitor), both, "{text}");
        drop(later);
        let one = |acked, received| Sum { closed: 2, live: 2, acked, received, ..both };
        // The last reading has the acknowledged FIN, one or both.
        let closed = if has_events { one(3_502 + 1, 3_501) } else { one(3_501, 3_500) };
        in_time(&text, || {
            let now = sum(&monitor);
            (now.closed, now.live) == (2, 2) && now.received >= closed.received
        });
        drop(before);
        in_time(&text, || sum(&monitor).live == 0);
        assert_eq!((sum(&monitor).opened, sum(&monitor).closed), (2, 2), "{text}");
        drop(guard);
        let after = sum(&monitor);
        assert_eq!((after.opened, after.closed, after.live), (2, 2, 0), "{text}");
        assert_eq!(monitor.snapshot().monitor.discoveries, []);
    }
}

#[test]
fn a_connection_between_two_sweeps_counts_in_full_by_its_event() {
    let server = Server::new();
    let port = server.port();
    let served =
        server.query().with_filter(Filter::local_port(port..=port) & Filter::peer_port(1..));
    for (discovery, ends) in [
        (Discovery::host().with_query(server.query()), 2),
        // Of its clients, which live for less than a sighting, it sees some.
        (Discovery::process().with_query(served.clone()), 1),
        (Discovery::process().with_query(served).with_sighting_budget(0.0), 1),
    ] {
        let monitor = Monitor::new();
        let _guard = monitor.discover(discovery).expect("a discovery");
        for _ in 0..100 {
            let mut pair = server.pair();
            pair.send(1_000);
            // Both ends see the end of the other before they are closed.
            pair.client.shutdown(std::net::Shutdown::Write).expect("open");
            pair.server.read_to_end(&mut Vec::new()).expect("open");
            pair.server.shutdown(std::net::Shutdown::Write).expect("open");
            pair.client.read_to_end(&mut Vec::new()).expect("open");
        }
        in_time("all are closed", || sum(&monitor).closed == 100 * ends);
        let total = sum(&monitor);
        assert_eq!((total.opened, total.live), (100 * ends, 0));
        // The server acknowledges a SYN-ACK less: the client's SYN counts as a byte, its own not.
        let acked = if ends == 2 { 100 * 1_003 } else { 100 };
        let received = if ends == 2 { 100 * 1_002 } else { 100 * 1_001 };
        assert_eq!((total.acked, total.received), (acked, received));
    }
}

#[test]
fn everything_at_once_counts_once() {
    let server = Server::new();
    let query = server.query();
    let monitor = Monitor::new();
    let group = monitor.group([KeyValue::new("watched", true)]);
    let _process = monitor.discover(Discovery::process().with_query(query.clone())).expect("one");
    let _host = monitor.discover(Discovery::host().with_query(query.clone())).expect("two");
    let _again = monitor.discover(Discovery::host().with_query(query)).expect("three");
    let mut pair = server.pair();
    pair.send(100);
    let expected = Sum { opened: 2, closed: 0, live: 2, acked: 101, received: 100 };
    assert_eq!(sum(&monitor), expected);
    // Watched: it goes on.
    let Pair { client, server: accepted } = pair;
    let watched = group.watch(client);
    assert_eq!(sum(&monitor), expected);
    let mut pair = Pair { client: watched.try_clone().expect("a clone"), server: accepted };
    pair.send(50);
    let expected = Sum { acked: 151, received: 150, ..expected };
    assert_eq!(sum(&monitor), expected);
    // Given back: discovered again, in the group that watched it.
    let client = watched.into_inner();
    pair.send(25);
    let expected = Sum { acked: 176, received: 175, ..expected };
    assert_eq!(sum(&monitor), expected);
    // Watched once more, and closed as watched.
    let watched = group.watch(client);
    pair.send(25);
    let expected = Sum { acked: 201, received: 200, ..expected };
    assert_eq!(sum(&monitor), expected);
    drop(watched);
    drop(pair.client);
    in_time("one is closed", || sum(&monitor).closed == 1);
    drop(pair.server);
    in_time("both are closed", || sum(&monitor).closed == 2);
    let end = sum(&monitor);
    assert_eq!((end.opened, end.live), (2, 0));
}

#[test]
fn a_connection_that_is_given_back_goes_to_a_discovery_that_selects_it() {
    let (server, other) = (Server::new(), Server::new());
    let monitor = Monitor::new();
    let discover = |discovery: Discovery, server: &Server| {
        let discovery = discovery.with_query(server.query()).without_events();
        monitor.discover(discovery).expect("a discovery")
    };
    let _others = [Discovery::host(), Discovery::process()].map(|it| discover(it, &other));
    let group = monitor.group([KeyValue::new("watched", true)]);
    let mut pair = server.pair();
    pair.send(100);
    let client = group.watch(pair.client).into_inner();
    let sent = Sum { opened: 1, acked: 101, ..Sum::default() };
    // Nobody watches it, and no discovery selects it.
    (0..3).for_each(|_| assert_eq!(sum(&monitor), sent));
    // This one has it only as long as it lasts, and then nobody says that it has ended.
    let own = discover(Discovery::process(), &server);
    (0..3).for_each(|_| assert_eq!(sum(&monitor), Sum { live: 2, ..sent }));
    drop(own);
    (0..3).for_each(|_| assert_eq!(sum(&monitor), sent));
    drop(client);
}

#[test]
fn the_first_connections_of_a_new_server_are_its_own() {
    const SERVERS: usize = 50;
    let monitor = Monitor::new();
    let known = Server::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let grouping = move |socket: &Socket| {
        note.lock().expect("no panic").push(socket.local.port());
        None
    };
    // All of one core: a look that is interrupted must not use up what there is for the next ones.
    let discovery = Discovery::process().with_groups(grouping).with_sighting_budget(1.0);
    let _discovered = monitor.discover(discovery).expect("a process has descriptors");
    let ends_at = |port: u16| {
        let told = told.lock().expect("no panic");
        told.iter().filter(|it| **it == port).count()
    };
    told.lock().expect("no panic").clear();
    let mut found = 0;
    for _ in 0..SERVERS {
        let new = Server::new();
        drop(new.pair());
        // The kernel tells this one later. If others end so much that it is lost, the next one.
        let before = ends_at(known.port());
        let mut again = Instant::now();
        in_time("an end that is told", || {
            if again <= Instant::now() {
                drop(known.pair());
                again += Duration::from_secs(2);
            }
            ends_at(known.port()) > before
        });
        found += ends_at(new.port());
    }
    println!("measured: {found} of {SERVERS} first connections of a server");
    // All of them on an idle machine; one or none if the server is not looked for.
    assert!(found >= SERVERS / 2, "{found} of {SERVERS}");
}
