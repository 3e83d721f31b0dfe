//! How long a push is: with as many groups as the default caps allow, and thousands before them.

use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use prost::Message;
use tcpinfo::{Group, Monitor, MonitorBuilder};

use support::loopback::{Pair, until};
use support::peers::{Peers, exchange};
use support::reader::Reader;

/// What a receiver of gRPC takes by default.
const LIMIT: usize = 4_194_304;
/// What the histograms of all groups may take of it, up to 150 of which live at a time.
const BUDGET: usize = 1_310_720;
const DEFAULT_GROUPS: usize = 150;
/// The states of TCP that a socket can show.
const STATES: usize = 12;

fn pushed(reader: &Reader) -> ExportMetricsServiceRequest {
    let mut metrics = ResourceMetrics::default();
    reader.collect(&mut metrics).expect("the provider is not shut down");
    ExportMetricsServiceRequest::from(&metrics)
}

fn metrics(request: &ExportMetricsServiceRequest) -> impl Iterator<Item = &Metric> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics)
}

/// The points of every histogram of groups.
fn histograms(request: &ExportMetricsServiceRequest) -> Vec<&[HistogramDataPoint]> {
    let of_groups = metrics(request).filter(|metric| !metric.name.starts_with("tcp.monitor."));
    let histograms = of_groups.filter_map(|metric| match &metric.data {
        Some(Data::Histogram(histogram)) => Some(&histogram.data_points[..]),
        _ => None,
    });
    histograms.collect()
}

