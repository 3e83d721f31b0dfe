//! The monitor against a kernel that answers what a test wants: old, failing, panicking, replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};

use super::connection::{Connection, Key};
use super::locks::lock;
use super::reader::ReplySource;
use super::*;
use crate::info::{FIELDS, Field, FieldValue};
use crate::kernel::Kernel;
use crate::read::ROOM;

#[derive(Clone, Debug)]
struct TestReader(Arc<ManualReader>);

impl TestReader {
    fn with_provider(temporality: Temporality) -> (Self, SdkMeterProvider) {
        let reader = Self(Arc::new(ManualReader::builder().with_temporality(temporality).build()));
        (reader.clone(), SdkMeterProvider::builder().with_reader(reader).build())
    }

    /// The integer counters of one export by name and attributes.
    fn counters(&self) -> BTreeMap<String, u64> {
        let mut metrics = ResourceMetrics::default();
        self.0.collect(&mut metrics).expect("the pipeline is whole");
        let mut counters = BTreeMap::new();
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else { continue };
            for point in sum.data_points() {
                let attributes = Attributes::new(point.attributes().cloned());
                counters.insert(format!("{}{attributes:?}", metric.name()), point.value());
            }
        }
        counters
    }
}

impl MetricReader for TestReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

fn kernel(release: &str) -> &'static Kernel {
    let Ok(kernel) = release.parse();
    Box::leak(Box::new(kernel))
}

fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).expect("a row of the table")
}

fn put<T: fmt::Debug>(room: &mut [u8; ROOM], name: &str, value: T)
where
    u64: TryFrom<T>,
    <u64 as TryFrom<T>>::Error: fmt::Debug,
{
    let Field { offset, size, .. } = *field(name);
    let bytes = u64::try_from(value).expect("a number").to_le_bytes();
    room[offset..offset + size].copy_from_slice(&bytes[..size]);
}

/// A reply of an established connection with a round-trip sample, all counters zero.
fn established(room: &mut [u8; ROOM]) {
    room.fill(0);
    room[0] = 1;
    put(room, "rtt", 40_u32);
}

struct Loopback {
    stream: Option<TcpStream>,
    _listener: TcpListener,
}

impl Loopback {
    fn connect() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        Self { stream: TcpStream::connect(address).ok(), _listener: listener }
    }

    fn take(&mut self) -> TcpStream {
        self.stream.take().expect("taken once, and the listener listens")
    }
}

fn monitor(read: fn(RawFd, &mut [u8; ROOM]) -> io::Result<usize>, release: &str) -> Monitor {
    Monitor::builder().with_source(ReplySource { read, kernel: kernel(release) }).build()
}

#[test]
#[cfg(target_endian = "little")]
fn a_kernel_of_4_4_has_no_series_for_what_came_later() {
    fn old(_: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        established(room);
        put(room, "bytes_acked", 5_001_u32);
        Ok(144)
    }
    let monitor = monitor(old, "4.4.302-generic");
    let (reader, provider) = TestReader::with_provider(Temporality::Cumulative);
    monitor.instrument(&provider);
    let group = monitor.group([]);
    let _watched = group.watch(Loopback::connect().take());
    let names: Vec<String> = reader.counters().into_keys().collect();
    let expected = [
        "tcp.connection.closed{}",
        "tcp.connection.opened{}",
        "tcp.data.acked{}",
        "tcp.data.received{}",
        "tcp.monitor.folded{}",
        "tcp.segment.received{}",
        "tcp.segment.retransmitted{}",
        "tcp.segment.sent{}",
    ];
    assert_eq!(names, expected);
}

#[test]
#[cfg(target_endian = "little")]
fn no_export_mixes_two_sweeps() {
    static READS: AtomicU32 = AtomicU32::new(0);
    fn moving(_: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        let reads = READS.fetch_add(1, Ordering::Relaxed);
        established(room);
        for counter in ["bytes_sent", "bytes_received", "segs_out", "received_ce"] {
            put(room, counter, reads);
        }
        Ok(280)
    }
    let monitor = monitor(moving, "7.3.0");
    let group = monitor.group([]);
    let _watched = group.watch(Loopback::connect().take());
    thread::scope(|scope| {
        for _ in 0..3 {
            let (reader, provider) = TestReader::with_provider(Temporality::Cumulative);
            monitor.instrument(&provider);
            scope.spawn(move || {
                let mut last = 0;
                for _ in 0..300 {
                    let counters = reader.counters();
                    let sent = counters["tcp.data.sent{}"];
                    assert_eq!(counters["tcp.data.received{}"], sent);
                    assert_eq!(counters["tcp.segment.sent{}"], sent);
                    assert_eq!(counters["tcp.ecn.segment.received{}"], sent);
                    assert!(sent >= last);
                    last = sent;
                }
                drop(provider);
            });
        }
    });
    assert_eq!(READS.load(Ordering::Relaxed), 900);
}

