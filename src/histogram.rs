//! Histograms of samples of connections: what a sample adds, and the totals of a page or of OTLP.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::SystemTime;

use crate::metric::{Metric, Report};
use crate::monitor::{ConnectionSample, Snapshot};

/// What a sample adds to the histogram of a report.
pub(crate) fn sample_of(sample: &ConnectionSample, report: Report) -> Option<f64> {
    match report {
        Report::Samples(field) => sample.get(field),
        Report::QueueingDelay => sample.queueing_delay,
        Report::Duration => sample.duration,
        _ => None,
    }
}

/// How many samples were in each bucket, and what they were together.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static [f64],
    /// One bucket more than there are bounds. Not cumulative.
    pub(crate) buckets: Box<[u64]>,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let buckets = vec![0; bounds.len() + 1].into();
        Self { bounds, buckets, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    fn record(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket] += 1;
        self.sum += value;
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
    }
}

/// The histograms of one group.
#[derive(Clone, Debug)]
pub(crate) struct GroupHistograms {
    pub(crate) since: SystemTime,
    /// By the metric's place in the list of histograms; `None` before the first sample.
    pub(crate) all: Box<[Option<Histogram>]>,
}

/// The histograms of a group, and the number of the last sweep that had it.
#[derive(Debug)]
struct Seen {
    histograms: Arc<GroupHistograms>,
    sweep: u64,
}

/// The histograms of all groups that the monitor has, by what tells the groups apart.
///
/// A group that is gone takes its histograms along, as it does its counters. So there are never
/// more than the monitor has groups, and no other cap is needed: the instruments have one because
/// the SDK forgets nothing.
#[derive(Debug)]
pub(crate) struct Histograms<K> {
    metrics: Vec<(Report, &'static [f64])>,
    groups: HashMap<K, Seen>,
    /// How many sweeps were recorded.
    sweep: u64,
    pub(crate) since: SystemTime,
    pub(crate) sweeps: Histogram,
}

impl<K: Clone + Eq + Hash> Histograms<K> {
    /// Of those metrics that are histograms.
    pub(crate) fn new(metrics: &[Metric]) -> Self {
        let of_samples = metrics.iter().filter(|metric| metric.is_of_samples());
        let of_sweeps =
            metrics.iter().find(|metric| matches!(metric.report, Report::SweepDuration));
        let of_sweeps = of_sweeps.map_or(&[][..], |metric| metric.boundaries);
        Self {
            metrics: of_samples.map(|metric| (metric.report, metric.boundaries)).collect(),
            groups: HashMap::new(),
            sweep: 0,
            since: SystemTime::now(),
            sweeps: Histogram::new(of_sweeps),
        }
    }

    /// Adds the samples of one sweep, and forgets groups that it did not have. The keys are those
    /// of the snapshot's groups.
    ///
    /// A grouping that asks within a sweep gets the snapshot of the last one, and samples of no
    /// group: it adds nothing and forgets nothing.
    pub(crate) fn record<'k>(
        &mut self,
        snapshot: &Snapshot,
        ended: &[Vec<ConnectionSample>],
        keys: impl Iterator<Item = &'k K>,
    ) where
        K: 'k,
    {
        if ended.len() != snapshot.groups.len() {
            return;
        }
        self.sweeps.record(snapshot.monitor.sweep_duration.as_secs_f64());
        self.sweep += 1;
        let sweep = self.sweep;
        for ((group, ended), key) in snapshot.groups.iter().zip(ended).zip(keys) {
            let seen = self.groups.entry(key.clone()).or_insert_with(|| {
                let all = self.metrics.iter().map(|_| None).collect();
                // A group that was not there in the last sweep began after it.
                let since = group.since.max(self.since);
                Seen { histograms: Arc::new(GroupHistograms { since, all }), sweep }
            });
            seen.sweep = sweep;
            if group.samples.is_empty() && ended.is_empty() {
                continue;
            }
            // A copy, if something that is being written has them still.
            let histograms = Arc::make_mut(&mut seen.histograms);
            for sample in group.samples.iter().chain(ended) {
                for ((report, bounds), histogram) in self.metrics.iter().zip(&mut histograms.all) {
                    if let Some(value) = sample_of(sample, *report) {
                        histogram.get_or_insert_with(|| Histogram::new(bounds)).record(value);
                    }
                }
            }
        }
        self.groups.retain(|_, seen| seen.sweep == sweep);
    }

    /// Those of a group; none if no sweep that was recorded had it.
    pub(crate) fn of(&self, key: &K) -> Arc<GroupHistograms> {
        let none = || {
            let all = self.metrics.iter().map(|_| None).collect();
            Arc::new(GroupHistograms { since: self.since, all })
        };
        self.groups.get(key).map_or_else(none, |seen| Arc::clone(&seen.histograms))
    }
}
