//! A descriptor that became another socket: not one byte of a stranger is counted, and nobody is
//! told its numbers.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use tcpinfo::{Monitor, SocketProbe, TcpInfo};

use super::descriptors::{at, number};
use super::{Scene, connected, cookie, counted, send, sent_by, sent_in};
use support::loopback::Pair;

const SWEEPS: usize = 200;

/// A connection that is busy at somebody else's number.
struct Stranger {
    client: TcpStream,
    server: TcpStream,
}

impl Stranger {
    /// Busier at once than whoever had the number.
    fn at(number: RawFd) -> Self {
        let (client, server) = connected();
        let stranger = Self { client: at(number, client), server };
        stranger.work();
        stranger
    }

    fn work(&self) {
        send(&self.client, &self.server, 10_000);
    }
}

/// A stream that has another socket after each read, at the same number.
struct Swapper {
    current: Option<TcpStream>,
    number: RawFd,
}

impl Swapper {
    /// With the server of its first socket.
    fn new() -> (Self, TcpStream) {
        let (client, server) = connected();
        let number = number();
        (Self { current: Some(at(number, client)), number }, server)
    }

    fn current(&self) -> &TcpStream {
        self.current.as_ref().expect("it has a socket between two reads")
    }
}

impl AsFd for Swapper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.current().as_fd()
    }
}

impl Read for Swapper {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.current = None;
        let Pair { client, mut server, .. } = Pair::connect();
        let client = at(self.number, client);
        send(&client, &server, 10_000);
        // Its peer will send as well, and never read.
        io::Write::write_all(&mut server, &[1; 500])?;
        self.current = Some(client);
        Ok(0)
    }
}

#[track_caller]
fn nobody(answer: io::Result<TcpInfo>) {
    let info = answer.expect_err("the socket is gone");
    assert!(!info.to_string().is_empty());
}

#[test]
fn a_leaked_handle_counts_nothing_of_who_takes_its_number() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    for swept in [false, true] {
        let (client, server) = connected();
        let number = number();
        let client = at(number, client);
        std::mem::forget(group.watch(&client));
        send(&client, &server, 10);
        if swept {
            scene.collect();
        }
        drop(client);
        let stranger = Stranger::at(number);
        for _ in 0..SWEEPS {
            scene.monitor.snapshot();
            stranger.work();
        }
        let now = scene.counted("a");
        // What no sweep read before the end is nobody's to read afterwards.
        let expected = if swept { counted(2, 2, 0, 10) } else { counted(1, 1, 0, 0) };
        assert_eq!(now, expected, "swept before its end: {swept}");
    }
}

#[test]
fn a_leaked_handle_with_series_of_its_own_counts_nothing_of_who_takes_its_number() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let number = number();
    let client = at(number, client);
    let series = format!("{{{}}}", cookie(&client));
    std::mem::forget(scene.monitor.watch(&client, []));
    send(&client, &server, 10);
    scene.collect();
    scene.latest(&series, Some(10.0), Some(10.0));
    drop(client);
    let stranger = Stranger::at(number);
    for _ in 0..SWEEPS {
        let snapshot = scene.monitor.snapshot();
        let most = snapshot.sockets.iter().map(sent_by).max().unwrap_or_default();
        assert!(most <= 10, "{most} bytes, of which the stranger has most");
        stranger.work();
    }
    scene.collect();
    scene.latest(&series, None, None);
}

#[test]
fn a_stranger_that_is_watched_itself_counts_for_itself() {
    let mut scene = Scene::new();
    let (a, b) = (scene.group("a"), scene.group("b"));
    let (client, server) = connected();
    let number = number();
    let client = at(number, client);
    std::mem::forget(a.watch(&client));
    send(&client, &server, 10);
    scene.collect();
    drop(client);
    let stranger = Stranger::at(number);
    let watched = b.watch(&stranger.client);
    for _ in 0..SWEEPS {
        scene.monitor.snapshot();
        stranger.work();
    }
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
    assert_eq!(scene.counted("b"), counted(1, 0, 1, 10_000 * (1 + SWEEPS as u64)));
    drop(watched);
}

#[test]
fn a_socket_given_back_counts_nothing_of_who_takes_its_number() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let number = number();
    let client = group.watch(at(number, client));
    send(&client, &server, 10);
    drop(client.into_inner());
    let stranger = Stranger::at(number);
    for _ in 0..SWEEPS {
        scene.monitor.snapshot();
        stranger.work();
    }
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
}

