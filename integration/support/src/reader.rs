//! A reader that collects when a test says so, and what it collected by name and attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, HistogramDataPoint, Metric, MetricData, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};

/// A handle on a reader that a provider owns.
#[derive(Clone, Debug)]
pub struct Reader(Arc<ManualReader>);

impl Reader {
    /// A reader of one temporality for all instruments.
    pub fn new(temporality: Temporality) -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(temporality).build()))
    }

    /// A provider with one cumulative reader.
    pub fn with_provider() -> (Self, SdkMeterProvider) {
        let reader = Self::new(Temporality::Cumulative);
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        (reader, provider)
    }

    /// What one collection exported.
    pub fn collected(&self) -> Collected {
        Collected::of(self.metrics().scope_metrics())
    }

    /// The same for each instrumentation scope, by its attributes.
    pub fn collected_by_scope(&self) -> BTreeMap<String, Collected> {
        self.collected_by(|scope| joined(scope.attributes()))
    }

    /// What one collection exported, apart for each name that a monitor was given: `""` where it
    /// has none.
    pub fn collected_by_monitor(&self) -> BTreeMap<String, Collected> {
        self.collected_by(|scope| {
            let mut attributes = scope.attributes();
            let name = attributes.find(|attribute| attribute.key.as_str() == "tcp.monitor.name");
            name.map(|name| name.value.to_string()).unwrap_or_default()
        })
    }

    fn collected_by(
        &self,
        key: impl Fn(&InstrumentationScope) -> String,
    ) -> BTreeMap<String, Collected> {
        let mut all: BTreeMap<String, Collected> = BTreeMap::new();
        for scope in self.metrics().scope_metrics() {
            let one = all.entry(key(scope.scope())).or_default();
            scope.metrics().for_each(|metric| one.take(metric));
        }
        all
    }

    fn metrics(&self) -> ResourceMetrics {
        let mut metrics = ResourceMetrics::default();
        self.0.collect(&mut metrics).expect("the provider is not shut down");
        metrics
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// One point's name and attributes, as `tcp.data.sent{group=a}`.
pub type Series = String;

/// What one collection exported.
#[derive(Debug, Default)]
pub struct Collected {
    /// Counters.
    pub counters: BTreeMap<Series, f64>,
    /// Up-downs and gauges.
    pub levels: BTreeMap<Series, f64>,
    /// Counts of histograms.
    pub histograms: BTreeMap<Series, u64>,
    /// Histograms bucket by bucket: upper bounds, the last of them infinite, and counts.
    pub buckets: BTreeMap<Series, Vec<(f64, u64)>>,
}

impl Collected {
    fn of<'m>(scopes: impl Iterator<Item = &'m ScopeMetrics>) -> Self {
        let mut collected = Self::default();
        for metric in scopes.flat_map(ScopeMetrics::metrics) {
            collected.take(metric);
        }
        collected
    }

    fn take(&mut self, metric: &Metric) {
        match metric.data() {
            AggregatedMetrics::F64(data) => self.add(metric.name(), data, |v| v),
            AggregatedMetrics::U64(data) => self.add(metric.name(), data, |v| v as f64),
            AggregatedMetrics::I64(data) => self.add(metric.name(), data, |v| v as f64),
        }
    }

    fn add<T: Copy>(&mut self, name: &str, data: &MetricData<T>, number: impl Fn(T) -> f64) {
        match data {
            MetricData::Sum(sum) => {
                let all = if sum.is_monotonic() { &mut self.counters } else { &mut self.levels };
                for point in sum.data_points() {
                    all.insert(series(name, point.attributes()), number(point.value()));
                }
            }
            MetricData::Gauge(gauge) => {
                for point in gauge.data_points() {
                    let series = series(name, point.attributes());
                    self.levels.insert(series, number(point.value()));
                }
            }
            MetricData::Histogram(histogram) => {
                for point in histogram.data_points() {
                    let series = series(name, HistogramDataPoint::attributes(point));
                    let bounds = point.bounds().chain([f64::INFINITY]);
                    let buckets = bounds.zip(point.bucket_counts()).collect();
                    self.buckets.insert(series.clone(), buckets);
                    self.histograms.insert(series, point.count());
                }
            }
            MetricData::ExponentialHistogram(_) => panic!("{name} is exponential"),
        }
    }

    /// A counter that is there.
    #[track_caller]
    pub fn counter(&self, series: &str) -> f64 {
        *self.counters.get(series).unwrap_or_else(|| panic!("no counter {series} in {self:#?}"))
    }

    /// An up-down or a gauge that is there.
    #[track_caller]
    pub fn level(&self, series: &str) -> f64 {
        *self.levels.get(series).unwrap_or_else(|| panic!("no level {series} in {self:#?}"))
    }

    /// Every counter of an earlier collection is there and has not fallen, and no level is below
    /// zero.
    #[track_caller]
    pub fn assert_follows(&self, last: &Self) {
        for (series, before) in &last.counters {
            let after = self.counter(series);
            assert!(after >= *before, "{series} fell from {before} to {after}");
        }
        assert!(self.levels.values().all(|level| *level >= 0.0), "{:#?}", self.levels);
    }

    /// Every series name without attributes.
    pub fn names(&self) -> BTreeSet<&str> {
        let all = self.counters.keys().chain(self.levels.keys()).chain(self.histograms.keys());
        all.map(|series| series.split('{').next().unwrap_or(series)).collect()
    }
}

fn series<'a>(name: &str, attributes: impl Iterator<Item = &'a KeyValue>) -> Series {
    format!("{name}{{{}}}", joined(attributes))
}

fn joined<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut all: Vec<String> =
        attributes.map(|kv| format!("{}={}", kv.key.as_str(), kv.value)).collect();
    all.sort();
    all.join(",")
}
