//! What discovered sockets cost: sweeps of a host of up to 100,000 sockets beside a dump that only
//! counts messages and beside `ss -tin`, sweeps of a process beside the bare `getsockopt` loop, the
//! ends of connections, filters in the kernel, and pages of groups as the sockets become more.
//! `-- --test` shows that it runs; `-- process`, `-- ends`, `-- host`, `-- filters` and `-- pages`
//! measure a part.

#![allow(unsafe_code)]

mod crowd;
mod hosts;

use std::hint::black_box;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use rustix::time::{ClockId, clock_gettime};
use tcpinfo::diag::{self, Event, Events, Filter, Query};
use tcpinfo::{Discovery, Monitor, State};

use crowd::Crowd;
use hosts::{Host, Took, bare_dump, median, ss, took};
use support::allocator::{Counting, allocations, live};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How much, and how often.
struct Plan {
    sizes: &'static [usize],
    rounds: usize,
    own: usize,
    wanted: usize,
    ends: usize,
}

const WHOLE: Plan = Plan {
    sizes: &[1_000, 10_000, 50_000, 100_000],
    rounds: 15,
    own: 10_000,
    wanted: 50,
    ends: 100_000,
};
const SHORT: Plan = Plan { sizes: &[200, 400], rounds: 3, own: 200, wanted: 20, ends: 2_000 };

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// A kind of work that is compared with others.
type Work<'a> = (&'a str, &'a mut dyn FnMut() -> Took);

/// Does each in turn, again and again, and prints the medians per socket and the ratios to the
/// first.
fn compare(rounds: usize, sockets: usize, works: &mut [Work<'_>]) {
    let mut all = vec![Vec::new(); works.len()];
    for (_, work) in works.iter_mut() {
        work();
    }
    for _ in 0..rounds {
        for (times, (_, work)) in all.iter_mut().zip(works.iter_mut()) {
            times.push(work());
        }
    }
    for (at, (name, _)) in works.iter().enumerate() {
        let of = |of: fn(&Took) -> Duration| {
            median(all[at].iter().map(|it| micros(of(it), sockets)).collect())
        };
        let ratio = |of: fn(&Took) -> Duration| {
            let pairs = all[at].iter().zip(&all[0]);
            median(
                pairs.map(|(it, first)| of(it).as_secs_f64() / of(first).as_secs_f64()).collect(),
            )
        };
        println!(
            "  {name:<34} {:>7.3} us of CPU a socket, {:>7.3} us; x {:>6.3} of CPU, x {:>6.3}",
            of(|it| it.cpu),
            of(|it| it.wall),
            ratio(|it| it.cpu),
            ratio(|it| it.wall),
        );
    }
}

/// The host at several sizes.
fn host(host: &mut Host, plan: &Plan) {
    for &size in plan.sizes {
        host.grow(size);
        let listeners = host.ports.len();
        let before = live();
        let monitor = Monitor::new();
        let discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
        let found = monitor.snapshot().monitor.discovered;
        assert_eq!(found, (host.sockets + listeners) as u64, "all sockets are found");
        black_box(monitor.snapshot());
        // The latest snapshot is kept: two more change nothing.
        let bytes = (live() - before) as f64 / host.sockets as f64;
        let allocated = allocations(|| drop(black_box(monitor.snapshot())));
        println!(
            "host of {} sockets: {bytes:.0} bytes a socket, {allocated} allocations a sweep",
            host.sockets
        );
        let mut room = [0; 32 * 1024];
        let sockets = host.sockets;
        compare(
            plan.rounds,
            sockets,
            &mut [
                ("dump that counts messages", &mut || {
                    let (took, count) = took(|| bare_dump(&mut room));
                    assert_eq!(count, sockets + listeners);
                    took
                }),
                ("sweep", &mut || took(|| black_box(monitor.snapshot())).0),
                ("dump, each socket decoded", &mut || {
                    took(|| Query::new().dump().expect("sock_diag answers").count()).0
                }),
                ("ss -tin state established", &mut || {
                    let began = Instant::now();
                    let cpu = ss();
                    Took { wall: began.elapsed(), cpu }
                }),
            ],
        );
        drop(discovered);
    }
}

/// The few that a query wants of the many.
fn filters(host: &mut Host, plan: &Plan) {
    host.add(plan.wanted / 2);
    let (port, _) = *host.ports.last().expect("one was added");
    let all = host.sockets;
    let filter = Filter::local_port(port..=port) | Filter::peer_port(port..=port);
    let established = Query::new().with_states([State::Established]);
    let wanted = plan.wanted;
    let kernel = established.clone().with_filter(filter.clone());
    let monitors = [(); 2].map(|()| Monitor::new());
    let sides = move |socket: &tcpinfo::diag::Socket| {
        let ours = socket.local.port() == port || socket.peer.port() == port;
        ours.then(Vec::new)
    };
    let afterwards = Discovery::host().with_query(established.clone()).with_groups(sides);
    let before = Discovery::host().with_query(kernel.clone()).with_groups(sides);
    let [one, other] = &monitors;
    let _one = one.discover(afterwards.without_events()).expect("sock_diag answers");
    let _other = other.discover(before.without_events()).expect("sock_diag answers");
    println!("{wanted} sockets wanted of {all}:");
    compare(
        plan.rounds,
        all,
        &mut [
            ("dump, filtered afterwards", &mut || {
                let (took, count) = took(|| {
                    let dump = established.dump().expect("sock_diag answers");
                    let all = dump.map(|socket| socket.expect("well-formed"));
                    all.filter(|it| sides(it).is_some()).count()
                });
                assert_eq!(count, wanted);
                took
            }),
            ("dump, filtered by the kernel", &mut || {
                let (took, count) = took(|| kernel.dump().expect("sock_diag answers").count());
                assert_eq!(count, wanted);
                took
            }),
            ("sweep, filtered by a closure", &mut || took(|| black_box(one.snapshot())).0),
            ("sweep, filtered by the kernel", &mut || took(|| black_box(other.snapshot())).0),
        ],
    );
}

fn tcp_info(stream: &TcpStream, room: &mut [u8; 512]) {
    let mut len = room.len() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: `room` holds `len` bytes and outlives the call.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), level, name, room.as_mut_ptr().cast(), &mut len)
    };
    assert_eq!(result, 0);
}

