//! Sockets of other network namespaces than the test's own.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use tcpinfo::diag::{Event, Events, Query};
use tcpinfo::{State, socket_cookie};

use crate::faults::namespace::{Namespace, in_two};

fn cookie(socket: impl AsFd) -> u64 {
    socket_cookie(socket).expect("sockets have cookies")
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("every namespace has ports")
}

fn listeners(query: &Query) -> Vec<u64> {
    let dump = query.dump().expect("sock_diag answers");
    dump.map(|socket| socket.expect("well-formed").cookie).collect()
}

/// The namespace as a program gets it that opens `/run/netns/name`.
fn query_in(namespace: &Namespace) -> Query {
    let descriptor = namespace.as_fd().try_clone_to_owned().expect("a descriptor");
    Query::new().with_states([State::Listen]).with_namespace(descriptor)
}

#[test]
fn sockets_are_seen_in_their_namespace_only() {
    in_two(|[one, other]| {
        let [in_one, in_other] = [&one, &other].map(|namespace| namespace.inside(listener));
        let here = listener();
        let [number, other_number] = [&in_one, &in_other].map(cookie);
        assert_eq!(listeners(&query_in(&one)), [number]);
        assert_eq!(listeners(&query_in(&other)), [other_number]);
        let outside = listeners(&Query::new().with_states([State::Listen]));
        assert!(outside.contains(&cookie(&here)));
        assert!(!outside.contains(&number) && !outside.contains(&other_number));
    });
}

#[test]
fn the_end_of_a_socket_is_told_in_its_namespace_only() {
    in_two(|[one, other]| {
        let mut told = Events::open_in(&one).expect("sock_diag answers");
        let mut elsewhere = Events::open_in(&other).expect("sock_diag answers");
        let [in_one, in_other] = [&one, &other].map(|namespace| namespace.inside(listener));
        let [first, second] = [&in_one, &in_other].map(cookie);
        drop(in_one);
        drop(in_other);
        // Nobody else is there, so each stream begins with the socket of its own namespace.
        for (events, cookie) in [(&mut told, first), (&mut elsewhere, second)] {
            let event = events.next_within(Duration::from_secs(20)).expect("no error");
            assert!(matches!(event, Some(Event::Ended(socket)) if socket.cookie == cookie));
            assert_eq!(events.try_next().expect("no error"), None);
        }
    });
}
