//! Requests of the crate's own say point by point what the SDK pushes of the same sockets.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use opentelemetry::{KeyValue, StringValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use prost::Message;
use tcpinfo::{
    Field, Group, Monitor, MonitorBuilder, Otlp, SocketAddresses, SocketIdentity, Worst,
};

use super::points;
use support::loopback::{stall, until, used_pair};
use support::random::Rng;
use support::reader::Reader;

/// What a program says of itself.
fn resource() -> [KeyValue; 2] {
    [KeyValue::new("service.name", "tests"), KeyValue::new("host.id", 7)]
}

/// A monitor that is read by requests and by a provider, and what it watches.
pub(crate) struct Scene {
    pub(crate) monitor: Monitor,
    pub(crate) otlp: Otlp,
    /// Reads what the others read, to see whether anything moves.
    probe: Otlp,
    reader: Reader,
    _provider: SdkMeterProvider,
    held: Vec<Box<dyn std::any::Any>>,
}

impl Scene {
    pub(crate) fn new(builder: MonitorBuilder) -> Self {
        Self::with_max_request(builder, usize::MAX)
    }

    /// With requests of so many bytes at most.
    pub(crate) fn with_max_request(builder: MonitorBuilder, max: usize) -> Self {
        let reader = Reader::new(Temporality::Cumulative);
        let resource_of = Resource::builder_empty().with_attributes(resource()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader.clone());
        let provider = provider.with_resource(resource_of).build();
        let monitor = builder.build();
        monitor.instrument(&provider);
        let otlp = monitor.otlp().with_resource(resource()).with_max_request(max);
        let probe = monitor.otlp();
        Self { monitor, otlp, probe, reader, _provider: provider, held: Vec::new() }
    }

    pub(crate) fn hold(&mut self, held: impl std::any::Any) {
        self.held.push(Box::new(held));
    }

    /// Watches an end of a used connection in a group.
    pub(crate) fn watch(&mut self, group: &Group) {
        let pair = used_pair();
        let watched = group.watch(pair.client);
        self.hold((watched, pair.server));
    }

    /// The same as a socket of its own.
    pub(crate) fn watch_alone(&mut self, attributes: &[KeyValue]) {
        let pair = used_pair();
        let watched = self.monitor.watch(pair.client, attributes.iter().cloned());
        self.hold((watched, pair.server));
    }

    pub(crate) fn pushed(&self) -> ExportMetricsServiceRequest {
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics).expect("the provider is not shut down");
        ExportMetricsServiceRequest::from(&metrics)
    }

    /// What nothing changes on sockets that do nothing.
    fn levels(&self) -> Vec<String> {
        let mut request = decoded(&self.probe);
        for metric in metrics_of(&mut request) {
            if matches!(metric.data, Some(Data::Histogram(_))) {
                metric.data = Some(Data::Gauge(Default::default()));
            }
        }
        still(request)
    }

    /// A push and a request of sockets that did nothing between the two; `None` if they did
    /// something.
    pub(crate) fn both<T>(
        &self,
        ours: impl FnOnce(&Otlp) -> T,
    ) -> Option<(ExportMetricsServiceRequest, T)> {
        let mut last = (self.levels(), Instant::now());
        // An acknowledgement may wait for 40 ms.
        let before = until("sockets that do nothing", || {
            let now = self.levels();
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_millis(60)).then(|| last.0.clone())
        });
        let both = (self.pushed(), ours(&self.otlp));
        (self.levels() == before).then_some(both)
    }
}

/// One request with everything.
pub(crate) fn decoded(otlp: &Otlp) -> ExportMetricsServiceRequest {
    let mut body = Vec::new();
    otlp.encode(&mut body);
    Message::decode(&*body).expect("it is OTLP")
}

pub(crate) fn metrics_of(
    request: &mut ExportMetricsServiceRequest,
) -> impl Iterator<Item = &mut Metric> {
    let scopes = request.resource_metrics.iter_mut().flat_map(|all| &mut all.scope_metrics);
    scopes.flat_map(|scope| &mut scope.metrics)
}

