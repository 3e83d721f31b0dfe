//! Where the time of a push over OTLP goes, socket by socket, beside the least that any exporter
//! could take: the same points, encoded from the snapshot.

mod crowd;

use std::hint::black_box;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream, Temporality};
use prost::Message;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tcpinfo::{FIELDS, FieldKind, FieldValue, Monitor, Snapshot};

use crowd::Crowd;
use support::reader::Reader;

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The attributes of a socket as every point of it has them.
fn attributes(socket: &tcpinfo::SocketSnapshot) -> Vec<u8> {
    let mut all = Vec::new();
    for kv in socket.attributes().as_slice() {
        let (mut attribute, mut value) = (Vec::new(), Vec::new());
        field(&mut attribute, 1, kv.key.as_str().as_bytes());
        field(&mut value, 1, kv.value.as_str().as_bytes());
        field(&mut attribute, 2, &value);
        field(&mut all, 7, &attribute);
    }
    all
}

/// Metrics with one point for each socket, in the wire's format: what an exporter has to write,
/// with all that does not change prepared.
fn encoded(snapshot: &Snapshot, attributes: &[Vec<u8>], out: &mut Vec<u8>) {
    out.clear();
    let mut points = Vec::new();
    for exported in FIELDS.iter().filter(|field| field.kind != FieldKind::Property) {
        points.clear();
        for (socket, attributes) in snapshot.sockets.iter().zip(attributes) {
            let Some(value) = socket.get(exported) else { continue };
            // Two times and the value, of eight bytes each.
            varint(&mut points, 1 << 3 | 2);
            varint(&mut points, 27 + attributes.len() as u64);
            points.extend_from_slice(&[17, 0, 0, 0, 0, 0, 0, 0, 1, 25, 0, 0, 0, 0, 0, 0, 0, 1]);
            let bits = match value {
                FieldValue::Integer(integer) => integer.to_le_bytes(),
                other => other.as_f64().unwrap_or_default().to_le_bytes(),
            };
            points.push(49);
            points.extend_from_slice(&bits);
            points.extend_from_slice(attributes);
        }
        field(out, 1, exported.name.as_bytes());
        field(out, 7, &points);
    }
}

/// What this thread has used of a processor.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn sockets(count: usize, turns: usize) {
    let mut crowd = Crowd::connect(count);
    let monitor = Monitor::builder().with_max_sockets(count).build();
    let reader = Reader::new(Temporality::Cumulative);
    let all =
        move |_: &Instrument| Stream::builder().with_cardinality_limit(2 * count).build().ok();
    let provider = SdkMeterProvider::builder().with_reader(reader.clone()).with_view(all).build();
    monitor.instrument(&provider);
    let streams = std::mem::take(&mut crowd.streams);
    let _watched: Vec<_> = streams.into_iter().map(|stream| monitor.watch(stream, [])).collect();
    let of_sockets: Vec<_> = monitor.snapshot().sockets.iter().map(attributes).collect();
    let mut times: [Vec<Duration>; 6] = Default::default();
    let mut metrics = ResourceMetrics::default();
    let (mut pushed, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let mut lap = worked();
        let mut note = |step: usize| {
            times[step].push(worked() - lap);
            lap = worked();
        };
        reader.collect(&mut metrics).expect("the pipeline is whole");
        note(0);
        let request = ExportMetricsServiceRequest::from(&metrics);
        note(1);
        pushed.clear();
        request.encode(&mut pushed).expect("a vector takes all");
        note(2);
        drop(request);
        note(3);
        let snapshot = monitor.snapshot();
        note(4);
        encoded(&snapshot, &of_sockets, &mut direct);
        note(5);
        black_box((&pushed, &direct));
    }
    let [collect, transform, encode, free, sweep, least] = times.map(median);
    let (sdk, own) = (collect + transform + encode + free, sweep + least);
    println!("{count} sockets, every field, {} bytes, CPU time:", pushed.len());
    println!("  SDK: {sdk:.2?}: collect {collect:.2?}, transform {transform:.2?},");
    println!("    encode {encode:.2?}, free {free:.2?}");
    println!("  from the snapshot: {own:.2?}: sweep {sweep:.2?}, encode {least:.2?}");
    println!("  {} bytes; {:.1} times less", direct.len(), sdk.as_secs_f64() / own.as_secs_f64());
}

fn main() {
    crowd::hold_if_asked();
    if std::env::args().any(|argument| argument == "--test") {
        return sockets(100, 2);
    }
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX) as usize;
    for (count, turns) in [(1_000, 9), (10_000, 5)] {
        if count + 100 < limit {
            sockets(count, turns);
        } else {
            println!("{count} sockets: left out, the limit of open files is {limit}");
        }
    }
}
