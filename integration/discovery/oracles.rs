//! A quiet host's dump, socket by socket and number by number, against programs and files that show
//! the same sockets: `ss -tanie`, `/proc/net/tcp` and `/proc/net/tcp6`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs,
};
use std::process::Command;

use socket2::{Domain, Type};
use tcpinfo::State;
use tcpinfo::diag::{Query, Socket};

use crate::sockets::ss::{Line, expected, growing, leading};
use support::alone::in_namespace;
use support::loopback::until;

/// What keeps sockets in their states.
#[derive(Default)]
struct Scene {
    listeners: Vec<TcpListener>,
    streams: Vec<TcpStream>,
    others: Vec<socket2::Socket>,
}

impl Scene {
    fn listen(&mut self, address: impl ToSocketAddrs, backlog: i32) -> SocketAddr {
        let address = address.to_socket_addrs().expect("an address").next().expect("one");
        let domain = Domain::for_address(address);
        let listener = socket2::Socket::new(domain, Type::STREAM, None).expect("a descriptor");
        if domain == Domain::IPV6 {
            listener.set_only_v6(false).expect("before it is bound");
        }
        listener.bind(&address.into()).expect("every port is free");
        listener.listen(backlog).expect("it is bound");
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().expect("it is bound");
        self.listeners.push(listener);
        address
    }

    fn connect(&mut self, to: SocketAddr) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(to).expect("it listens");
        let listeners = &self.listeners;
        let listener = listeners
            .iter()
            .find(|it| it.local_addr().is_ok_and(|local| local.port() == to.port()));
        let (server, _) = listener.expect("it was made here").accept().expect("it was connected");
        (client, server)
    }

    /// Every state that a program can hold or leave behind, in both families.
    fn every_state() -> Self {
        let mut scene = Self::default();
        let localhosts = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        for localhost in localhosts {
            let listener = scene.listen((localhost, 0), 20);
            // Established: idle, with bytes that wait to be read, and exchanged.
            for (sent, read) in [(0, 0), (5_000, 0), (70_000, 70_000), (900, 400)] {
                let (mut client, mut server) = scene.connect(listener);
                client.write_all(&vec![7; sent]).expect("room for it");
                server.read_exact(&mut vec![0; read]).expect("it was sent");
                server.write_all(&vec![9; read / 2]).expect("room for it");
                client.read_exact(&mut vec![0; read / 2]).expect("it was sent");
                scene.streams.extend([client, server]);
            }
            // A half-close: FIN_WAIT2 and CLOSE_WAIT, with bytes that nobody reads.
            let (mut client, server) = scene.connect(listener);
            client.write_all(&[7; 300]).expect("room for it");
            client.shutdown(Shutdown::Write).expect("it is connected");
            scene.streams.extend([client, server]);
            // Nobody reads: a closed window, and in the end FIN_WAIT1.
            let (mut client, server) = scene.connect(listener);
            client.set_nonblocking(true).expect("it is open");
            until("a full buffer", || client.write(&[0; 1 << 16]).err());
            let (other, held) = scene.connect(listener);
            other.set_nonblocking(true).expect("it is open");
            until("a full buffer", || (&other).write(&[0; 1 << 16]).err());
            other.shutdown(Shutdown::Write).expect("it is connected");
            scene.streams.extend([client, server, other, held]);
            // TIME_WAIT, and FIN_WAIT2 whose program is gone.
            let (client, server) = scene.connect(listener);
            drop(client);
            drop(server);
            let (client, server) = scene.connect(listener);
            drop(client);
            scene.streams.push(server);
            // In the accept queue, and SYN_SENT, as there is no room in another queue.
            scene.streams.push(TcpStream::connect(listener).expect("it listens"));
            let full = scene.listen((localhost, 0), 0);
            scene.streams.push(TcpStream::connect(full).expect("one fits in"));
            for _ in 0..2 {
                let domain = Domain::for_address(full);
                let trying = socket2::Socket::new(domain, Type::STREAM, None).expect("descriptor");
                trying.set_nonblocking(true).expect("it is open");
                assert!(trying.connect(&full.into()).is_err(), "no room");
                scene.others.push(trying);
            }
        }
        // IPv4 over sockets of IPv6, and listeners on every address.
        let dual = scene.listen((Ipv6Addr::UNSPECIFIED, 0), 7);
        let pair = scene.connect((Ipv4Addr::LOCALHOST, dual.port()).into());
        scene.streams.extend([pair.0, pair.1]);
        scene.listen((Ipv4Addr::UNSPECIFIED, 0), 3);
        scene.listen((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0), 3);
        scene
    }
}

