//! What the SDK exported and what arrived over OTLP, point by point, as lines that can be compared.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1 as wire;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, NumberDataPoint};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, HistogramDataPoint, MetricData, ResourceMetrics,
};

use support::reader::Collected;

/// Every point the SDK gave to an exporter.
pub(crate) fn exported(metrics: &ResourceMetrics) -> Vec<String> {
    let attributes = metrics.resource().iter().map(|(key, value)| attribute(key.as_str(), value));
    let mut lines = vec![format!("resource {}", sorted(attributes))];
    for scope in metrics.scope_metrics() {
        let (name, version) = (scope.scope().name(), scope.scope().version().unwrap_or_default());
        for metric in scope.metrics() {
            let head = format!(
                "{name} {version}: {} [{}] {:?}",
                metric.name(),
                metric.unit(),
                metric.description()
            );
            match metric.data() {
                AggregatedMetrics::F64(data) => points(&mut lines, &head, data, |v| v, float),
                AggregatedMetrics::U64(data) => points(&mut lines, &head, data, |v| v as f64, int),
                AggregatedMetrics::I64(data) => points(&mut lines, &head, data, |v| v as f64, int),
            }
        }
    }
    lines.sort();
    lines
}

fn points<T: Copy + Debug>(
    lines: &mut Vec<String>,
    head: &str,
    data: &MetricData<T>,
    wide: impl Fn(T) -> f64,
    text: impl Fn(T) -> String,
) {
    match data {
        MetricData::Sum(sum) => {
            let (monotonic, temporality) = (sum.is_monotonic(), temporality(sum.temporality()));
            let kind = format!("sum monotonic={monotonic} {temporality}");
            let times = times(Some(sum.start_time()), sum.time());
            for point in sum.data_points() {
                let attributes = sorted(point.attributes().map(sdk_attribute));
                let value = text(point.value());
                lines.push(format!("{head} {kind} {attributes} {times} {value}"));
            }
        }
        MetricData::Gauge(gauge) => {
            let times = times(gauge.start_time(), gauge.time());
            for point in gauge.data_points() {
                let attributes = sorted(point.attributes().map(sdk_attribute));
                let value = text(point.value());
                lines.push(format!("{head} gauge {attributes} {times} {value}"));
            }
        }
        MetricData::Histogram(histogram) => {
            let kind = format!("histogram {}", temporality(histogram.temporality()));
            let times = times(Some(histogram.start_time()), histogram.time());
            for point in histogram.data_points() {
                let attributes = HistogramDataPoint::attributes(point).map(sdk_attribute);
                let attributes = sorted(attributes);
                let (count, sum) = (point.count(), Some(wide(point.sum())));
                let (min, max) = (point.min().map(&wide), point.max().map(&wide));
                let bounds: Vec<f64> = point.bounds().collect();
                let buckets: Vec<u64> = point.bucket_counts().collect();
                let value = format!("{count} {sum:?} {min:?} {max:?} {bounds:?} {buckets:?}");
                lines.push(format!("{head} {kind} {attributes} {times} {value}"));
            }
        }
        MetricData::ExponentialHistogram(_) => panic!("{head} is exponential"),
    }
}

/// Every point that arrived.
pub(crate) fn arrived(request: &ExportMetricsServiceRequest) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in &request.resource_metrics {
        let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
        lines.push(format!("resource {}", sorted(attributes.map(wire_attribute))));
        for scope in &resource.scope_metrics {
            let named = scope.scope.as_ref().expect("it has a scope");
            for metric in &scope.metrics {
                let Metric { name, description, unit, .. } = metric;
                let (scope, version) = (&named.name, &named.version);
                let head = format!("{scope} {version}: {name} [{unit}] {description:?}");
                wire_points(&mut lines, &head, metric);
            }
        }
    }
    lines.sort();
    lines
}

fn wire_points(lines: &mut Vec<String>, head: &str, metric: &Metric) {
    let wire_temporality = |number| match AggregationTemporality::try_from(number) {
        Ok(AggregationTemporality::Cumulative) => "cumulative",
        Ok(AggregationTemporality::Delta) => "delta",
        other => panic!("{head} has temporality {other:?}"),
    };
    let mut numbers = |kind: &str, points: &[NumberDataPoint]| {
        for point in points {
            let attributes = sorted(point.attributes.iter().map(wire_attribute));
            let times = format!("{}-{}", point.start_time_unix_nano, point.time_unix_nano);
            let value = match point.value {
                Some(Number::AsInt(value)) => int(value),
                Some(Number::AsDouble(value)) => float(value),
                None => "nothing".into(),
            };
            lines.push(format!("{head} {kind} {attributes} {times} {value}"));
        }
    };
    match metric.data.as_ref().expect("it has data") {
        Data::Sum(sum) => {
            let temporality = wire_temporality(sum.aggregation_temporality);
            let kind = format!("sum monotonic={} {temporality}", sum.is_monotonic);
            numbers(&kind, &sum.data_points);
        }
        Data::Gauge(gauge) => numbers("gauge", &gauge.data_points),
        Data::Histogram(histogram) => {
            let temporality = wire_temporality(histogram.aggregation_temporality);
            for point in &histogram.data_points {
                let attributes = sorted(point.attributes.iter().map(wire_attribute));
                let times = format!("{}-{}", point.start_time_unix_nano, point.time_unix_nano);
                let (count, sum, min, max) = (point.count, point.sum, point.min, point.max);
                let (bounds, buckets) = (&point.explicit_bounds, &point.bucket_counts);
                let value = format!("{count} {sum:?} {min:?} {max:?} {bounds:?} {buckets:?}");
                lines.push(format!("{head} histogram {temporality} {attributes} {times} {value}"));
            }
        }
        other => panic!("{head} is {other:?}"),
    }
}

