//! The scenes: what is wrong in each, and which alerts say so.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use rustix::net::connect_unspec;
use socket2::{Domain, Socket, Type};
use tcpinfo::{Discovery, diag};

use super::stage::{LEAD, Stage, good};
use crate::faults::verdicts::play::{Appetite, Event, Load, Setup, socket};
use support::loopback::Pair;
use support::random::Rng;

pub(super) struct Scene {
    /// Also the job of Prometheus and the group's attribute `service`.
    pub(super) name: &'static str,
    /// The alerts that it fires; none of a healthy control.
    pub(super) fires: &'static [&'static str],
    /// Whether it is played with every run of the tests.
    pub(super) is_short: bool,
    /// Whether there is no page to scrape.
    pub(super) is_silent: bool,
    pub(super) play: fn(&Stage),
}

const fn fault(name: &'static str, fires: &'static [&'static str], play: fn(&Stage)) -> Scene {
    Scene { name, fires, is_short: false, is_silent: false, play }
}

const fn control(name: &'static str, play: fn(&Stage)) -> Scene {
    Scene { is_short: true, ..fault(name, &[], play) }
}

const fn short(scene: Scene) -> Scene {
    Scene { is_short: true, ..scene }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const SCENES: &[Scene] = &[
    control("good_bulk", |stage| stage.connections(good(), 4)),
    control("think_time", |stage| {
        let load =
            Load::Requests { request: 2000, response: 20_000, answers: ms(30), asks: ms(100) };
        stage.connections(Setup { load, ..good() }, 4);
    }),
    Scene {
        is_short: false,
        ..control("idle_keep_alive", |stage| {
            stage.connections(Setup { load: Load::Idle, ..good() }, 4);
        })
    },
    control("bulk_on_loopback", loopback),
    Scene { is_short: false, ..control("somebody_accepts", |stage| accept(stage, true)) },
    Scene { is_short: false, ..control("single_sockets", single_sockets) },
    Scene { is_short: false, ..control("host", host) },
    short(fault("random_loss", &["TcpRetransmitting", "TcpPathLoses"], |stage| {
        let mut setup = good();
        let (mut chance, begun) = (Rng::new(7), stage.begun);
        // Some of what is lost is an answer of the first two connections, or none.
        setup.links[0].loss =
            Some(Box::new(move || begun.elapsed() > LEAD && chance.below(100) < 5));
        stage.connections(setup, 4);
    })),
    fault("deep_queue", &["TcpQueueing", "TcpPathQueues"], |stage| {
        let mut setup = Setup { pacing: None, ..good() };
        setup.links[0].room = Some(ms(1000));
        stage.connections(setup, 3);
    }),
    fault("slow_reader", &["TcpPeersReadSlowly"], |stage| {
        let shut = Load::Bulk(Appetite::Pauses { open: ms(50), shut: ms(100_000) });
        stage.connections(Setup { load: shut, receive_buffer: Some(1 << 16), ..good() }, 24);
    }),
    fault("tiny_send_buffer", &["TcpSendBufferSmall"], |stage| {
        // Paced: the kernel's clock sees no other sender whose buffer is empty.
        let mut setup =
            Setup { congestion: "bbr", pacing: None, send_buffer: Some(2304), ..good() };
        setup.links.iter_mut().for_each(|link| link.delay = ms(30));
        stage.connections(setup, 4);
    }),
    short(fault("black_hole", &["TcpTimeouts", "TcpStalled"], |stage| {
        stage.connections(Setup { pacing: Some(60_000), event: Event::Hole, ..good() }, 10);
    })),
    fault("unanswered", &["TcpUnreachable"], unanswered),
    fault("refused", &["TcpRefused"], refused),
    fault("reset", &["TcpReset"], reset),
    short(fault("nobody_accepts", &["TcpAcceptQueueFull", "TcpAcceptingSlowly"], |stage| {
        accept(stage, false);
    })),
    fault("unreadable", &["TcpSocketsUnread"], unreadable),
    fault("folded", &["TcpSeriesFolded"], folded),
    Scene { is_silent: true, ..fault("silent", &["TcpMetricsMissing"], Stage::wait) },
];

fn loopback(stage: &Stage) {
    let Pair { client, server, .. } = Pair::connect();
    let watched = stage.group.watch(client);
    thread::scope(|scope| {
        scope.spawn(|| {
            while std::io::copy(&mut &server, &mut std::io::sink()).is_ok_and(|n| n > 0) {}
        });
        // Not as fast as it can, which would take a CPU from the other scenes.
        while !stage.is_over() {
            (&mut &*watched).write_all(&[7; 1 << 16]).expect("it is read");
            stage.nap(ms(5));
        }
        watched.shutdown(std::net::Shutdown::Both).expect("it is connected");
    });
}

/// A listener that accepts what comes, or does so no more after a while.
fn accept(stage: &Stage, goes_on: bool) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has ports");
    listener.listen(4).expect("it is bound");
    let listener = stage.group.watch(TcpListener::from(listener));
    let address = listener.local_addr().expect("it is bound");
    let mut held = Vec::new();
    while !stage.is_over() {
        if goes_on || stage.begun.elapsed() < LEAD {
            drop(TcpStream::connect(address).expect("there is room"));
            drop(listener.accept().expect("somebody connected"));
        } else if held.len() < 5 {
            held.push(TcpStream::connect(address).expect("there is room"));
        }
        stage.nap(ms(50));
    }
}

fn single_sockets(stage: &Stage) {
    let load = Load::Chunks { len: 20_000, pause: ms(100) };
    stage.connections_watched(Setup { load, ..good() }, 2, &|stream| {
        stage.monitor.watch(stream, [KeyValue::new("service", "single_sockets")])
    });
}

/// What the monitor finds by itself, of this scene alone.
fn host(stage: &Stage) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let port = address.port();
    let is_ours = move |socket: &diag::Socket| {
        let ports = [socket.local, socket.peer].map(|it| it.port());
        let role = if ports[0] == port { "server" } else { "client" };
        ports.contains(&port).then(|| {
            vec![KeyValue::new("tcp.role", role), KeyValue::new("server.port", i64::from(port))]
        })
    };
    let discovery = Discovery::host().with_groups(is_ours);
    let _discovered = stage.monitor.discover(discovery).expect("the kernel tells anybody");
    let client = TcpStream::connect(address).expect("the listener listens");
    let (server, _) = listener.accept().expect("the client connected");
    while !stage.is_over() {
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            from.write_all(&[7; 10_000]).expect("it is read");
            std::io::Read::read_exact(&mut to, &mut [0; 10_000]).expect("it was sent");
        }
        stage.nap(ms(20));
    }
}