/// The dump by cookie, at a moment that lasts.
fn dump() -> BTreeMap<u64, Socket> {
    let query = Query::new().with_states((1..=11).map(State::from)).with_congestion();
    let all = query.dump().expect("sock_diag answers");
    let all = all.map(|socket| socket.expect("well-formed"));
    all.map(|socket| (socket.cookie, socket)).collect()
}

/// What of a socket can be compared while time goes on.
fn quiet(socket: &Socket) -> impl PartialEq + use<> {
    let words = socket.info.as_ref().zip(socket.congestion.as_ref());
    let words = words.map(|(info, congestion)| expected(congestion, info));
    let queues = (socket.receive_queue, socket.send_queue);
    (socket.state, socket.local, socket.peer, socket.uid, socket.inode, queues, words)
}

/// Something that was shown while no socket changed, and the dumps before and after it.
fn at_rest<T>(show: impl Fn() -> T) -> (BTreeMap<u64, Socket>, T, BTreeMap<u64, Socket>) {
    until("a moment in which nothing happens", || {
        let (before, shown, after) = (dump(), show(), dump());
        let same = before.len() == after.len()
            && before.iter().all(|(cookie, socket)| {
                after.get(cookie).is_some_and(|after| quiet(after) == quiet(socket))
            });
        same.then_some((before, shown, after))
    })
}

fn states(sockets: &BTreeMap<u64, Socket>) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for socket in sockets.values() {
        *states.entry(socket.state.to_string()).or_default() += 1;
    }
    states
}

/// An address as `ss` writes it: `*` for any of both families, and for no port.
fn written(text: &str) -> SocketAddr {
    let (ip, port) = text.rsplit_once(':').expect("an address and a port");
    let port = if port == "*" { 0 } else { port.parse().expect("a port") };
    let ip = ip.trim_matches(['[', ']']);
    let ip: IpAddr =
        if ip == "*" { Ipv6Addr::UNSPECIFIED.into() } else { ip.parse().expect("an IP") };
    SocketAddr::new(ip.to_canonical(), port)
}

