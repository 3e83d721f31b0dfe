//! The life and the counters of one connection: what every reading goes through, whoever made it.
//! Pure.

use super::counters::Counters;
use super::phase::{Life, Phase, Step};
use crate::info::CounterNumbers;

/// How far a connection has come.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) counters: Counters,
    pub(crate) life: Life,
}

impl Progress {
    /// Of a connection that the monitor does not know.
    pub(crate) const fn new() -> Self {
        Self { counters: Counters::new(), life: Life::NEW }
    }

    /// Of a connection that was there before the monitor looked: its counters so far are the base,
    /// and it counts neither as opened nor as closed.
    #[cfg(feature = "diag")]
    pub(crate) fn there_before(next: Phase, raw: &CounterNumbers) -> Self {
        let mut life = Life::KNOWN;
        life.advance(next);
        Self { counters: Counters::beginning_at(raw), life }
    }

    /// Takes in the phase of a reading, before its counters. Returns what that means for the
    /// counters, and whether this reading opens the connection.
    #[inline]
    pub(crate) fn step(&mut self, next: Phase, raw: &CounterNumbers) -> (Step, bool) {
        let (step, opened) = self.life.advance(next);
        match step {
            Step::CountOn => {}
            Step::Base => self.counters.rebase(raw),
            Step::SkipClocks => self.counters.skip_clocks(raw),
            Step::Restart { after_gap } => {
                if after_gap {
                    self.counters.rebase(raw);
                }
                // Disconnected: the next connection counts from zero.
                self.counters.restart();
            }
        }
        (step, opened)
    }

    /// Takes in one reading. Returns what it adds, and whether it opens the connection.
    #[cfg(feature = "diag")]
    #[inline]
    pub(crate) fn take_in(&mut self, next: Phase, raw: &CounterNumbers) -> (CounterNumbers, bool) {
        let (_, opened) = self.step(next, raw);
        (self.counters.advance(raw), opened)
    }
}
