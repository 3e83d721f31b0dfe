//! OTLP to receivers of our own: every point arrives, and a receiver that does not answer harms
//! nothing but the pushes.

mod examples;
mod points;
mod receiver;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use socket2::{Domain, Socket, Type};
use tcpinfo::{Group, Monitor};

use crate::loopback::Pair;
use receiver::{Answer, PATIENCE, Receiver};

/// Longer than any test: what is pushed is pushed because the test says so.
const NEVER: Duration = Duration::from_secs(3600);

/// Runs what must not take for ever.
#[track_caller]
fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    done.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// The points of a push, and why it failed if it did.
type Exported = (Vec<String>, Option<String>);

/// An exporter that hands on what the SDK gave it and what became of that.
struct Tee {
    exporter: MetricExporter,
    sender: Sender<Exported>,
}

impl PushMetricExporter for Tee {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let lines = points::exported(metrics);
        let result = self.exporter.export(metrics).await;
        let _ = self.sender.send((lines, result.as_ref().err().map(ToString::to_string)));
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

fn http(endpoint: &str, temporality: Temporality) -> MetricExporter {
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    let excepted = ["no_proxy", "NO_PROXY"].iter().any(|name| std::env::var_os(name).is_some());
    let proxied = proxies.iter().any(|name| std::env::var_os(name).is_some());
    assert!(excepted || !proxied, "set NO_PROXY=127.0.0.1: the exporter's HTTP follows HTTP_PROXY");
    let builder = MetricExporter::builder().with_temporality(temporality).with_http();
    let builder = builder.with_protocol(Protocol::HttpBinary).with_timeout(2 * PATIENCE);
    builder.with_endpoint(format!("{endpoint}/v1/metrics")).build().expect("it needs nothing")
}

fn grpc(receiver: &Receiver, temporality: Temporality) -> MetricExporter {
    let _inside = receiver.runtime().expect("it is gRPC's").enter();
    let builder = MetricExporter::builder().with_temporality(temporality).with_tonic();
    builder.with_endpoint(&receiver.endpoint).build().expect("a runtime is there")
}

/// A provider that pushes every `interval`, and what it pushed.
fn provider(
    exporter: MetricExporter,
    interval: Duration,
) -> (SdkMeterProvider, mpsc::Receiver<Exported>) {
    let (sender, seen) = mpsc::channel();
    let reader = PeriodicReader::builder(Tee { exporter, sender }).with_interval(interval).build();
    let resource = Resource::builder_empty().with_service_name("tests").build();
    (SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build(), seen)
}

/// Bytes each side of one `converse` sends.
const ASKED: usize = 3_000;
const ANSWERED: usize = 20_000;

/// A connection whose server is watched, from its beginning to its end.
fn converse(group: &Group, listener: &TcpListener) {
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
fn crowd(group: &Group, conversations: usize) {
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
fn totals(conversations: usize) -> [(&'static str, f64); 4] {
    [
        ("tcp.sent{group=a}", (conversations * ANSWERED) as f64),
        ("tcp.received{group=a}", (conversations * (ASKED + 1)) as f64),
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
    ("tcp.sent", "By", "counter"),
    ("tcp.acked", "By", "counter"),
    ("tcp.received", "By", "counter"),
    ("tcp.retransmitted", "By", "counter"),
    ("tcp.segments.sent", "{segment}", "counter"),
    ("tcp.segments.received", "{segment}", "counter"),
    ("tcp.segments.retransmitted", "{segment}", "counter"),
    ("tcp.busy.time", "s", "counter"),
    ("tcp.unsent", "By", "level"),
    ("tcp.segments.unacked", "{segment}", "level"),
    ("tcp.rtt", "s", "histogram"),
    ("tcp.min_rtt", "s", "histogram"),
    ("tcp.queueing_delay", "s", "histogram"),
    ("tcp.congestion_window", "{segment}", "histogram"),
    ("tcp.socket.rtt", "s", "gauge"),
    ("tcp.socket.sent", "By", "counter"),
];

/// Pushes three times, and compares what was exported with what arrived.
#[track_caller]
fn every_point_arrives(receiver: &Receiver, exporter: MetricExporter) {
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
    drop((client, server));
    within("a shutdown", move || provider.shutdown()).expect("the receiver answers");

    let arrived: Vec<_> = (0..3).map(|_| receiver.next()).collect();
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
            points::collected(&push.request).counter("tcp.received{group.number=7,group=a}")
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
        every_point_arrives(&receiver, grpc(&receiver, temporality));
    }
}

/// Flushes and sees the totals that the peers counted.
#[track_caller]
fn totals_are_right(receiver: &Receiver, provider: SdkMeterProvider, conversations: usize) {
    receiver.so_far();
    within("a shutdown", move || provider.shutdown()).expect("the receiver answers again");
    let last = receiver.so_far().pop().expect("shutting down pushes");
    let last = points::collected(&last.request);
    for (series, total) in totals(conversations) {
        assert_eq!(last.counter(series), total, "{series}");
    }
    assert_eq!(last.histograms["tcp.connection.duration{group=a}"], conversations as u64);
}

#[test]
fn a_receiver_that_never_answers_holds_nobody_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let receiver = Receiver::http_on(listener, Answer::Hold);
    let exporter = http(&receiver.endpoint, Temporality::Cumulative);
    let (provider, seen) = provider(exporter, Duration::from_millis(10));
    let monitor = Monitor::new();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("group", "a")]);
    crowd(&group, 20);
    // A push is under way from here until the receiver is told to answer it.
    receiver.next();
    crowd(&group, 20);
    assert_eq!(monitor.snapshot().groups[0].closed, 40);
    assert!(seen.try_recv().is_err(), "the push was to be held");
    receiver.answer(Answer::Accept);
    assert_eq!(seen.recv_timeout(PATIENCE).expect("the push ends").1, None);
    totals_are_right(&receiver, provider, 40);
}

#[test]
fn totals_heal_after_a_receiver_that_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let receiver = Receiver::http_on(listener, Answer::Refuse);
    let exporter = http(&receiver.endpoint, Temporality::Cumulative);
    let (provider, seen) = provider(exporter, Duration::from_millis(10));
    let monitor = Monitor::new();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("group", "a")]);
    crowd(&group, 20);
    let (_, refused) = seen.recv_timeout(PATIENCE).expect("a push fails");
    let refused = refused.expect("it was refused");
    assert!(refused.contains("HTTP export failed with status code: 503"), "{refused}");
    crowd(&group, 20);
    receiver.answer(Answer::Accept);
    totals_are_right(&receiver, provider, 40);
}

