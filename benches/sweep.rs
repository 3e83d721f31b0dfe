//! What monitoring costs: a sweep and a whole collection of ten thousand sockets against the bare
//! system calls, a thousand sockets with every series, and watching beside a sweep.

#![allow(unsafe_code)]

mod bridge;
mod crowd;

use std::hint::black_box;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use opentelemetry::KeyValue;
use prometheus::{Encoder, Registry, TextEncoder};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tcpinfo::{Monitor, Watched};

use bridge::bridge;
use crowd::Crowd;

/// One bare `getsockopt` with the buffer that `read()` uses.
fn bare(fd: i32, name: i32, level: i32, room: &mut [u8; 512]) {
    let mut len = room.len() as libc::socklen_t;
    // SAFETY: `room` holds `len` bytes and outlives the call.
    let result = unsafe { libc::getsockopt(fd, level, name, room.as_mut_ptr().cast(), &mut len) };
    assert_eq!(result, 0);
}

fn tcp_info(fd: i32, room: &mut [u8; 512]) {
    bare(fd, libc::TCP_INFO, libc::IPPROTO_TCP, room);
}

fn bare_loop(streams: &[Watched<TcpStream>], room: &mut [u8; 512]) {
    for stream in streams {
        tcp_info(stream.as_raw_fd(), room);
    }
}

fn text(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).expect("metrics are text");
    text
}

fn groups(criterion: &mut Criterion) {
    let mut crowd = Crowd::connect(10_000);
    let monitor = Monitor::new();
    let groups: Vec<_> =
        (0..10).map(|number| monitor.group([KeyValue::new("group", number)])).collect();
    let streams = std::mem::take(&mut crowd.streams);
    let watched: Vec<_> =
        streams.into_iter().enumerate().map(|(i, s)| groups[i % 10].watch(s)).collect();
    let (_provider, registry) = bridge(&monitor);
    let mut room = [0; 512];

    let mut group = criterion.benchmark_group("10,000 sockets in 10 groups");
    group.sample_size(40).measurement_time(Duration::from_secs(8));
    group.bench_function("bare getsockopt loop", |b| b.iter(|| bare_loop(&watched, &mut room)));
    group.bench_function("sweep", |b| b.iter(|| black_box(monitor.snapshot())));
    group.bench_function("collect to prometheus text", |b| b.iter(|| black_box(text(&registry))));
    group.finish();
    watching_beside_a_sweep(&monitor, &groups[0], &crowd);
}

/// Watching and dropping while the ten thousand are swept without pause: prints percentiles.
fn watching_beside_a_sweep(monitor: &Monitor, group: &tcpinfo::Group, _crowd: &Crowd) {
    let done = AtomicBool::new(false);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                black_box(monitor.snapshot());
            }
        });
        let mut stream = TcpStream::connect(address).expect("the listener listens");
        let (mut watching, mut dropping) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let began = Instant::now();
            let watched = group.watch(stream);
            watching.push(began.elapsed());
            let began = Instant::now();
            stream = watched.into_inner();
            dropping.push(began.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        for (what, mut times) in [("watch", watching), ("drop", dropping)] {
            times.sort();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
            println!("{what} beside a sweep: p50 {p50:?}, p99 {p99:?}, max {max:?}");
        }
    });
}

fn sockets(criterion: &mut Criterion) {
    let mut crowd = Crowd::connect(1_000);
    let monitor = Monitor::builder().with_max_sockets(1_000).build();
    let watched: Vec<_> =
        std::mem::take(&mut crowd.streams).into_iter().map(|s| monitor.watch(s, [])).collect();
    let (_provider, registry) = bridge(&monitor);
    let mut room = [0; 512];
    let mut group = criterion.benchmark_group("1,000 sockets one by one");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    group.bench_function("bare getsockopt loop", |b| b.iter(|| bare_loop(&watched, &mut room)));
    group.bench_function("sweep", |b| b.iter(|| black_box(monitor.snapshot())));
    group.bench_function("gather", |b| b.iter(|| black_box(registry.gather())));
    group.bench_function("gather and text", |b| b.iter(|| black_box(text(&registry))));
    group.finish();
    println!("text of 1,000 sockets: {} bytes", text(&registry).len());
}

