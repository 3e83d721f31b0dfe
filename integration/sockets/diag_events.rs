//! The end of sockets as the kernel tells it, against what their two ends know.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tcpinfo::diag::{Event, Events, Socket};
use tcpinfo::{State, read, socket_cookie};

use support::allocator::allocations;
use support::loopback::{Pair, until};

const LONG: Duration = Duration::from_secs(20);

fn cookie(socket: impl AsFd) -> u64 {
    socket_cookie(socket).expect("sockets have cookies")
}

/// The end of the socket with this cookie. Other tests end sockets at the same time.
fn end(events: &mut Events, cookie: u64) -> Socket {
    loop {
        match events.next_within(LONG).expect("well-formed").expect("it ends") {
            Event::Ended(socket) if socket.cookie == cookie => return socket,
            Event::Lost => panic!("the buffer was full"),
            _ => {}
        }
    }
}

/// With room for what all other tests end meanwhile.
fn events() -> Events {
    let events = Events::open().expect("sock_diag answers");
    events.with_receive_buffer(8 << 20).expect("any number")
}

#[test]
fn the_last_counters_are_those_of_both_ends() {
    let mut events = events();
    for localhost in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let listener = match TcpListener::bind((localhost, 0)) {
            Ok(listener) => listener,
            Err(error) => {
                println!("SKIPPED: no sockets on {localhost}: {error}");
                continue;
            }
        };
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("the listener listens");
        let (mut server, _) = listener.accept().expect("the client connected");
        let local = client.local_addr().expect("it is bound");
        let cookies = [cookie(&client), cookie(&server), cookie(&listener)];
        client.write_all(&[7; 50_000]).expect("room in the buffers");
        client.shutdown(Shutdown::Write).expect("it is connected");
        let mut received = Vec::new();
        server.read_to_end(&mut received).expect("the client wrote");
        assert_eq!(received.len(), 50_000);
        server.write_all(&[9; 300]).expect("room in the buffers");
        drop(server);
        received.clear();
        client.read_to_end(&mut received).expect("the server wrote");
        let before = read(&client).expect("it is open");
        drop(client);

        let ended = end(&mut events, cookies[0]);
        assert_eq!((ended.state, ended.local, ended.peer), (State::Close, local, address));
        assert_eq!((ended.uid, ended.inode, &ended.congestion), (None, None, &None));
        assert_eq!((ended.cgroup, ended.shutdown, ended.mark), (None, None, None));
        let info = ended.info.expect("events have it");
        // SYN and FIN count as one each.
        assert_eq!(info.bytes_acked, Some(50_002));
        assert_eq!((info.bytes_received, info.reply_len), (Some(301), before.reply_len));
        assert_eq!(info.segs_out, before.segs_out);

        drop(listener);
        let listener = end(&mut events, cookies[2]);
        assert_eq!((listener.local, listener.peer.port()), (address, 0));
    }
}

#[test]
fn a_socket_that_was_never_connected_ends_as_well() {
    let mut events = events();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a descriptor");
    let cookie = cookie(&socket);
    drop(socket);
    let ended = end(&mut events, cookie);
    assert_eq!((ended.local.port(), ended.peer.port()), (0, 0));
}

#[test]
fn an_event_loop_sees_that_there_is_something() {
    let mut events = events();
    let Pair { client, server: _server, listener: _listener } = Pair::connect();
    let cookie = cookie(&client);
    drop(client);
    loop {
        let mut descriptors = [PollFd::new(&events, PollFlags::IN)];
        assert_eq!(poll(&mut descriptors, Some(&LONG.try_into().expect("short"))), Ok(1));
        assert_eq!(descriptors[0].revents(), PollFlags::IN);
        let event = events.try_next().expect("well-formed").expect("it is readable");
        if matches!(event, Event::Ended(socket) if socket.cookie == cookie) {
            break;
        }
    }
}

#[test]
fn a_full_buffer_is_an_item_and_no_end() {
    let events = Events::open().expect("sock_diag answers");
    let mut events = events.with_receive_buffer(0).expect("any number");
    let small = events.receive_buffer().expect("a socket");
    assert!(small < 10_000, "{small}");
    // More at once than there is room for, and only one is taken each time.
    until("an overrun", || {
        for _ in 0..20 {
            drop(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None));
        }
        let event = events.next_within(LONG).expect("no error");
        matches!(event.expect("sockets end"), Event::Lost).then_some(())
    });
    // It goes on, and is silent when there is nothing.
    until("a later end", || {
        drop(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None));
        let event = events.next().expect("it has no end").expect("no error");
        matches!(event, Event::Ended(_)).then_some(())
    });
}

#[test]
fn an_event_allocates_nothing() {
    let mut events = events();
    for _ in 0..50 {
        drop(Pair::connect());
    }
    let mut take = || {
        let event = events.next_within(LONG).expect("well-formed");
        assert!(matches!(event, Some(Event::Ended(_))), "{event:?}");
    };
    // The first asks for the kernel's release, which is kept.
    take();
    assert_eq!(allocations(|| (0..100).for_each(|_| take())), 0);
}

#[test]
fn a_receive_buffer_is_what_was_asked_for_or_says_what_it_is() {
    let events = Events::open().expect("sock_diag answers");
    let usual = events.receive_buffer().expect("a socket");
    let larger = events.with_receive_buffer(usual).expect("any number");
    let size = larger.receive_buffer().expect("a socket");
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("procfs");
    let limit: usize = limit.trim().parse().expect("a number");
    assert!([2 * usual, 2 * usual.min(limit)].contains(&size), "{size}, was {usual}");
    // More than any machine has room for is no error.
    drop(larger.with_receive_buffer(usize::MAX).expect("any number"));
}

#[test]
fn nobody_is_told_of_every_end() {
    let program = std::env::current_exe().expect("procfs");
    let mut nobody = Command::new(program);
    nobody.args(["--exact", "sockets::diag_events::the_last_counters_are_those_of_both_ends"]);
    nobody.args(["--nocapture", "--test-threads=1"]);
    match nobody.uid(65534).gid(65534).current_dir("/").output() {
        Err(error) => println!("SKIPPED: cannot run as nobody: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
    }
}
