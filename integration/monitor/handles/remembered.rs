//! How many connections a monitor remembers that nobody watches now, and which it forgets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tcpinfo::Monitor;

use super::{Scene, counted, sent_in};
use support::loopback::until;

/// Open connections that nobody watches, and ended ones, as the monitor says it keeps them.
const OPEN: usize = 1_024;
const ENDED: usize = 4_096;

/// As many clients as wanted: their other ends wait unaccepted, and need no descriptor.
struct Crowd {
    listener: TcpListener,
}

impl Crowd {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&address.into()).expect("loopback has ports");
        socket.listen(4_096).expect("it is bound");
        Self { listener: socket.into() }
    }

    /// One that has sent ten bytes.
    fn client(&self) -> TcpStream {
        use std::io::Write;
        let address = self.listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(&[1; 10]).expect("there is room");
        let sent = || sent_in(&tcpinfo::read(&client).expect("it is open"));
        until("ten bytes", || (sent() == 10).then_some(()));
        client
    }

    /// Lets those that ended go.
    fn accept(&self, count: usize) {
        for _ in 0..count {
            drop(self.listener.accept().expect("somebody connected"));
        }
    }
}

/// With a sample of every connection that ends, however many there are between two collections.
fn scene() -> Scene {
    Scene::of(Monitor::builder().with_samples(10_000).build())
}

/// Raises the limit of descriptors for this process, if it must.
fn make_room(descriptors: u64) {
    let limit = getrlimit(Resource::Nofile);
    // Other tests run beside this one.
    let wanted = descriptors + 2_048;
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    assert!(raised >= descriptors + 512, "no more than {raised} descriptors are allowed");
    setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }).expect("below the hard");
}

#[test]
fn of_more_open_connections_than_it_remembers_the_oldest_ends() {
    const MORE: usize = 6;
    make_room((OPEN + MORE) as u64);
    let crowd = Crowd::new();
    let mut scene = scene();
    let group = scene.group("a");
    let mut clients: Vec<TcpStream> =
        (0..OPEN + MORE).map(|_| group.watch(crowd.client()).into_inner()).collect();
    let (all, more) = ((OPEN + MORE) as u64, MORE as u64);
    // What it forgot can only be said to have ended.
    assert_eq!(scene.counted("a"), counted(all, more, 0, 10 * all));
    // The newest and the oldest that is remembered go on.
    for number in [OPEN + MORE - 1, MORE] {
        drop(group.watch(&clients[number]));
        assert_eq!(scene.counted("a"), counted(all, more, 0, 10 * all), "the {number}th");
    }
    // It is among those that ended: nothing of it counts twice.
    let watched = group.watch(&clients[0]);
    assert_eq!(scene.counted("a"), counted(all, more, 1, 10 * all));
    drop(watched);
    // That one is remembered now, and the oldest of the others is not.
    assert_eq!(scene.counted("a"), counted(all, more + 1, 0, 10 * all));
    clients.clear();
    assert_eq!(scene.counted("a"), counted(all, all, 0, 10 * all));
}

#[test]
fn each_family_remembers_its_own() {
    let crowd = Crowd::new();
    let mut scene = scene();
    let group = scene.group("a");
    let client = group.watch(crowd.client()).into_inner();
    make_room(OPEN as u64 + 100);
    // So many of the other family push nothing out of this one.
    let others: Vec<TcpStream> =
        (0..OPEN + 1).map(|_| scene.monitor.watch(crowd.client(), []).into_inner()).collect();
    let client = group.watch(client);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 10));
    drop((client, others));
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
}

/// They end before anybody looks whether they did.
#[test]
fn ended_connections_push_no_open_one_out_of_the_memory() {
    const MANY: u64 = 1_500;
    let crowd = Crowd::new();
    let mut scene = scene();
    let group = scene.group("a");
    let first = group.watch(crowd.client()).into_inner();
    for _ in 0..MANY {
        drop(group.watch(crowd.client()).into_inner());
    }
    crowd.accept(1 + MANY as usize);
    let first = group.watch(first);
    assert_eq!(scene.counted("a"), counted(1 + MANY, MANY, 1, 10 * (1 + MANY)));
    drop(first);
    assert_eq!(scene.counted("a"), counted(1 + MANY, 1 + MANY, 0, 10 * (1 + MANY)));
}

/// A descriptor that was watched is closed, and another of the same connection is left.
#[test]
fn ended_connections_are_remembered_until_four_thousand_more_have_ended() {
    let crowd = Crowd::new();
    let mut scene = scene();
    let group = scene.group("a");
    let mut all = 0;
    let mut end = |scene: &Scene, count: usize| {
        for number in 0..count {
            drop(group.watch(crowd.client()));
            crowd.accept(1);
            // A sweep now and then finds them gone.
            if number % 100 == 99 {
                scene.monitor.snapshot();
            }
        }
        scene.monitor.snapshot();
        all += count as u64;
        all
    };
    let client = crowd.client();
    let clone = client.try_clone().expect("a descriptor is free");
    drop(scene.group("a").watch(client));
    crowd.accept(1);
    let ended = end(&scene, ENDED - 100);
    let watched = scene.group("a").watch(&clone);
    assert_eq!(scene.counted("a"), counted(1 + ended, 1 + ended, 1, 10 * (1 + ended)));
    drop(watched);
    drop(clone);
    assert_eq!(scene.counted("a"), counted(1 + ended, 1 + ended, 0, 10 * (1 + ended)));

    let client = crowd.client();
    let clone = client.try_clone().expect("a descriptor is free");
    drop(scene.group("a").watch(client));
    crowd.accept(1);
    let ended = 2 + end(&scene, ENDED + 100);
    assert_eq!(scene.counted("a"), counted(ended, ended, 0, 10 * ended));
    let watched = scene.group("a").watch(clone);
    assert_eq!(scene.counted("a"), counted(ended + 1, ended, 1, 10 * ended + 10));
    drop(watched);
    assert_eq!(scene.counted("a"), counted(ended + 1, ended + 1, 0, 10 * ended + 10));
}

/// As a program has it that also asks for the cookies of sockets it does not watch, or that watches
/// others in another family.
#[test]
fn ended_connections_are_remembered_whatever_cookies_others_have() {
    const OTHERS: usize = 15;
    const MORE: u64 = 1_000;
    let crowd = Crowd::new();
    let scene = Scene::new();
    let group = scene.group("a");
    let client = crowd.client();
    let clone = client.try_clone().expect("a descriptor is free");
    drop(group.watch(client));
    let other = || UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    for _ in 0..MORE {
        for _ in 0..OTHERS {
            tcpinfo::socket_cookie(other()).expect("since 4.12");
        }
        drop(group.watch(crowd.client()));
        crowd.accept(1);
    }
    let _watched = group.watch(clone);
    let snapshot = scene.monitor.snapshot();
    let a = &snapshot.groups[0];
    let now = (a.opened, a.closed, a.live(), super::sent(a));
    assert_eq!(now, (1 + MORE, 1 + MORE, 1, 10 * (1 + MORE)));
}
