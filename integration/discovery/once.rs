//! A connection that is watched, found in the process and found on the host counts once, in
//! whatever order that began.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use opentelemetry::KeyValue;
use tcpinfo::{Discovered, Discovery, Group, Monitor, Watched};

use super::scene::{Ends, Totals, providers, totals};
use support::alone::in_namespace;
use support::loopback::until;
use support::reader::Reader;

/// Who looks at the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    Watch,
    Process,
    Host,
}
use Looks::{Host, Process, Watch};

/// Every order of one, of two and of all three of them.
const ORDERS: [&[Looks]; 15] = [
    &[Watch],
    &[Process],
    &[Host],
    &[Watch, Process],
    &[Process, Watch],
    &[Watch, Host],
    &[Host, Watch],
    &[Process, Host],
    &[Host, Process],
    &[Watch, Process, Host],
    &[Watch, Host, Process],
    &[Process, Watch, Host],
    &[Process, Host, Watch],
    &[Host, Watch, Process],
    &[Host, Process, Watch],
];

/// Connections of this process with both ends here, whatever looks at them.
struct Scene {
    monitor: Monitor,
    group: Group,
    readers: Vec<Reader>,
    listener: TcpListener,
    discovered: Vec<Discovered>,
    watches: bool,
    pairs: Vec<[End; 2]>,
    /// Bytes that each end wrote so far, once something looked at it.
    counted: Totals,
}

/// An end that may be watched.
enum End {
    Bare(TcpStream),
    Watched(Watched<TcpStream>),
}

impl End {
    fn stream(&self) -> &TcpStream {
        match self {
            Self::Bare(stream) => stream,
            Self::Watched(watched) => watched,
        }
    }

    fn watched(self, group: &Group) -> Self {
        match self {
            Self::Bare(stream) => Self::Watched(group.watch(stream)),
            watched => watched,
        }
    }
}

