//! Connections that come and go under two exporters for as long as `integration/soak.sh` says:
//! nothing grows meanwhile, and in the end no byte is missing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tcpinfo::{Group, Monitor};

use crate::allocator::live;
use crate::exposition::{Page, parsed};
use crate::loopback::until;
use crate::otlp::{http, points, receiver::Receiver};
use crate::peers::{Peers, exchange};

const WORKERS: usize = 4;
/// So many connections one after the other, then a pause: a thousand a second in all, so that
/// those in TIME_WAIT leave each listener's address free ports.
const BURST: u64 = 25;
const PAUSE: Duration = Duration::from_millis(100);
/// How much more may be allocated in the last third than in the first, after a tenth of the time to
/// warm up. One leaked byte a connection would be a megabyte in half an hour.
const MAY_GROW: u64 = 512 * 1_024;
/// How much of what was given back the allocator may keep in addition.
const MAY_KEEP: u64 = 1_536 * 1_024;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Bytes allocated and not freed.
    allocated: u64,
    /// Bytes of resident memory that are not a file's: these too, and what the allocator keeps.
    resident: u64,
    descriptors: u64,
}

impl Held {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = anonymous
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.parse().ok())
            .unwrap_or_else(|| panic!("no RssAnon in {status}"));
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("procfs").count() as u64;
        Self { allocated: live() as u64, resident: kib * 1_024, descriptors }
    }

    /// The medians of the first and of the last third.
    fn thirds(samples: &[Self]) -> [Self; 2] {
        let third = samples.len() / 3;
        [&samples[..third], &samples[samples.len() - third..]].map(|third| {
            let median = |of: fn(&Self) -> u64| {
                let mut all: Vec<_> = third.iter().map(of).collect();
                all.sort_unstable();
                all[all.len() / 2]
            };
            Self {
                allocated: median(|it| it.allocated),
                resident: median(|it| it.resident),
                descriptors: median(|it| it.descriptors),
            }
        })
    }
}

