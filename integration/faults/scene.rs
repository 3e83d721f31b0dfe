//! One connection over a path with a fault, both ends watched, and all that was told of it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_tcp_congestion};
use socket2::{Domain, Socket, Type};
use tcpinfo::{Monitor, Watched};

use super::namespace::Namespace;
use super::relay::{Both, DEVICE, Link, Relay};
use super::tally::Tally;
use crate::sockets::ss::{Line, ends, ss};
use support::lateness::Worst;
use support::loopback::until;
use support::reader::{Collected, Reader};

pub(crate) const ENDS: Both<&str> = ["sender", "receiver"];
const ADDRESSES: Both<Ipv4Addr> = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

/// A path, and what the two ends are told of it.
pub(crate) struct Plan {
    pub(crate) links: Both<Link>,
    /// Options of the route in both namespaces.
    pub(crate) route: &'static str,
    pub(crate) receive_buffer: Option<usize>,
}

/// A timeout that no stall of a busy machine reaches.
const CALM: &str = "rto_min 3s";

impl Plan {
    pub(crate) fn new(links: Both<Link>) -> Self {
        Self { links, route: CALM, receive_buffer: None }
    }

    /// The fault is on the way to the receiver.
    pub(crate) fn there(link: Link) -> Self {
        let back = Link { delay: link.delay, ..Link::default() };
        Self::new([link, back])
    }
}

/// What one end exported.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// By the name after `tcp.`, with what tells parts apart: `busy.time{network}`.
    pub(crate) counters: BTreeMap<String, f64>,
    pub(crate) levels: BTreeMap<String, f64>,
    /// Histograms: upper bounds and counts.
    pub(crate) buckets: BTreeMap<String, Vec<(f64, u64)>>,
}

/// A connection under way.
pub(crate) struct Scene {
    pub(crate) relay: Relay,
    pub(crate) namespaces: Both<Namespace>,
    _monitor: Monitor,
    reader: Reader,
    _provider: SdkMeterProvider,
    /// `None` once closed: first the sender, then the receiver.
    pub(crate) sockets: Both<Option<Watched<TcpStream>>>,
    filters: Both<String>,
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) begun: Instant,
}

impl Scene {
    pub(crate) fn new(namespaces: Both<Namespace>, plan: Plan, worst: Worst) -> Self {
        let relay = Relay::new(&namespaces, plan.links, worst);
        for (namespace, address) in namespaces.iter().zip(ADDRESSES) {
            let ip = |line: &str| {
                namespace.output("ip", &line.split_whitespace().collect::<Vec<_>>());
            };
            ip(&format!("address add {address}/24 dev {DEVICE}"));
            ip(&format!("link set {DEVICE} up"));
            ip(&format!("route replace 192.0.2.0/24 dev {DEVICE} {}", plan.route));
            // A probe of the tail is a retransmit that a late relay alone brings about.
            namespace.set("ipv4/tcp_early_retrans", "0");
            // All that a test sends fits: the buffer never limits it.
            namespace.set("ipv4/tcp_wmem", "4096 4194304 4194304");
            namespace.set("ipv4/tcp_rmem", "4096 4194304 4194304");
        }
        let [sender, receiver] = &namespaces;
        let listener = receiver.inside(|| {
            let socket = socket();
            if let Some(len) = plan.receive_buffer {
                set_socket_recv_buffer_size(&socket, len).expect("it is open");
            }
            socket.bind(&SocketAddr::from((ADDRESSES[1], 0)).into()).expect("it is our address");
            socket.listen(1).expect("it is bound");
            TcpListener::from(socket)
        });
        let address = listener.local_addr().expect("it is bound");
        let begun = Instant::now();
        let client = sender.inside(|| {
            let socket = socket();
            socket.connect(&address.into()).expect("the listener listens");
            TcpStream::from(socket)
        });
        let (server, _) = listener.accept().expect("the client connected");
        server.set_nonblocking(true).expect("it is open");
        let streams = [client, server];
        let filters = [ends(&streams[0]), ends(&streams[1])];

        let monitor = Monitor::new();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let mut names = ENDS.into_iter();
        let sockets = streams.map(|stream| {
            let name = names.next().expect("two ends");
            Some(monitor.group([KeyValue::new("end", name)]).watch(stream))
        });
        Self {
            relay,
            namespaces,
            _monitor: monitor,
            reader,
            _provider: provider,
            sockets,
            filters,
            written: 0,
            read: 0,
            begun,
        }
    }

    pub(crate) fn sender(&mut self) -> &mut Watched<TcpStream> {
        self.sockets[0].as_mut().expect("it is open")
    }

    pub(crate) fn receiver(&mut self) -> &mut Watched<TcpStream> {
        self.sockets[1].as_mut().expect("it is open")
    }

