//! OTLP to receivers of our own: every point arrives, and other exporters do not add to it.

pub(crate) mod own;
mod own_requests;
pub(crate) mod points;
pub(crate) mod receiver;
mod sizes;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::Resource as ProgramResource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tcpinfo::{Group, Monitor, State};
use tokio::runtime::Runtime;

use receiver::Receiver;
use support::exporter::Observed;
use support::exposition::{Page, parsed};
use support::lateness::PATIENCE;
use support::loopback::{Pair, until};

/// Longer than any test: what is pushed is pushed because the test says so.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// Raises the limit of descriptors for this process, if it must.
pub(crate) fn make_room(descriptors: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < descriptors) {
        let raised = limit.maximum.map_or(descriptors, |maximum| maximum.min(descriptors));
        setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }).expect("allowed");
    }
}

/// Runs what must not take for ever.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, done) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    done.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// The points of a push, and why it failed if it did.
pub(crate) type Exported = (Vec<String>, Option<String>);

pub(crate) fn http(endpoint: &str, temporality: Temporality) -> MetricExporter {
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let excepted = ["no_proxy", "NO_PROXY"].iter().any(|name| std::env::var_os(name).is_some());
    let proxied = proxies.iter().any(|name| std::env::var_os(name).is_some());
    assert!(
        excepted || !proxied,
        "set NO_PROXY=127.0.0.0/8: the exporter's HTTP follows HTTP_PROXY"
    );
    let builder = MetricExporter::builder().with_temporality(temporality).with_http();
    let builder = builder.with_protocol(Protocol::HttpBinary).with_timeout(2 * PATIENCE);
    builder.with_endpoint(format!("{endpoint}/v1/metrics")).build().expect("it needs nothing")
}

pub(crate) fn grpc(runtime: &Runtime, endpoint: &str, temporality: Temporality) -> MetricExporter {
    let _inside = runtime.enter();
    let builder = MetricExporter::builder().with_temporality(temporality).with_tonic();
    let builder = builder.with_timeout(2 * PATIENCE).with_endpoint(endpoint);
    builder.build().expect("a runtime is there")
}

/// A provider that pushes every `interval`, and what it pushed.
pub(crate) fn provider(
    exporter: impl PushMetricExporter,
    interval: Duration,
) -> (SdkMeterProvider, mpsc::Receiver<Exported>) {
    let (sender, seen) = mpsc::channel();
    let exporter = Observed::new([exporter]).with_end(move |metrics, result| {
        let failed = result.as_ref().err().map(ToString::to_string);
        let _ = sender.send((points::exported(metrics), failed));
    });
    let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
    let resource = ProgramResource::builder_empty().with_service_name("tests").build();
    (SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build(), seen)
}

/// Bytes each side of one `converse` sends.
pub(crate) const ASKED: usize = 3_000;
pub(crate) const ANSWERED: usize = 20_000;

/// A connection whose server is watched, from its beginning to its end.
pub(crate) fn converse(group: &Group, listener: &TcpListener) {
    let mut client = TcpStream::connect(listener.local_addr().expect("it is bound"))
        .expect("the listener listens");
    let mut server = group.watch(listener.accept().expect("the client connected").0);
    client.write_all(&[1; ASKED]).expect("the server reads");
    server.read_exact(&mut [0; ASKED]).expect("the client wrote");
    server.write_all(&[2; ANSWERED]).expect("the client reads");
    client.read_exact(&mut [0; ANSWERED]).expect("the server wrote");
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the client left in peace"), 0);
}

/// Many of them at a time.
pub(crate) fn crowd(group: &Group, conversations: usize) {
    let (threads, group) = (4, group.clone());
    within("conversations go on", move || {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
                    (0..conversations / threads).for_each(|_| converse(&group, &listener));
                });
            }
        });
    });
}