/// Connections of this process, whose other ends are in another.
fn process(plan: &Plan) {
    let crowd = Crowd::connect(plan.own);
    let before = live();
    let monitor = Monitor::new();
    let discovery = Discovery::process().with_sighting_budget(0.0);
    let _discovered = monitor.discover(discovery).expect("a process has descriptors");
    let found = monitor.snapshot().monitor.discovered;
    assert_eq!(found, plan.own as u64, "all sockets are found");
    black_box(monitor.snapshot());
    let bytes = (live() - before) as f64 / plan.own as f64;
    let allocated = allocations(|| drop(black_box(monitor.snapshot())));
    println!(
        "process with {} sockets: {bytes:.0} bytes a socket, {allocated} allocations a sweep",
        plan.own
    );
    let mut room = [0; 512];
    compare(
        plan.rounds,
        plan.own,
        &mut [
            ("bare getsockopt loop", &mut || {
                took(|| crowd.streams.iter().for_each(|it| tcp_info(it, &mut room))).0
            }),
            ("sweep, directory walk included", &mut || took(|| black_box(monitor.snapshot())).0),
        ],
    );
}

/// Time on a processor of this process's threads with such a name.
fn threads(name: &str) -> Duration {
    let mut all = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").expect("procfs") {
        let task = task.expect("procfs").path();
        let read = |file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").trim_end().starts_with(name) {
            let schedstat = read("schedstat");
            let first = schedstat.split(' ').next().and_then(|it| it.parse().ok());
            all += Duration::from_nanos(first.expect("nanoseconds"));
        }
    }
    all
}

