//! Many threads watch the same few connections, in every way there is, while sweeps never pause.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use tcpinfo::{Group, Monitor, Watched};

use super::{Totals, sweeping};
use support::loopback::Pair;
use support::random::Rng;

const TIME: Duration = Duration::from_millis(1_500);

/// A connection whose both ends are here.
struct Line {
    client: Arc<TcpStream>,
    server: TcpStream,
    /// One writes at a time.
    sent: Mutex<u64>,
}

impl Line {
    fn new() -> Self {
        let Pair { client, server, .. } = Pair::connect();
        client.set_nodelay(true).expect("it is connected");
        Self { client: Arc::new(client), server, sent: Mutex::new(0) }
    }

    /// Sends so many bytes, which have arrived when this returns.
    fn send(&self, bytes: usize) {
        let mut sent = self.sent.lock().expect("nobody panics while sending");
        (&*self.client).write_all(&vec![1; bytes]).expect("it is connected");
        (&self.server).read_exact(&mut vec![0; bytes]).expect("the other end wrote as much");
        *sent += bytes as u64;
    }

    /// Watches and lets go of it in one of many ways, with a few bytes meanwhile.
    fn visit(&self, monitor: &Monitor, group: &Group, rng: &mut Rng) {
        let bytes = rng.below(50) as usize;
        let client = &self.client;
        match rng.below(9) {
            0 => {
                let watched = group.watch(Arc::clone(client));
                self.send(bytes);
                drop(watched);
            }
            1 => drop(group.watch(&**client)),
            2 => drop(group.watch_borrowed(&**client)),
            3 => drop(group.watch(client.try_clone().expect("a descriptor is free"))),
            4 => {
                let clone = client.try_clone().expect("a descriptor is free");
                drop(group.watch(clone).into_inner());
            }
            5 => {
                let nested: Watched<Watched<&TcpStream>> = group.watch(group.watch(&**client));
                self.send(bytes);
                let probe = nested.probe();
                drop(nested.into_inner());
                let _ = probe.info();
            }
            6 => {
                let (first, second) = (group.watch(&**client), group.watch(Arc::clone(client)));
                thread::scope(|scope| {
                    scope.spawn(|| drop(first));
                    scope.spawn(|| drop(second));
                });
            }
            7 => {
                drop(monitor.watch(client.try_clone().expect("a descriptor is free"), []));
            }
            _ => {
                let watched = monitor.watch(&**client, [KeyValue::new("own", 1)]);
                self.send(bytes);
                drop(watched);
            }
        }
    }
}

/// Everything counts, because somebody watches all the time.
#[test]
fn what_many_threads_watch_at_once_counts_once() {
    const THREADS: u64 = 6;
    let monitor = Monitor::new();
    let lines: Vec<Line> = (0..5).map(|_| Line::new()).collect();
    let group = monitor.group([]);
    let held: Vec<_> = lines.iter().map(|line| group.watch(Arc::clone(&line.client))).collect();
    let visits = AtomicU64::new(0);
    let sweeps = sweeping(&monitor, |done| {
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (monitor, group, lines, visits) = (&monitor, &group, &lines, &visits);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed);
                    while !done.load(Ordering::Relaxed) {
                        let line = &lines[rng.below(lines.len() as u64) as usize];
                        line.visit(monitor, group, &mut rng);
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(TIME);
            done.store(true, Ordering::Relaxed);
        });
    });
    let all = lines.len() as u64;
    let sent = lines.iter().map(|line| *line.sent.lock().expect("nobody sends any more")).sum();
    println!("{visits:?} visits, {sweeps} sweeps, {sent} bytes");
    let expected = Totals { opened: all, closed: 0, live: all, sent };
    assert_eq!(Totals::of(&monitor), expected);
    drop((held, lines));
    assert_eq!(Totals::of(&monitor), Totals { closed: all, live: 0, ..expected });
    super::is_empty(&monitor);
}

