//! Exponential histograms by a view: through the OpenTelemetry Collector, into VictoriaMetrics, and
//! as native histograms into Prometheus.
//!
//! Debian's Prometheus takes no OTLP, and no Collector that is built here writes to it. Between the
//! two this test does what the Collector's exporter for Prometheus' remote write does: the buckets
//! keep their base, and count from the upper bound in place of the lower one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint as Point;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality,
};
use tcpinfo::{Monitor, Watched};

use super::prometheus::Prometheus;
use super::receivers::{Collector, collector, handing_on_to};
use super::{Scratch, free_address, get, program, scalar, victoria};
use crate::export::otlp::receiver::{Push, Receiver};
use crate::export::otlp::{NEVER, http, within};
use support::loopback::Pair;

/// Of the base: 256 buckets from one power of two to the next at most.
const MAX_SCALE: i8 = 8;
const CONNECTIONS: usize = 6;

/// The view of docs/fleet.md: one histogram without fixed buckets.
fn view(instrument: &Instrument) -> Option<Stream> {
    let aggregation = Aggregation::Base2ExponentialHistogram {
        max_size: 160,
        max_scale: MAX_SCALE,
        record_min_max: true,
    };
    let stream = Stream::builder().with_aggregation(aggregation);
    (instrument.name() == "tcp.rtt").then(|| stream.build().expect("it is an aggregation"))
}

/// Connections whose round-trip time stands still, as nothing is under way.
struct Scene {
    monitor: Monitor,
    watched: Vec<(Watched<TcpStream>, TcpStream)>,
}

impl Scene {
    fn new() -> Self {
        let monitor = Monitor::new();
        let group = monitor.group([KeyValue::new("listener", "a")]);
        let connect = |_| {
            let Pair { client, mut server, .. } = Pair::connect();
            let watched = group.watch(client);
            for _ in 0..4 {
                (&mut &*watched).write_all(&[7; 2000]).expect("there is room");
                server.read_exact(&mut [0; 2000]).expect("it was sent");
                server.write_all(&[7; 2000]).expect("there is room");
                (&mut &*watched).read_exact(&mut [0; 2000]).expect("it was sent");
            }
            (watched, server)
        };
        Self { watched: (0..CONNECTIONS).map(connect).collect(), monitor }
    }

    fn rtts(&self) -> Vec<Duration> {
        let rtt = |(watched, _): &(Watched<TcpStream>, TcpStream)| {
            watched.info().expect("it is open").rtt.expect("it was measured")
        };
        self.watched.iter().map(rtt).collect()
    }

    /// Pushes once to an endpoint. Gives the round-trip times that were read, in seconds, and the
    /// provider, which pushes once more when it is dropped.
    fn push(&self, endpoint: &str) -> (Vec<f64>, SdkMeterProvider) {
        loop {
            let before = self.rtts();
            let exporter = http(endpoint, Temporality::Cumulative);
            let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
            let resource = Resource::builder_empty().with_service_name("tests").build();
            let provider = SdkMeterProvider::builder().with_reader(reader).with_view(view);
            let provider = provider.with_resource(resource).build();
            self.monitor.instrument(&provider);
            let flushed = provider.clone();
            within("a flush", move || flushed.force_flush()).expect("it is answered");
            // A delayed acknowledgement may be a new sample.
            if self.rtts() == before {
                return (before.iter().map(Duration::as_secs_f64).collect(), provider);
            }
        }
    }
}

/// The one point of `tcp.rtt`.
fn point(push: &Push) -> Point {
    let metrics = push.request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    let mut metrics = metrics.flat_map(|of| &of.metrics);
    let metric = metrics.find(|metric| metric.name == "tcp.rtt").expect("it was pushed");
    let Some(Data::ExponentialHistogram(data)) = &metric.data else {
        panic!("{:?} is not exponential", metric.data)
    };
    let [point] = &data.data_points[..] else { panic!("{data:?}") };
    point.clone()
}

/// How much wider a bucket's upper bound is than its lower one.
fn base(point: &Point) -> f64 {
    (2_f64).powf((2_f64).powi(-point.scale))
}

/// Counts by bucket, of which `i` holds what is above `base^i` and at most `base^(i+1)`.
fn buckets(point: &Point) -> BTreeMap<i32, u64> {
    let positive = point.positive.as_ref().expect("times are positive");
    let counts = positive.bucket_counts.iter().zip(positive.offset..);
    counts.filter(|(count, _)| **count > 0).map(|(count, at)| (at, *count)).collect()
}

fn is_near(value: f64, exact: f64) -> bool {
    (value - exact).abs() <= 1e-9 * exact
}

