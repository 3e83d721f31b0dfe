//! Which ports are listened on in a network namespace, and on which addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::super::locks::lock;
use crate::diag::{Query, RepeatedDump, Socket};
use crate::state::State;

/// For how long what was asked is good enough. To ask costs some 15 us.
const FRESH: Duration = Duration::from_millis(10);

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) cookie: u64,
    pub(crate) local: SocketAddr,
}

impl Listener {
    /// Whether it would accept connections to this address.
    pub(crate) fn accepts(&self, local: SocketAddr) -> bool {
        let (own, ip) = (self.local.ip().to_canonical(), local.ip().to_canonical());
        let is_any = match own {
            IpAddr::V4(own) => own.is_unspecified() && ip.is_ipv4(),
            // Most such listeners take IPv4 as well.
            IpAddr::V6(own) => own.is_unspecified(),
        };
        self.local.port() == local.port() && (is_any || own == ip)
    }
}

/// What listens in one network namespace.
pub(crate) struct Listening {
    /// The ports as bits: of the last look, and of the one before. A server that has just stopped
    /// still has connections.
    now: Ports,
    before: Ports,
    /// The ports on the other side of this namespace's clients, since the last pass.
    of_servers: Ports,
    all: ArcSwap<Vec<Listener>>,
    asked: Mutex<Asked>,
}

type Ports = Box<[AtomicU64]>;

struct Asked {
    /// `None` if this process may not ask.
    dump: Option<RepeatedDump>,
    at: Option<Instant>,
}

fn ports() -> Ports {
    std::iter::repeat_with(|| AtomicU64::new(0)).take(1 << 10).collect()
}

fn has(ports: &Ports, port: u16) -> bool {
    ports[usize::from(port >> 6)].load(Ordering::Relaxed) >> (port & 63) & 1 != 0
}

fn add(ports: &Ports, port: u16) {
    ports[usize::from(port >> 6)].fetch_or(1 << (port & 63), Ordering::Relaxed);
}

impl Listening {
    /// In the namespace of this query.
    pub(crate) fn new(query: &Query) -> Self {
        let query = query.of_namespace().with_states([State::Listen]);
        let dump = RepeatedDump::open(query).ok();
        let asked = Mutex::new(Asked { dump, at: None });
        Self { now: ports(), before: ports(), of_servers: ports(), all: ArcSwap::default(), asked }
    }

    /// Whether anything listens on this port, or did so until recently.
    pub(crate) fn has(&self, port: u16) -> bool {
        has(&self.now, port) || has(&self.before, port)
    }

    /// A listener was found otherwise.
    pub(crate) fn add(&self, port: u16) {
        add(&self.now, port);
    }

    /// A connection is to be told to be a server's or a client's, and no pass has seen it: looks
    /// whether a server has just begun. It asks once for each server of clients, and pass.
    pub(crate) fn learn(&self, socket: &Socket) {
        let (local, peer) = (socket.local.port(), socket.peer.port());
        if !self.has(local) && !has(&self.of_servers, peer) {
            self.look(Duration::ZERO);
            if !self.has(local) {
                add(&self.of_servers, peer);
            }
        }
    }

    /// Everything that listens, as of the last look.
    pub(crate) fn all(&self) -> Arc<Vec<Listener>> {
        self.all.load_full()
    }

    /// A pass begins: forgets what listened two passes ago. Looks, unless the pass itself will show
    /// what listens.
    pub(crate) fn begin_pass(&self, shows_listeners: bool) {
        for (before, now) in self.before.iter().zip(&self.now) {
            before.store(now.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        self.of_servers.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        if !shows_listeners {
            self.look(Duration::ZERO);
        }
    }

    /// Looks, unless that was done just now. Returns whether it looked.
    pub(crate) fn refresh(&self) -> bool {
        self.look(FRESH)
    }

    /// Looks now.
    pub(crate) fn look_now(&self) {
        self.look(Duration::ZERO);
    }

    fn look(&self, fresh: Duration) -> bool {
        let mut asked = lock(&self.asked);
        if asked.at.is_some_and(|at| at.elapsed() < fresh) {
            return false;
        }
        let Some(dump) = &mut asked.dump else { return false };
        let mut all = Vec::new();
        let run = dump.run(|socket| {
            self.add(socket.local_port());
            if let Ok(decoded) = socket.decode() {
                all.push(Listener { cookie: socket.cookie(), local: decoded.local });
            }
        });
        asked.at = Some(Instant::now());
        if run.is_ok() {
            self.all.store(Arc::new(all));
        }
        run.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_accepts_at_its_address_and_port() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        for (listens, local, accepts) in [
            ("0.0.0.0:80", "192.0.2.1:80", true),
            ("0.0.0.0:80", "192.0.2.1:81", false),
            ("0.0.0.0:80", "[2001:db8::1]:80", false),
            ("[::]:80", "192.0.2.1:80", true),
            ("[::]:80", "[2001:db8::1]:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
        ] {
            let listener = Listener { cookie: 1, local: address(listens) };
            assert_eq!(listener.accepts(address(local)), accepts, "{listens} {local}");
        }
    }

    #[test]
    fn a_port_is_forgotten_after_two_passes() {
        let listening = Listening {
            now: ports(),
            before: ports(),
            of_servers: ports(),
            all: ArcSwap::default(),
            asked: Mutex::new(Asked { dump: None, at: None }),
        };
        listening.add(443);
        listening.add(65_535);
        for expected in [true, true, false] {
            assert_eq!(
                [443, 65_535, 442].map(|port| listening.has(port)),
                [expected, expected, false]
            );
            listening.begin_pass(true);
        }
    }
}
