//! The histograms: samples of every group, recorded once a collection.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::{KeyValue, Value};

use crate::histogram::sample_of;
use crate::metric::{Metric, Report};
use crate::monitor::{Attributes, ConnectionSample, Snapshot};

/// The histograms of one registration, fed once a collection.
pub(super) struct Histograms {
    /// Of the samples of groups.
    of_samples: Vec<(Report, Histogram<f64>)>,
    of_sweeps: Option<Histogram<f64>>,
    budget: Mutex<Budget>,
}

/// Bytes that the histograms of all groups there ever were may take of one push over OTLP.
///
/// The SDK never forgets a histogram series where it cumulates, so they are in every later push. A
/// receiver of gRPC takes 4 MiB by default. 150 live groups with six attributes of 40 characters
/// have 2.4 MB of other series if each showed every state, and 0.4 MB are left for what a program
/// exports beside them.
const BUDGET: usize = 1_310_720;
/// The number of groups that the budget is for: the default cap. More have as much more.
const GROUPS_IN_BUDGET: usize = 150;
/// How many groups may have histograms in any case: below the SDK's 2,000 attribute sets for one
/// instrument, beyond which it folds by itself.
const EVER: usize = 1_500;

/// Which groups have histograms of their own.
struct Budget {
    known: HashSet<Attributes>,
    cap: usize,
    /// What is left of the budget.
    left: usize,
    /// Of one group: its points without attributes, and how many there are.
    bytes: usize,
    points: usize,
}

impl Budget {
    /// For a cap of live groups and histograms with so many bounds each.
    fn new(groups: usize, bounds: impl Iterator<Item = usize>) -> Self {
        let (bytes, points) = bounds.fold((0, 0), |(bytes, points), bounds| {
            // Two times, count, sum, minimum, maximum; the bounds and one bucket more than these.
            let numbers = 6 * 9 + 2 * 3 + 8 * (2 * bounds + 1);
            (bytes + 3 + numbers, points + 1)
        });
        let cap = groups.max(EVER);
        let left = (BUDGET / GROUPS_IN_BUDGET).saturating_mul(groups.max(GROUPS_IN_BUDGET));
        Self { known: HashSet::new(), cap, left, bytes, points }
    }

    /// Whether a group has a place, which it takes with its first sample and keeps for good.
    fn admits(&mut self, group: &Attributes) -> bool {
        if self.known.contains(group) {
            return true;
        }
        let length = self.bytes + self.points * encoded_len(group);
        if self.known.len() >= self.cap || self.left < length {
            return false;
        }
        self.left -= length;
        self.known.insert(group.clone())
    }
}

/// How many bytes attributes take in a point over OTLP.
fn encoded_len(attributes: &Attributes) -> usize {
    let number = |number: i64| (64 - number.leading_zeros()).div_ceil(7).max(1) as usize;
    let framed = |length: usize| 1 + number(length as i64) + length;
    let value = |value: &Value| match value {
        Value::Bool(_) => 2,
        Value::I64(integer) => 1 + number(*integer),
        Value::F64(_) => 9,
        Value::String(text) => framed(text.as_str().len()),
        // Nearly: their text has a separator where they have a length.
        other => framed(other.to_string().len()),
    };
    let attribute =
        |kv: &KeyValue| framed(framed(kv.key.as_str().len()) + framed(value(&kv.value)));
    attributes.as_slice().iter().map(attribute).sum()
}

impl Histograms {
    pub(super) fn new(meter: &Meter, metrics: Vec<Metric>, groups: usize) -> Self {
        let (mut of_samples, mut of_sweeps) = (Vec::new(), None);
        let bounds: Vec<_> = metrics
            .into_iter()
            .filter_map(|metric| {
                let builder = meter.f64_histogram(metric.name);
                let builder = builder.with_description(metric.description).with_unit(metric.unit);
                let histogram = builder.with_boundaries(metric.boundaries.to_vec()).build();
                if let Report::SweepDuration = metric.report {
                    of_sweeps = Some(histogram);
                    return None;
                }
                of_samples.push((metric.report, histogram));
                Some(metric.boundaries.len())
            })
            .collect();
        let budget = Mutex::new(Budget::new(groups, bounds.into_iter()));
        Self { of_samples, of_sweeps, budget }
    }

    /// What a group's samples are recorded under: its own attributes, unless those that came before
    /// it left no place.
    fn place(&self, group: &Attributes) -> Attributes {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.admits(group) { group.clone() } else { Attributes::overflow() }
    }

    pub(super) fn record(&self, snapshot: &Snapshot, ended: &[Vec<ConnectionSample>]) {
        if let Some(histogram) = &self.of_sweeps {
            histogram.record(snapshot.monitor.sweep_duration.as_secs_f64(), &[]);
        }
        for (group, ended) in snapshot.groups.iter().zip(ended) {
            let place = OnceCell::new();
            for sample in group.samples.iter().chain(ended) {
                for (report, histogram) in &self.of_samples {
                    if let Some(value) = sample_of(sample, *report) {
                        let place = place.get_or_init(|| self.place(group.attributes()));
                        histogram.record(value, place.as_slice());
                    }
                }
            }
        }
    }
}