impl Scene {
    fn begin() -> Self {
        let monitor = Monitor::new();
        let group = monitor.group([KeyValue::new("tcp.role", "watched")]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        Self {
            readers: Vec::new(),
            group,
            monitor,
            listener,
            discovered: Vec::new(),
            watches: false,
            pairs: Vec::new(),
            counted: Totals::default(),
        }
    }

    fn connect(&mut self) {
        let address = self.listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(address).expect("it listens");
        let (server, _) = self.listener.accept().expect("it is connected");
        let ends = [client, server].map(End::Bare);
        self.pairs.push(if self.watches { ends.map(|end| end.watched(&self.group)) } else { ends });
    }

    /// Both write and read.
    fn exchange(&mut self) {
        for [client, server] in &self.pairs {
            for (from, to, len) in [(client, server, 700), (server, client, 300)] {
                from.stream().write_all(&vec![1; len]).expect("room for it");
                to.stream().read_exact(&mut vec![0; len]).expect("it was sent");
            }
        }
    }

    fn look(&mut self, looks: Looks) {
        let discovery = match looks {
            Watch => {
                self.watches = true;
                let pairs = std::mem::take(&mut self.pairs).into_iter();
                self.pairs = pairs.map(|pair| pair.map(|end| end.watched(&self.group))).collect();
                return;
            }
            Process => Discovery::process(),
            Host => Discovery::host(),
        };
        let discovered = self.monitor.discover(discovery).expect("sock_diag answers");
        self.discovered.push(discovered);
    }

    /// Ends every connection properly.
    fn end(&mut self) -> u64 {
        let pairs = std::mem::take(&mut self.pairs);
        let count = pairs.len() as u64;
        for [client, server] in pairs {
            client.stream().shutdown(Shutdown::Write).expect("it is connected");
            assert_eq!(server.stream().read(&mut [0]).expect("the end"), 0);
            drop(server);
            assert_eq!(client.stream().read(&mut [0]).expect("the end"), 0);
            drop(client);
        }
        count
    }
}

/// All connections are there before the first one looks (`early`), or as soon as it does.
fn counts_once(order: &[Looks], early: bool, sweeps: bool) {
    let ends = Ends::listen();
    let mut scene = Scene::begin();
    let providers = providers(&scene.monitor, 2);
    scene.readers = providers.iter().map(|(reader, _)| reader.clone()).collect();
    let sweep = |scene: &Scene| {
        if sweeps {
            scene.readers.iter().for_each(|reader| drop(reader.collected()));
        }
    };
    if early {
        (0..3).for_each(|_| scene.connect());
    }
    for (nth, looks) in order.iter().enumerate() {
        scene.look(*looks);
        sweep(&scene);
        if !early && nth == 0 {
            (0..3).for_each(|_| scene.connect());
        }
        scene.exchange();
        sweep(&scene);
    }
    let rounds = order.len() as u64;
    let open = totals(&scene.readers[0].collected(), |_| true);
    let what = format!("{order:?}, early {early}, sweeps {sweeps}");
    // A discovery does not count as opened what was there before it.
    let opened = if early && order[0] != Watch { open[0].min(6) } else { 6 };
    assert_eq!(open[..2], [opened, 0], "{what}: {open:?}");
    let pairs = scene.end();
    let sent = pairs * rounds * 1_000;
    let all = until(&what, || {
        let all = totals(&scene.readers[1].collected(), |_| true);
        // What was there before the first one is not counted as closed: its last FIN is the sign.
        (all[1] == opened && all[3] >= sent + 2 * pairs).then_some(all)
    });
    // The client's FIN, and the server's: a watch reads it before its socket sends that.
    let fins = if scene.watches { pairs } else { 2 * pairs };
    assert_eq!(all[..4], [opened, opened, sent, sent + 2 * pairs], "{what}");
    let syns = all[4] - sent - fins;
    // What was there before counts for a watch, and is the base of a discovery: nothing had been
    // sent by then, but SYNs had.
    let expected = if early { 0..=pairs } else { pairs..=pairs };
    assert!(expected.contains(&syns), "{what}: {syns} SYNs acknowledged");
    assert_eq!(totals(&scene.readers[0].collected(), |_| true), all, "{what}");
    assert_eq!(scene.monitor.snapshot().monitor.read_errors, [], "{what}");
    scene.counted = all;
    drop(scene.discovered);
    // The next scene is not to see them.
    ends.wait(2 * pairs);
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn whoever_looks_a_connection_counts_once() {
    in_namespace(|| {
        for order in ORDERS {
            for early in [false, true] {
                for sweeps in [false, true] {
                    counts_once(order, early, sweeps);
                }
            }
        }
    });
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn two_of_a_kind_count_once() {
    in_namespace(|| {
        for order in [&[Process, Process][..], &[Host, Host], &[Host, Process, Host, Process]] {
            for sweeps in [false, true] {
                counts_once(order, false, sweeps);
            }
        }
    });
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn what_is_watched_and_given_back_stays_one_connection() {
    in_namespace(|| {
        let mut scene = Scene::begin();
        let providers = providers(&scene.monitor, 1);
        scene.readers = vec![providers[0].0.clone()];
        scene.look(Process);
        scene.look(Host);
        scene.connect();
        for _ in 0..3 {
            scene.exchange();
            drop(scene.readers[0].collected());
            let pairs = std::mem::take(&mut scene.pairs).into_iter();
            let group = &scene.group;
            scene.pairs = pairs
                .map(|pair| {
                    pair.map(|end| match end {
                        End::Watched(watched) => End::Bare(watched.into_inner()),
                        bare => bare.watched(group),
                    })
                })
                .collect();
        }
        scene.exchange();
        scene.end();
        let all = until("the end", || {
            let all = totals(&scene.readers[0].collected(), |_| true);
            (all[1] >= 2).then_some(all)
        });
        assert_eq!(all[..2], [2, 2]);
        assert!(all[2] <= 4_000 && all[3] <= 4_002, "nothing twice: {all:?}");
        println!("measured: given back to a discovery, {all:?} of 4000 bytes");
    });
}
