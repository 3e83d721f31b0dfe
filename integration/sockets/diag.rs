//! The sockets of this machine as `sock_diag` tells them, against the same sockets held here.
#![cfg(feature = "diag")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tcpinfo::diag::{IpFamily, Query, Socket, find, sockets};
use tcpinfo::{FIELDS, State, TcpInfo, congestion, read, socket_cookie};

use support::loopback::{Pair, until};

/// What a dump yields, all of it well-formed.
fn dump(query: Query) -> Vec<Socket> {
    query.dump().and_then(Iterator::collect).expect("sock_diag answers")
}

fn cookie(socket: impl AsFd) -> u64 {
    socket_cookie(socket).expect("sockets have cookies")
}

fn addresses(stream: &TcpStream) -> (SocketAddr, SocketAddr) {
    let local = stream.local_addr().expect("it is bound");
    (local, stream.peer_addr().expect("it is connected"))
}

fn found(stream: &TcpStream) -> Socket {
    let (local, peer) = addresses(stream);
    find(local, peer).expect("sock_diag answers").expect("the socket is open")
}

/// Both ends of a connection to this address, `None` where the machine lacks it.
fn connect(listen: IpAddr, to: IpAddr) -> Option<(TcpStream, TcpStream, TcpListener)> {
    let listener = match TcpListener::bind((listen, 0)) {
        Ok(listener) => listener,
        Err(error) => {
            println!("SKIPPED: no sockets on {listen}: {error}");
            return None;
        }
    };
    let port = listener.local_addr().expect("it is bound").port();
    let client = TcpStream::connect((to, port)).expect("the listener listens");
    let (server, _) = listener.accept().expect("the client connected");
    Some((client, server, listener))
}

#[test]
fn the_same_connection_by_dump_by_address_and_by_descriptor() {
    let Pair { mut client, mut server, listener: _listener } = Pair::connect();
    client.write_all(&[7; 5000]).expect("room in the buffers");
    server.read_exact(&mut [0; 3000]).expect("the client wrote");
    until("the acknowledgement", || {
        (read(&client).expect("a connection").bytes_acked == Some(5001)).then_some(())
    });

    let (local, peer) = addresses(&client);
    for stream in [&client, &server] {
        let (local, peer) = addresses(stream);
        let before = read(stream).expect("a connection");
        let query = Query::new().with_local_port(local.port()).with_peer_port(peer.port());
        let listed = dump(query.with_congestion());
        let [listed] = <[_; 1]>::try_from(listed).expect("one socket has these ports");
        let found = found(stream);
        let after = read(stream).expect("a connection");

        for socket in [&listed, &found] {
            assert_eq!(
                (socket.state, socket.local, socket.peer),
                (State::Established, local, peer)
            );
            assert_eq!(socket.cookie, cookie(stream));
            assert_eq!(socket.congestion, congestion(stream).ok());
            assert_eq!(socket.interface, None);
            let info = socket.info.as_ref().expect("a connection has it");
            assert_eq!(info.reply_len, before.reply_len);
            for field in FIELDS {
                let value = info.get(field);
                let either = [before.get(field), after.get(field)];
                let running = field.name.starts_with("last_");
                assert!(running || either.contains(&value), "{}: {value:?}", field.name);
            }
        }
        assert_eq!((listed.uid, listed.inode), (found.uid, found.inode));
        let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor(stream)));
        let inode = listed.inode.expect("the socket is open");
        assert_eq!(link.expect("procfs").to_string_lossy(), format!("socket:[{inode}]"));
    }
    assert_eq!((found(&client).receive_queue, found(&client).send_queue), (0, 0));
    assert_eq!((found(&server).receive_queue, found(&server).send_queue), (2000, 0));
    let everywhere = sockets().expect("sock_diag answers");
    assert_eq!(everywhere.iter().filter(|s| (s.local, s.peer) == (local, peer)).count(), 1);
}

fn descriptor(stream: &TcpStream) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(stream)
}