#[test]
#[ignore = "needs the OpenTelemetry Collector and prometheus: integration/test.sh"]
fn an_exponential_round_trip_time_becomes_a_native_histogram() {
    let Some(program) = collector() else { return };
    let sink = Receiver::http();
    let collector = Collector::start(&program, &handing_on_to(&sink));
    let scene = Scene::new();
    let (rtts, _provider) = scene.push(&format!("http://{}", collector.http));
    // The last one is of the last provider.
    let point = point(sink.so_far().last().expect("it was handed on before the answer"));
    assert_eq!((point.count, point.zero_count), (CONNECTIONS as u64, 0));
    assert!(is_near(point.sum.expect("SDKs sum"), rtts.iter().sum()));
    let (least, most) =
        rtts.iter().fold((f64::MAX, 0_f64), |(least, most), rtt| (least.min(*rtt), most.max(*rtt)));
    assert_eq!((point.min, point.max), (Some(least), Some(most)));
    // Each is in its bucket.
    let mut wanted = BTreeMap::new();
    for rtt in &rtts {
        let at = rtt.log(base(&point)).ceil() as i32 - 1;
        *wanted.entry(at).or_default() += 1;
    }
    assert_eq!(buckets(&point), wanted, "{rtts:?} in {point:?}");

    let address = free_address();
    let more = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];
    let _prometheus = Prometheus::start_with(Scratch::new(), "global: {}\n", address, &more);
    write_native(address, &point);
    assert_eq!(scalar(address, "histogram_count(tcp_rtt_seconds)"), CONNECTIONS as f64);
    assert!(is_near(scalar(address, "histogram_sum(tcp_rtt_seconds)"), rtts.iter().sum()));
    for (q, exact) in [("0", least), ("1", most)] {
        let found = scalar(address, &format!("histogram_quantile({q}, sum(tcp_rtt_seconds))"));
        let within = exact / base(&point)..=exact * base(&point);
        assert!(within.contains(&found), "{q}: {found}, {within:?}");
    }
}

#[test]
#[ignore = "needs VictoriaMetrics: integration/test.sh"]
fn an_exponential_round_trip_time_is_found_in_victoria_metrics() {
    let Some(program) = program("VICTORIA_METRICS", "victoria-metrics") else { return };
    let (_server, address) = victoria::start(&program);
    let scene = Scene::new();
    let (rtts, _provider) = scene.push(&format!("http://{address}/opentelemetry"));
    let _ = get(address, "/internal/force_flush");
    assert_eq!(scalar(address, "sum(tcp_rtt_seconds_count)"), CONNECTIONS as f64);
    let (least, most) =
        rtts.iter().fold((f64::MAX, 0_f64), |(least, most), rtt| (least.min(*rtt), most.max(*rtt)));
    // Its own buckets, up to 14 % wide, hold what ours do.
    let found =
        scalar(address, "histogram_quantile(0.5, sum by (vmrange) (tcp_rtt_seconds_bucket))");
    assert!((0.85 * least..=1.15 * most).contains(&found), "{found} of {rtts:?}");
}

/// A message of protobuf.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number > 127 {
            self.0.push(number as u8 | 128);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn double(&mut self, field: u64, number: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

/// As protobuf writes signed numbers of the types `sint32` and `sint64`.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// Writes the point to Prometheus, whose bucket `i` ends at `base^i`.
fn write_native(address: SocketAddr, point: &Point) {
    let (mut native, mut deltas, mut last, mut next) =
        (Message::default(), Message::default(), 0, 0);
    native.number(1, point.count);
    native.double(3, point.sum.expect("SDKs sum"));
    native.number(4, zigzag(point.scale.into()));
    native.double(5, point.zero_threshold);
    for (at, count) in buckets(point) {
        // A span of one bucket each, by its distance from the one before.
        let mut span = Message::default();
        span.number(1, zigzag(i64::from(at + 1 - next)));
        span.number(2, 1);
        native.bytes(11, &span.0);
        deltas.varint(zigzag(count as i64 - last));
        (last, next) = (count as i64, at + 2);
    }
    native.bytes(12, &deltas.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    native.number(15, now.as_millis() as u64);
    let (mut series, mut request) = (Message::default(), Message::default());
    for (name, value) in [("__name__", "tcp_rtt_seconds"), ("listener", "a")] {
        let mut label = Message::default();
        label.bytes(1, name.as_bytes());
        label.bytes(2, value.as_bytes());
        series.bytes(1, &label.0);
    }
    series.bytes(4, &native.0);
    request.bytes(1, &series.0);

    // Snappy, with nothing that is worth being compressed: its length, then literals.
    let mut body = Message::default();
    body.varint(request.0.len() as u64);
    for literal in request.0.chunks(60) {
        body.0.push((literal.len() as u8 - 1) << 2);
        body.0.extend(literal);
    }
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head = format!(
        "POST /api/v1/write HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\n\
         Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
         Content-Length: {}\r\n\r\n",
        body.0.len()
    );
    stream.write_all(&[head.as_bytes(), &body.0].concat()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.0 204"), "{answer}");
}
