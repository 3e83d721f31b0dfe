//! When readings were made, on the monitor's own clock: in four bytes, and without a question to
//! the system for each.

use std::time::{Duration, Instant};

/// Milliseconds since the monitor was made. They wrap after 49 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u32);

impl Moment {
    pub(crate) const ZERO: Self = Self(0);

    #[cfg(test)]
    pub(crate) const fn at(millis: u32) -> Self {
        Self(millis)
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.wrapping_sub(earlier.0).into())
    }
}

/// A monitor's clock.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.0.elapsed().as_millis() as u32)
    }
}

/// How many readings have the same time, of one after another: 16 take some 10 us. To ask for each
/// would cost as much as the verdict itself.
const READINGS: u8 = 16;

/// The time of one reading after another.
#[derive(Default)]
pub(crate) struct Ticker {
    now: Option<Moment>,
    left: u8,
}

impl Ticker {
    /// The time of the next reading.
    #[inline]
    pub(crate) fn next(&mut self, clock: &Clock) -> Moment {
        match self.now {
            Some(now) if self.left > 0 => {
                self.left -= 1;
                now
            }
            _ => {
                let now = clock.now();
                *self = Self { now: Some(now), left: READINGS - 1 };
                now
            }
        }
    }
}
