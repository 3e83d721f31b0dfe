//! The histograms of a page: one of each metric for each group that the monitor has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::histogram::sample_of;
use crate::metric::Report;
use crate::monitor::{ConnectionSample, LabelText, Snapshot};

/// How many samples were in each bucket, and their sum.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    pub(super) bounds: &'static [f64],
    /// One bucket more than there are bounds. Not cumulative.
    pub(super) buckets: Box<[u64]>,
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: vec![0; bounds.len() + 1].into(), sum: 0.0 }
    }

    pub(super) fn record(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket] += 1;
        self.sum += value;
    }
}

/// The histograms of one group.
#[derive(Clone, Debug)]
pub(super) struct GroupHistograms {
    pub(super) since: SystemTime,
    /// By the metric's place in the list of histograms; `None` before the first sample.
    pub(super) all: Box<[Option<Histogram>]>,
}

/// The histograms of a group, and the number of the last sweep that had it.
#[derive(Debug)]
struct Seen {
    histograms: Arc<GroupHistograms>,
    sweep: u64,
}

/// The histograms of all groups, by the groups' labels.
///
/// A group that is gone takes its histograms along, as it does its counters. So there are never
/// more than the monitor has groups, and no other cap is needed: the instruments have one because
/// the SDK forgets nothing.
#[derive(Debug)]
pub(super) struct Histograms {
    metrics: Vec<(Report, &'static [f64])>,
    groups: HashMap<Arc<str>, Seen>,
    /// How many sweeps were recorded.
    sweep: u64,
    pub(super) sweeps: Histogram,
}

impl Histograms {
    /// For metrics of samples with these bounds, and sweeps with those.
    pub(super) fn new(metrics: Vec<(Report, &'static [f64])>, sweeps: &'static [f64]) -> Self {
        Self { metrics, groups: HashMap::new(), sweep: 0, sweeps: Histogram::new(sweeps) }
    }

    /// Adds the samples of one sweep, and forgets groups that it did not have.
    pub(super) fn record(
        &mut self,
        snapshot: &Snapshot,
        ended: &[Vec<ConnectionSample>],
        labels: &[LabelText],
    ) {
        self.sweeps.record(snapshot.monitor.sweep_duration.as_secs_f64());
        self.sweep += 1;
        let sweep = self.sweep;
        for ((group, ended), labels) in snapshot.groups.iter().zip(ended).zip(labels) {
            let seen = self.groups.entry(Arc::clone(&labels.text)).or_insert_with(|| {
                let all = self.metrics.iter().map(|_| None).collect();
                Seen { histograms: Arc::new(GroupHistograms { since: snapshot.at, all }), sweep }
            });
            seen.sweep = sweep;
            if group.samples.is_empty() && ended.is_empty() {
                continue;
            }
            // A copy, if a page that is being written has them still.
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

    /// Those of a group that the last sweep had.
    pub(super) fn of(&self, labels: &LabelText) -> Arc<GroupHistograms> {
        Arc::clone(&self.groups[&labels.text].histograms)
    }
}
