//! A program with connections of one kind: what a scene is played by, and its page for Prometheus.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use tcpinfo::{Group, Monitor, SocketAddresses, SocketIdentity, Watched};

use super::scenes::Scene;
use crate::faults::namespace::Namespace;
use crate::faults::relay::{Both, Link, Relay};
use crate::faults::verdicts::play::{self, Appetite, Curtain, Event, Load, Setup};
use support::lateness::Worst;

/// How long everything is well before a fault begins.
pub(super) const LEAD: Duration = Duration::from_secs(10);
/// As long as the scenes are played.
const ALL: Duration = Duration::from_secs(3600);

/// A scene under way.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    curtain: Curtain,
    thread: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(scene: &'static Scene, worst: Worst) -> Self {
        let identity = SocketIdentity::Addresses(SocketAddresses::peer());
        let monitor = Monitor::builder().with_max_groups(3).with_identity(identity).build();
        let page = monitor.page();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let mut address = listener.local_addr().expect("it is bound");
        if scene.is_silent {
            // Nobody answers there.
            drop(listener);
            address.set_port(1);
        } else {
            example_demo::page::serve(listener, move || {
                let mut text = Vec::new();
                page.write(&mut text)?;
                String::from_utf8(text).map_err(io::Error::other)
            });
        }
        let curtain = Curtain::default();
        let group = monitor.group([KeyValue::new("service", scene.name)]);
        let stage =
            Stage { monitor, group, curtain: curtain.clone(), worst, begun: Instant::now() };
        let thread = thread::spawn(move || (scene.play)(&stage));
        Self { address, curtain, thread }
    }

    pub(super) fn end(self) {
        self.curtain.fall();
        self.thread.join().expect("a scene only makes connections");
    }
}

/// What a scene is played with.
pub(super) struct Stage {
    pub(super) monitor: Monitor,
    pub(super) group: Group,
    curtain: Curtain,
    worst: Worst,
    pub(super) begun: Instant,
}

/// One connection and the programs at both ends.
struct Conversation {
    ends: (Watched<TcpStream>, TcpStream),
    threads: Vec<JoinHandle<()>>,
}

impl Conversation {
    fn end(self) {
        for stream in [&*self.ends.0, &self.ends.1] {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.threads.into_iter().for_each(|it| it.join().expect("they only read and write"));
    }
}

/// A path of 20 ms and 8 Mbit/s with room for everything, and a sender that keeps below that.
pub(super) fn good() -> Setup {
    let delay = Duration::from_millis(10);
    let there = Link { delay, rate: Some(1_000_000), ..Link::default() };
    Setup {
        links: [there, Link { delay, ..Link::default() }],
        route: "",
        congestion: "reno",
        pacing: Some(150_000),
        send_buffer: None,
        receive_buffer: None,
        load: Load::Bulk(Appetite::Whole),
        event: Event::None,
        warm_up: Duration::ZERO,
        interval: Duration::ZERO,
    }
}

/// Requests and answers with time to think, over the same path.
fn calm() -> Setup {
    let think = Duration::from_millis(20);
    let load = Load::Requests { request: 3000, response: 3000, answers: think, asks: think };
    Setup { load, ..good() }
}

impl Stage {
    /// Waits, but no longer than the scene is played.
    pub(super) fn nap(&self, time: Duration) {
        self.curtain.nap(time);
    }

    pub(super) fn wait(&self) {
        self.nap(ALL);
    }

    pub(super) fn is_over(&self) -> bool {
        self.curtain.has_fallen()
    }

    /// Two namespaces and a path between them.
    pub(super) fn path(&self, setup: &mut Setup) -> (Both<Namespace>, Relay) {
        let namespaces = [(); 2].map(|()| Namespace::new().expect("the test could make some"));
        let relay = play::lay(&namespaces, setup, self.worst.clone());
        (namespaces, relay)
    }

    fn converse(
        &self,
        namespaces: &Both<Namespace>,
        setup: &Setup,
        watch: &dyn Fn(TcpStream) -> Watched<TcpStream>,
    ) -> Conversation {
        let [client, server] = play::connected(namespaces, setup);
        let threads = play::begin(setup.load, &client, &server, &self.curtain);
        Conversation { ends: (watch(client), server), threads }
    }

    /// Two connections that ask and answer, and after a while so many of another kind, and what
    /// happens to them.
    pub(super) fn connections(&self, setup: Setup, count: usize) {
        self.connections_watched(setup, count, &|stream| self.group.watch(stream));
    }

    pub(super) fn connections_watched(
        &self,
        mut setup: Setup,
        count: usize,
        watch: &dyn Fn(TcpStream) -> Watched<TcpStream>,
    ) {
        let (namespaces, relay) = self.path(&mut setup);
        let mut all: Vec<Conversation> =
            (0..2).map(|_| self.converse(&namespaces, &calm(), watch)).collect();
        if !matches!(setup.event, Event::None) {
            // It happens to connections that were well.
            all.extend((0..count).map(|_| self.converse(&namespaces, &setup, watch)));
        }
        self.nap(LEAD.saturating_sub(self.begun.elapsed()));
        match setup.event {
            Event::Hole => relay.set_hole(true),
            _ => all.extend((0..count).map(|_| self.converse(&namespaces, &setup, watch))),
        }
        self.wait();
        all.into_iter().for_each(Conversation::end);
    }
}