fn ss() -> Vec<String> {
    let output = Command::new("ss").arg("-tanieOH").output().expect("ss, of iproute2");
    let text = String::from_utf8(output.stdout).expect("ss prints text");
    text.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs unshare and ss: integration/test.sh"]
fn ss_shows_the_same_of_every_socket() {
    in_namespace(|| {
        let _scene = Scene::every_state();
        let (before, lines, after) = at_rest(ss);
        assert_eq!(lines.len(), before.len(), "{lines:#?}");
        for text in &lines {
            let mut line = Line::parse(text);
            let detail = |name: &str| {
                let found = line.details.iter().find_map(|detail| detail.strip_prefix(name));
                found.map(str::to_owned)
            };
            let cookie = detail("sk:").expect("every socket has one");
            let cookie = u64::from_str_radix(&cookie, 16).expect("a number");
            let socket = before.get(&cookie).unwrap_or_else(|| panic!("not dumped: {text}"));
            let state = socket.state.to_string().to_uppercase().replace('_', "-");
            let state = if state == "ESTABLISHED" { "ESTAB" } else { &state };
            assert_eq!(line.state, state, "{text}");
            let queues = (line.receive_queue, line.send_queue);
            assert_eq!(
                queues,
                (u64::from(socket.receive_queue), u64::from(socket.send_queue)),
                "{text}"
            );
            assert_eq!(line.addresses.each_ref().map(|it| written(it))[0], socket.local, "{text}");
            let peer = written(&line.addresses[1]);
            assert_eq!(
                (peer.ip().is_unspecified(), peer.port()),
                (socket.peer.ip().is_unspecified(), socket.peer.port()),
                "{text}"
            );
            let number = |name: &str| detail(name).map(|it| it.parse::<u32>().expect("a number"));
            assert_eq!(number("ino:").filter(|it| *it != 0), socket.inode, "{text}");
            let uid = number("uid:").unwrap_or(0);
            assert_eq!(uid, socket.uid.unwrap_or(0), "{text}");
            let Some(info) = &socket.info else {
                assert_eq!(line.words, BTreeMap::new(), "{text}");
                continue;
            };
            let shut = socket.shutdown.expect("it comes with info");
            let arrow =
                [if shut.receive { '-' } else { '<' }, '-', if shut.send { '-' } else { '>' }];
            assert_eq!(line.details.last(), Some(&arrow.iter().collect()), "{text}");
            let later = after[&cookie].info.as_ref().expect("it is the same socket");
            for ((name, least), (_, most)) in growing(info).into_iter().zip(growing(later)) {
                let shown = leading(line.words.remove(name));
                // Before the first segment, the kernel says how long the machine runs.
                if socket.state == State::SynSent && name.starts_with("last") {
                    assert_eq!((least, most), (None, None), "{name}: {text}");
                    continue;
                }
                let range = least.unwrap_or(0)..=most.unwrap_or(0);
                assert!(range.contains(&shown), "{name}: {shown} is not in {range:?}: {text}");
            }
            if socket.state == State::SynSent {
                // What the kernel assumes of a peer that has not said anything.
                let assumed = ["rcvmss", "rcv_ssthresh"].map(|name| line.words.remove(name));
                assert!(assumed.iter().all(Option::is_some), "{text}");
                assert_eq!((info.rcv_mss, info.rcv_ssthresh), (None, None));
            }
            let congestion = socket.congestion.as_ref().expect("it was asked for");
            assert_eq!(line.words, expected(congestion, info), "ss on the left: {text}");
        }
        println!("measured: ss shows the same of {:?}", states(&before));
    });
}

/// One line of `/proc/net/tcp`: addresses, state, queues, user, inode.
type Row = (SocketAddr, SocketAddr, u8, [u32; 2], u32, u32);

/// Words of 32 bits in the machine's order.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').expect("an address and a port");
    let bytes: Vec<u8> = (0..ip.len())
        .step_by(8)
        .flat_map(|at| u32::from_str_radix(&ip[at..at + 8], 16).expect("hex").to_ne_bytes())
        .collect();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&bytes[..]).expect("16 bytes")),
    };
    SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).expect("hex"))
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = std::fs::read_to_string(path).expect("procfs");
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let hex = |text: &str| u32::from_str_radix(text, 16).expect("hex");
            let (send, receive) = words[4].split_once(':').expect("two queues");
            let state = hex(words[3]) as u8;
            // Of a listener, only the other column is what the dump has.
            let send = if state == State::Listen.number() { 0 } else { hex(send) };
            let numbers = [words[7], words[9]].map(|it| it.parse().expect("a number"));
            let [local, peer] = [words[1], words[2]].map(address);
            rows.push((local, peer, state, [hex(receive), send], numbers[0], numbers[1]));
        }
    }
    rows.sort();
    rows
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn proc_shows_the_same_of_every_socket() {
    in_namespace(|| {
        let _scene = Scene::every_state();
        let (sockets, shown, _) = at_rest(rows);
        let mut ours: Vec<Row> = sockets
            .values()
            .map(|it| {
                let send = if it.state == State::Listen { 0 } else { it.send_queue };
                // A mapped listener's peer is `::` there.
                let any = it.local.is_ipv4() && it.state == State::Listen;
                let peer = if any { (Ipv4Addr::UNSPECIFIED, 0).into() } else { it.peer };
                let (uid, inode) = (it.uid.unwrap_or(0), it.inode.unwrap_or(0));
                (it.local, peer, it.state.number(), [it.receive_queue, send], uid, inode)
            })
            .collect();
        ours.sort();
        let mut shown = shown;
        for row in &mut shown {
            if row.0.is_ipv4() && row.2 == State::Listen.number() {
                row.1 = (Ipv4Addr::UNSPECIFIED, 0).into();
            }
        }
        shown.sort();
        assert_eq!(ours, shown, "the dump on the left");
        println!("measured: /proc/net shows the same of {:?}", states(&sockets));
    });
}
