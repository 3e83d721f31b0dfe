//! Life, counters and verdict of one connection: what every reading goes through, whoever made it.
//! Pure.

use super::counters::{Counters, Moved};
use super::judged::Judged;
use super::phase::{Life, Phase, Step};
use super::reading::Answer;
use crate::info::CounterNumbers;
use crate::verdict::Verdict;

/// How far a connection has come.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) counters: Counters,
    pub(crate) life: Life,
    pub(crate) judged: Judged,
}

/// What a reading means, before its counters are taken in.
pub(crate) struct Stepped {
    pub(crate) step: Step,
    /// Whether it opens the connection.
    pub(crate) opened: bool,
    moved: Moved,
}

impl Progress {
    /// Of a connection that the monitor does not know.
    pub(crate) const fn new() -> Self {
        Self { counters: Counters::new(), life: Life::NEW, judged: Judged::new() }
    }

    /// Of a connection that was there before the monitor looked: its counters so far are the base,
    /// and it counts neither as opened nor as closed.
    #[cfg(feature = "diag")]
    pub(crate) fn there_before(answer: &Answer<'_>) -> Self {
        let mut life = Life::KNOWN;
        life.advance(answer.phase());
        let mut counters = Counters::beginning_at(&answer.raw);
        let mut judged = Judged::new();
        judged.take_in(answer, &counters.moved(&answer.raw), &mut counters);
        Self { counters, life, judged }
    }

    /// The latest verdict; `None` before the second reading.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.judged.verdict(&self.counters)
    }

    /// Judges a reading and takes in its phase, before its counters.
    #[inline]
    pub(crate) fn step(&mut self, answer: &Answer<'_>) -> Stepped {
        let Self { counters, life, judged } = self;
        let raw = &answer.raw;
        let moved = counters.moved(raw);
        if life.phase() == Phase::Resumed {
            judged.forget(counters);
        }
        judged.take_in(answer, &moved, counters);
        let (step, opened) = life.advance(answer.phase());
        match step {
            Step::CountOn => {}
            Step::Base => counters.rebase(raw),
            Step::SkipClocks => counters.skip_clocks(raw),
            Step::Restart { after_gap } => {
                if after_gap {
                    counters.rebase(raw);
                }
                // Disconnected: the next connection counts from zero.
                counters.restart();
            }
        }
        Stepped { step, opened, moved }
    }

    /// Takes in the counters of a reading. `is_rebased` says that they were given another base
    /// since. Returns what they add.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        raw: &CounterNumbers,
        stepped: &Stepped,
        is_rebased: bool,
    ) -> CounterNumbers {
        match stepped.step {
            Step::CountOn if !is_rebased => self.counters.advance_by(raw, &stepped.moved),
            _ => self.counters.advance(raw),
        }
    }

    /// Takes in one reading. Returns what it adds, and whether it opens the connection.
    #[cfg(any(feature = "diag", test))]
    #[inline]
    pub(crate) fn take_in(&mut self, answer: &Answer<'_>) -> (CounterNumbers, bool) {
        let stepped = self.step(answer);
        (self.advance(&answer.raw, &stepped, false), stepped.opened)
    }
}
