//! Samples for histograms: what one connection shows at one moment, and a fair choice among many.

use std::time::Duration;

use crate::info::{DistributionNumbers, FIELDS, Field, FieldKind, PropertyNumbers, Reply, Row};

/// How many rows are distributions.
const DISTRIBUTIONS: usize = DistributionNumbers::LEN;

/// The rows that are distributions, by their place in the table.
const ROWS: [usize; DISTRIBUTIONS] = {
    let mut rows = [0; DISTRIBUTIONS];
    let mut row = 0;
    while row < FIELDS.len() {
        if matches!(FIELDS[row].kind, FieldKind::Distribution) {
            rows[FIELDS[row].rank] = row;
        }
        row += 1;
    }
    rows
};

/// What one connection adds to the histograms of its group.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionSample {
    values: [Option<f64>; DISTRIBUTIONS],
    /// Round-trip time above its recent minimum, in seconds: what queues add.
    pub queueing_delay: Option<f64>,
    /// Age in seconds, of a connection that ended.
    pub duration: Option<f64>,
}

impl ConnectionSample {
    /// Of a connection whose last reading is missing.
    pub(crate) const NOTHING: Self =
        Self { values: [None; DISTRIBUTIONS], queueing_delay: None, duration: None };

    /// Of a reply. Only what a sample needs is decoded: a whole `TcpInfo` takes 100 ns.
    pub(crate) fn live(reply: &Reply<'_>) -> Self {
        const RTT: usize = Row::rtt.rank();
        const MIN_RTT: usize = Row::min_rtt.rank();
        const APP_LIMITED: usize = Row::delivery_rate_app_limited.rank();
        let mut raw = DistributionNumbers::of(reply);
        let flags = PropertyNumbers::of(reply);
        let app_limited = !flags.is_present(APP_LIMITED) || flags.values[APP_LIMITED] != 0;
        // A delivery rate that the program limits says nothing about the network.
        raw.present &= !(u64::from(app_limited) << Row::delivery_rate.rank());
        let seconds = |rank: usize, raw: u64| FIELDS[ROWS[rank]].measure(raw).as_f64();
        let value = |rank: usize| {
            if raw.is_present(rank) { seconds(rank, raw.values[rank]) } else { None }
        };
        let queueing = raw.values[RTT].saturating_sub(raw.values[MIN_RTT]);
        let both = raw.is_present(RTT) && raw.is_present(MIN_RTT);
        let queueing_delay = if both { seconds(RTT, queueing) } else { None };
        let values = std::array::from_fn(value);
        Self { values, queueing_delay, duration: None }
    }

    /// The same of a connection that ended at this age.
    pub(crate) fn at_the_end(self, age: Duration) -> Self {
        Self { duration: Some(age.as_secs_f64()), ..self }
    }

    /// The value of a field that is a distribution, in the field's unit; `None` if it was absent.
    pub fn get(&self, field: &Field) -> Option<f64> {
        if field.kind == FieldKind::Distribution { self.values[field.rank] } else { None }
    }
}

/// At most `cap` of any number of samples, each with the same chance: reservoir sampling. The nth
/// sample is chosen with probability `cap / n`, and replaces a random one.
#[derive(Debug, Default)]
pub(crate) struct Reservoir {
    samples: Vec<ConnectionSample>,
    offered: u64,
}

impl Reservoir {
    /// The place that the next sample takes; `None` if it is not chosen. The caller makes a sample
    /// only then, and puts it there.
    #[inline]
    pub(crate) fn choose(&mut self, cap: usize, rng: &mut Rng) -> Option<usize> {
        if self.offered == 0 {
            // All at once: a sweep allocates for its groups, not for their sockets.
            self.samples.reserve_exact(cap.min(128));
        }
        self.offered += 1;
        if self.samples.len() < cap {
            return Some(self.samples.len());
        }
        let place = rng.below(self.offered) as usize;
        (place < cap).then_some(place)
    }