/// The points of a metric that are numbers, and those that are histograms.
pub(crate) fn points_of(
    metric: &mut Metric,
) -> (&mut [NumberDataPoint], &mut [HistogramDataPoint]) {
    match metric.data.as_mut().expect("it has data") {
        Data::Gauge(gauge) => (&mut gauge.data_points, &mut []),
        Data::Sum(sum) => (&mut sum.data_points, &mut []),
        Data::Histogram(histogram) => (&mut [], &mut histogram.data_points),
        other => panic!("{other:?}"),
    }
}

/// The points of a request in lines, without times, and without numbers that no two sweeps share.
pub(crate) fn still(mut request: ExportMetricsServiceRequest) -> Vec<String> {
    for metric in metrics_of(&mut request) {
        let name = metric.name.clone();
        let moves = ["tcp.socket.since_", "tcp.monitor.sweep.duration"];
        let moves = moves.iter().any(|moving| name.starts_with(moving));
        let (numbers, histograms) = points_of(metric);
        for point in numbers {
            (point.start_time_unix_nano, point.time_unix_nano) = (0, 0);
            if moves {
                point.value = None;
            }
        }
        for point in histograms {
            (point.start_time_unix_nano, point.time_unix_nano) = (0, 0);
            if moves {
                (point.sum, point.min, point.max) = (None, None, None);
                point.bucket_counts.clear();
            }
        }
    }
    points::arrived(&request)
}

#[track_caller]
pub(crate) fn same(theirs: &[String], ours: &[String]) {
    let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    let more: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}\nmore {more:#?}");
    assert_eq!(theirs.len(), ours.len(), "a point twice");
}

/// Plays a scene until its sockets did nothing between both, and compares these.
#[track_caller]
fn agree(scene: impl Fn() -> Scene) -> Vec<String> {
    for _ in 0..20 {
        let scene = scene();
        if let Some((pushed, ours)) = scene.both(decoded) {
            let ours = still(ours);
            same(&still(pushed), &ours);
            return ours;
        }
    }
    panic!("in none of 20 scenes did the sockets do nothing");
}

#[track_caller]
fn has(lines: &[String], parts: &[&str]) {
    let found = lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    assert_eq!(found, 1, "{parts:?} in {lines:#?}");
}

#[test]
fn requests_have_the_points_of_groups_that_the_sdk_pushes() {
    let lines = agree(|| {
        let mut scene = Scene::new(Monitor::builder());
        let port = |port: i64| KeyValue::new("port", port);
        let public = scene.monitor.group([KeyValue::new("listener", "public"), port(443)]);
        (0..3).for_each(|_| scene.watch(&public));
        let mut pair = used_pair();
        stall(&mut pair);
        scene.hold((public.watch(pair.client), pair.server));
        let nameless = scene.monitor.group([]);
        let pair = used_pair();
        scene.hold((nameless.watch(pair.listener), pair.server));
        let closed = scene.monitor.group([KeyValue::new("weight", 1.5)]);
        let pair = used_pair();
        pair.client.shutdown(Shutdown::Both).expect("it is open");
        drop(closed.watch(pair.client));
        scene
    });
    has(&lines, &["tcp.connection.opened", "{listener=\"public\",port=443}", " int 4"]);
    has(&lines, &["tcp.connection.count", "state=\"listen\"", " int 1"]);
    has(&lines, &["tcp.connection.duration", "{weight=1.5}", "histogram cumulative", " 1 Some("]);
    has(&lines, &["tcp.busy.time", "port=443", "receive_window", "sum monotonic=true"]);
}

