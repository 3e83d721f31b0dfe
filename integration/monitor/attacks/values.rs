//! Sockets whose values do strange things when they are dropped, and places to drop them in.

use std::cell::RefCell;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use opentelemetry_sdk::metrics::Temporality;
use tcpinfo::{Group, Monitor, Watched};

use super::{Totals, is_empty};
use crate::monitor::exports::Exports;
use support::loopback::Pair;

type Act = Box<dyn FnMut(&mut Option<TcpStream>) + Send>;

/// Does something with its socket when it is dropped.
pub(super) struct Acting {
    socket: Option<TcpStream>,
    act: Act,
}

impl Acting {
    pub(super) fn new(
        socket: TcpStream,
        act: impl FnMut(&mut Option<TcpStream>) + Send + 'static,
    ) -> Self {
        Self { socket: Some(socket), act: Box::new(act) }
    }
}

impl AsFd for Acting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("it has one until it is dropped").as_fd()
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        (self.act)(&mut self.socket);
    }
}

const fn totals(opened: u64, closed: u64, live: u64) -> Totals {
    Totals { opened, closed, live, sent: 0 }
}

fn scene() -> (Monitor, Group, Exports) {
    let monitor = Monitor::new();
    let (group, exports) = (monitor.group([]), Exports::new(&monitor, Temporality::Delta));
    (monitor, group, exports)
}

pub(super) fn take(socket: &mut Option<TcpStream>) -> TcpStream {
    socket.take().expect("it is dropped once")
}

#[test]
fn a_socket_that_panics_when_it_is_dropped_is_closed_all_the_same() {
    let (monitor, group, _exports) = scene();
    for _ in 0..100 {
        let Pair { client, .. } = Pair::connect();
        let acting = Acting::new(client, |_| panic!("the program's own mistake"));
        let watched = group.watch(acting);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(watched))).is_err());
    }
    assert_eq!(Totals::of(&monitor), totals(100, 100, 0));
    is_empty(&monitor);
}

#[test]
fn a_socket_that_leaks_itself_when_it_is_dropped_is_open() {
    static KEPT: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
    let (monitor, group, _exports) = scene();
    let acting = |socket| {
        Acting::new(socket, |socket| KEPT.lock().expect("nobody panics").push(take(socket)))
    };
    drop(group.watch(acting(Pair::connect().client)));
    assert_eq!(Totals::of(&monitor), totals(1, 0, 0));
    let socket = KEPT.lock().expect("nobody panics").pop().expect("it was kept");
    let watched = group.watch(socket);
    assert_eq!(Totals::of(&monitor), totals(1, 0, 1));
    drop(watched);
    assert_eq!(Totals::of(&monitor), totals(1, 1, 0));
    is_empty(&monitor);
}

#[test]
fn a_socket_that_is_watched_again_while_it_is_dropped_goes_on() {
    static KEPT: Mutex<Vec<Watched<TcpStream>>> = Mutex::new(Vec::new());
    let (monitor, group, _exports) = scene();
    let again = group.clone();
    let acting = Acting::new(Pair::connect().client, move |socket| {
        // Come and gone, then kept.
        drop(again.watch(socket.as_ref().expect("it is open")));
        KEPT.lock().expect("nobody panics").push(again.watch(take(socket)));
    });
    drop(group.watch(acting));
    assert_eq!(Totals::of(&monitor), totals(1, 0, 1));
    drop(KEPT.lock().expect("nobody panics").pop());
    assert_eq!(Totals::of(&monitor), totals(1, 1, 0));
    is_empty(&monitor);
}

/// The number is another connection's before the watch of the first has ended.
#[test]
fn a_socket_whose_number_is_taken_while_it_is_dropped_is_closed() {
    let (monitor, group, _exports) = scene();
    let Pair { client, server: _server, .. } = Pair::connect();
    let mut next = Some(Pair::connect());
    let (again, number) = (group.clone(), client.as_raw_fd());
    let acting = Acting::new(client, move |socket| {
        let Pair { client: stranger, server, listener } = next.take().expect("dropped once");
        let mut own = std::os::fd::OwnedFd::from(take(socket));
        rustix::io::dup2(&stranger, &mut own).expect("both are open");
        assert_eq!(own.as_raw_fd(), number);
        // Watched by itself too.
        drop(again.watch(TcpStream::from(own)).into_inner());
        drop((stranger, server, listener));
    });
    drop(group.watch(acting));
    assert_eq!(Totals::of(&monitor), totals(2, 2, 0));
    is_empty(&monitor);
}

#[test]
fn sockets_end_where_threads_end_and_where_they_unwind() {
    thread_local! {
        static KEPT: RefCell<Vec<Watched<TcpStream>>> = const { RefCell::new(Vec::new()) };
    }
    const THREADS: u64 = 20;
    let (monitor, group, mut exports) = scene();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (monitor, group) = (&monitor, &group);
            scope.spawn(move || {
                // Before and after whatever the monitor itself keeps for each thread.
                if thread % 2 == 0 {
                    monitor.snapshot();
                }
                KEPT.with_borrow_mut(|kept| {
                    kept.push(group.watch(Pair::connect().client));
                    kept.push(monitor.watch(Pair::connect().client, []));
                });
                let _unwinds = group.watch(Pair::connect().client);
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _unwinds = group.watch(Pair::connect().client);
                    panic!("the program's own mistake");
                }));
                assert!(unwound.is_err());
            });
        }
    });
    // A thread's own values can outlive what `join` waits for.
    support::loopback::until("the end of all threads", || {
        (monitor.snapshot().monitor.watched == 0).then_some(())
    });
    exports.collect();
    assert_eq!(Totals::of(&monitor), totals(3 * THREADS, 3 * THREADS, 0));
    assert_eq!(exports.samples_of_all("tcp.connection.duration"), 3 * THREADS);
    is_empty(&monitor);
}

/// Numbers below the cap are free again, whoever took them and however they ended.
#[test]
fn a_cap_of_sockets_is_whole_after_all_have_gone() {
    const CAP: usize = 4;
    let monitor = Monitor::builder().with_max_sockets(CAP).build();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let Pair { client, .. } = Pair::connect();
                for round in 0..3_000 {
                    let watched = monitor.watch(&client, []);
                    let other = monitor.watch(client.try_clone().expect("there are more"), []);
                    if round % 7 == 0 {
                        monitor.snapshot();
                    }
                    let _ = other.into_inner();
                    drop(watched);
                }
            });
        }
    });
    monitor.snapshot();
    let snapshot = monitor.snapshot();
    let now = &snapshot.monitor;
    assert_eq!((now.watched, now.given_back), (0, 0));
    let before = now.folded;
    let pairs: Vec<Pair> = (0..CAP + 2).map(|_| Pair::connect()).collect();
    let _watched: Vec<_> = pairs.iter().map(|pair| monitor.watch(&pair.client, [])).collect();
    let snapshot = monitor.snapshot();
    let own = |socket: &&tcpinfo::SocketSnapshot| {
        socket.attributes().as_slice().iter().any(|it| it.key.as_str() == "tcp.socket.cookie")
    };
    assert_eq!(snapshot.sockets.iter().filter(own).count(), CAP);
    assert_eq!(snapshot.monitor.folded - before, 2);
}