    pub(crate) fn put(&mut self, place: usize, sample: ConnectionSample) {
        match self.samples.get_mut(place) {
            Some(old) => *old = sample,
            None => self.samples.push(sample),
        }
    }

    /// Adds the samples of another reservoir with the same cap. Every sample that was offered to
    /// either has the same chance to be among the result.
    pub(crate) fn absorb(&mut self, mut other: Self, cap: usize, rng: &mut Rng) {
        let (mut here, mut there) = (self.offered, other.offered);
        self.offered += other.offered;
        if self.samples.len() + other.samples.len() <= cap {
            self.samples.append(&mut other.samples);
            return;
        }
        // As if drawn one by one from all that were offered: which side the next one is from has
        // the odds of what is left there, and each side's samples stand for the whole side.
        let mut chosen = Vec::with_capacity(cap);
        while chosen.len() < cap && here + there > 0 {
            let from_here = rng.below(here + there) < here;
            let (left, samples) = match from_here {
                true => (&mut here, &mut self.samples),
                false => (&mut there, &mut other.samples),
            };
            *left -= 1;
            let place = rng.below(samples.len() as u64) as usize;
            chosen.push(samples.swap_remove(place));
        }
        self.samples = chosen;
    }

    pub(crate) fn take(&mut self) -> Vec<ConnectionSample> {
        self.offered = 0;
        std::mem::take(&mut self.samples)
    }
}

/// Random numbers good enough to choose samples: xorshift64*.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number from 0 up to `end`, exclusive.
    #[inline]
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(random) * u128::from(end)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of 100 candidates two reservoirs keep, of which the first is offered `first`.
    fn chosen_of_two(first: u64, rng: &mut Rng) -> Vec<usize> {
        let offer = |candidates: std::ops::Range<u64>, rng: &mut Rng| {
            let mut reservoir = Reservoir::default();
            for candidate in candidates {
                if let Some(place) = reservoir.choose(10, rng) {
                    let duration = Some(candidate as f64);
                    reservoir
                        .put(place, ConnectionSample { duration, ..ConnectionSample::NOTHING });
                }
            }
            reservoir
        };
        let mut one = offer(0..first, rng);
        let other = offer(first..100, rng);
        one.absorb(other, 10, rng);
        assert_eq!(one.offered, 100);
        let candidate = |sample: ConnectionSample| sample.duration.unwrap() as usize;
        one.take().into_iter().map(candidate).collect()
    }

    #[test]
    fn two_reservoirs_choose_uniformly_together() {
        let mut rng = Rng::new(7);
        for first in [0, 3, 10, 50, 85, 99, 100] {
            let mut chosen = [0_u32; 100];
            for _ in 0..2_000 {
                let mut held = chosen_of_two(first, &mut rng);
                held.iter().for_each(|candidate| chosen[*candidate] += 1);
                held.sort_unstable();
                held.dedup();
                assert_eq!(held.len(), 10);
            }
            // 200 expected each, standard deviation 13.
            assert!(chosen.iter().all(|count| (120..280).contains(count)), "{first}: {chosen:?}");
        }
    }

    #[test]
    fn a_reservoir_chooses_uniformly() {
        let (mut rng, mut chosen) = (Rng::new(7), [0_u32; 100]);
        for _ in 0..2_000 {
            let mut reservoir = Reservoir::default();
            let mut held = [usize::MAX; 10];
            for candidate in 0..100 {
                if let Some(place) = reservoir.choose(10, &mut rng) {
                    held[place] = candidate;
                    reservoir.put(place, ConnectionSample::NOTHING);
                }
            }
            assert_eq!(reservoir.take().len(), 10);
            held.iter().for_each(|candidate| chosen[*candidate] += 1);
        }
        // 200 expected each, standard deviation 13.
        assert!(chosen.iter().all(|count| (120..280).contains(count)), "{chosen:?}");
    }
}