/// The totals of so many ended conversations; the client's FIN counts one.
pub(crate) fn totals(conversations: usize) -> [(&'static str, f64); 4] {
    [
        ("tcp.data.sent{group=a}", (conversations * ANSWERED) as f64),
        ("tcp.data.received{group=a}", (conversations * (ASKED + 1)) as f64),
        ("tcp.connection.opened{group=a}", conversations as f64),
        ("tcp.connection.closed{group=a}", conversations as f64),
    ]
}

/// What dashboards rely on: name, unit and kind.
const HEADLINES: &[(&str, &str, &str)] = &[
    ("tcp.connection.count", "{connection}", "level"),
    ("tcp.connection.opened", "{connection}", "counter"),
    ("tcp.connection.closed", "{connection}", "counter"),
    ("tcp.connection.duration", "s", "histogram"),
    ("tcp.data.sent", "By", "counter"),
    ("tcp.data.acked", "By", "counter"),
    ("tcp.data.received", "By", "counter"),
    ("tcp.data.retransmitted", "By", "counter"),
    ("tcp.segment.sent", "{segment}", "counter"),
    ("tcp.segment.received", "{segment}", "counter"),
    ("tcp.segment.retransmitted", "{segment}", "counter"),
    ("tcp.busy.time", "s", "counter"),
    ("tcp.data.unsent", "By", "level"),
    ("tcp.segment.unacked", "{segment}", "level"),
    ("tcp.rtt", "s", "histogram"),
    ("tcp.min_rtt", "s", "histogram"),
    ("tcp.queueing_delay", "s", "histogram"),
    ("tcp.congestion_window", "{segment}", "histogram"),
    ("tcp.socket.rtt", "s", "gauge"),
    ("tcp.socket.data.sent", "By", "counter"),
];

/// Pushes three times, and compares what was exported with what arrived.
#[track_caller]
pub(crate) fn every_point_arrives(receiver: &Receiver, exporter: MetricExporter) {
    let temporality = exporter.temporality();
    let (provider, seen) = provider(exporter, NEVER);
    let monitor = Monitor::new();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("group", "a"), KeyValue::new("group.number", 7)]);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    converse(&group, &listener);
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).expect("it listens");
    let mut client = monitor.watch(client, [KeyValue::new("client", "\"b\"")]);
    let mut server = group.watch(listener.accept().expect("the client connected").0);
    let flush = |provider: &SdkMeterProvider| {
        let provider = provider.clone();
        within("a flush", move || provider.force_flush()).expect("the receiver answers");
    };
    flush(&provider);
    client.write_all(&[3; 500]).expect("the server reads");
    server.read_exact(&mut [0; 500]).expect("the client wrote");
    flush(&provider);
    // A FIN that comes after the last reading is in no push.
    drop(client);
    until("the FIN", || {
        let info = server.info().expect("it is open");
        (info.state == State::CloseWait).then_some(())
    });
    drop(server);
    within("a shutdown", move || provider.shutdown()).expect("the receiver answers");

    let mut arrived: Vec<_> = (0..3).map(|_| receiver.next()).collect();
    // One in between may hand on several at a time.
    arrived.sort_by_key(|push| points::read_at(&push.request, "tcp.data.received"));
    let mut kinds = BTreeSet::new();
    for push in &arrived {
        let (exported, failed) = seen.recv_timeout(PATIENCE).expect("it was exported");
        assert_eq!(failed, None);
        let lines = points::arrived(&push.request);
        assert_eq!(exported, lines);
        assert_eq!(lines[0], "resource {service.name=\"tests\"}");
        let scope = format!("tcpinfo {}: ", env!("CARGO_PKG_VERSION"));
        for line in &lines[1..] {
            assert!(line.starts_with(&scope), "{line}");
            let rest = &line[scope.len()..];
            let (name, rest) = rest.split_once(" [").expect("a name");
            let (unit, rest) = rest.split_once("] \"").expect("a unit");
            let (_, rest) = rest.split_once(".\" ").expect("a description");
            let (kind, rest) = rest.split_once(' ').expect("a kind");
            let counts = matches!(temporality, Temporality::Cumulative);
            let of_rises = if counts { "cumulative " } else { "delta " };
            let kind = match rest.strip_prefix("monotonic=") {
                Some(rest) => match rest.split_once(' ').expect("monotonic or not") {
                    ("true", rest) if rest.starts_with(of_rises) => "counter",
                    ("false", rest) if rest.starts_with("cumulative ") => "level",
                    _ => panic!("{line}"),
                },
                None => {
                    assert!(kind != "histogram" || rest.starts_with(of_rises), "{line}");
                    kind
                }
            };
            kinds.insert((name.to_owned(), unit.to_owned(), kind.to_owned()));
        }
    }
    for (name, unit, kind) in HEADLINES {
        let wanted = ((*name).to_owned(), (*unit).to_owned(), (*kind).to_owned());
        assert!(kinds.contains(&wanted), "no {name} [{unit}] {kind} in {kinds:#?}");
    }

    let sums: Vec<f64> = arrived
        .iter()
        .map(|push| {
            points::collected(&push.request).counter("tcp.data.received{group.number=7,group=a}")
        })
        .collect();
    // The first client's FIN counts one. The second's came before the server was read last.
    let totals = [ASKED + 1, ASKED + 1 + 500, ASKED + 1 + 500 + 1].map(|total| total as f64);
    let expected = match temporality {
        Temporality::Delta => [totals[0], totals[1] - totals[0], totals[2] - totals[1]],
        _ => totals,
    };
    assert_eq!(sums, expected);
}