/// Attempts that nobody answers.
fn unanswered(stage: &Stage) {
    let mut setup = good();
    let (namespaces, relay) = stage.path(&mut setup);
    relay.set_hole(true);
    let attempts: Vec<_> = (0..4)
        .map(|_| {
            let socket = namespaces[0].inside(|| socket(setup.congestion));
            socket.set_nonblocking(true).expect("it is open");
            let nobody = SocketAddr::from(([192, 0, 2, 2], 9));
            socket.connect(&nobody.into()).expect_err("nobody answers");
            stage.group.watch(TcpStream::from(socket))
        })
        .collect();
    stage.wait();
    drop(attempts);
}

/// A client that tries again and again, and looks at its last attempts.
fn refused(stage: &Stage) {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    let mut last = VecDeque::new();
    while !stage.is_over() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        socket.set_nonblocking(true).expect("it is open");
        let watched = stage.group.watch(socket);
        watched.connect(&address.into()).expect_err("nobody listens");
        last.push_back(watched);
        last.truncate(20);
        stage.nap(ms(100));
    }
}

/// Connections that the other side cuts off while data is under way.
fn reset(stage: &Stage) {
    let mut setup = Setup { congestion: "reno", ..good() };
    let (namespaces, _relay) = stage.path(&mut setup);
    let mut last = VecDeque::new();
    while !stage.is_over() {
        let [client, server] = crate::faults::verdicts::play::connected(&namespaces, &setup);
        client.set_nonblocking(true).expect("it is open");
        let watched = stage.group.watch(client);
        let _ = (&mut &*watched).write(&[7; 1 << 18]);
        stage.nap(ms(400));
        let _ = (&mut &*watched).write(&[7; 1 << 18]);
        connect_unspec(&server).expect("a stream can be disconnected");
        last.push_front(watched);
        last.truncate(6);
    }
}

/// Sockets that are none of TCP.
fn unreadable(stage: &Stage) {
    while !stage.is_over() {
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
        let _watched = stage.group.watch(datagrams);
        stage.nap(ms(1500));
    }
}

/// More groups than the monitor shows.
fn folded(stage: &Stage) {
    let mut held = Vec::new();
    while !stage.is_over() {
        let group = stage.monitor.group([KeyValue::new("service", held.len() as i64)]);
        held.push(group.watch(Pair::connect().client));
        stage.nap(ms(500));
    }
}
