//! VictoriaMetrics, which takes OTLP over HTTP, and which samples PromQL finds there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue as Attribute;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Histogram, Sum};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use serde_json::Value;
use tcpinfo::Monitor;

use super::{Scratch, Server, eventually, free_address, get, program, scalar};
use crate::export::otlp::receiver::Receiver;
use crate::export::otlp::{ANSWERED, NEVER, converse, http, points, within};
use support::exporter::Observed;
use support::exposition::{Labels, name_of};
use support::loopback::Pair;

/// Values by name, labels and time in milliseconds.
type Samples = BTreeMap<(String, Labels, u64), f64>;

/// What should be found of a push: levels and gauges of all, the rest where it is totals.
fn expected(request: &ExportMetricsServiceRequest) -> Samples {
    let mut samples = Samples::new();
    let label = |attribute: &Attribute| {
        let text = points::plain_attribute(attribute);
        let (key, value) = text.split_once('=').expect("key and value");
        (key.replace('.', "_"), value.to_owned())
    };
    for resource in &request.resource_metrics {
        let about = resource.resource.iter().flat_map(|resource| &resource.attributes);
        let about: Labels = about.map(label).collect();
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            let mut add = |suffix: &str, attributes: &[Attribute], bound: &str, time, value| {
                let data = metric.data.as_ref().expect("it has data");
                let counts = matches!(data, Data::Sum(sum) if sum.is_monotonic);
                let name = name_of(&metric.name, &metric.unit, counts) + suffix;
                let mut labels = about.clone();
                labels.extend(attributes.iter().map(label));
                if !bound.is_empty() {
                    labels.insert("le".into(), bound.into());
                }
                let old = samples.insert((name, labels, time / 1_000_000), value);
                assert_eq!(old, None, "{} twice", metric.name);
            };
            const DELTA: i32 = AggregationTemporality::Delta as i32;
            match metric.data.as_ref().expect("it has data") {
                Data::Sum(Sum { aggregation_temporality: DELTA, .. })
                | Data::Histogram(Histogram { aggregation_temporality: DELTA, .. }) => {}
                Data::Gauge(points) => points.data_points.iter().for_each(|point| {
                    add("", &point.attributes, "", point.time_unix_nano, number(point.value));
                }),
                Data::Sum(points) => points.data_points.iter().for_each(|point| {
                    add("", &point.attributes, "", point.time_unix_nano, number(point.value));
                }),
                Data::Histogram(points) => {
                    for point in &points.data_points {
                        let (of, time) = (&point.attributes, point.time_unix_nano);
                        add("_count", of, "", time, point.count as f64);
                        add("_sum", of, "", time, point.sum.expect("SDKs sum"));
                        let mut below = 0;
                        let bounds = point.explicit_bounds.iter().map(f64::to_string);
                        let bounds = bounds.chain(["+Inf".to_owned()]);
                        for (count, bound) in point.bucket_counts.iter().zip(bounds) {
                            below += count;
                            add("_bucket", of, &bound, time, below as f64);
                        }
                    }
                }
                other => panic!("{} is {other:?}", metric.name),
            }
        }
    }
    samples
}

fn number(value: Option<Number>) -> f64 {
    match value.expect("it has a value") {
        Number::AsInt(value) => value as f64,
        Number::AsDouble(value) => value,
    }
}

/// Every sample it has.
fn stored(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines() {
        let series: Value = serde_json::from_str(line).expect("lines of JSON");
        let labels = series["metric"].as_object().expect("labels").iter();
        let labels = labels
            .map(|(key, value)| (key.clone(), value.as_str().expect("labels are text").to_owned()));
        let mut labels: Labels = labels.collect();
        let name = labels.remove("__name__").expect("a name");
        let values = series["values"].as_array().expect("values");
        let times = series["timestamps"].as_array().expect("times");
        for (value, time) in values.iter().zip(times) {
            let (value, time) = (value.as_f64().expect("finite"), time.as_u64().expect("1970"));
            let old = samples.insert((name.clone(), labels.clone(), time), value);
            assert_eq!(old, None, "{name} twice");
        }
    }
    samples
}

/// Starts it. Returns it, and where it answers.
pub(super) fn start(program: &Path) -> (Server, SocketAddr) {
    let (scratch, address) = (Scratch::new(), free_address());
    let arguments = [
        format!("-storageDataPath={}", scratch.join("data").display()),
        format!("-httpListenAddr={address}"),
        "-opentelemetry.usePrometheusNaming".to_owned(),
        // What was just stored is found.
        "-search.latencyOffset=0s".to_owned(),
        "-search.disableCache".to_owned(),
    ];
    let mut server = Server::start(program, scratch, &arguments, &[]);
    server.ready(address, "/health");
    (server, address)
}

#[test]
#[ignore = "needs VictoriaMetrics: integration/test.sh"]
fn every_point_is_found_in_victoria_metrics() {
    let Some(program) = program("VICTORIA_METRICS", "victoria-metrics") else { return };
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let (_server, address) = start(&program);
        let receiver = Receiver::http();
        let endpoints = [format!("http://{address}/opentelemetry"), receiver.endpoint.clone()];
        let exporter = Observed::new(endpoints.map(|endpoint| http(&endpoint, temporality)));
        let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
        let resource = Resource::builder_empty().with_service_name("tests").build();
        let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader);
        let provider = provider.build();
        let monitor = Monitor::new();
        monitor.instrument(&provider);
        let group = monitor.group([KeyValue::new("group", "a"), KeyValue::new("group.number", 7)]);
        let pair = Pair::connect();
        let _watched = monitor.watch(pair.client, [KeyValue::new("client", "b")]);
        let (flushed, mut wanted) = (provider.clone(), Samples::new());
        for _ in 0..3 {
            converse(&group, &pair.listener);
            let flushed = flushed.clone();
            within("a flush", move || flushed.force_flush()).expect("both answer");
            wanted.append(&mut expected(&receiver.next().request));
        }
        let _ = get(address, "/internal/force_flush");
        let export = "/api/v1/export?match[]=%7B__name__!%3D%22%22%7D";
        let found = eventually("every sample", || {
            let found = stored(&get(address, export));
            (found.len() >= wanted.len()).then_some(found)
        });
        for ((found, value), (wanted, exact)) in found.iter().zip(&wanted) {
            // It stores decimal numbers, of fifteen digits.
            let close = (value - exact).abs() <= 1e-14 * exact.abs();
            assert!(found == wanted && close, "{found:?} {value} is not {wanted:?} {exact}");
        }
        assert_eq!(found.len(), wanted.len());
        if temporality == Temporality::Cumulative {
            let sent = "tcp_data_sent_bytes_total{group='a'} - tcp_data_retransmitted_bytes_total";
            assert_eq!(scalar(address, sent), 3.0 * ANSWERED as f64);
        } else {
            // Dropped, and it says so; the pushes were accepted.
            let own = get(address, "/metrics");
            let dropped = own.lines().find(|line| line.contains("unsupported_sum_aggregation"));
            assert!(dropped.is_some_and(|line| !line.ends_with(" 0")), "{own}");
        }
        within("a shutdown", move || provider.shutdown()).expect("both answer");
    }
}