#[test]
#[cfg(target_endian = "little")]
fn a_panicking_read_is_counted_and_costs_no_other_socket_its_data() {
    static BAD: AtomicU32 = AtomicU32::new(u32::MAX);
    fn sometimes(fd: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        assert_ne!(fd as u32, BAD.load(Ordering::Relaxed), "the bad one");
        established(room);
        put(room, "bytes_sent", 7_u32);
        Ok(280)
    }
    let monitor = monitor(sometimes, "7.3.0");
    let (reader, provider) = TestReader::with_provider(Temporality::Cumulative);
    monitor.instrument(&provider);
    let group = monitor.group([]);
    let good = group.watch(Loopback::connect().take());
    let bad = Loopback::connect().take();
    BAD.store(std::os::fd::AsRawFd::as_raw_fd(&bad) as u32, Ordering::Relaxed);
    let bad = group.watch(bad);
    for collections in 1..=3 {
        let counters = reader.counters();
        assert_eq!(counters["tcp.data.sent{}"], 7);
        let errors = counters.iter().find(|(name, _)| name.starts_with("tcp.monitor.read.errors{"));
        assert_eq!(errors.map(|(_, count)| *count), Some(collections));
    }
    drop(bad);
    drop(good);
    let group = &monitor.snapshot().groups[0];
    assert_eq!((group.opened, group.closed, group.live()), (2, 2, 0));
}

#[test]
#[cfg(target_endian = "little")]
fn a_failed_read_keeps_the_counters_it_cannot_add_to() {
    static FAILS: AtomicBool = AtomicBool::new(false);
    fn sometimes(_: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        if FAILS.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(1));
        }
        established(room);
        put(room, "bytes_sent", 7_u32);
        Ok(280)
    }
    let monitor = monitor(sometimes, "7.3.0");
    let (reader, provider) = TestReader::with_provider(Temporality::Delta);
    monitor.instrument(&provider);
    let (group, one) = (monitor.group([]), Loopback::connect().take());
    let (in_group, alone) =
        (group.watch(one), monitor.watch(Loopback::connect().take(), [KeyValue::new("id", 1)]));
    let own = |counters: &BTreeMap<String, u64>| {
        counters
            .iter()
            .find(|(name, _)| name.starts_with("tcp.socket.data.sent{"))
            .map(|(_, sent)| *sent)
    };
    let first = reader.counters();
    assert_eq!((first["tcp.data.sent{}"], own(&first)), (7, Some(7)));
    FAILS.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let failed = reader.counters();
        assert_eq!((failed["tcp.data.sent{}"], own(&failed)), (0, Some(0)));
    }
    FAILS.store(false, Ordering::Relaxed);
    let again = reader.counters();
    assert_eq!((again["tcp.data.sent{}"], own(&again)), (0, Some(0)));
    drop((in_group, alone));
}

#[test]
#[cfg(target_endian = "little")]
fn watching_and_dropping_wait_for_no_sweep() {
    static SLOW: AtomicU32 = AtomicU32::new(u32::MAX);
    static READING: AtomicBool = AtomicBool::new(false);
    static GO_ON: AtomicBool = AtomicBool::new(false);
    fn slow(fd: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        established(room);
        if fd as u32 == SLOW.load(Ordering::Acquire) {
            READING.store(true, Ordering::Release);
            while !GO_ON.load(Ordering::Acquire) {
                thread::yield_now();
            }
        }
        Ok(280)
    }
    let monitor = monitor(slow, "7.3.0");
    let group = monitor.group([]);
    let before = group.watch(Loopback::connect().take());
    let stuck = Loopback::connect().take();
    SLOW.store(std::os::fd::AsRawFd::as_raw_fd(&stuck) as u32, Ordering::Release);
    let stuck = group.watch(stuck);
    let after = group.watch(Loopback::connect().take());
    thread::scope(|scope| {
        let sweep = scope.spawn(|| monitor.snapshot());
        while !READING.load(Ordering::Acquire) {
            thread::yield_now();
        }
        // The sweep is inside the kernel, for as long as it takes.
        drop((before, after));
        drop(group.watch(Loopback::connect().take()));
        drop(monitor.group([KeyValue::new("another", 1)]));
        drop(monitor.watch(Loopback::connect().take(), []));
        assert!(!sweep.is_finished());
        GO_ON.store(true, Ordering::Release);
        sweep.join().expect("the sweep ends");
    });
    drop(stuck);
    let snapshot = monitor.snapshot();
    let all = snapshot.groups.iter().find(|group| group.attributes().as_slice().is_empty());
    let all = all.expect("the group is in use");
    assert_eq!((all.opened, all.closed, all.live()), (4, 4, 0));
}