#[test]
fn requests_have_the_points_of_sockets_under_each_identity() {
    let peer = SocketAddresses::peer();
    for identity in [
        SocketIdentity::None,
        SocketIdentity::Cookie,
        SocketIdentity::Addresses(peer.with_local()),
        SocketIdentity::Addresses(peer.with_prefix(24, 48)),
    ] {
        let lines = agree(|| {
            let mut scene = Scene::new(Monitor::builder().with_identity(identity));
            scene.watch_alone(&[]);
            scene.watch_alone(&[]);
            scene.watch_alone(&[KeyValue::new("driver", "sql")]);
            let group = scene.monitor.group([KeyValue::new("listener", "public")]);
            group.show_worst(Worst::Stalled, 2);
            for _ in 0..2 {
                let mut pair = used_pair();
                stall(&mut pair);
                scene.hold((group.watch(pair.client), pair.server));
            }
            scene
        });
        let sent = |line: &&String| line.contains(": tcp.socket.data.sent [");
        // Two sockets without a name share a series where nothing tells them apart.
        let own = if identity == SocketIdentity::None { 2 } else { 3 };
        assert_eq!(lines.iter().filter(sent).count(), own + 2, "{identity:?}");
    }
}

#[test]
fn requests_have_the_points_of_what_a_cap_folds() {
    let lines = agree(|| {
        let builder = Monitor::builder().with_name("caps").with_max_groups(2).with_max_sockets(1);
        let mut scene = Scene::new(builder);
        for listener in 0..4 {
            let group = scene.monitor.group([KeyValue::new("listener", listener)]);
            scene.watch(&group);
            scene.watch_alone(&[KeyValue::new("number", listener)]);
        }
        let file = std::fs::File::open("/dev/null").expect("it is there");
        scene.hold(scene.monitor.group([]).watch(file));
        scene.monitor.snapshot();
        scene
    });
    let overflow = "{otel.metric.overflow=true}";
    has(&lines, &[": tcp.connection.opened [", overflow, " int 2"]);
    has(&lines, &[": tcp.rto [", overflow, "histogram"]);
    has(&lines, &[": tcp.socket.data.sent [", overflow, " int 120000"]);
    has(&lines, &[": tcp.monitor.read.errors [", "{error.type=\"ENOTSOCK\"}", " int 1"]);
}

/// Keys and texts that a format could trip over.
const TEXTS: [&str; 12] = [
    "",
    " ",
    "a\nb",
    "\\",
    "\"}",
    "\0",
    "\r\n",
    "\u{85}\u{2028}",
    "\u{10ffff}",
    "é",
    "le",
    "tcp.limited_by",
];

fn any_value(random: &mut Rng) -> Value {
    let text = |random: &mut Rng| TEXTS[random.below(12) as usize];
    let float = |random: &mut Rng| {
        [f64::NAN, -0.0, f64::INFINITY, f64::MIN_POSITIVE, 0.1][random.below(5) as usize]
    };
    match random.below(8) {
        0 => text(random).into(),
        1 => text(random).repeat(1 + random.below(200) as usize).into(),
        2 => [i64::MIN, -1, 0, 1, 127, 128, i64::MAX][random.below(7) as usize].into(),
        3 => float(random).into(),
        4 => (random.below(2) == 0).into(),
        5 => Value::Array(vec![i64::MAX, -1].into()),
        6 => Value::Array(vec![float(random), float(random)].into()),
        _ => Value::Array(Vec::<StringValue>::from([text(random).into(), "b".into()]).into()),
    }
}

#[test]
fn requests_have_any_attributes_as_the_sdk_has_them() {
    let mut random = Rng::new(12);
    for _ in 0..24 {
        let attributes: Vec<KeyValue> = (0..random.below(6))
            .map(|_| {
                let key = TEXTS[random.below(12) as usize];
                KeyValue::new(key, any_value(&mut random))
            })
            .collect();
        agree(|| {
            let fields = ["state", "bytes_sent", "busy_time", "rto", "unacked"];
            let chosen = move |field: &Field| fields.contains(&field.name);
            let mut scene = Scene::new(Monitor::builder().with_fields(chosen));
            let group = scene.monitor.group(attributes.iter().cloned());
            scene.watch(&group);
            scene.watch_alone(&attributes);
            scene
        });
    }
}
