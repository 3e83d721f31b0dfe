//! The latest verdict on one connection, and what the next one begins with.
//!
//! ```text
//!   readings    |             |   |   |             |
//!               +-- verdict --+-- held, verdict ----+      at least a second each
//! ```
//!
//! A verdict is about the time since the reading that the last one ended with. Where several
//! exporters collect shortly one after another, a reading that comes less than [`LEAST`] after that
//! one does not judge: the verdict stays, and the next one is about both intervals.

use std::time::Duration;

use super::counters::{Counters, Extra, Moved, steps_between};
use super::moment::Moment;
use super::reading::Answer;
use crate::info::CounterNumbers;
use crate::verdict::{Cause, Earlier, Verdict, is_quiet};

/// The shortest time that a verdict is about: in less, hardly any connection does enough.
pub(crate) const LEAST: Duration = Duration::from_secs(1);

/// The cause of the latest verdict. Its numbers, which few connections have, are in [`Extra`].
#[derive(Clone)]
pub(crate) struct Judged {
    /// The reading that the next verdict begins with.
    earlier: Earlier,
    /// When that was.
    at: Moment,
    cause: Option<Cause>,
}

impl Judged {
    pub(crate) const fn new() -> Self {
        Self { earlier: Earlier::NONE, at: Moment::ZERO, cause: None }
    }

    /// The cause to count it under.
    #[inline]
    pub(crate) fn cause(&self) -> Cause {
        self.cause.unwrap_or(Cause::TooLittle)
    }

    /// The latest verdict; `None` before the first.
    pub(crate) fn verdict(&self, counters: &Counters) -> Option<Verdict> {
        self.cause?;
        let verdict = counters.extra.as_ref().and_then(|extra| extra.verdict);
        Some(verdict.unwrap_or(Verdict::quiet()))
    }

    /// It is watched again: what was before does not count.
    pub(crate) fn forget(&mut self, counters: &mut Counters) {
        (self.earlier, self.cause) = (Earlier::NONE, None);
        if let Some(extra) = &mut counters.extra {
            (extra.held, extra.verdict) = (None, None);
        }
    }

    /// Takes in one reading, before its counters. `moved` says how far these are from the last one.
    #[inline]
    pub(crate) fn take_in(&mut self, answer: &Answer<'_>, moved: &Moved, counters: &mut Counters) {
        let Some(at) = answer.at else {
            // It takes the counters on, and nobody keeps what they said before.
            self.earlier = Earlier::NONE;
            if let Some(extra) = &mut counters.extra {
                extra.held = None;
            }
            return;
        };
        if self.earlier.is_some() {
            let elapsed = at.since(self.at);
            if elapsed < LEAST {
                return hold(&answer.raw, moved, counters);
            }
            if counters.extra.is_none() && is_quiet(&answer.reply, &moved.steps) {
                self.cause = Some(Cause::TooLittle);
            } else {
                self.judge(answer, moved, elapsed, counters.extra.get_or_insert_default());
            }
        }
        self.earlier = Earlier::of(&answer.reply, answer.raw.present);
        self.at = at;
    }

    /// Of a connection that did more, or has something in its box.
    #[inline(never)]
    fn judge(&mut self, answer: &Answer<'_>, moved: &Moved, elapsed: Duration, extra: &mut Extra) {
        let Answer { reply, raw, .. } = answer;
        let steps = extra.held.take().map(|said| steps_between(&said, raw));
        let steps = steps.as_ref().unwrap_or(&moved.steps);
        extra.verdict = (!is_quiet(reply, steps))
            .then(|| Verdict::of_steps(&self.earlier, reply, raw, steps, elapsed));
        self.cause = Some(extra.verdict.map_or(Cause::TooLittle, |verdict| verdict.cause));
    }
}

/// Keeps what the counters said when the next verdict's time began, unless they still say it.
#[inline(never)]
fn hold(raw: &CounterNumbers, moved: &Moved, counters: &mut Counters) {
    // Counters that are absent now may count from zero afterwards.
    if moved.steps.iter().all(|step| *step == 0) && !counters.has_more(raw) {
        return;
    }
    let said = counters.said();
    counters.extra.get_or_insert_default().held.get_or_insert(said);
}

#[cfg(test)]
pub(super) mod tests;
