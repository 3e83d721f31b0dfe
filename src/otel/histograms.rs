//! The histograms: samples of every group, recorded once a collection.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::{KeyValue, Value};

use super::GROUPS;
use crate::info::{self, Field, FieldKind};
use crate::monitor::{Attributes, ConnectionSample, Snapshot};

/// The histograms of one registration, fed once a collection.
pub(super) struct Histograms {
    of_fields: Vec<(&'static Field, Histogram<f64>)>,
    queueing_delay: Option<Histogram<f64>>,
    duration: Histogram<f64>,
    sweep_duration: Histogram<f64>,
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

/// Round trips, from a rack to the other side of a sleeping phone.
const TIMES: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
/// From 80 kbit/s to 80 Gbit/s.
const RATES: [f64; 13] = [1e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2.5e7, 1e8, 2.5e8, 1e9, 1e10];
const SEGMENTS: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 10.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
/// From one request to a day.
const LIVES: [f64; 12] =
    [0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

impl Histograms {
    pub(super) fn new(meter: &Meter, choose: &dyn Fn(&Field) -> bool, groups: usize) -> Self {
        let mut bounds_of_each = Vec::new();
        let mut build = |name: &str, description, unit, bounds: &[f64]| {
            bounds_of_each.push(bounds.len());
            let builder = meter.f64_histogram(format!("{GROUPS}.{name}"));
            let builder = builder.with_description(description).with_unit(unit);
            builder.with_boundaries(bounds.to_vec()).build()
        };
        let sweep = "Time to read all watched sockets.";
        let sweep_duration = build("monitor.sweep.duration", sweep, "s", &TIMES);
        let distributions = info::rows(FieldKind::Distribution).filter(|field| choose(field));
        let of_fields = distributions.filter_map(|field| {
            let bounds: &[f64] = match field.unit {
                "s" => &TIMES,
                "By/s" => &RATES,
                _ => &SEGMENTS,
            };
            Some((field, build(field.stem?, field.description, field.unit, bounds)))
        });
        let of_fields: Vec<_> = of_fields.collect();
        let both = ["rtt", "min_rtt"].map(|name| of_fields.iter().any(|(f, _)| f.name == name));
        let queueing = "Round-trip time above its recent minimum: what queues add.";
        let queueing_delay =
            (both == [true, true]).then(|| build("queueing_delay", queueing, "s", &TIMES));
        let duration =
            "Age of connections when they ended, a fair choice where many ended at once.";
        let duration = build("connection.duration", duration, "s", &LIVES);
        // The first is no group's.
        let budget = Mutex::new(Budget::new(groups, bounds_of_each.into_iter().skip(1)));
        Self { of_fields, queueing_delay, duration, sweep_duration, budget }
    }

    /// What a group's samples are recorded under: its own attributes, unless those that came before
    /// it left no place.
    fn place(&self, group: &Attributes) -> Attributes {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.admits(group) { group.clone() } else { Attributes::overflow() }
    }

    pub(super) fn record(&self, snapshot: &Snapshot, ended: &[Vec<ConnectionSample>]) {
        self.sweep_duration.record(snapshot.monitor.sweep_duration.as_secs_f64(), &[]);
        for (group, ended) in snapshot.groups.iter().zip(ended) {
            let place = OnceCell::new();
            let record = |histogram: &Histogram<f64>, value: Option<f64>| {
                if let Some(value) = value {
                    let place = place.get_or_init(|| self.place(group.attributes()));
                    histogram.record(value, place.as_slice());
                }
            };
            for sample in group.samples.iter().chain(ended) {
                for (field, histogram) in &self.of_fields {
                    record(histogram, sample.get(field));
                }
                if let Some(histogram) = &self.queueing_delay {
                    record(histogram, sample.queueing_delay);
                }
                record(&self.duration, sample.duration);
            }
        }
    }
}
