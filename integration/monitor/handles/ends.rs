//! When a connection opened and when it ended.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use socket2::{Domain, Socket, Type};
use tcpinfo::State;

use super::{Scene, connected, counted, send};
use support::loopback::Pair;

fn fresh() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor")
}

#[test]
fn given_back_it_is_open_until_its_owner_closes_it() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let client = group.watch(client);
    send(&client, &server, 50);
    let client = client.into_inner();
    for _ in 0..3 {
        assert_eq!(scene.counted("a"), counted(1, 0, 0, 50));
    }
    drop(client);
    for _ in 0..3 {
        assert_eq!(scene.counted("a"), counted(1, 1, 0, 50));
    }
}

#[test]
fn the_end_of_a_mere_handle_is_not_the_end_of_the_connection() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, _server) = connected();
    for _ in 0..5 {
        drop(group.watch(&client));
        drop(group.watch_borrowed(&client));
        assert_eq!(scene.counted("a"), counted(1, 0, 0, 0));
    }
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 0));
}

/// A descriptor that is closed once somebody lets it, as one is that lingers.
struct Lingering {
    socket: Option<TcpStream>,
    begins: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl AsFd for Lingering {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("it is open until it is dropped").as_fd()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.begins.send(()).expect("somebody waits for it");
        self.go_on.lock().expect("one thread drops it").recv().expect("somebody lets it go on");
        self.socket = None;
    }
}

/// A reference that waits for the end of another handle when it is dropped.
struct Outlives<'s> {
    socket: &'s TcpStream,
    go_on: Sender<()>,
    other: Option<JoinHandle<()>>,
}

impl AsFd for Outlives<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Outlives<'_> {
    fn drop(&mut self) {
        self.go_on.send(()).expect("the other waits for it");
        self.other.take().expect("dropped once").join().expect("the other ends well");
    }
}

/// The first handle is still closing its descriptor when the second comes and goes.
#[test]
fn a_handle_that_is_slow_to_close_does_not_end_a_connection_that_was_watched_since() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let socket = client.try_clone().ok();
    let (begins, has_begun) = channel();
    let (go_on, let_go) = channel();
    let slow = group.watch(Lingering { socket, begins, go_on: Mutex::new(let_go) });
    let other = Some(thread::spawn(|| drop(slow)));
    has_begun.recv().expect("it is dropped");
    let last = group.watch(Outlives { socket: &client, go_on, other });
    send(&client, &server, 10);
    drop(last);
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 10));
    send(&client, &server, 500);
    drop(group.watch(&client));
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 10));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
}

/// Whichever was first, and whether or not a sweep met the closed one.
#[test]
fn a_leaked_handle_whose_descriptor_is_closed_is_not_the_last() {
    for (leaked_first, swept) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut scene = Scene::new();
        let group = scene.group("a");
        let (client, server) = connected();
        let clone = client.try_clone().expect("a descriptor is free");
        let leak = || std::mem::forget(group.watch(&client));
        if leaked_first {
            leak();
        }
        let watched = group.watch(&clone);
        if !leaked_first {
            leak();
        }
        send(&client, &server, 10);
        drop(client);
        if swept {
            scene.collect();
        }
        drop(watched);
        let what = format!("leaked first: {leaked_first}, swept: {swept}");
        assert_eq!(scene.counted("a"), counted(1, 0, 0, 10), "{what}");
        drop(clone);
        assert_eq!(scene.counted("a"), counted(1, 1, 0, 10), "{what}");
    }
}

#[test]
fn a_connection_that_no_sweep_met_opened_and_closed() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let client = group.watch(client);
    send(&client, &server, 60);
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 60));
}

/// The descriptor that was watched is gone, and the program goes on with another one.
#[test]
fn an_ended_connection_that_is_watched_again_does_not_open_or_close_again() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let clone = client.try_clone().expect("a descriptor is free");
    let client = group.watch(client);
    send(&client, &server, 500);
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 500));
    send(&clone, &server, 7_000);
    let clone = group.watch(clone);
    send(&clone, &server, 20);
    assert_eq!(scene.counted("a"), counted(1, 1, 1, 520));
    drop(clone);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 520));
}

#[test]
fn a_socket_opens_when_it_connects() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let listener = Pair::connect().listener;
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    let socket = group.watch(fresh());
    let snapshot = scene.monitor.snapshot();
    assert_eq!(snapshot.groups[0].states().collect::<Vec<_>>(), [(State::Close, 1)]);
    assert_eq!(snapshot.groups[0].opened, 0);
    socket.connect(&address.into()).expect("it listens");
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 0));
    drop(socket);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 0));
}

#[test]
fn a_socket_that_a_sweep_met_before_it_listens_never_opens() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let socket = group.watch(fresh());
    scene.collect();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has ports");
    scene.collect();
    socket.listen(5).expect("it is bound");
    assert_eq!(scene.counted("a"), counted(0, 0, 1, 0));
    drop(socket);
    assert_eq!(scene.counted("a"), counted(0, 0, 0, 0));
}

/// What it sent by then, it sent between two watches.
#[test]
fn a_listener_given_back_that_connects_counts_from_the_next_watch() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let socket = fresh();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has ports");
    socket.listen(5).expect("it is bound");
    let socket = group.watch(socket).into_inner();
    // Watched again as what it was, it still is no connection.
    let socket = group.watch(socket).into_inner();
    assert_eq!(scene.counted("a"), counted(0, 0, 0, 0));
    rustix::net::connect_unspec(&socket).expect("listeners stop by that");
    let listener = Pair::connect().listener;
    socket.connect(&listener.local_addr().expect("it is bound").into()).expect("it listens");
    let (server, _) = listener.accept().expect("the client connected");
    socket.set_tcp_nodelay(true).expect("it is connected");
    let client = TcpStream::from(socket);
    send(&client, &server, 1_000);
    let client = group.watch(client);
    send(&client, &server, 10);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 10));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
}

#[test]
fn a_socket_that_never_connects_opens_and_closes_at_its_end() {
    for sweeps in 0..3 {
        let scene = Scene::new();
        let group = scene.group("a");
        let socket = group.watch(fresh());
        for _ in 0..sweeps {
            let snapshot = scene.monitor.snapshot();
            assert_eq!((snapshot.groups[0].opened, snapshot.groups[0].live()), (0, 1));
        }
        drop(socket);
        // The first finds that it is gone, if its end did not.
        scene.monitor.snapshot();
        let snapshot = scene.monitor.snapshot();
        let group = &snapshot.groups[0];
        assert_eq!((group.opened, group.closed, group.live()), (1, 1, 0), "{sweeps} sweeps");
    }
}

/// Many short ones after each other take the same number: each is a connection.
#[test]
fn connections_that_take_each_others_number_are_told_apart() {
    const ROUNDS: u64 = 200;
    let mut scene = Scene::new();
    let group = scene.group("a");
    let mut expected = 0;
    for round in 0..ROUNDS {
        let (client, server) = connected();
        let bytes = (round % 9) as usize;
        let client: TcpStream = match round % 4 {
            0 => group.watch(client).into_inner(),
            1 => {
                drop(group.watch_borrowed(&client));
                client
            }
            2 => {
                let client = group.watch(client);
                send(&client, &server, bytes);
                expected += bytes as u64;
                client.into_inner()
            }
            _ => {
                let client = group.watch(client);
                send(&client, &server, bytes);
                expected += bytes as u64;
                continue;
            }
        };
        send(&client, &server, 1_000);
        if round % 7 == 0 {
            scene.collect();
        }
    }
    assert_eq!(scene.counted("a"), counted(ROUNDS, ROUNDS, 0, expected));
}
