//! Series of sockets by identity: shared ones, and such as have addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};
use tcpinfo::{Monitor, SocketAddresses, SocketIdentity};

use super::{Scene, connected, send};
use support::loopback::Pair;

fn scene(identity: SocketIdentity) -> Scene {
    Scene::of(Monitor::builder().with_identity(identity).build())
}

#[test]
fn a_shared_series_goes_with_its_last_socket() {
    let mut scene = scene(SocketIdentity::None);
    let ((one, to_one), (two, to_two)) = (connected(), connected());
    let (one, two) = (scene.monitor.watch(one, []), scene.monitor.watch(two, []));
    send(&one, &to_one, 50);
    send(&two, &to_two, 100);
    scene.collect();
    scene.latest("{}", Some(150.0), Some(150.0));
    drop(one);
    send(&two, &to_two, 3);
    scene.collect();
    scene.latest("{}", Some(153.0), Some(3.0));
    drop(two);
    scene.collect();
    scene.latest("{}", None, None);
    assert_eq!(scene.monitor.snapshot().sockets.len(), 0);
}

#[test]
fn a_shared_series_that_nobody_missed_goes_on_and_else_begins_again() {
    for collects in [false, true] {
        let mut scene = scene(SocketIdentity::None);
        let (client, server) = connected();
        let watched = scene.monitor.watch(client, []);
        send(&watched, &server, 100);
        scene.collect();
        drop(watched);
        let mut total = 100.0;
        if collects {
            scene.collect();
            scene.latest("{}", None, None);
            total = 0.0;
        }
        let (client, server) = connected();
        let watched = scene.monitor.watch(client, []);
        send(&watched, &server, 7);
        scene.collect();
        scene.latest("{}", Some(total + 7.0), Some(7.0));
    }
}

/// The series of a socket in the latest exports, by the peer's port.
fn ports(scene: &Scene) -> [Vec<Option<u16>>; 2] {
    scene.exports.each_ref().map(|exports| {
        let all = exports.series_of("tcp.socket.data.sent").into_iter();
        all.map(|series| {
            let (_, port) = series.split_once("network.peer.port=")?;
            let end = port.find(',').expect("the cookie comes last");
            Some(port[..end].parse().expect("a port is a number"))
        })
        .collect()
    })
}

fn fresh() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor")
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

#[test]
fn a_socket_that_a_sweep_met_before_it_connects_has_its_address_after() {
    let mut scene = scene(SocketIdentity::Addresses(SocketAddresses::peer()));
    let (_listener, address) = listener();
    let socket = scene.monitor.watch(fresh(), []);
    scene.collect();
    let before = ports(&scene);
    assert!(before.iter().flatten().all(Option::is_none), "{before:?}");
    socket.connect(&address.into()).expect("it listens");
    scene.collect();
    assert_eq!(ports(&scene), [(); 2].map(|()| vec![Some(address.port())]));
}

#[test]
fn a_socket_that_connects_elsewhere_has_the_new_address() {
    for collects in [false, true] {
        let mut scene = scene(SocketIdentity::Addresses(SocketAddresses::peer()));
        let (first, second) = (listener(), listener());
        let socket = scene.monitor.watch(fresh(), []);
        socket.connect(&first.1.into()).expect("it listens");
        (&*socket).write_some(&first.0);
        scene.collect();
        assert_eq!(ports(&scene), [(); 2].map(|()| vec![Some(first.1.port())]));
        rustix::net::connect_unspec(&socket).expect("a stream can be disconnected");
        if collects {
            scene.collect();
            let between = ports(&scene);
            assert!(between.iter().flatten().all(Option::is_none), "{between:?}");
        }
        socket.connect(&second.1.into()).expect("it listens");
        (&*socket).write_some(&second.0);
        scene.collect();
        assert_eq!(ports(&scene), [(); 2].map(|()| vec![Some(second.1.port())]));
    }
}

/// Whether or not a sweep saw it in between, and whether or not the prefix is another.
#[test]
fn what_it_sent_to_one_peer_is_in_no_series_of_the_next() {
    let peer = SocketAddresses::peer();
    for (addresses, collects) in [
        (peer, false),
        (peer, true),
        (peer.with_prefix(8, 8), true),
        (peer.with_prefix(32, 8), false),
    ] {
        let mut scene = scene(SocketIdentity::Addresses(addresses));
        let socket = scene.monitor.watch(fresh(), []);
        for number in 1..=4_u8 {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, number), 0));
            let listener = listener.expect("loopback has ports");
            let address = listener.local_addr().expect("it is bound");
            socket.connect(&address.into()).expect("it listens");
            (&*socket).write_some(&listener);
            scene.collect();
            for exports in &scene.exports {
                let all = exports.series_of("tcp.socket.data.sent").into_iter();
                let labels =
                    all.map(|it| it.strip_prefix("tcp.socket.data.sent").expect("its name"));
                let sent = labels.map(|it| exports.latest_sent("tcp.socket", it));
                assert_eq!(sent.collect::<Vec<_>>(), [Some(10.0)]);
                let sum = |metric: &str| exports.sum_of_all(metric);
                let sent = sum("tcp.socket.data.sent") - sum("tcp.socket.data.retransmitted");
                assert_eq!(sent, 10.0 * f64::from(number));
            }
            rustix::net::connect_unspec(&socket).expect("a stream can be disconnected");
            if collects {
                scene.collect();
            }
        }
    }
}

trait WriteSome {
    /// Sends a few bytes to whoever the listener accepts.
    fn write_some(self, to: &TcpListener);
}

impl WriteSome for &Socket {
    fn write_some(mut self, to: &TcpListener) {
        use std::io::{Read, Write};
        let (mut server, _) = to.accept().expect("the client connected");
        self.write_all(&[1; 10]).expect("it is connected");
        server.read_exact(&mut [0; 10]).expect("the client wrote");
    }
}

#[test]
fn a_worst_connection_without_an_identity_still_has_its_cookie() {
    use tcpinfo::Worst;
    let mut scene = scene(SocketIdentity::None);
    let group = scene.group("a");
    group.show_worst(Worst::Stalled, 1);
    let Pair { client, server, .. } = Pair::connect();
    super::stall(&client, &server, 1);
    let labels = format!("{{group=a,{}}}", super::cookie(&client));
    let client = group.watch(client);
    scene.collect();
    scene.latest(&labels, Some(0.0), Some(0.0));
    send(&client, &server, 9);
    scene.collect();
    scene.latest(&labels, Some(9.0), Some(9.0));
}