/// What arrived, by name and attributes.
pub(crate) fn collected(request: &ExportMetricsServiceRequest) -> Collected {
    let mut collected = Collected::default();
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        let series = |attributes: &[wire::KeyValue]| {
            let mut all: Vec<_> = attributes.iter().map(plain_attribute).collect();
            all.sort();
            format!("{}{{{}}}", metric.name, all.join(","))
        };
        let (all, points) = match metric.data.as_ref().expect("it has data") {
            Data::Sum(sum) if sum.is_monotonic => (&mut collected.counters, &sum.data_points),
            Data::Sum(sum) => (&mut collected.levels, &sum.data_points),
            Data::Gauge(gauge) => (&mut collected.levels, &gauge.data_points),
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    let old = collected.histograms.insert(series(&point.attributes), point.count);
                    assert_eq!(old, None, "{} twice", series(&point.attributes));
                }
                continue;
            }
            other => panic!("{} is {other:?}", metric.name),
        };
        for point in points {
            let value = match point.value.expect("it has a value") {
                Number::AsInt(value) => value as f64,
                Number::AsDouble(value) => value,
            };
            let old = all.insert(series(&point.attributes), value);
            assert_eq!(old, None, "{} twice", series(&point.attributes));
        }
    }
    collected
}

fn temporality(temporality: Temporality) -> &'static str {
    match temporality {
        Temporality::Cumulative => "cumulative",
        Temporality::Delta => "delta",
        other => panic!("nothing is {other:?}"),
    }
}

fn times(start: Option<SystemTime>, end: SystemTime) -> String {
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos());
    format!("{}-{}", start.map_or(0, nanos), nanos(end))
}

fn int(value: impl TryInto<i64, Error: Debug>) -> String {
    format!("int {}", value.try_into().expect("no total is as large"))
}

fn float(value: f64) -> String {
    format!("float {value:?}")
}

fn sorted(attributes: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = attributes.collect();
    all.sort();
    format!("{{{}}}", all.join(","))
}

fn sdk_attribute(attribute: &KeyValue) -> String {
    self::attribute(attribute.key.as_str(), &attribute.value)
}

fn attribute(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{key}={:?}", text.as_str()),
        Value::I64(number) => format!("{key}={number}"),
        Value::Bool(truth) => format!("{key}={truth}"),
        Value::F64(number) => format!("{key}={number:?}"),
        Value::Array(Array::I64(all)) => format!("{key}={all:?}"),
        Value::Array(Array::F64(all)) => format!("{key}={all:?}"),
        Value::Array(Array::Bool(all)) => format!("{key}={all:?}"),
        Value::Array(Array::String(all)) => {
            format!("{key}={:?}", all.iter().map(|text| text.as_str()).collect::<Vec<_>>())
        }
        other => panic!("{key} is {other:?}"),
    }
}

fn wire_attribute(attribute: &wire::KeyValue) -> String {
    let key = &attribute.key;
    format!("{key}={}", wire_value(attribute.value.as_ref()))
}

fn wire_value(value: Option<&wire::AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => format!("{text:?}"),
        Some(Any::IntValue(number)) => format!("{number}"),
        Some(Any::BoolValue(truth)) => format!("{truth}"),
        Some(Any::DoubleValue(number)) => format!("{number:?}"),
        Some(Any::ArrayValue(array)) => {
            let all: Vec<_> = array.values.iter().map(|value| wire_value(Some(value))).collect();
            format!("[{}]", all.join(", "))
        }
        other => panic!("a value is {other:?}"),
    }
}

/// As `Collected` has them: without quotes.
pub(crate) fn plain_attribute(attribute: &wire::KeyValue) -> String {
    wire_attribute(attribute).replace('"', "")
}

/// The attributes of who pushed.
pub(crate) fn resource(request: &ExportMetricsServiceRequest) -> Vec<String> {
    let resources = request.resource_metrics.iter().flat_map(|metrics| &metrics.resource);
    resources.flat_map(|resource| &resource.attributes).map(plain_attribute).collect()
}

/// When the counter was read, in nanoseconds since 1970, by the exporter's clock.
pub(crate) fn read_at(request: &ExportMetricsServiceRequest, counter: &str) -> u64 {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let mut metrics = scopes.flat_map(|scope| &scope.metrics);
    let metric = metrics.find(|metric| metric.name == counter).expect("it was pushed");
    match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points[0].time_unix_nano,
        other => panic!("{counter} is {other:?}"),
    }
}