/// Sockets that are watched for the first time, each once, by a monitor with a provider.
fn watch(criterion: &mut Criterion) {
    const SOCKETS: usize = 1_000;
    let mut crowd = Crowd::connect(SOCKETS);
    let mut streams = std::mem::take(&mut crowd.streams);
    // Closing a clone ends no connection: what is measured is not the kernel's work for that.
    let clones = |streams: &[TcpStream]| -> Vec<TcpStream> {
        streams.iter().map(|it| it.try_clone().expect("a free descriptor")).collect()
    };
    let watching = || {
        let monitor = Monitor::new();
        let provider = bridge(&monitor);
        (monitor.group([]), monitor, provider)
    };
    let mut room = [0; 512];
    let mut ask = |stream: &TcpStream| {
        tcp_info(stream.as_raw_fd(), &mut room);
        let mut cookie = [0_u8; 512];
        bare(stream.as_raw_fd(), libc::SO_COOKIE, libc::SOL_SOCKET, &mut cookie);
    };
    let mut group = criterion.benchmark_group("1,000 sockets watched once");
    group.throughput(Throughput::Elements(SOCKETS as u64));
    group.bench_function("bare TCP_INFO and SO_COOKIE", |b| {
        b.iter(|| streams.iter().for_each(&mut ask))
    });
    group.bench_function("watch and into_inner", |b| {
        b.iter_batched(
            watching,
            |watching| {
                for stream in std::mem::take(&mut streams) {
                    streams.push(watching.0.watch(stream).into_inner());
                }
                watching
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("bare TCP_INFO and SO_COOKIE, close", |b| {
        let set_up = || clones(&streams);
        b.iter_batched(
            set_up,
            |clones| clones.into_iter().for_each(|it| ask(&it)),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("watch and drop", |b| {
        b.iter_batched(
            || (watching(), clones(&streams)),
            |(watching, clones)| {
                clones.into_iter().for_each(|it| drop(watching.0.watch(it)));
                watching
            },
            BatchSize::PerIteration,
        );
    });
    let again = watching();
    group.bench_function("watch again and into_inner", |b| {
        b.iter(|| {
            for stream in std::mem::take(&mut streams) {
                streams.push(again.0.watch(stream).into_inner());
            }
        });
    });
    group.finish();
}

/// Fifty thousand sockets, or as many as the limit of open files allows, swept by one thread and by
/// two in turns: prints medians and their ratio.
fn threads() {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = (limit.saturating_sub(500) / 4).min(12_500) as usize;
    // A pair of addresses has some 28,000 ports, so each child has a port of its own.
    let mut crowds: Vec<Crowd> = (0..4).map(|_| Crowd::connect(each)).collect();
    let streams: Vec<TcpStream> =
        crowds.iter_mut().flat_map(|crowd| std::mem::take(&mut crowd.streams)).collect();
    let monitors = [1, 2].map(|threads| Monitor::builder().with_sweep_threads(threads).build());
    let groups = monitors.each_ref().map(|monitor| monitor.group([]));
    let streams: Vec<_> = streams.iter().collect();
    // Through references, as two monitors cannot own a socket: each reading is verified.
    let watched: Vec<_> =
        streams.iter().map(|stream| groups.each_ref().map(|group| group.watch(*stream))).collect();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..41 {
        for (monitor, times) in monitors.iter().zip(&mut times) {
            times.push(monitor.snapshot().monitor.sweep_duration);
        }
    }
    let [one, two] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    let ratio = one.as_secs_f64() / two.as_secs_f64();
    println!("sweep of {}: {one:?} by one thread, {two:?} by two, {ratio:.2} x", watched.len());
}

/// What this thread has used of a processor.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("time goes on from zero")
}

/// Quiet sockets swept with and without verdicts, in turns, more than a second apart so that each
/// sweep judges. Each half of the sockets is on either side once: prints the ratios of the
/// processor's time, medians.
fn verdicts() {
    const ROUNDS: usize = 25;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = (limit.saturating_sub(500) / 2).min(10_000) as usize;
    let mut crowds = [Crowd::connect(each), Crowd::connect(each)];
    let halves = crowds.each_mut().map(|crowd| std::mem::take(&mut crowd.streams));
    let mut halves = halves.map(|streams| streams.into_iter().map(Some).collect::<Vec<_>>());
    let mut ratios = Vec::new();
    for judges in [[true, false], [false, true]] {
        let monitors = judges.map(|it| Monitor::builder().with_verdicts(it).build());
        let groups = monitors.each_ref().map(|monitor| monitor.group([]));
        let watched: Vec<Vec<_>> = halves
            .iter_mut()
            .zip(&groups)
            .map(|(half, group)| {
                half.iter_mut().map(|it| group.watch(it.take().expect("it is back"))).collect()
            })
            .collect();
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(1_050));
            for turn in 0..2 {
                let side = (turn + round) % 2;
                let before = worked();
                black_box(monitors[side].snapshot());
                times[side].push(worked() - before);
            }
        }
        let pairs = times[0].iter().zip(&times[1]).skip(2);
        let mut of_pairs: Vec<f64> =
            pairs.map(|(one, other)| one.as_secs_f64() / other.as_secs_f64()).collect();
        of_pairs.sort_by(f64::total_cmp);
        let ratio = of_pairs[of_pairs.len() / 2];
        ratios.push(if judges[0] { ratio } else { 1.0 / ratio });
        for (half, watched) in halves.iter_mut().zip(watched) {
            *half = watched.into_iter().map(|it| Some(it.into_inner())).collect();
        }
    }
    let mean = ratios.iter().product::<f64>().sqrt();
    println!("sweep of {each} quiet sockets with verdicts: {mean:.3} x ({ratios:.3?})");
}

fn main() {
    crowd::hold_if_asked();
    if std::env::args().any(|argument| argument == "verdicts") {
        return verdicts();
    }
    let mut criterion = Criterion::default().configure_from_args();
    watch(&mut criterion);
    groups(&mut criterion);
    sockets(&mut criterion);
    // `--test` is how CI runs each bench once, unoptimised.
    if !std::env::args().any(|argument| argument == "--test") {
        threads();
        verdicts();
    }
    criterion.final_summary();
}
