//! Connections that go from group to group and from thread to thread, over caps that are too small
//! for all groups and sockets, while providers come and go.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::Temporality;
use tcpinfo::{Group, Monitor, SocketIdentity, Watched, Worst};

use super::is_empty;
use crate::monitor::exports::Exports;
use support::random::Rng;

const THREADS: u64 = 4;
const EACH: u64 = 400;
/// Names of groups, three times as many as there may be.
const NAMES: u64 = 12;

/// A connection on its way, somebody watches it.
struct Traveller {
    server: TcpStream,
    watched: Watched<Arc<TcpStream>>,
    hops: u64,
}

/// What all threads share.
struct Road {
    monitor: Monitor,
    /// Those that wait for another thread.
    waiting: Mutex<Vec<Traveller>>,
    sent: AtomicU64,
}

impl Road {
    fn group(&self, rng: &mut Rng) -> Group {
        let group = self.monitor.group([KeyValue::new("name", rng.below(NAMES) as i64)]);
        if rng.below(20) == 0 {
            group.show_worst(Worst::RttInflation, rng.below(3) as usize);
        }
        group
    }

    /// One more stop of a connection: it sends, and is watched by somebody else then.
    fn stop(&self, traveller: Traveller, rng: &mut Rng) {
        let Traveller { server, watched, hops } = traveller;
        let bytes = rng.below(200);
        (&**watched).write_all(&vec![1; bytes as usize]).expect("it is connected");
        (&server).read_exact(&mut vec![0; bytes as usize]).expect("the other end wrote as much");
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        if hops == 0 {
            return;
        }
        let own = [KeyValue::new("own", rng.below(3) as i64)];
        let watched = match rng.below(5) {
            0 => self.group(rng).watch(watched.into_inner()),
            1 => {
                let next = self.group(rng).watch(Arc::clone(&watched));
                drop(watched);
                next
            }
            2 => {
                let socket = Arc::clone(&watched);
                drop(watched);
                self.group(rng).watch(socket)
            }
            3 => {
                drop(self.monitor.watch(watched.try_clone().expect("there are more"), own));
                watched
            }
            _ => {
                let _ = self.monitor.watch(&**watched, own).into_inner();
                watched
            }
        };
        let traveller = Traveller { server, watched, hops: hops - 1 };
        self.waiting.lock().expect("nobody panics with it").push(traveller);
    }

    fn next(&self) -> Option<Traveller> {
        self.waiting.lock().expect("nobody panics with it").pop()
    }

    fn walk(&self, thread: u64) {
        let mut rng = Rng::new(thread + 1);
        // An address each: one pair of addresses has few ports.
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 3, 1 + thread as u8), 0));
        let listener = listener.expect("loopback has ports");
        for _ in 0..EACH {
            let client = TcpStream::connect(listener.local_addr().expect("it is bound"));
            let client = client.expect("it listens");
            client.set_nodelay(true).expect("it is connected");
            let (server, _) = listener.accept().expect("the client connected");
            let watched = self.group(&mut rng).watch(Arc::new(client));
            self.stop(Traveller { server, watched, hops: rng.below(6) }, &mut rng);
            while let Some(next) = self.next().filter(|_| rng.below(3) > 0) {
                self.stop(next, &mut rng);
            }
        }
        while let Some(next) = self.next() {
            self.stop(next, &mut rng);
        }
    }
}

fn travel(identity: SocketIdentity) {
    let monitor = Monitor::builder()
        .with_identity(identity)
        .with_max_groups(NAMES as usize / 3)
        .with_group_retention(Duration::ZERO)
        .with_max_sockets(3)
        .build();
    let both = Exports::both(&monitor);
    let road = Road { monitor, waiting: Mutex::default(), sent: AtomicU64::new(0) };
    let done = AtomicBool::new(false);
    let both = thread::scope(|scope| {
        let both = both.map(|exports| scope.spawn(|| exports.until_done(&done)));
        // Comes and goes, told of some and not of all.
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let mut passing = Exports::new(&road.monitor, Temporality::Delta);
                passing.collect();
                passing.collect();
            }
        });
        let road = &road;
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || road.walk(thread))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no exchange failed"));
        done.store(true, Ordering::Release);
        both.map(|thread| thread.join().expect("nothing fell"))
    });
    let (connections, sent) = ((THREADS * EACH) as f64, road.sent.into_inner() as f64);
    for exports in &both {
        let sum = |metric: &str| exports.sum_of_all(metric);
        assert_eq!(sum("tcp.connection.opened"), connections, "opened");
        assert_eq!(sum("tcp.connection.closed"), connections, "closed");
        assert_eq!(sum("tcp.data.sent") - sum("tcp.data.retransmitted"), sent, "sent");
        let lives = exports.samples_of_all("tcp.connection.duration");
        assert!(lives <= THREADS * EACH, "{lives} samples of the duration");
    }
    is_empty(&road.monitor);
}

#[test]
fn connections_that_go_from_group_to_group_count_once_and_whole() {
    for identity in [SocketIdentity::Cookie, SocketIdentity::None] {
        travel(identity);
    }
}
