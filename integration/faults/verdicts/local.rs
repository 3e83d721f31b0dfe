//! Scenes without a path: what is on one machine.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use support::lateness::{Watch, Worst};
use support::loopback::Pair;

use super::play::{Readings, readings};

/// What happens on loopback.
#[derive(Clone, Copy)]
pub(crate) enum Scene {
    /// Data as fast as it can, written so many bytes at a time.
    Bulk(usize),
    /// Connections that wait to be accepted, or come so many at a time and are.
    Listener { backlog: u32, waiting: u32, accepts: bool },
    /// Nobody listens.
    Refused,
}

const INTERVAL: Duration = Duration::from_secs(1);

impl Scene {
    pub(crate) fn play(self, worst: &Worst) -> Readings {
        let _watch = Watch::start(worst.clone());
        match self {
            Self::Bulk(len) => bulk(len),
            Self::Listener { backlog, waiting, accepts } => listener(backlog, waiting, accepts),
            Self::Refused => refused(),
        }
    }
}

fn bulk(len: usize) -> Readings {
    let Pair { mut client, mut server, .. } = Pair::connect();
    let ends = [&client, &server].map(|end| end.try_clone().expect("a descriptor"));
    let writer = thread::spawn(move || {
        let bytes = vec![7; len];
        while client.write_all(&bytes).is_ok() {}
    });
    let reader = thread::spawn(move || {
        let mut room = vec![0; 1 << 16];
        while server.read(&mut room).is_ok_and(|len| len > 0) {}
    });
    thread::sleep(Duration::from_millis(200));
    let all = readings(INTERVAL, &[&ends[0], &ends[1]], || {});
    ends.iter().for_each(|end| end.shutdown(Shutdown::Both).expect("it is connected"));
    for thread in [writer, reader] {
        thread.join().expect("it only reads or writes");
    }
    all.try_into().unwrap_or_else(|_| unreachable!("two sockets were given"))
}

fn listener(backlog: u32, waiting: u32, accepts: bool) -> Readings {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback has ports");
    socket.listen(backlog as i32).expect("it is bound");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("it is bound");
    let connect = || TcpStream::connect(address).expect("there is room");
    if !accepts {
        let _waiting: Vec<TcpStream> = (0..waiting).map(|_| connect()).collect();
        return [readings(INTERVAL, &[&listener], || {}).remove(0), Vec::new()];
    }
    let done = AtomicBool::new(false);
    let one = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all: Vec<TcpStream> = (0..waiting).map(|_| connect()).collect();
                all.iter().for_each(|_| drop(listener.accept().expect("somebody connected")));
                thread::sleep(Duration::from_millis(5));
            }
        });
        let one = readings(INTERVAL, &[&listener], || {}).remove(0);
        done.store(true, Ordering::Relaxed);
        one
    });
    [one, Vec::new()]
}

fn refused() -> Readings {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    let one = readings(INTERVAL, &[&socket], || {
        // As a runtime does it: where `connect` itself fails, the kernel resets the counters.
        socket.set_nonblocking(true).expect("it is open");
        socket.connect(&address.into()).expect_err("nobody listens");
    });
    [one.into_iter().next().expect("one socket"), Vec::new()]
}