#[test]
fn a_listener_is_never_found_in_a_connections_place() {
    let Pair { client, server, listener } = Pair::connect();
    let (local, peer) = addresses(&client);
    let stranger = SocketAddr::new(local.ip(), 1);
    assert_eq!(find(peer, stranger).expect("sock_diag answers"), None);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    assert_eq!(find(peer, any).expect("sock_diag answers"), None);
    assert_eq!(found(&server).cookie, cookie(&server));
    assert_ne!(cookie(&server), cookie(&listener));
    // Nothing at all with this address.
    drop(listener);
    assert_eq!(find(peer, stranger).expect("sock_diag answers"), None);
    let mixed = find(local, (Ipv6Addr::LOCALHOST, 1).into()).expect_err("no such connection");
    assert_eq!(mixed.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn a_listener_shows_its_queue_and_backlog() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a descriptor");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).expect("loopback has ports");
    listener.listen(5).expect("it is bound");
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().expect("it is bound");
    let clients = [(); 3].map(|()| TcpStream::connect(address).expect("the listener listens"));

    let query = Query::new().with_local_port(address.port());
    let told = until("three in the queue", || {
        let all = dump(query.clone().with_states([State::Listen]));
        let [socket] = <[_; 1]>::try_from(all).expect("one listener has this port");
        (socket.receive_queue == 3).then_some(socket)
    });
    assert_eq!((told.state, told.local, told.send_queue), (State::Listen, address, 5));
    assert_eq!(told.peer, (Ipv4Addr::UNSPECIFIED, 0).into());
    assert_eq!(told.cookie, cookie(&listener));
    assert_eq!(told.info, read(&listener).ok());
    let info = told.info.expect("listeners have it");
    assert_eq!((info.accept_queue, info.backlog), (Some(3), Some(5)));
    // What waits to be accepted has no file yet.
    let waiting = dump(query.with_states([State::Established]));
    assert_eq!(waiting.iter().map(|socket| socket.inode).collect::<Vec<_>>(), [None; 3]);
    drop(clients);
}

#[test]
fn ipv6_connections_are_told_as_they_are() {
    let localhost = IpAddr::from(Ipv6Addr::LOCALHOST);
    let Some((client, server, _listener)) = connect(localhost, localhost) else { return };
    for stream in [&client, &server] {
        let (local, peer) = addresses(stream);
        let query = Query::new().with_local_port(local.port()).with_peer_port(peer.port());
        assert_eq!(dump(query.clone().with_family(IpFamily::Ipv4)), []);
        for socket in dump(query.with_family(IpFamily::Ipv6)).into_iter().chain([found(stream)]) {
            assert_eq!((socket.local, socket.peer), (local, peer));
            assert_eq!(socket.cookie, cookie(stream));
        }
    }
}

#[test]
fn dual_stack_connections_are_ipv4() {
    let (any, localhost) = (Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into());
    let Some((client, server, listener)) = connect(any, localhost) else { return };
    let (mapped, mapped_peer) = addresses(&server);
    let local = SocketAddr::new(localhost, mapped.port());
    let peer = client.local_addr().expect("it is bound");
    assert!(mapped.is_ipv6() && mapped_peer.is_ipv6(), "std says ::ffff:127.0.0.1");

    let query = Query::new().with_local_port(local.port()).with_peer_port(peer.port());
    assert_eq!(dump(query.clone().with_family(IpFamily::Ipv6)), []);
    let listed = dump(query.with_family(IpFamily::Ipv4));
    assert_eq!(listed.len(), 1);
    let plain = find(local, peer).expect("sock_diag answers").expect("the socket is open");
    for socket in listed.into_iter().chain([found(&server), plain]) {
        assert_eq!((socket.local, socket.peer), (local, peer));
        assert_eq!(socket.cookie, cookie(&server));
    }

    let listening = Query::new().with_states([State::Listen]).with_local_port(local.port());
    let all: Vec<_> = dump(listening).iter().map(|s| (s.local.ip(), s.cookie)).collect();
    assert_eq!(all, [(any, cookie(&listener))]);
}

#[test]
fn a_listener_on_a_mapped_address_is_ipv4() {
    let mapped = IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    let Some((_client, _server, listener)) = connect(mapped, Ipv4Addr::LOCALHOST.into()) else {
        return;
    };
    let port = listener.local_addr().expect("it is bound").port();
    let all = dump(Query::new().with_states([State::Listen]).with_local_port(port));
    let told: Vec<_> = all.iter().map(|socket| (socket.local, socket.peer)).collect();
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    assert_eq!(told, [((Ipv4Addr::LOCALHOST, port).into(), any)]);
}

// Where other tests fill the host's table of ended connections (`net.ipv4.tcp_max_tw_buckets`), one
// that finds no room is gone at once: the two tests below try again with another.

#[test]
fn time_wait_has_addresses_and_nothing_else() {
    let (told, [local, peer], number) = until("TIME_WAIT", || {
        let Pair { client, server, listener: _listener } = Pair::connect();
        let (local, peer) = addresses(&client);
        let number = cookie(&client);
        client.shutdown(Shutdown::Both).expect("it is connected");
        drop(client);
        drop(server);
        let found = find(local, peer).expect("sock_diag answers");
        found.filter(|s| s.state == State::TimeWait).map(|told| (told, [local, peer], number))
    });
    assert_eq!((told.local, told.peer, told.cookie), (local, peer, number));
    assert_eq!((&told.info, &told.congestion), (&None, &None));
    assert_eq!((told.uid, told.inode), (None, None));
    assert_eq!((told.receive_queue, told.send_queue), (0, 0));

    let query = Query::new().with_local_port(local.port()).with_peer_port(peer.port());
    assert_eq!(dump(query.clone()), []);
    assert_eq!(dump(query.with_states([State::TimeWait])), [told]);
}

#[test]
fn an_orphan_that_waits_for_the_peer_keeps_no_info() {
    let told = until("FIN_WAIT2 of an orphan", || {
        let Pair { client, server: _server, listener: _listener } = Pair::connect();
        let (local, peer) = addresses(&client);
        drop(client);
        let found = find(local, peer).expect("sock_diag answers");
        found.filter(|s| s.state == State::FinWait2 && s.info.is_none())
    });
    assert_eq!((told.uid, told.inode), (None, None));
}

#[test]
fn no_socket_is_lost_among_two_thousand() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let pairs = connections().min(1000);
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..pairs {
        clients.push(TcpStream::connect(address).expect("the listener listens"));
        servers.push(listener.accept().expect("the client connected").0);
    }
    println!("{} sockets", 2 * pairs);
    let held = |streams: &[TcpStream]| streams.iter().map(cookie).collect::<BTreeSet<_>>();
    let established = Query::new().with_states([State::Established]);
    for (query, streams) in [
        (established.clone().with_local_port(address.port()), &servers),
        (established.with_peer_port(address.port()), &clients),
    ] {
        let listed = dump(query);
        let infos: Vec<&TcpInfo> = listed.iter().filter_map(|s| s.info.as_ref()).collect();
        assert_eq!((listed.len(), infos.len()), (pairs, pairs));
        assert!(infos.iter().all(|info| info.state == State::Established));
        assert_eq!(
            listed.iter().map(|socket| socket.cookie).collect::<BTreeSet<_>>(),
            held(streams)
        );
    }
    let everywhere: BTreeSet<_> =
        sockets().expect("sock_diag answers").iter().map(|socket| socket.cookie).collect();
    assert!(held(&clients).is_subset(&everywhere) && held(&servers).is_subset(&everywhere));
}