#[test]
fn a_probe_of_a_leaked_handle_tells_no_strangers_numbers() {
    type Watch = fn(&Monitor, &TcpStream) -> SocketProbe;
    let watches: [Watch; 3] = [
        |monitor, client| {
            let watched = monitor.group([]).watch(client);
            let probe = watched.probe();
            std::mem::forget(watched);
            probe
        },
        |monitor, client| {
            let watched = monitor.group([]).watch_borrowed(client);
            let probe = watched.probe();
            std::mem::forget(watched);
            probe
        },
        |monitor, client| {
            let watched = monitor.watch(client, []);
            let probe = watched.probe();
            std::mem::forget(watched);
            probe
        },
    ];
    for watch in watches {
        let monitor = Monitor::new();
        let (client, server) = connected();
        let number = number();
        let client = at(number, client);
        let probe = watch(&monitor, &client);
        send(&client, &server, 10);
        assert_eq!(sent_in(&probe.info().expect("it is open")), 10);
        drop(client);
        nobody(probe.info());
        let stranger = Stranger::at(number);
        for _ in 0..SWEEPS {
            nobody(probe.info());
        }
        monitor.snapshot();
        nobody(probe.info());
        drop(stranger);
    }
}

#[test]
fn a_stream_that_replaces_its_socket_counts_for_the_first_alone() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (stream, server) = Swapper::new();
    let mut stream = group.watch(stream);
    send(stream.current(), &server, 10);
    scene.collect();
    assert_eq!(sent_in(&stream.info().expect("it is open")), 10);
    let probe = stream.probe();
    for _ in 0..SWEEPS {
        assert_eq!(stream.read(&mut [0]).expect("it swaps"), 0);
        scene.monitor.snapshot();
        nobody(stream.info());
        nobody(probe.info());
    }
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
    drop(stream);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
}

#[test]
fn the_last_read_of_a_stream_that_replaced_its_socket_counts_no_stranger() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (stream, server) = Swapper::new();
    let mut stream = group.watch(stream);
    send(stream.current(), &server, 10);
    scene.collect();
    assert_eq!(stream.read(&mut [0]).expect("it swaps"), 0);
    nobody(stream.info());
    assert_eq!(sent_in(&tcpinfo::read(&stream).expect("the stranger")), 10_000);
    drop(stream);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
}

/// A file has no cookie, and a box owns the reference that it holds.
#[test]
fn what_was_no_socket_counts_nothing_of_the_socket_that_takes_its_number() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let number = number();
    let file = std::fs::File::open("/proc/self/stat").expect("procfs");
    let file = rustix::io::fcntl_dupfd_cloexec(&file, number).expect("a number that is free");
    let watched = group.watch(Box::new(&file));
    let probe = watched.probe();
    std::mem::forget(watched);
    drop(file);
    let stranger = Stranger::at(number);
    nobody(probe.info());
    assert_eq!(scene.counted("a"), counted(0, 0, 0, 0));
    nobody(probe.info());
    drop(stranger);
}

#[test]
fn a_file_that_becomes_a_socket_tells_nobody_the_sockets_numbers() {
    /// A file that is a connection from its first read on.
    struct Late {
        file: Option<std::fs::File>,
        socket: Option<Stranger>,
        number: RawFd,
    }
    impl AsFd for Late {
        fn as_fd(&self) -> BorrowedFd<'_> {
            let socket = self.socket.as_ref().map(|socket| socket.client.as_fd());
            socket.or(self.file.as_ref().map(AsFd::as_fd)).expect("it has one of them")
        }
    }
    impl Read for Late {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.file = None;
            self.socket = Some(Stranger::at(self.number));
            Ok(0)
        }
    }
    let mut scene = Scene::new();
    let group = scene.group("a");
    let number = number();
    let file = std::fs::File::open("/proc/self/stat").expect("procfs");
    let file = rustix::io::fcntl_dupfd_cloexec(&file, number).expect("a number that is free");
    let mut late = group.watch(Late { file: Some(file.into()), socket: None, number });
    assert_eq!(late.read(&mut [0]).expect("it changes"), 0);
    nobody(late.info());
    nobody(late.probe().info());
    drop(late);
    scene.monitor.snapshot();
    assert_eq!(scene.counted("a"), counted(0, 0, 0, 0));
}

#[test]
fn what_takes_a_leaked_handles_number_need_not_be_a_socket() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let number = number();
    let client = at(number, client);
    let watched = group.watch(&client);
    let probe = watched.probe();
    std::mem::forget(watched);
    send(&client, &server, 10);
    scene.collect();
    drop(client);
    let file = std::fs::File::open("/proc/self/stat").expect("procfs");
    let file = rustix::io::fcntl_dupfd_cloexec(&file, number).expect("a number that is free");
    assert_eq!(file.as_raw_fd(), number);
    nobody(probe.info());
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 10));
    nobody(probe.info());
}