#[test]
fn every_point_arrives_over_http() {
    let receiver = Receiver::http();
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        every_point_arrives(&receiver, http(&receiver.endpoint, temporality));
    }
}

#[test]
fn every_point_arrives_over_grpc() {
    let receiver = Receiver::grpc();
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let runtime = receiver.runtime().expect("it is gRPC's");
        every_point_arrives(&receiver, grpc(runtime, &receiver.endpoint, temporality));
    }
}

/// Flushes and sees the totals that the peers counted.
#[track_caller]
pub(crate) fn totals_are_right(
    receiver: &Receiver,
    provider: SdkMeterProvider,
    conversations: usize,
) {
    receiver.so_far();
    within("a shutdown", move || provider.shutdown()).expect("the receiver answers again");
    let last = receiver.so_far().pop().expect("shutting down pushes");
    let last = points::collected(&last.request);
    for (series, total) in totals(conversations) {
        // A machine that stands still for 200 ms makes a sender repeat itself.
        let again = match series {
            "tcp.data.sent{group=a}" => last.counter("tcp.data.retransmitted{group=a}"),
            _ => 0.0,
        };
        assert_eq!(last.counter(series) - again, total, "{series}");
    }
    assert_eq!(last.histograms["tcp.connection.duration{group=a}"], conversations as u64);
}

/// A provider that Prometheus fetches from.
fn fetched() -> (SdkMeterProvider, prometheus::Registry) {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let reader = exporter.expect("the registry is new");
    (SdkMeterProvider::builder().with_reader(reader).build(), registry)
}

fn page(registry: &prometheus::Registry) -> Page {
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    parsed(&page.expect("it is text"))
}

#[test]
fn scrapes_add_no_samples_to_pushes() {
    let receiver = Receiver::http();
    let (pushed, _seen) = provider(http(&receiver.endpoint, Temporality::Cumulative), NEVER);
    let (fetched, registry) = fetched();
    let monitor = Monitor::new();
    monitor.instrument(&pushed);
    monitor.instrument(&fetched);
    let group = monitor.group([KeyValue::new("group", "a")]);
    let Pair { client, mut server, .. } = Pair::connect();
    let mut client = group.watch(client);
    // A round trip is measured when the answer is here.
    client.write_all(&[1]).expect("the server reads");
    server.read_exact(&mut [0]).expect("the client wrote");
    server.write_all(&[2]).expect("the client reads");
    client.read_exact(&mut [0]).expect("the server wrote");

    let pages = [(); 3].map(|()| page(&registry));
    within("a shutdown", move || pushed.shutdown()).expect("the receiver answers");
    let samples = |page: &Page| page.value("tcp_rtt_seconds_count", &[("group", "a")]);
    assert_eq!(pages.each_ref().map(samples), [1.0, 2.0, 3.0]);
    let pushed = points::collected(&receiver.next().request);
    assert_eq!(pushed.histograms["tcp.rtt{group=a}"], 1);
}

#[test]
fn prometheus_and_otlp_have_the_same_totals() {
    let receiver = Receiver::http();
    let (pushed, _seen) = provider(http(&receiver.endpoint, Temporality::Cumulative), NEVER);
    let (fetched, registry) = fetched();
    let monitor = Monitor::new();
    monitor.instrument(&pushed);
    monitor.instrument(&fetched);
    let group = monitor.group([KeyValue::new("group", "a")]);

    // Each collects while there are connections, and what has ended counts once for each of them.
    crowd(&group, 20);
    registry.gather();
    let flushed = pushed.clone();
    within("a flush", move || flushed.force_flush()).expect("the receiver answers");
    crowd(&group, 20);
    let page = page(&registry);
    let fetched = |name| page.value(name, &[("group", "a")]);
    for ((_, total), name) in totals(40).iter().zip([
        "tcp_data_sent_bytes_total",
        "tcp_data_received_bytes_total",
        "tcp_connection_opened_total",
        "tcp_connection_closed_total",
    ]) {
        let again = match name {
            "tcp_data_sent_bytes_total" => fetched("tcp_data_retransmitted_bytes_total"),
            _ => 0.0,
        };
        assert_eq!(fetched(name) - again, *total, "{name}");
    }
    assert_eq!(fetched("tcp_connection_duration_seconds_count"), 40.0);
    totals_are_right(&receiver, pushed, 40);
}