/// Bursts of connections, and one that lives through all of them.
fn work(
    number: usize,
    monitor: &Monitor,
    group: &Group,
    [own, passing]: [&Peers; 2],
    end: Instant,
) {
    // An address each: one pair of addresses has few ports.
    let address = Ipv4Addr::new(127, 0, 1, 1 + number as u8);
    let listener = TcpListener::bind((address, 0)).expect("loopback has ports");
    let mut steady =
        group.watch(TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens"));
    let (mut server, _) = listener.accept().expect("the client connected");
    let mut round = 0;
    while Instant::now() < end {
        for step in 0..BURST {
            let size = ((round * BURST + step) * 37 % 4_096) as usize;
            match step {
                // A series of its own that is never seen again, and a group that comes back.
                0 => exchange(&listener, |it| monitor.watch(it, []), &Peers::default(), size),
                1 => {
                    let name = format!("{number} {}", round % 10);
                    let group = monitor.group([KeyValue::new("passing", name)]);
                    exchange(&listener, |it| group.watch(it), passing, size);
                }
                _ => exchange(&listener, |it| group.watch(it), own, size),
            }
        }
        steady.write_all(&[1; 700]).expect("it is connected");
        server.read_exact(&mut [0; 700]).expect("the client wrote as much");
        server.write_all(&[2; 300]).expect("it is connected");
        steady.read_exact(&mut [0; 300]).expect("the server wrote as much");
        round += 1;
        thread::park_timeout(PAUSE);
    }
    steady.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(server.read(&mut [0]).expect("the end"), 0);
    drop(server);
    assert_eq!(steady.read(&mut [0]).expect("the end"), 0);
    own.add(round * 700, round * 300);
}

/// Does something again and again until told to stop, and once more: how often.
fn repeat(every: Duration, done: &AtomicBool, mut what: impl FnMut()) -> u64 {
    for times in 1.. {
        let ends = done.load(Ordering::Acquire);
        what();
        if ends {
            return times;
        }
        thread::park_timeout(every);
    }
    unreachable!("it counts for longer than anybody waits")
}

fn page(registry: &prometheus::Registry) -> Page {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    parsed(&text.expect("the families of one registry can be written"))
}

/// The totals of connections that ended: opened, closed, sent once, received, acknowledged.
fn expected(peers: &[&Peers]) -> [f64; 5] {
    let sum = |of: fn(&Peers) -> &AtomicU64| -> u64 {
        peers.iter().map(|peers| of(peers).load(Ordering::Relaxed)).sum()
    };
    let connections = sum(|peers| &peers.connections);
    let (received, sent) = (sum(|peers| &peers.received), sum(|peers| &peers.sent));
    // The peer's FIN counts one, and so do our SYN and FIN.
    [connections, connections, received, sent + connections, received + 2 * connections]
        .map(|total| total as f64)
}

fn exported(value: impl Fn(&str) -> f64) -> [f64; 5] {
    [
        value("tcp.connection.opened"),
        value("tcp.connection.closed"),
        value("tcp.data.sent") - value("tcp.data.retransmitted"),
        value("tcp.data.received"),
        value("tcp.data.acked"),
    ]
}

fn soak(time: Duration) {
    let registry = prometheus::Registry::new();
    let receiver = Receiver::http();
    let before = Held::now();
    let monitor = Monitor::new();
    let bridge = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let bridge = bridge.expect("an empty registry takes an exporter");
    let pulled = SdkMeterProvider::builder().with_reader(bridge).build();
    monitor.instrument(&pulled);
    let push = PeriodicReader::builder(http(&receiver.endpoint, Temporality::Delta));
    let push = push.with_interval(Duration::from_secs(1)).build();
    let pushed = SdkMeterProvider::builder().with_reader(push).build();
    monitor.instrument(&pushed);

    let groups: Vec<Group> = (0..WORKERS)
        .map(|number| monitor.group([KeyValue::new("worker", number as i64)]))
        .collect();
    let own: Vec<Peers> = groups.iter().map(|_| Peers::default()).collect();
    let passing = Peers::default();
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    let mut pushes = 0;
    let mut samples = Vec::new();
    let (sweeps, scrapes) = thread::scope(|scope| {
        let sweeps =
            scope.spawn(|| repeat(Duration::from_millis(20), &done, || drop(monitor.snapshot())));
        let held = &mut samples;
        let scrapes = scope.spawn(|| {
            let mut opened = [0.0; WORKERS];
            repeat(Duration::from_millis(250), &done, || {
                let page = page(&registry);
                for (number, before) in opened.iter_mut().enumerate() {
                    let labels = [("worker", &*number.to_string())];
                    let now = page.value("tcp_connection_opened_total", &labels);
                    assert!(now >= *before, "it fell from {before} to {now}");
                    *before = now;
                }
                drop(page);
                // Between two pages: one takes ten times what the rest does.
                held.push((start.elapsed(), Held::now()));
            })
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (monitor, group) = (&monitor, &groups[number]);
                let peers = [&own[number], &passing];
                scope.spawn(move || work(number, monitor, group, peers, start + time))
            })
            .collect();
        let mut take = || {
            for push in receiver.so_far() {
                pushes += 1;
                for (series, delta) in points::collected(&push.request).counters {
                    let name = series.split('{').next().unwrap_or_default();
                    *sums.entry(name.to_owned()).or_default() += delta;
                }
            }
        };
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            take();
            thread::park_timeout(Duration::from_millis(100));
        }
        workers.into_iter().for_each(|worker| worker.join().expect("no exchange failed"));
        done.store(true, Ordering::Release);
        pushed.shutdown().expect("the receiver accepts the last push");
        take();
        (sweeps.join().expect("no sweep panicked"), scrapes.join().expect("no total fell"))
    });

    let last = page(&registry);
    for (number, peers) in own.iter().enumerate() {
        let totals = exported(|name| {
            let unit = if name.contains("connection") { "" } else { "_bytes" };
            let name = format!("{}{unit}_total", name.replace('.', "_"));
            last.value(&name, &[("worker", &number.to_string())])
        });
        assert_eq!(totals, expected(&[peers]), "worker {number}, scraped");
    }
    let all: Vec<_> = own.iter().chain([&passing]).collect();
    assert_eq!(exported(|name| sums[name]), expected(&all), "all, pushed");
    let left = last.all().filter(|sample| sample.name.starts_with("tcp_socket_")).count();
    assert_eq!(left, 0, "series of sockets that are gone");
    let monitored = monitor.snapshot().monitor.clone();
    assert_eq!((monitored.watched, monitored.read_errors), (0, vec![]));

    let held: Vec<_> = samples.iter().filter(|(at, _)| *at > time / 10).map(|it| it.1).collect();
    let [first, then] = Held::thirds(&held);
    let [connections, ..] = expected(&all);
    println!(
        "\nsoak: {} s, {connections} connections, {sweeps} sweeps, {scrapes} scrapes, {pushes} \
         pushes; from the first third to the last: allocated {} to {} KiB, resident {} to {} KiB, \
         descriptors {} to {}",
        start.elapsed().as_secs(),
        first.allocated / 1_024,
        then.allocated / 1_024,
        first.resident / 1_024,
        then.resident / 1_024,
        first.descriptors,
        then.descriptors,
    );
    assert!(then.allocated <= first.allocated + MAY_GROW, "{first:?} {then:?}");
    assert!(then.resident <= first.resident + MAY_KEEP, "{first:?} {then:?}");
    assert!(then.descriptors <= first.descriptors + 2, "{first:?} {then:?}");
    drop((groups, monitor, pushed, pulled));
    until("every descriptor to be closed", || {
        (Held::now().descriptors == before.descriptors).then_some(())
    });
}

#[test]
fn nothing_grows_while_connections_come_and_go() {
    let seconds = std::env::var("TCPINFO_SOAK_SECONDS").unwrap_or_else(|_| "5".to_owned());
    let program = std::env::current_exe().expect("procfs");
    let mut alone = Command::new(program);
    alone.args(["--exact", "soak::the_soak", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = alone.env("TCPINFO_SOAK_FOR", seconds).output().expect("this very program");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().find(|line| line.starts_with("soak: "));
    println!("{}", said.unwrap_or("no soak"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_some(), "{text}\n{errors}");
}

#[test]
#[ignore = "the part of nothing_grows_while_connections_come_and_go with a process of its own"]
fn the_soak() {
    let Ok(seconds) = std::env::var("TCPINFO_SOAK_FOR") else { return };
    soak(Duration::from_secs(seconds.parse().expect("a number of seconds")));
}
