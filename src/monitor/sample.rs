//! Samples for histograms: what one connection shows at one moment, and a fair choice among many.

use std::time::Duration;

use crate::info::{self, Field, Kind, TcpInfo, Value};

/// How many rows are distributions.
pub(crate) const DISTRIBUTIONS: usize = info::count(Kind::Distribution);

/// What one connection adds to the histograms of its group.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    values: [Option<f64>; DISTRIBUTIONS],
    /// Round-trip time above its recent minimum, in seconds: what queues add.
    pub queueing_delay: Option<f64>,
    /// Age in seconds, of a connection that ended.
    pub duration: Option<f64>,
}

impl Sample {
    pub(crate) fn live(info: &TcpInfo) -> Self {
        let mut values = [None; DISTRIBUTIONS];
        for (value, field) in values.iter_mut().zip(info::rows(Kind::Distribution)) {
            *value = info.get(field).filter(|_| is_fair(info, field)).and_then(Value::as_f64);
        }
        let queueing = info.rtt.zip(info.min_rtt).map(|(rtt, min)| rtt.saturating_sub(min));
        let queueing_delay = queueing.map(|delay| delay.as_secs_f64());
        Self { values, queueing_delay, duration: None }
    }

    /// The same of a connection that ended at this age.
    pub(crate) fn at_the_end(self, age: Duration) -> Self {
        Self { duration: Some(age.as_secs_f64()), ..self }
    }

    /// The value of a field that is a distribution, in the field's unit; `None` where it was
    /// absent.
    pub fn get(&self, field: &Field) -> Option<f64> {
        if field.kind == Kind::Distribution { self.values[field.rank] } else { None }
    }
}

/// A delivery rate says something about the network only while the program does not limit it.
fn is_fair(info: &TcpInfo, field: &Field) -> bool {
    field.name != "delivery_rate" || info.delivery_rate_app_limited == Some(false)
}

/// At most `cap` of any number of samples, each with the same chance.
#[derive(Debug, Default)]
pub(crate) struct Reservoir {
    samples: Vec<Sample>,
    offered: u64,
}

impl Reservoir {
    /// The place the next sample would take, `None` if it is not chosen.
    #[inline]
    pub(crate) fn choose(&mut self, cap: usize, dice: &mut Dice) -> Option<usize> {
        if self.offered == 0 {
            // All at once: a sweep allocates for its groups, not for their sockets.
            self.samples.reserve_exact(cap.min(128));
        }
        self.offered += 1;
        if self.samples.len() < cap {
            return Some(self.samples.len());
        }
        let place = dice.below(self.offered) as usize;
        (place < cap).then_some(place)
    }

    pub(crate) fn put(&mut self, place: usize, sample: Sample) {
        match self.samples.get_mut(place) {
            Some(old) => *old = sample,
            None => self.samples.push(sample),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Sample> {
        self.offered = 0;
        std::mem::take(&mut self.samples)
    }
}

/// Random numbers good enough to choose samples: xorshift64*.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
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

    #[test]
    fn a_reservoir_chooses_uniformly() {
        let (mut dice, mut chosen) = (Dice::new(7), [0_u32; 100]);
        for _ in 0..2_000 {
            let mut reservoir = Reservoir::default();
            let mut held = [usize::MAX; 10];
            let blank =
                Sample { values: [None; DISTRIBUTIONS], queueing_delay: None, duration: None };
            for candidate in 0..100 {
                if let Some(place) = reservoir.choose(10, &mut dice) {
                    held[place] = candidate;
                    reservoir.put(place, blank);
                }
            }
            assert_eq!(reservoir.take().len(), 10);
            held.iter().for_each(|candidate| chosen[*candidate] += 1);
        }
        // 200 expected each, standard deviation 13.
        assert!(chosen.iter().all(|count| (120..280).contains(count)), "{chosen:?}");
    }
}