#[test]
fn totals_heal_after_a_receiver_that_was_not_there() {
    // Bound and not listening: refuses connections, and nobody else gets the port.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("it is of TCP");
    let exporter = http(&format!("http://{address}"), Temporality::Cumulative);
    let (provider, seen) = provider(exporter, Duration::from_millis(10));
    let monitor = Monitor::new();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("group", "a")]);
    crowd(&group, 20);
    let (_, failed) = seen.recv_timeout(PATIENCE).expect("a push fails");
    let failed = failed.expect("nobody listens");
    assert!(failed.contains("network error"), "{failed}");
    crowd(&group, 20);
    socket.listen(16).expect("it is bound");
    let receiver = Receiver::http_on(socket.into(), Answer::Accept);
    totals_are_right(&receiver, provider, 40);
}

/// A provider that Prometheus fetches from.
fn fetched() -> (SdkMeterProvider, prometheus::Registry) {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let reader = exporter.expect("the registry is new");
    (SdkMeterProvider::builder().with_reader(reader).build(), registry)
}

fn page(registry: &prometheus::Registry) -> String {
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    page.expect("it is text")
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
    let samples = |page| examples::sample(page, "tcp_rtt_seconds_count", "group=\"a\"");
    assert_eq!(pages.each_ref().map(|page| samples(page)), [1.0, 2.0, 3.0].map(Some));
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
    let fetched = |name| examples::sample(&page, name, "group=\"a\"");
    for ((_, total), name) in totals(40).iter().zip([
        "tcp_sent_bytes_total",
        "tcp_received_bytes_total",
        "tcp_connection_opened_total",
        "tcp_connection_closed_total",
    ]) {
        assert_eq!(fetched(name), Some(*total), "{name}");
    }
    assert_eq!(fetched("tcp_connection_duration_seconds_count"), Some(40.0));
    totals_are_right(&receiver, pushed, 40);
}