#[test]
fn a_descriptor_that_became_another_socket_is_reported_once_and_left_alone() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&errors);
    let monitor =
        Monitor::builder().on_error(move |_, error| lock(&seen).push(error.to_string())).build();
    let group = monitor.group([]);
    let watched = group.watch(Loopback::connect().take());
    monitor.snapshot();
    // As if unsafe code had closed the descriptor and another socket had taken its number.
    monitor.shared.connections.slots.walk().visit(
        |_, slot| {
            let connection = slot.as_mut().expect("the one that is watched");
            let cookie = connection.key.cookie().expect("this kernel has cookies");
            connection.key = Key::Cookie(cookie + 1);
        },
        |_, ()| (),
    );
    for _ in 0..200 {
        monitor.snapshot();
    }
    assert_eq!(*lock(&errors), ["the descriptor has become another socket"]);
    let snapshot = monitor.snapshot();
    assert_eq!(snapshot.monitor.read_errors, [("wrong_socket", 1)]);
    assert_eq!((snapshot.monitor.watched, snapshot.groups[0].closed), (0, 1));
    drop(watched);
    assert_eq!(monitor.snapshot().groups[0].closed, 1);
}

#[test]
#[cfg(target_endian = "little")]
fn a_disconnect_and_a_new_connection_add_up() {
    static STEP: AtomicU32 = AtomicU32::new(0);
    fn life(_: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        established(room);
        match STEP.load(Ordering::Relaxed) {
            0 => put(room, "bytes_sent", 100_u32),
            1 => {
                // After connect(AF_UNSPEC): closed, everything reset.
                room[0] = 7;
                put(room, "rtt", 0_u32);
            }
            // The second connection is ahead of the first already.
            _ => put(room, "bytes_sent", 250_u32),
        }
        Ok(280)
    }
    let monitor = monitor(life, "7.3.0");
    let group = monitor.group([]);
    let _watched = group.watch(Loopback::connect().take());
    let mut sent = Vec::new();
    for step in 0..3 {
        STEP.store(step, Ordering::Relaxed);
        sent.push(monitor.snapshot().groups[0].get(field("bytes_sent")));
    }
    assert_eq!(sent, [100, 100, 350].map(|sent| Some(FieldValue::Integer(sent))));
}

#[test]
#[cfg(target_endian = "little")]
fn a_base_that_cannot_be_read_is_taken_later_and_nothing_counts_twice() {
    static SENT: AtomicU32 = AtomicU32::new(100);
    fn sometimes(_: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        let sent = SENT.load(Ordering::Relaxed);
        if sent == 0 {
            return Err(io::Error::from_raw_os_error(1));
        }
        established(room);
        put(room, "bytes_sent", sent);
        Ok(280)
    }
    let monitor = monitor(sometimes, "7.3.0");
    let group = monitor.group([]);
    let sent = || monitor.snapshot().groups[0].get(field("bytes_sent"));
    let stream = group.watch(Loopback::connect().take()).into_inner();
    assert_eq!(sent(), Some(FieldValue::Integer(100)));
    SENT.store(0, Ordering::Relaxed);
    let _watched = group.watch(stream);
    assert_eq!(sent(), Some(FieldValue::Integer(100)));
    for (says, total) in [(160, 100), (170, 110)] {
        SENT.store(says, Ordering::Relaxed);
        assert_eq!(sent(), Some(FieldValue::Integer(total)));
    }
    let group = &monitor.snapshot().groups[0];
    assert_eq!((group.opened, group.closed, group.live()), (1, 0, 1));
}

#[test]
fn a_socket_costs_at_most_512_bytes() {
    let slot = size_of::<Mutex<Option<Connection>>>();
    let handle = size_of::<Watched<TcpStream>>() - size_of::<TcpStream>();
    // Beside that: one word in the list of free slots, one bit in the chunk's.
    assert!(slot + handle + size_of::<usize>() < 512, "{slot} + {handle}");
}