    /// Sends without waiting: the buffer has room for all of it.
    pub(crate) fn write(&mut self, len: usize) {
        self.sender().write_all(&vec![7; len]).expect("it is connected");
        self.written += len as u64;
    }

    /// Takes in what has arrived.
    pub(crate) fn take(&mut self) {
        let mut room = [0; 1 << 16];
        loop {
            match self.receiver().read(&mut room) {
                Ok(len) => self.read += len as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("after {} bytes: {error}", self.read),
            }
        }
    }

    /// Collects every few milliseconds until there is an answer.
    pub(crate) fn watch_until<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Self, &Both<End>) -> Option<T>,
    ) -> T {
        let mut exported = self.collect();
        let mut last = Instant::now();
        until(what, || {
            if last.elapsed() > Duration::from_millis(5) {
                exported = self.collect();
                last = Instant::now();
            }
            ask(self, &exported)
        })
    }

    /// Sends, and has it read while it is watched.
    pub(crate) fn transfer(&mut self, len: usize) {
        self.write(len);
        self.finish();
    }

    /// Has everything read that was sent, and acknowledged.
    pub(crate) fn finish(&mut self) {
        self.watch_until("all of it", |scene, _| {
            scene.take();
            let info = scene.sender().info().expect("it is open");
            let done = scene.read == scene.written
                && info.unacked == Some(0)
                && info.notsent_bytes == Some(0);
            done.then_some(())
        });
    }

    /// What both ends export now.
    pub(crate) fn collect(&self) -> Both<End> {
        let collected = self.reader.collected();
        let own = collected.counters.iter().filter(|(series, _)| !series.contains("end="));
        own.for_each(|(series, value)| assert_eq!(*value, 0.0, "{series}"));
        ENDS.map(|end| End::of(&collected, end))
    }

    /// The gauges of both ends, which belong to sockets and not to groups.
    pub(crate) fn gauges(&self) -> Both<BTreeMap<String, f64>> {
        let monitor = Monitor::new();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let _watched: Vec<_> = self
            .sockets
            .iter()
            .zip(ENDS)
            .filter_map(|(socket, end)| {
                Some(monitor.watch_borrowed(socket.as_ref()?, [KeyValue::new("end", end)]))
            })
            .collect();
        let collected = reader.collected();
        ENDS.map(|end| {
            let levels = End::of(&collected, end).levels;
            let own = |(name, value): (String, f64)| {
                Some((name.strip_prefix("socket.")?.to_owned(), value))
            };
            levels.into_iter().filter_map(own).collect()
        })
    }

    /// What `ss` prints of both ends.
    pub(crate) fn ss(&self) -> Both<Line> {
        [0, 1].map(|end: usize| self.namespaces[end].inside(|| ss(&self.filters[end])))
    }

    /// The counters of both namespaces' TCP.
    pub(crate) fn nstat(&self) -> Both<BTreeMap<String, u64>> {
        [0, 1].map(|end: usize| {
            let text = self.namespaces[end].output("nstat", &["--json", "-asz"]);
            let json: serde_json::Value = serde_json::from_str(&text).expect("it says JSON");
            let all = json["kernel"].as_object().expect("all of the kernel's");
            let number = |(name, value): (&String, &serde_json::Value)| {
                Some((name.clone(), value.as_u64()?))
            };
            all.iter().filter_map(number).collect()
        })
    }

    pub(crate) fn tallies(&self) -> Both<Tally> {
        until("an empty path", || self.relay.tallies())
    }
}

fn socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    // What the machine chooses is not the same everywhere.
    set_tcp_congestion(&socket, "reno").expect("every kernel has it");
    socket
}

impl End {
    fn of(collected: &Collected, end: &str) -> Self {
        let own = |series: &String| -> Option<String> {
            let (name, attributes) =
                series.strip_prefix("tcp.")?.strip_suffix('}')?.split_once('{')?;
            let mut all = attributes.split(',');
            all.clone().find(|one| one.strip_prefix("end=") == Some(end))?;
            let part = all.find_map(|one| {
                one.strip_prefix("tcp.limited_by=")
                    .or(one.strip_prefix("tcp.ecn.codepoint="))
                    .or(one.strip_prefix("network.connection.state="))
                    .or(one.strip_prefix("tcp.verdict="))
            });
            Some(part.map_or(name.to_owned(), |part| format!("{name}{{{part}}}")))
        };
        fn of<T: Clone>(
            all: &BTreeMap<String, T>,
            own: impl Fn(&String) -> Option<String>,
        ) -> BTreeMap<String, T> {
            all.iter().filter_map(|(series, value)| Some((own(series)?, value.clone()))).collect()
        }
        Self {
            counters: of(&collected.counters, own),
            levels: of(&collected.levels, own),
            buckets: of(&collected.buckets, own),
        }
    }
}
