//! What a request has whatever the sockets do: resource and scope, and of each metric its name.

use opentelemetry::{InstrumentationScope, KeyValue};

use super::attributes::{OF_NUMBER, OF_RESOURCE, OF_SCOPE, encoded, push_attribute};
use super::protobuf::{push_bytes, push_integer, push_packed};
use crate::metric::{InstrumentKind, Metric, Report};
use crate::report::Marks;

/// All that requests have in common.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    /// The field `resource` of `ResourceMetrics`.
    pub(super) resource: Vec<u8>,
    /// The field `scope` of `ScopeMetrics`.
    pub(super) scope: Vec<u8>,
    pub(super) metrics: Vec<MetricSchema>,
    /// The attribute of each mark.
    pub(super) marks: Marks<Vec<u8>>,
}

/// One metric.
#[derive(Clone, Debug)]
pub(super) struct MetricSchema {
    pub(super) report: Report,
    /// Name, description and unit.
    pub(super) head: Vec<u8>,
    /// The field of `Metric` that has the points.
    pub(super) data: u8,
    /// Behind the points: how they are to be summed.
    pub(super) tail: Vec<u8>,
    /// Whether its points say since when they count.
    pub(super) has_start: bool,
    pub(super) histogram: Option<HistogramSchema>,
}

/// What a histogram has beside that.
#[derive(Clone, Debug)]
pub(super) struct HistogramSchema {
    /// Its place in the list of histograms.
    pub(super) place: usize,
    /// The field `explicit_bounds` of its points.
    pub(super) bounds: Vec<u8>,
}

const GAUGE: u8 = 5;
const SUM: u8 = 7;
const HISTOGRAM: u8 = 9;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u64 = 2;

impl Schema {
    pub(super) fn new(scope: &InstrumentationScope, metrics: &[Metric]) -> Self {
        let mut places = 0;
        let metrics = metrics
            .iter()
            .map(|metric| {
                let place = places;
                places += usize::from(metric.is_of_samples());
                MetricSchema::new(metric, place)
            })
            .collect();
        let marks = Marks::new(|key, value| {
            let mut out = Vec::new();
            push_attribute(&mut out, OF_NUMBER, key, &value.into());
            out
        });
        Self { resource: resource(&[]), scope: scope_field(scope), metrics, marks }
    }
}

impl MetricSchema {
    fn new(metric: &Metric, place: usize) -> Self {
        let mut head = Vec::new();
        push_bytes(&mut head, 1, metric.name.as_bytes());
        push_bytes(&mut head, 2, metric.description.as_bytes());
        push_bytes(&mut head, 3, metric.unit.as_bytes());
        let (data, is_monotonic) = match metric.instrument {
            InstrumentKind::Counter => (SUM, true),
            InstrumentKind::UpDownCounter => (SUM, false),
            InstrumentKind::Gauge => (GAUGE, false),
            InstrumentKind::Histogram => (HISTOGRAM, false),
        };
        let mut tail = Vec::new();
        if data != GAUGE {
            push_integer(&mut tail, 2, CUMULATIVE);
        }
        if is_monotonic {
            push_integer(&mut tail, 3, 1);
        }
        let histogram = (data == HISTOGRAM).then(|| {
            let mut bounds = Vec::new();
            push_packed(&mut bounds, 7, metric.boundaries.iter().map(|bound| bound.to_bits()));
            HistogramSchema { place, bounds }
        });
        let has_start = data != GAUGE;
        Self { report: metric.report, head, data, tail, has_start, histogram }
    }
}

/// The field `resource` of `ResourceMetrics`.
pub(super) fn resource(attributes: &[KeyValue]) -> Vec<u8> {
    let mut out = Vec::new();
    push_bytes(&mut out, 1, &encoded(OF_RESOURCE, attributes));
    out
}

fn scope_field(scope: &InstrumentationScope) -> Vec<u8> {
    let mut content = Vec::new();
    push_bytes(&mut content, 1, scope.name().as_bytes());
    push_bytes(&mut content, 2, scope.version().unwrap_or_default().as_bytes());
    content.extend(encoded(OF_SCOPE, scope.attributes()));
    let mut out = Vec::new();
    push_bytes(&mut out, 1, &content);
    out
}
