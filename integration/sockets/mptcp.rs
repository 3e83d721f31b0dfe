//! Multipath TCP: what `TCP_INFO` says of such a socket, which is its first subflow's, and what a
//! monitor makes of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::Temporality;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tcpinfo::{Monitor, State, TcpInfo};

use crate::monitor::exports::Exports;
use support::loopback::until;

fn socket() -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    if let Err(error) = &socket {
        let current = std::thread::current();
        println!("SKIPPED: {}: no MPTCP: {error}", current.name().unwrap_or_default());
    }
    socket.ok()
}

/// A listener that offers it.
fn listener() -> Option<TcpListener> {
    let socket = socket()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&address.into()).expect("loopback has ports");
    socket.listen(16).expect("it is bound");
    Some(socket.into())
}

fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let socket = socket().expect("there was one before");
    let address = listener.local_addr().expect("it is bound");
    socket.connect(&address.into()).expect("it listens");
    let (server, _) = listener.accept().expect("the client connected");
    (socket.into(), server)
}

fn info(socket: &TcpStream) -> TcpInfo {
    tcpinfo::read(socket).expect("it is open")
}

/// Sends so many bytes, which are at the other end and acknowledged when this returns.
fn send(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) {
    from.write_all(&vec![1; bytes]).expect("it is connected");
    to.read_exact(&mut vec![0; bytes]).expect("the other end wrote as much");
    until("an acknowledgement", || (info(from).unacked == Some(0)).then_some(()));
}

/// The end of what the peer sends.
fn end(mut of: &TcpStream) {
    assert_eq!(of.read(&mut [0]).expect("the end"), 0);
}

/// An end of a connection, done to the client and the server of a pair.
type End = fn(&TcpStream, TcpStream);

/// Ways in which both sides end, told from the client's: it is closed after each.
const ENDS: [(&str, End); 5] = [
    ("the peer closes, and then this side shuts down", |client, server| {
        drop(server);
        end(client);
        client.shutdown(Shutdown::Write).expect("it is open");
    }),
    ("the peer closes, and this side does nothing", |client, server| {
        drop(server);
        end(client);
    }),
    ("this side shuts down, and then the peer closes", |client, server| {
        client.shutdown(Shutdown::Write).expect("it is connected");
        end(&server);
        drop(server);
        end(client);
    }),
    ("the peer resets", |client, server| {
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("it is open");
        drop(server);
        until("the reset", || (info(client).state == State::Close).then_some(()));
    }),
    ("the peer closes with bytes unread", |mut client, server| {
        client.write_all(&[1; 500]).expect("it is connected");
        drop(server);
        until("the reset", || (info(client).state == State::Close).then_some(()));
    }),
];

/// Whatever a kernel makes of the end: it says how much there was, or it says nothing. Never less,
/// and never half of it.
#[test]
fn a_socket_that_ended_says_all_it_counted_or_nothing() {
    let Some(listener) = listener() else { return };
    for (what, end) in ENDS {
        let (client, server) = connect(&listener);
        send(&client, &server, 1_000);
        send(&server, &client, 300);
        let counts = |info: &TcpInfo| [info.bytes_sent, info.bytes_acked, info.bytes_received];
        let before = info(&client);
        assert_eq!(before.state, State::Established);
        // The SYN counts as acknowledged.
        assert_eq!(counts(&before), [1_000, 1_001, 300].map(Some));
        end(&client, server);
        // Whichever it is, it settles.
        let mut after = info(&client);
        until("an end that stays", || {
            let last = std::mem::replace(&mut after, info(&client));
            (last.state == after.state && counts(&last) == counts(&after)).then_some(())
        });
        let grows =
            counts(&after).iter().zip(counts(&before)).all(|(after, before)| *after >= before);
        let nothing = counts(&after) == [None; 3];
        println!("{what}: {}, {:?}", after.state, counts(&after));
        assert!(grows || nothing, "{what}: {before:?} and then {after:?}");
    }
}

