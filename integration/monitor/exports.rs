//! What a reader exports, followed from one collection to the next as a back-end follows it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use tcpinfo::Monitor;

use support::reader::{Collected, Reader, Series};

/// No counter of these tests gets there; a difference below zero does, in a delta.
const ABSURD: f64 = 1e12;

/// A reader with a provider of its own, and what its exports add up to.
pub(crate) struct Exports {
    reader: Reader,
    provider: SdkMeterProvider,
    temporality: Temporality,
    latest: Collected,
    sums: BTreeMap<Series, f64>,
    samples: BTreeMap<Series, u64>,
}

impl Exports {
    pub(crate) fn new(monitor: &Monitor, temporality: Temporality) -> Self {
        let exports = Self::unattached(temporality);
        monitor.instrument(&exports.provider);
        exports
    }

    /// With a provider that no monitor knows yet.
    pub(crate) fn unattached(temporality: Temporality) -> Self {
        let reader = Reader::new(temporality);
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        Self {
            reader,
            provider,
            temporality,
            latest: Collected::default(),
            sums: BTreeMap::new(),
            samples: BTreeMap::new(),
        }
    }

    /// One that exports totals, and one that exports differences.
    pub(crate) fn both(monitor: &Monitor) -> [Self; 2] {
        [Temporality::Cumulative, Temporality::Delta].map(|it| Self::new(monitor, it))
    }

    pub(crate) fn provider(&self) -> &SdkMeterProvider {
        &self.provider
    }

    /// Collects until told to stop, and until all is said: what took a place is at zero first.
    pub(crate) fn until_done(mut self, done: &AtomicBool) -> Self {
        let mut left = 3;
        while left > 0 {
            left -= u64::from(done.load(Ordering::Acquire));
            self.collect();
        }
        self
    }

    /// Collects once. A series that is there before and after does not fall, and no difference is
    /// absurd.
    #[track_caller]
    pub(crate) fn collect(&mut self) {
        // The SDK takes the total before from the total now, and panics or wraps when that fell.
        let collected = catch_unwind(AssertUnwindSafe(|| self.reader.collected()));
        let now = collected.unwrap_or_else(|_| panic!("a total fell ({:?})", self.temporality));
        for (series, value) in &now.counters {
            assert!((0.0..ABSURD).contains(value), "{series} is {value} ({:?})", self.temporality);
            let delta = match (self.temporality, self.latest.counters.get(series)) {
                (Temporality::Delta, _) | (_, None) => *value,
                (_, Some(before)) => {
                    assert!(before <= value, "{series} fell from {before} to {value}");
                    value - before
                }
            };
            *self.sums.entry(series.clone()).or_default() += delta;
        }
        for (series, count) in &now.histograms {
            let samples = self.samples.entry(series.clone()).or_default();
            let before = if self.temporality == Temporality::Cumulative { 0 } else { *samples };
            *samples = before + count;
        }
        self.latest = now;
    }

    /// What the exports of one series add up to: a series that was not there, or that fell, began
    /// at zero.
    pub(crate) fn sum(&self, series: &str) -> f64 {
        self.sums.get(series).copied().unwrap_or_default()
    }

    /// The same of all series of a metric.
    pub(crate) fn sum_of_all(&self, metric: &str) -> f64 {
        let prefix = format!("{metric}{{");
        self.sums.iter().filter(|(series, _)| series.starts_with(&prefix)).map(|(_, sum)| sum).sum()
    }

    /// The sum of what sockets with these labels sent once, as `{group=a}`: a busy machine makes
    /// TCP repeat itself.
    pub(crate) fn sent(&self, family: &str, labels: &str) -> f64 {
        let [sent, again] =
            ["data.sent", "data.retransmitted"].map(|it| format!("{family}.{it}{labels}"));
        self.sum(&sent) - self.sum(&again)
    }

    /// The same in the latest export alone, `None` where it has no such series.
    pub(crate) fn latest_sent(&self, family: &str, labels: &str) -> Option<f64> {
        let [sent, again] =
            ["data.sent", "data.retransmitted"].map(|it| format!("{family}.{it}{labels}"));
        Some(self.latest(&sent)? - self.latest(&again)?)
    }

    /// Samples of a histogram.
    pub(crate) fn samples(&self, series: &str) -> u64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    /// The same of all series of a histogram.
    pub(crate) fn samples_of_all(&self, metric: &str) -> u64 {
        let prefix = format!("{metric}{{");
        let all = self.samples.iter().filter(|(series, _)| series.starts_with(&prefix));
        all.map(|(_, samples)| samples).sum()
    }

    /// A counter of the latest export, `None` where it has no such series.
    pub(crate) fn latest(&self, series: &str) -> Option<f64> {
        self.latest.counters.get(series).copied()
    }

    /// The series of a metric in the latest export.
    pub(crate) fn series_of(&self, metric: &str) -> Vec<&str> {
        let prefix = format!("{metric}{{");
        let all = self.latest.counters.keys().map(String::as_str);
        all.filter(|series| series.starts_with(&prefix)).collect()
    }
}
