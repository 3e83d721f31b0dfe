//! Sockets that a monitor finds by itself, the ends that the kernel tells, and the filters that it
//! runs: all of it exact, or what this kernel lacks.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use tcpinfo::diag::{Event, Events, Filter, IpPrefix, Query, Socket};
use tcpinfo::{Discovery, DiscoveryEvents, Monitor, socket_cookie};

use crate::record::Recorder;
use support::loopback::{Pair, until};
use support::reader::Reader;
use support::totals::{role, totals};

/// Connections that begin and end between two collections.
const SHORT: u64 = 100;
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn all(recorder: &mut Recorder) {
    if recorder.has_diag() {
        events(recorder);
        filters(recorder);
        details(recorder);
    }
    process(recorder);
    host(recorder);
}

/// A request of 700 bytes, an answer of 300, and the end, which the client begins.
fn exchange(listener: &TcpListener) {
    let address = listener.local_addr().expect("it is bound");
    let mut client = TcpStream::connect(address).expect("it listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    client.write_all(&[7; 700]).expect("room for it");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).expect("it was sent");
    server.write_all(&[9; 300]).expect("room for it");
    drop(server);
    client.read_to_end(&mut bytes).expect("it was sent");
    assert_eq!(bytes.len(), 1_000);
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports")
}

fn events(recorder: &mut Recorder) {
    let mut events = match Events::open() {
        Ok(events) => events,
        Err(error) => return recorder.say(format_args!("without events: {error}")),
    };
    let listener = listener();
    let address = listener.local_addr().expect("it is bound");
    exchange(&listener);
    let mut sums = [[0; 3]; 2];
    for _ in 0..2 {
        let socket = loop {
            let event = events.next_within(LONG).expect("well-formed").expect("they end");
            match event {
                Event::Ended(socket) if [socket.local, socket.peer].contains(&address) => {
                    break socket;
                }
                Event::Lost => panic!("no room for a few events"),
                _ => {}
            }
        };
        let info = socket.info.expect("events have it");
        let numbers = [info.bytes_acked, info.bytes_received, info.bytes_sent];
        sums[usize::from(socket.local == address)] = numbers.map(|it| it.unwrap_or(u64::MAX));
    }
    // Since Linux 4.19 the kernel counts what was sent.
    let expected = [[702, 301, 700], [301, 701, 300]];
    recorder.expect("events", sums == expected, || format!("{sums:?}"));
    recorder.say(format_args!("discovery events {sums:?}"));
}

fn cookies(query: &Query) -> std::io::Result<Vec<u64>> {
    let mut all =
        query.dump()?.map(|socket| Ok(socket?.cookie)).collect::<std::io::Result<Vec<_>>>()?;
    all.sort_unstable();
    Ok(all)
}

/// Each condition selects one end or both, and its opposite what is left.
fn filters(recorder: &mut Recorder) {
    let Pair { client, server, listener: _listener } = Pair::connect();
    let [near, far] = [&client, &server].map(|it| it.local_addr().expect("it is bound").port());
    let [one, other] = [&client, &server].map(|it| socket_cookie(it).expect("since Linux 4.12"));
    let mut both = vec![one, other];
    both.sort_unstable();
    let between = |near, far| Filter::local_port(near..=near) & Filter::peer_port(far..=far);
    let ours = between(near, far) | between(far, near);
    let localhost = IpPrefix::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let first = Query::new().with_filter(ours.clone()).dump().expect("inet_diag is there").next();
    let group = first.and_then(Result::ok).and_then(|socket: Socket| socket.cgroup);
    let mut known = Vec::new();
    for (name, filter, wanted) in [
        ("local_port", Filter::local_port(near..=near), vec![one]),
        ("peer_port", Filter::peer_port(..=far) & Filter::peer_port(far..), vec![one]),
        ("local", Filter::local(localhost), both.clone()),
        ("peer", !Filter::peer(localhost), vec![]),
        ("interface", Filter::interface(0), both.clone()),
        ("mark", Filter::mark(0, u32::MAX), both.clone()),
        (
            "cgroup",
            Filter::cgroup(group.unwrap_or(u64::MAX)),
            if group.is_some() { both.clone() } else { vec![] },
        ),
    ] {
        for (filter, wanted) in [
            (filter.clone(), wanted.clone()),
            (!filter, both.iter().copied().filter(|it| !wanted.contains(it)).collect()),
        ] {
            match cookies(&Query::new().with_filter(ours.clone() & filter)) {
                Ok(found) => {
                    recorder.expect(name, found == wanted, || format!("{found:?} {wanted:?}"));
                    if !known.contains(&name) {
                        known.push(name);
                    }
                }
                Err(error) => {
                    let says = error.to_string();
                    let precise = error.kind() == ErrorKind::Unsupported && says.contains(name);
                    recorder.expect(name, precise, || format!("an error that says little: {says}"));
                    recorder.say(format_args!("without the filter {name}: {says}"));
                    break;
                }
            }
        }
    }
    recorder.say(format_args!("discovery filters {}", known.join(" ")));
}

/// What a dump says beside `TCP_INFO`.
fn details(recorder: &mut Recorder) {
    let Pair { client, server: _server, listener: _listener } = Pair::connect();
    let address = client.local_addr().expect("it is bound");
    let query = Query::new().with_local_port(address.port()).with_memory().with_congestion();
    let mut dump = query.dump().expect("inet_diag is there");
    let socket = dump.next().expect("it is open").expect("well-formed");
    for (name, known) in [
        ("cgroup", socket.cgroup.is_some()),
        ("memory", socket.memory.is_some()),
        ("shutdown", socket.shutdown.is_some()),
        ("mark", socket.mark.is_some()),
        ("congestion", socket.congestion.is_some()),
    ] {
        if !known {
            recorder.say(format_args!("without {name} in dumps"));
        }
    }
    recorder.say(format_args!("discovery details {socket:?}"));
}

const OF_CLIENTS: [u64; 5] = [SHORT, SHORT, 700 * SHORT, 301 * SHORT, 702 * SHORT];
const OF_SERVERS: [u64; 5] = [SHORT, SHORT, 300 * SHORT, 701 * SHORT, 301 * SHORT];

/// Short connections under a discovery: what is counted of clients and of servers, as soon as so
/// many have ended.
fn short(discovery: Discovery, ends: u64) -> std::io::Result<(DiscoveryEvents, [[u64; 5]; 2])> {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let listener = listener();
    let discovered = monitor.discover(discovery)?;
    drop(reader.collected());
    (0..SHORT).for_each(|_| exchange(&listener));
    let told = discovered.events() == DiscoveryEvents::Told;
    let counted = || ["client", "server"].map(|it| totals(&reader.collected(), role(it)));
    let all = until("the ends of short connections", || {
        let all = counted();
        (!told || all[0][1] + all[1][1] >= ends && all.iter().all(|it| it[0] == it[1]))
            .then_some(all)
    });
    Ok((discovered.events(), all))
}

fn process(recorder: &mut Recorder) {
    match short(Discovery::process(), SHORT) {
        Ok((DiscoveryEvents::Told, [clients, servers])) => {
            // Clients that nobody saw while they lived belong to nobody.
            let fits = servers == OF_SERVERS && clients[0] <= SHORT && clients[0] == clients[1];
            recorder.expect("process", fits, || format!("{clients:?} {servers:?}"));
            recorder.say(format_args!("discovery process, events told, {clients:?} {servers:?}"));
        }
        Ok((events, _)) => {
            let says = matches!(events, DiscoveryEvents::Unavailable(_));
            recorder.expect("process", says, || format!("{events:?}"));
            recorder.say(format_args!("without events of a process: {events:?}"));
        }
        Err(error) => {
            recorder.expect("process", false, || error.to_string());
        }
    }
    // What lives is found in any case.
    let monitor = Monitor::new();
    let _discovered = monitor.discover(Discovery::process()).expect("procfs");
    let pair = Pair::connect();
    let found = monitor.snapshot().monitor.discovered;
    recorder.expect("process", found >= 3, || format!("{found} sockets found"));
    recorder.say(format_args!("discovery process, {found} sockets found"));
    drop(pair);
}

fn host(recorder: &mut Recorder) {
    match short(Discovery::host(), 2 * SHORT) {
        Ok((DiscoveryEvents::Told, all)) => {
            recorder.expect("host", all == [OF_CLIENTS, OF_SERVERS], || format!("{all:?}"));
            recorder.say(format_args!("discovery host, events told, {all:?}"));
        }
        Ok((events, _)) => {
            let says = matches!(events, DiscoveryEvents::Unavailable(_));
            recorder.expect("host", says, || format!("{events:?}"));
            recorder.say(format_args!("without events of a host: {events:?}"));
        }
        Err(error) => {
            let without = !recorder.has_diag() && error.kind() == ErrorKind::NotFound;
            recorder.expect("host", without, || error.to_string());
            recorder.say(format_args!("without a host's sockets: {error}"));
        }
    }
}