/// The next holds a connection before the one before it lets go, on another thread.
#[test]
fn a_connection_that_goes_from_hand_to_hand_counts_whole() {
    const THREADS: u64 = 6;
    type Hand = Watched<Arc<TcpStream>>;
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let lines: Vec<(Line, Mutex<Option<Hand>>)> =
        (0..3).map(|_| (Line::new(), Mutex::new(None))).collect();
    for (line, hand) in &lines {
        *hand.lock().expect("nobody has it") = Some(group.watch(Arc::clone(&line.client)));
    }
    let sweeps = sweeping(&monitor, |done| {
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (monitor, lines) = (&monitor, &lines);
                scope.spawn(move || {
                    let group = monitor.group([]);
                    let mut rng = Rng::new(seed);
                    while !done.load(Ordering::Relaxed) {
                        let (line, hand) = &lines[rng.below(lines.len() as u64) as usize];
                        let last = {
                            let mut hand = hand.lock().expect("nobody panics with it");
                            let own = group.watch(Arc::clone(&line.client));
                            hand.replace(own)
                        };
                        line.send(rng.below(50) as usize);
                        drop(last);
                    }
                });
            }
            thread::sleep(TIME);
            done.store(true, Ordering::Relaxed);
        });
    });
    let all = lines.len() as u64;
    let sent = lines.iter().map(|(line, _)| *line.sent.lock().expect("all are done")).sum();
    println!("{sweeps} sweeps, {sent} bytes");
    let expected = Totals { opened: all, closed: 0, live: all, sent };
    assert_eq!(Totals::of(&monitor), expected);
    drop(lines);
    assert_eq!(Totals::of(&monitor), Totals { closed: all, live: 0, ..expected });
    super::is_empty(&monitor);
}

/// More connections than the memory has room for, watched in turns and sending between: what is
/// pushed out ends, and is known when it comes back.
#[test]
fn what_threads_push_out_of_the_memory_counts_once() {
    const THREADS: usize = 4;
    const LINES: usize = 1_024 + 300;
    super::make_room(3 * LINES as u64);
    let monitor = Monitor::builder().with_samples(10_000).build();
    let lines: Vec<(Line, AtomicBool, AtomicU64)> =
        (0..LINES).map(|_| (Line::new(), AtomicBool::new(false), AtomicU64::new(0))).collect();
    let began = Instant::now();
    let sweeps = sweeping(&monitor, |done| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (monitor, lines) = (&monitor, &lines);
                scope.spawn(move || {
                    let group = monitor.group([]);
                    let mut rng = Rng::new(thread as u64);
                    for _ in 0..3 * LINES / THREADS {
                        let (line, taken, counted) = &lines[rng.below(LINES as u64) as usize];
                        if taken.swap(true, Ordering::Acquire) {
                            continue;
                        }
                        let bytes = 1 + rng.below(50);
                        let watched = group.watch(Arc::clone(&line.client));
                        line.send(bytes as usize);
                        let seen = watched.info().expect("it is open").bytes_sent;
                        // What it sent before its first watch counts as well.
                        if counted.load(Ordering::Relaxed) == 0 {
                            counted.store(seen.expect("since 4.19"), Ordering::Relaxed);
                        } else {
                            counted.fetch_add(bytes, Ordering::Relaxed);
                        }
                        drop(watched);
                        line.send(7);
                        taken.store(false, Ordering::Release);
                    }
                });
            }
        });
        done.store(true, Ordering::Relaxed);
    });
    let watched = lines.iter().filter(|line| *line.0.sent.lock().expect("done") > 0).count();
    let sent = lines.iter().map(|(.., counted)| counted.load(Ordering::Relaxed)).sum();
    println!("{sweeps} sweeps, {watched} connections, {sent} bytes in {:?}", began.elapsed());
    let given_back = monitor.snapshot().monitor.given_back;
    let now = Totals::of(&monitor);
    let all = watched as u64;
    assert_eq!((now.opened, now.live, now.sent), (all, 0, sent));
    assert!(now.closed >= all - given_back, "{now:?}, {given_back} given back");
    drop(lines);
    monitor.snapshot();
    assert_eq!(Totals::of(&monitor), Totals { opened: all, closed: all, live: 0, sent });
    super::is_empty(&monitor);
}