/// Ends of connections: taken from the stream in a row, and by the monitor's thread.
fn ends(plan: &Plan) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let end = |count: usize| {
        for _ in 0..count / 2 {
            let client = TcpStream::connect(address).expect("it listens");
            let (server, _) = listener.accept().expect("it is connected");
            // The server first: its TIME_WAIT takes no port.
            drop(server);
            drop(client);
        }
    };
    // As many as fit in, again and again.
    let mut events = Events::open()
        .and_then(|events| events.with_receive_buffer(16 << 20))
        .expect("sock_diag answers");
    let fits = events.receive_buffer().expect("a socket") / 1_600;
    let (mut times, mut told) = (Duration::ZERO, 0);
    while told < plan.ends {
        end(fits.min(plan.ends));
        std::thread::sleep(Duration::from_millis(20));
        let (took, count) = took(|| {
            let mut count = 0;
            while let Some(event) = events.try_next().expect("well-formed") {
                assert!(matches!(event, Event::Ended(_)), "{event:?}");
                count += 1;
            }
            count
        });
        times += took.cpu;
        told += count;
    }
    drop(events);
    println!(
        "{told} ends taken from the stream: {:.3} us of CPU each, {:.0}/s on one core",
        micros(times, told),
        told as f64 / times.as_secs_f64()
    );
    let monitor = Monitor::new();
    let discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
    let before = threads("tcpinfo");
    let ended = |monitor: &Monitor| -> u64 {
        let snapshot = monitor.snapshot();
        assert_eq!(snapshot.monitor.event_overruns, 0);
        snapshot.groups.iter().map(|group| group.closed).sum()
    };
    let at_first = ended(&monitor);
    let began = Instant::now();
    end(plan.ends);
    let rate = plan.ends as f64 / began.elapsed().as_secs_f64();
    while ended(&monitor) < at_first + plan.ends as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let spent = threads("tcpinfo") - before;
    println!(
        "{} connections ended at {rate:.0}/s: {:.3} us of the thread's CPU each, {:.0}/s on a core",
        plan.ends,
        micros(spent, plan.ends),
        plan.ends as f64 / spent.as_secs_f64()
    );
    drop(discovered);
}

/// Takes a page, and says what writing took from the first chunk to the last: without the sweep.
#[derive(Default)]
struct Taken {
    first: Option<Duration>,
    time: Duration,
    lines: usize,
}

impl std::io::Write for Taken {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let now = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("positive");
        match self.first {
            None => self.first = Some(now),
            Some(first) => {
                self.time = now - first;
                self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A page of 100 groups over all sockets of the host, as these become more.
fn pages(host: &mut Host, plan: &Plan) {
    const GROUPS: u16 = 100;
    for &size in plan.sizes {
        host.grow(size);
        let before = live();
        let monitor = Monitor::new();
        let page = monitor.page();
        // Of a listener's connections every second port.
        let part = |socket: &diag::Socket| {
            let port = socket.local.port().wrapping_add(socket.peer.port()) / 2 % GROUPS;
            Some(vec![KeyValue::new("part", i64::from(port))])
        };
        let discovery = Discovery::host().with_groups(part);
        let discovered = monitor.discover(discovery).expect("sock_diag answers");
        let mut text = Vec::new();
        page.write(&mut text).expect("a vector takes all");
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        drop(text);
        let write = || {
            let mut taken = Taken::default();
            page.write(&mut taken).expect("it takes all");
            taken
        };
        write();
        let bytes = (live() - before) as f64 / host.sockets as f64;
        let allocated = allocations(|| {
            black_box(write());
        });
        let (mut swept, mut written, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            swept.push(took(|| black_box(monitor.snapshot())).0.cpu.as_secs_f64());
            let (took, taken) = took(write);
            written.push(took.cpu.as_secs_f64());
            each.push(1e9 * taken.time.as_secs_f64() / taken.lines as f64);
        }
        let [swept, written, each] = [swept, written, each].map(median);
        println!(
            "page of {GROUPS} groups, {} sockets: {lines} lines; sweep {:.2} ms, page {:.2} ms of \
             CPU, {:.0} ns a socket; {each:.0} ns a line written; {bytes:.0} bytes a socket, \
             {allocated} allocations a write",
            host.sockets,
            1e3 * swept,
            1e3 * written,
            1e9 * written / host.sockets as f64,
        );
        drop(discovered);
    }
}

fn main() {
    crowd::hold_if_asked();
    hosts::enter();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let plan = if asked("--test") { &SHORT } else { &WHOLE };
    let parts = ["process", "ends", "host", "filters", "pages"];
    let wants = |part: &str| asked(part) || !parts.iter().any(|part| asked(part));
    if wants("process") {
        process(plan);
    }
    if wants("ends") {
        ends(plan);
    }
    if wants("host") {
        host(&mut Host::default(), plan);
    }
    if wants("filters") {
        let mut half = Host::default();
        half.grow(plan.sizes[plan.sizes.len() / 2]);
        filters(&mut half, plan);
    }
    if wants("pages") {
        pages(&mut Host::default(), plan);
    }
}
