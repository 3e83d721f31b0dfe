//! What a page costs: as text for Prometheus beside the SDK and its bridge, beside the bare system
//! calls, and as the number of sockets grows.

#![allow(unsafe_code)]

mod bridge;
mod crowd;

use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use prometheus::{Encoder, Registry, TextEncoder};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tcpinfo::{Monitor, Page};

use bridge::bridge;
use crowd::Crowd;
use support::allocator::{Counting, allocations, live};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often each work is done, in turns with the others of its table.
const TURNS: usize = 15;

/// One bare `getsockopt(TCP_INFO)` for each socket.
fn bare_loop(streams: &[impl AsRawFd]) {
    let mut room = [0_u8; 512];
    for stream in streams {
        let mut len = room.len() as libc::socklen_t;
        let (fd, name) = (stream.as_raw_fd(), libc::TCP_INFO);
        // SAFETY: `room` holds `len` bytes and outlives the call.
        let result = unsafe {
            libc::getsockopt(fd, libc::IPPROTO_TCP, name, room.as_mut_ptr().cast(), &mut len)
        };
        assert_eq!(result, 0);
    }
}

fn bridged(registry: &Registry, out: &mut Vec<u8>) {
    out.clear();
    TextEncoder::new().encode(&registry.gather(), out).expect("metrics are text");
}

fn written(page: &Page, out: &mut Vec<u8>) {
    out.clear();
    page.write(out).expect("a vector takes all");
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// What this thread has used of a processor.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Medians of wall time and of processor time, of works done in turns.
fn medians<const N: usize>(turns: usize, mut works: [&mut dyn FnMut(); N]) -> [[Duration; 2]; N] {
    let mut times: [[Vec<Duration>; 2]; N] = std::array::from_fn(|_| Default::default());
    works.iter_mut().for_each(|work| work());
    for _ in 0..turns {
        for (work, times) in works.iter_mut().zip(&mut times) {
            let (began, worked_before) = (Instant::now(), worked());
            work();
            times[1].push(worked() - worked_before);
            times[0].push(began.elapsed());
        }
    }
    times.map(|times| {
        times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        })
    })
}

fn show(what: &str, [wall, cpu]: [Duration; 2], more: &str) {
    println!("  {what:<28} {wall:>12.2?} wall {cpu:>12.2?} CPU  {more}");
}

fn ratio(one: [Duration; 2], other: [Duration; 2]) -> f64 {
    one[1].as_secs_f64() / other[1].as_secs_f64()
}

/// Every field of every socket, one by one.
fn sockets(count: usize, with_bridge: bool) {
    let mut crowd = Crowd::connect(count);
    let monitor = Monitor::builder().with_max_sockets(count).build();
    let streams = std::mem::take(&mut crowd.streams);
    let before = live();
    let watched: Vec<_> = streams.into_iter().map(|stream| monitor.watch(stream, [])).collect();
    let page = monitor.page();
    let (mut out, mut other) = (Vec::new(), Vec::new());
    written(&page, &mut out);
    let (bytes, count_of_lines) = (out.len(), lines(&out));
    // The text itself is the program's.
    drop(std::mem::take(&mut out));
    let held = live() - before;
    let mut sink = std::io::sink();
    let asked = allocations(|| page.write(&mut sink).expect("a sink takes all"));
    println!("{count} sockets, every field: {count_of_lines} lines, {bytes} bytes");
    let each = |[_, cpu]: [Duration; 2], less: [Duration; 2]| {
        let nanos = cpu.saturating_sub(less[1]).as_nanos() as f64;
        format!("{:.0} ns a line", nanos / count_of_lines as f64)
    };
    let [bare, sweep, text] = medians(
        TURNS,
        [&mut || bare_loop(&watched), &mut || drop(black_box(monitor.snapshot())), &mut || {
            written(&page, &mut out)
        }],
    );
    show("bare getsockopt loop", bare, "");
    show("snapshot", sweep, &format!("{:.2} x the bare loop", ratio(sweep, bare)));
    let zero = [Duration::ZERO; 2];
    show("page", text, &format!("{}; without the sweep {}", each(text, zero), each(text, sweep)));
    println!("  {} bytes held a socket, {asked} allocations a write", held / count);
    if with_bridge {
        let (_provider, registry) = bridge(&monitor);
        let [text, bridge] =
            medians(5, [&mut || written(&page, &mut out), &mut || bridged(&registry, &mut other)]);
        show("page, again", text, "");
        let times = ratio(bridge, text);
        show("SDK and bridge", bridge, &format!("{times:.1} x the page"));
    }
}

/// Sockets in groups.
fn groups(count: usize, groups: usize) {
    let mut crowd = Crowd::connect(count);
    let monitor = Monitor::builder().with_max_groups(groups).build();
    let of: Vec<_> =
        (0..groups).map(|number| monitor.group([KeyValue::new("group", number as i64)])).collect();
    let streams = std::mem::take(&mut crowd.streams);
    let watched: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(number, stream)| of[number % groups].watch(stream))
        .collect();
    let page = monitor.page();
    let mut out = Vec::new();
    written(&page, &mut out);
    println!("{count} sockets in {groups} groups: {} lines, {} bytes", lines(&out), out.len());
    let [bare, sweep, text] = medians(
        4 * TURNS,
        [&mut || bare_loop(&watched), &mut || drop(black_box(monitor.snapshot())), &mut || {
            written(&page, &mut out)
        }],
    );
    show("bare getsockopt loop", bare, "");
    show("snapshot", sweep, &format!("{:.3} x the bare loop", ratio(sweep, bare)));
    show("page", text, &format!("{:.3} x the bare loop", ratio(text, bare)));
}

fn main() {
    crowd::hold_if_asked();
    // As criterion's benchmarks are run to see that they work.
    if std::env::args().any(|argument| argument == "--test") {
        sockets(100, true);
        groups(100, 10);
        return;
    }
    // Both ends of a connection are in different processes, which have the same limit.
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX) as usize;
    let fits = |count: usize| {
        if count + 200 > limit {
            println!("{count} sockets: too many for a limit of {limit} open files; fewer:");
        }
        count.min(limit - 200)
    };
    sockets(fits(1_000), true);
    sockets(fits(10_000), true);
    sockets(fits(28_000), false);
    groups(fits(10_000), 10);
    groups(fits(28_000), 100);
}
