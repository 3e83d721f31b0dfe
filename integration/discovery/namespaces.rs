//! A monitor that discovers another network namespace than its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use tcpinfo::diag::Query;
use tcpinfo::{Discovery, Monitor};

use super::scene::{Totals, totals};
use crate::faults::namespace::{Namespace, with_two_of};
use support::alone::test_of;
use support::loopback::until;
use support::reader::Reader;

/// Both ends of a connection over which `len` bytes went.
fn connection(len: usize) -> [TcpStream; 2] {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let mut client =
        TcpStream::connect(listener.local_addr().expect("it is bound")).expect("listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    client.write_all(&vec![7; len]).expect("room for it");
    server.read_exact(&mut vec![0; len]).expect("it was sent");
    [client, server]
}

fn in_namespaces<F: FnOnce([Namespace; 2])>(work: F) {
    let done = with_two_of(test_of::<F>(), |namespaces| {
        for namespace in &namespaces {
            namespace.output("ip", &["link", "set", "lo", "up"]);
        }
        work(namespaces);
        Ok(())
    });
    done.expect("it panics instead");
}

#[test]
#[ignore = "needs unshare and ip: integration/test.sh"]
fn sockets_of_another_namespace_are_seen_with_it_and_not_without() {
    in_namespaces(|[one, other]| {
        let monitors = [(); 2].map(|()| Monitor::new());
        let readers = monitors.each_ref().map(|monitor| {
            let (reader, provider) = Reader::with_provider();
            monitor.instrument(&provider);
            (reader, provider)
        });
        let descriptor = one.as_fd().try_clone_to_owned().expect("a descriptor");
        let query = Query::new().with_namespace(descriptor);
        let there = Discovery::host().with_query(query);
        let _there = monitors[0].discover(there).expect("sock_diag answers");
        // Here other tests have connections: only those of one port are looked at.
        let before = one.inside(|| connection(1_000));
        let [_, server] = &before;
        let port = server.local_addr().expect("it is bound").port();
        let group = move |socket: &tcpinfo::diag::Socket| {
            let ours = [socket.local.port(), socket.peer.port()].contains(&port);
            ours.then(Vec::new)
        };
        let here = Discovery::host().with_groups(group);
        let _here = other.inside(|| monitors[1].discover(here)).expect("sock_diag answers");
        let all = |at: usize| totals(&readers[at].0.collected(), |_| true);
        assert_eq!(all(0)[..4], [2, 0, 1_000, 1_000]);
        let also = other.inside(|| connection(70));
        assert_eq!(all(0)[..3], [2, 0, 1_000], "what is in the other namespace");
        drop(before);
        // Ended between two collections, as well.
        let unseen = one.inside(|| connection(2_000));
        drop(unseen);
        let ended = until("the ends", || Some(all(0)).filter(|all| all[1] == 4));
        assert_eq!(ended[..3], [4, 4, 3_000]);
        assert_eq!(all(1), Totals::default(), "the namespace of whoever discovers");
        drop(also);
    });
}
