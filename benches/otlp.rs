//! Where the time of a push over OTLP goes, socket by socket: through the SDK, and by requests of
//! the crate's own, in one run.

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
use tcpinfo::Monitor;

use crowd::Crowd;
use support::allocator::{Counting, allocations};
use support::reader::Reader;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread has used of a processor.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
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
    let otlp = monitor.otlp();
    let mut times: [Vec<Duration>; 7] = Default::default();
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
        let mut requests = otlp.requests();
        note(4);
        let mut count = 0;
        while requests.next_request(&mut direct) {
            count += 1;
            black_box(&direct);
        }
        drop(requests);
        note(5);
        otlp.encode(&mut direct);
        note(6);
        black_box((&pushed, &direct, count));
    }
    let asked = allocations(|| otlp.encode(&mut direct));
    let [collect, transform, encode, free, sweep, write, whole] = times.map(median);
    let (sdk, own) = (collect + transform + encode + free, sweep + write);
    println!("{count} sockets, every field, {} bytes, CPU time:", pushed.len());
    println!("  SDK: {sdk:.2?}: collect {collect:.2?}, transform {transform:.2?},");
    println!("    encode {encode:.2?}, free {free:.2?}");
    println!("  own requests of 4 MiB: {own:.2?}: sweep {sweep:.2?}, write {write:.2?}");
    println!("    {:.1} times less; as one request {whole:.2?}", ratio(sdk, own));
    println!("    {} bytes, {asked} allocations", direct.len());
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