/// A message within another: its tag, its length and itself.
fn framed(message: &impl Message) -> usize {
    let length = message.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

fn is_overflow(point: &HistogramDataPoint) -> bool {
    point.attributes.iter().any(|attribute| attribute.key == "otel.metric.overflow")
}

/// The bytes of what groups have of their own in histograms.
fn bytes(histograms: &[&[HistogramDataPoint]]) -> usize {
    let points = histograms.iter().copied().flatten();
    points.filter(|point| !is_overflow(point)).map(framed).sum()
}

/// As many groups as live at a time, again and again, each with a connection that ended.
fn come_and_go(
    builder: MonitorBuilder,
    groups: usize,
    attributes: impl Fn(usize) -> Vec<KeyValue>,
) -> (Monitor, Reader, impl Sized) {
    let monitor = builder.with_group_retention(Duration::ZERO).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    for number in 0..groups {
        let group = monitor.group(attributes(number));
        exchange(&listener, |it| group.watch(it), &Peers::default(), 100);
        drop(group);
        if number % DEFAULT_GROUPS == DEFAULT_GROUPS - 1 {
            // As zero, and as what they are.
            (0..2).for_each(|_| drop(pushed(&reader)));
        }
    }
    assert_eq!(monitor.snapshot().monitor.folded, 0);
    (monitor, reader, provider)
}

/// Keys and values of 20 characters each.
fn attributes(keys: usize, group: usize) -> Vec<KeyValue> {
    let attribute = |key| {
        let key: String = format!("attribute.number.{key:03}");
        KeyValue::new(key, format!("value {group:07} of six"))
    };
    (0..keys).map(attribute).collect()
}

/// Sockets of one group in five states, all of its metrics among them.
fn live(group: &Group) -> impl Sized {
    let [open, closing, closed] = [(); 3].map(|()| Pair::connect());
    closing.client.shutdown(Shutdown::Write).expect("it is connected");
    until("the FIN at the server", || {
        let info = tcpinfo::read(&closing.server).expect("it is open");
        (info.state == tcpinfo::State::CloseWait).then_some(())
    });
    closed.client.shutdown(Shutdown::Both).expect("it is connected");
    drop(closed.server);
    let sockets = [open.client, open.server, closing.client, closing.server, closed.client];
    (sockets.map(|socket| group.watch(socket)), group.watch(open.listener))
}

#[test]
fn a_push_of_the_default_caps_is_below_four_mebibytes() {
    for keys in [2, 6] {
        let (monitor, reader, _provider) =
            come_and_go(Monitor::builder(), 2_100, |number| attributes(keys, number));
        let groups: Vec<Group> =
            (0..DEFAULT_GROUPS).map(|number| monitor.group(attributes(keys, number))).collect();
        let _live: Vec<_> = groups.iter().map(live).collect();
        let request = pushed(&reader);
        assert_eq!(monitor.snapshot().monitor.folded, 0);

        let histograms = histograms(&request);
        let own = histograms[0].iter().filter(|point| !is_overflow(point)).count();
        let name = "tcp.connection.count";
        let states = metrics(&request).find(|metric| metric.name == name).expect(name);
        let Some(Data::Sum(states)) = &states.data else { panic!("{states:?}") };
        // A state that was shown stays; these groups did not show all of them.
        let longest = states.data_points.iter().map(framed).max().expect("there are groups");
        let unseen = STATES * DEFAULT_GROUPS - states.data_points.len();
        let (length, more) = (request.encoded_len(), unseen * longest);
        println!(
            "{keys} attributes: {length} bytes, {} of them histograms of {own} groups; {more} more \
             if every group had been in every state",
            bytes(&histograms)
        );
        assert!(own >= DEFAULT_GROUPS && bytes(&histograms) <= BUDGET);
        assert!(length + more < LIMIT, "{length} and {more}");
    }
}

#[test]
fn the_budget_is_what_histograms_take() {
    let text = |length: usize| move |number| format!("{number:0length$}").into();
    let shapes: [(&str, &dyn Fn(usize) -> Value); 6] = [
        ("a", &text(6)),
        ("text", &text(200)),
        ("number", &|number| (number as i64).into()),
        ("negative", &|number| (-1 - number as i64).into()),
        ("float", &|number| (number as f64 + 0.5).into()),
        ("array", &|number| Value::Array(vec![number as i64, 1_000_000, -1].into())),
    ];
    for (key, value) in shapes {
        // A rate is a sample only while the network limits the connection.
        let builder = Monitor::builder().with_fields(|field| field.name != "delivery_rate");
        let attributes = |number| vec![KeyValue::new(key, value(number)), KeyValue::new("b", true)];
        let (_monitor, reader, _provider) = come_and_go(builder, 750, attributes);
        let request = pushed(&reader);
        let histograms = histograms(&request);
        let own =
            |points: &&[HistogramDataPoint]| points.iter().filter(|it| !is_overflow(it)).count();
        let groups = own(&histograms[0]);
        assert!(histograms.iter().all(|points| own(points) == groups));
        let (bytes, each) = (bytes(&histograms), bytes(&histograms) / groups);
        println!("{key}: {groups} groups of {each} bytes, {bytes} in all");
        // One more would not have fitted, give or take a tenth.
        let tenth = BUDGET / 10;
        assert!((BUDGET - tenth..BUDGET + tenth).contains(&bytes), "{bytes}");
        let samples: u64 = histograms[0].iter().map(|point| point.count).sum();
        assert_eq!(samples, 750);
    }
}

#[test]
fn groups_without_samples_take_no_place() {
    let monitor = Monitor::builder().with_group_retention(Duration::ZERO).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    for round in 0..12 {
        for number in 0..DEFAULT_GROUPS {
            let number = round * DEFAULT_GROUPS + number;
            let group = monitor.group(attributes(6, number));
            if number >= 1_700 {
                exchange(&listener, |it| group.watch(it), &Peers::default(), 100);
            }
        }
        (0..2).for_each(|_| drop(pushed(&reader)));
    }
    let request = pushed(&reader);
    let histograms = histograms(&request);
    assert!(histograms.iter().all(|points| points.len() == 100 && !points.iter().any(is_overflow)));
}

#[test]
fn a_higher_cap_has_a_higher_budget() {
    let builder = Monitor::builder().with_max_groups(2 * DEFAULT_GROUPS);
    let (_monitor, reader, _provider) = come_and_go(builder, 900, |number| attributes(6, number));
    let request = pushed(&reader);
    let bytes = bytes(&histograms(&request));
    // No rates, which are an eighth of the points.
    assert!((BUDGET * 3 / 2..BUDGET * 2).contains(&bytes), "{bytes}");

    let monitor = Monitor::builder().with_max_groups(usize::MAX).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    assert_eq!(reader.collected().counter("tcp.monitor.folded{}"), 0.0);
}
