//! The histograms: samples of every group, recorded once a collection.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use opentelemetry::metrics::{Histogram, Meter};

use super::GROUPS;
use crate::info::{FIELDS, Field, Kind};
use crate::monitor::{Attributes, Sample, Snapshot};

/// The histograms of one registration, fed once a collection.
pub(super) struct Histograms {
    of_fields: Vec<(&'static Field, Histogram<f64>)>,
    queueing_delay: Option<Histogram<f64>>,
    duration: Histogram<f64>,
    sweep_duration: Histogram<f64>,
    /// Groups with histograms of their own. The SDK forgets none where it cumulates.
    known: Mutex<HashSet<Attributes>>,
    /// How many there may be, ever.
    cap: usize,
}

/// How many groups may have histograms in the life of a program: below the SDK's 2,000 attribute
/// sets for one instrument, beyond which it loses samples.
const EVER: usize = 1_500;

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
        let build = |name: &str, description, unit, bounds: &[f64]| {
            let builder = meter.f64_histogram(format!("{GROUPS}.{name}"));
            let builder = builder.with_description(description).with_unit(unit);
            builder.with_boundaries(bounds.to_vec()).build()
        };
        let distributions = FIELDS.iter().filter(|field| field.kind == Kind::Distribution);
        let of_fields = distributions.filter(|field| choose(field)).filter_map(|field| {
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
        let duration =
            "Age of connections when they ended, a fair choice where many ended at once.";
        let sweep = "Time to read all watched sockets.";
        Self {
            of_fields,
            queueing_delay: (both == [true, true])
                .then(|| build("queueing_delay", queueing, "s", &TIMES)),
            duration: build("connection.duration", duration, "s", &LIVES),
            sweep_duration: build("monitor.sweep.duration", sweep, "s", &TIMES),
            known: Mutex::new(HashSet::new()),
            cap: groups.max(EVER),
        }
    }

    /// What a group's samples are recorded under: its own attributes, unless too many groups came
    /// before it.
    fn place(&self, group: &Attributes) -> Attributes {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(group) {
            if known.len() >= self.cap {
                return Attributes::overflow();
            }
            known.insert(group.clone());
        }
        group.clone()
    }

    pub(super) fn record(&self, snapshot: &Snapshot, ended: &[Vec<Sample>]) {
        self.sweep_duration.record(snapshot.monitor.sweep_duration.as_secs_f64(), &[]);
        for (group, ended) in snapshot.groups.iter().zip(ended) {
            if group.samples.is_empty() && ended.is_empty() {
                continue;
            }
            let place = self.place(group.attributes());
            let attributes = place.as_slice();
            for sample in group.samples.iter().chain(ended) {
                for (field, histogram) in &self.of_fields {
                    if let Some(value) = sample.get(field) {
                        histogram.record(value, attributes);
                    }
                }
                if let Some((histogram, delay)) =
                    self.queueing_delay.as_ref().zip(sample.queueing_delay)
                {
                    histogram.record(delay, attributes);
                }
                if let Some(duration) = sample.duration {
                    self.duration.record(duration, attributes);
                }
            }
        }
    }
}