/// Connections whose two ends there are descriptors for, half of them left to other tests.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("procfs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft = line.split_whitespace().nth(3).expect("a soft limit");
    soft.parse().map_or(usize::MAX, |files: usize| files / 4)
}

#[test]
fn states_and_ports_are_filtered() {
    let Pair { client, server, listener } = Pair::connect();
    let (local, peer) = addresses(&client);
    let cookies = |query: Query| -> BTreeSet<u64> {
        dump(query).iter().map(|socket| socket.cookie).collect()
    };
    let here = Query::new().with_local_port(peer.port());
    assert_eq!(cookies(here.clone()), [cookie(&server), cookie(&listener)].into());
    assert_eq!(cookies(here.clone().with_peer_port(local.port())), [cookie(&server)].into());
    assert_eq!(cookies(here.clone().with_states([State::Listen])), [cookie(&listener)].into());
    assert_eq!(cookies(here.clone().with_states([State::Established])), [cookie(&server)].into());
    assert_eq!(cookies(here.clone().with_states([State::SynSent, State::Unknown(13)])), [].into());
    assert_eq!(cookies(here.with_states([])), [].into());
}

#[test]
fn nobody_sees_everything() {
    let Pair { client, listener: _listener, server: _server } = Pair::connect();
    let (local, peer) = addresses(&client);
    let program = std::env::current_exe().expect("procfs");
    let mut nobody = Command::new(program);
    nobody.args(["--exact", "sockets::diag::nobodys_part", "--ignored"]);
    nobody.args(["--nocapture", "--test-threads=1"]);
    nobody.env("TCPINFO_FIND", format!("{local} {peer} {}", cookie(&client)));
    match nobody.uid(65534).gid(65534).current_dir("/").output() {
        // EPERM where we are nobody ourselves: then every test here proves it.
        Err(error) => println!("SKIPPED: cannot run as nobody: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("nobody found it"), "{text}");
        }
    }
}

#[test]
#[ignore = "the part of nobody_sees_everything that runs as nobody"]
fn nobodys_part() {
    let Ok(wanted) = std::env::var("TCPINFO_FIND") else { return };
    let [local, peer, number] = wanted.split(' ').collect::<Vec<_>>()[..] else {
        panic!("two addresses and a cookie, not {wanted}")
    };
    let (local, peer) = (local.parse().expect("an address"), peer.parse().expect("an address"));
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let socket = find(local, peer).expect("sock_diag answers").expect("somebody's socket");
    assert_eq!(socket.cookie.to_string(), number);
    assert!(socket.info.is_some() && socket.inode.is_some());
    assert_eq!(socket.mark, None, "the kernel hides marks");
    let everywhere = sockets().expect("sock_diag answers");
    assert!(everywhere.iter().any(|other| other.cookie == socket.cookie));
    println!("nobody found it");
}

#[cfg(feature = "serde")]
#[test]
fn a_socket_is_json() {
    let Pair { client, server: _server, listener: _listener } = Pair::connect();
    let (local, peer) = addresses(&client);
    let json = serde_json::to_value(found(&client)).expect("nothing in it can fail");
    assert_eq!(json["state"], "established");
    assert_eq!(
        (&json["local"], &json["peer"]),
        (&local.to_string().into(), &peer.to_string().into())
    );
    assert_eq!(json["cookie"], cookie(&client));
    assert_eq!(json["interface"], serde_json::Value::Null);
    assert_eq!(json["info"]["bytes_received"], 0);
    assert_eq!(json["congestion"]["algorithm"], congestion(&client).expect("a socket").algorithm);
}