#[test]
fn what_a_sweep_saw_stays_whoever_closes_first() {
    let Some(listener) = listener() else { return };
    for (what, end) in ENDS {
        let monitor = Monitor::new();
        let mut both = Exports::both(&monitor);
        let group = monitor.group([KeyValue::new("group", "a")]);
        let (client, server) = connect(&listener);
        let labels = format!(
            "{{tcp.socket.cookie={}}}",
            tcpinfo::socket_cookie(&client).expect("since 4.12")
        );
        let client = group.watch(monitor.watch(client, []));
        send(&client, &server, 1_000);
        both.iter_mut().for_each(Exports::collect);
        end(&client, server);
        // What it sent after the sweep may be lost with a blank end; what it saw is not.
        let within = |all: f64| (1_000.0..=1_500.0).contains(&all);
        for _ in 0..3 {
            for exports in &mut both {
                exports.collect();
                let all = exports.sent("tcp", "{group=a}");
                let own = exports.sent("tcp.socket", &labels);
                assert!(within(all) && within(own), "{what}: {all}, {own}");
                assert_eq!(exports.sum("tcp.connection.opened{group=a}"), 1.0, "{what}");
            }
        }
        drop(client);
        monitor.snapshot();
        for exports in &mut both {
            exports.collect();
            let all = exports.sent("tcp", "{group=a}");
            assert!(within(all), "{what}: {all} at the end");
            let [opened, closed] = ["opened", "closed"]
                .map(|it| exports.sum(&format!("tcp.connection.{it}{{group=a}}")));
            assert_eq!((opened, closed), (1.0, 1.0), "{what}");
            let lives = exports.samples("tcp.connection.duration{group=a}");
            assert_eq!(lives, 1, "{what}");
        }
    }
}

/// A kernel gives what a listener accepts the listener's own cookie, once somebody has asked for
/// that: watching the listener does.
#[test]
fn what_a_watched_listener_accepts_is_told_apart() {
    let Some(listener) = listener() else { return };
    let monitor = Monitor::new();
    let mut exports = Exports::new(&monitor, Temporality::Cumulative);
    let group = monitor.group([KeyValue::new("group", "a")]);
    let listener = group.watch(listener);
    let pairs: Vec<_> = (0..3).map(|_| connect(&listener)).collect();
    let cookie = |socket: &TcpStream| tcpinfo::socket_cookie(socket).expect("since 4.12");
    let own = tcpinfo::socket_cookie(&listener).expect("since 4.12");
    let same = pairs.iter().filter(|(_, server)| cookie(server) == own).count();
    println!("{same} of 3 accepted sockets have their listener's cookie");
    let mut held = Vec::new();
    for (number, (client, server)) in pairs.into_iter().enumerate() {
        let server = group.watch(server);
        send(&server, &client, 100 * (1 + number));
        held.push((client, server));
    }
    exports.collect();
    assert_eq!(exports.latest("tcp.connection.opened{group=a}"), Some(3.0));
    assert_eq!(exports.latest_sent("tcp", "{group=a}"), Some(600.0));
    assert_eq!(monitor.snapshot().groups[0].live(), 4);
    // One after the other; each goes with what it counted, and the listener stays.
    while let Some((client, server)) = held.pop() {
        drop(server);
        drop(client);
        monitor.snapshot();
        exports.collect();
        let closed = 3.0 - held.len() as f64;
        assert_eq!(exports.latest("tcp.connection.closed{group=a}"), Some(closed));
        assert_eq!(exports.latest_sent("tcp", "{group=a}"), Some(600.0));
        assert_eq!(monitor.snapshot().groups[0].live(), 1 + held.len() as u64);
    }
}

/// Each accepted socket has a series of its own, although they have one cookie.
#[test]
fn accepted_sockets_with_one_cookie_lose_nothing_in_series_of_their_own() {
    let Some(listener) = listener() else { return };
    let monitor = Monitor::new();
    let mut both = Exports::both(&monitor);
    tcpinfo::socket_cookie(&listener).expect("since 4.12");
    let pairs: Vec<_> = (0..3).map(|_| connect(&listener)).collect();
    let mut held = Vec::new();
    for (number, (client, server)) in pairs.into_iter().enumerate() {
        let server = monitor.watch(server, [KeyValue::new("number", number as i64)]);
        send(&server, &client, 100 * (1 + number));
        held.push((client, server));
    }
    for exports in &mut both {
        exports.collect();
        let all = exports.series_of("tcp.socket.data.sent");
        let sent: Vec<_> = all.into_iter().map(|series| exports.latest(series)).collect();
        assert_eq!(sent, [100.0, 200.0, 300.0].map(Some));
    }
}

/// A peer without it: the kernel falls back to TCP, and the socket is as any other.
#[test]
fn without_a_peer_that_speaks_it_it_is_tcp() {
    let Some(socket) = socket() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    socket.connect(&address.into()).expect("it listens");
    let (client, server) = (TcpStream::from(socket), listener.accept().expect("connected").0);
    let monitor = Monitor::new();
    let mut exports = Exports::new(&monitor, Temporality::Cumulative);
    let client = monitor.group([KeyValue::new("group", "a")]).watch(client);
    send(&client, &server, 1_000);
    drop(server);
    end(&client);
    until("the end", || (info(&client).state == State::CloseWait).then_some(()));
    drop(client);
    monitor.snapshot();
    exports.collect();
    assert_eq!(exports.latest_sent("tcp", "{group=a}"), Some(1_000.0));
    assert_eq!(exports.latest("tcp.connection.closed{group=a}"), Some(1.0));
}
