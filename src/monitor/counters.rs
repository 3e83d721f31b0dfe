//! Kernel counters made to last: widened across wraps, rebased across resets, never going down.
//!
//! The kernel says a counter modulo its range (16, 32 or 64 bits). After `tcp_disconnect()` another
//! connection can begin on the same socket, and most counters begin at zero with it. A reading that
//! is lower than the one before can mean either. What it adds to the total:
//!
//! | counter | says | so | and adds |
//! | --- | --- | --- | --- |
//! | any | as much as before, or more | it grew | the difference |
//! | bytes in 64 bits | less | the connection is new, all counters start again | what it says |
//! | 16 or 32 bits | less, a step of under half a range on | it wrapped | the step |
//! | segments, ECN bytes | less, a larger step on | the bytes decide | the step, or what it says |
//! | other 16 or 32 bits | less, a larger step on | it alone starts again | what it says |
//!
//! A step is how far forward a counter is from the last reading, modulo its range. A counter in
//! doubt never restarts another. Totals are exact if each counter is read once per half range, and
//! each new connection is read before it has more bytes of every kind than the connection before
//! it. Otherwise they are too low rather than too high.
//!
//! ```text
//!   totals  |---- earlier connections, or without a watch ----|--- this connection ---|
//!           0                                                base                  total
//! ```
//!
//! The kernel's number of this connection is `total - base`, modulo the range. Only a socket that
//! had another connection, or that was watched again, has a base.

use crate::info::{CounterHabit, CounterNumbers, FIELDS, Field, FieldKind, Row};
use crate::verdict::Verdict;

/// How many rows are counters.
const COUNTERS: usize = CounterNumbers::LEN;

/// A number for each counter, by rank.
pub(crate) type PerCounter = [u64; COUNTERS];

impl CounterHabit {
    /// Whether `tcp_disconnect()` leaves it, or a part of it, as it was.
    const fn outlives(self) -> bool {
        matches!(self, Self::Clock | Self::HalfWrapping)
    }
}

/// The rows that are counters, by rank.
const ROWS: [&Field; COUNTERS] = {
    let mut rows = [&FIELDS[0]; COUNTERS];
    let mut row = 0;
    while row < FIELDS.len() {
        if matches!(FIELDS[row].kind, FieldKind::Counter) {
            rows[FIELDS[row].rank] = &FIELDS[row];
        }
        row += 1;
    }
    rows
};

const HABITS: [CounterHabit; COUNTERS] = {
    let (mut habits, mut rank) = ([CounterHabit::Event; COUNTERS], 0);
    while rank < COUNTERS {
        habits[rank] = ROWS[rank].habit.expect("every counter of the table has one");
        rank += 1;
    }
    habits
};

/// The bits of each counter: its range less one.
const MASKS: PerCounter = {
    let (mut masks, mut rank) = ([0; COUNTERS], 0);
    while rank < COUNTERS {
        masks[rank] = u64::MAX >> (64 - 8 * ROWS[rank].size);
        rank += 1;
    }
    masks
};

/// The highest bit of each counter: it is set in a step of at least half the range.
const HALVES: PerCounter = {
    let (mut halves, mut rank) = (MASKS, 0);
    while rank < COUNTERS {
        halves[rank] -= MASKS[rank] >> 1;
        rank += 1;
    }
    halves
};

/// The least range of the kernel's clocks in microseconds: 32 bits of ticks, and a second has 1,000
/// ticks at most. `busy_time` is the sum of three clocks and falls when one of them wraps.
const CLOCK_RANGE: u64 = 1_000 << 32;

/// The sum of the three clocks, and the two of them that the kernel reports.
const BUSY: usize = Row::busy_time.rank();
const STALLS: [usize; 2] = [Row::rwnd_limited.rank(), Row::sndbuf_limited.rank()];

/// The bytes of both directions.
const BYTES: [usize; 2] = [Row::bytes_acked.rank(), Row::bytes_received.rank()];

/// How far a reading is from the one before.
pub(crate) struct Moved {
    /// The step of each counter, 0 for absent and unplaced ones.
    pub(crate) steps: PerCounter,
    /// Whether the steps are what it adds: none is far, and no counter is unplaced.
    is_plain: bool,
}

/// The step of each counter that is present, from what it said once.
pub(crate) fn steps_between(said: &PerCounter, raw: &CounterNumbers) -> PerCounter {
    std::array::from_fn(|rank| {
        let present = (raw.present >> rank & 1).wrapping_neg();
        raw.values[rank].wrapping_sub(said[rank]) & MASKS[rank] & present
    })
}

/// The counters of one socket since it is watched.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// What was counted so far.
    totals: PerCounter,
    /// Counters that were ever reported, one bit each.
    present: u32,
    /// Counters without a base yet, one bit each: their next reading is the base, and adds 0.
    unplaced: u32,
    pub(crate) extra: Option<Box<Extra>>,
}

const _: () = assert!(COUNTERS <= u32::BITS as usize);

/// What quiet connections do not have, in one box.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// What in the totals is not of the current connection; `None` if everything is.
    base: Option<PerCounter>,
    /// What the counters said when the next verdict's time began, if another reading came since.
    pub(crate) held: Option<PerCounter>,
    /// The latest verdict, if it has numbers.
    pub(crate) verdict: Option<Verdict>,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self { totals: [0; COUNTERS], present: 0, unplaced: 0, extra: None }
    }

    /// Counts on from what `raw` says, which is in the totals as if it had been counted.
    #[cfg(feature = "diag")]
    pub(crate) const fn beginning_at(raw: &CounterNumbers) -> Self {
        let present = raw.present as u32;
        Self { totals: raw.values, present, unplaced: !present, extra: None }
    }

    pub(crate) fn totals(&self) -> CounterNumbers {
        CounterNumbers { present: self.present.into(), values: self.totals }
    }

    /// Whether there was ever a counter that `raw` does not have.
    pub(crate) fn has_more(&self, raw: &CounterNumbers) -> bool {
        u64::from(self.present) & !raw.present != 0
    }

    /// Which of these counters are unplaced.
    fn unplaced(&self, raw: &CounterNumbers) -> u64 {
        raw.present & u64::from(self.unplaced)
    }

    fn set_base(&mut self, base: PerCounter) {
        self.extra.get_or_insert_default().base = Some(base);
    }

    /// Whether the kernel now says anything else than before.
    #[inline]
    pub(crate) fn differs(&self, raw: &CounterNumbers) -> bool {
        self.steps(raw, &MASKS).1 || self.unplaced(raw) != 0
    }

    /// How far the kernel's numbers are from the last reading.
    #[inline]
    pub(crate) fn moved(&self, raw: &CounterNumbers) -> Moved {
        let (steps, far) = self.steps(raw, &HALVES);
        Moved { steps, is_plain: !far && self.unplaced(raw) == 0 }
    }

    /// What the kernel said last of each counter.
    pub(crate) fn said(&self) -> PerCounter {
        let last = self.last();
        std::array::from_fn(|rank| last[rank] & MASKS[rank])
    }

    /// Whether any counter is lower than before: it wrapped, the connection is new, or `raw` is
    /// old.
    #[cfg(feature = "diag")]
    #[cold]
    pub(crate) fn fell(&self, raw: &CounterNumbers) -> bool {
        self.steps(raw, &HALVES).1
    }

    /// Takes in what the kernel says now, and returns what that adds.
    pub(crate) fn advance(&mut self, raw: &CounterNumbers) -> CounterNumbers {
        self.advance_by(raw, &self.moved(raw))
    }

    /// The same, where it is known how far that is from the last reading, and nothing was rebased.
    #[inline]
    pub(crate) fn advance_by(&mut self, raw: &CounterNumbers, moved: &Moved) -> CounterNumbers {
        let values = if moved.is_plain { moved.steps } else { self.judge(raw) };
        self.present |= raw.present as u32;
        for (total, more) in self.totals.iter_mut().zip(&values) {
            *total = total.wrapping_add(*more);
        }
        CounterNumbers { present: raw.present, values }
    }

    /// Another connection begins: the next reading counts from zero. Only counters that outlive a
    /// disconnect go on from where they were.
    pub(crate) fn restart(&mut self) {
        let last = self.last();
        let mut base = self.totals;
        let mut outliving = 0;
        for (rank, base) in base.iter_mut().enumerate() {
            if HABITS[rank].outlives() {
                *base = base.wrapping_sub(last[rank]);
                outliving |= 1 << rank;
            }
        }
        self.set_base(base);
        self.unplaced &= outliving;
    }

    /// The socket was not watched for a while: counts on from what `raw` says, and adds nothing of
    /// it. A counter that `raw` lacks is unplaced, so it adds 0 when it is first reported. But if a
    /// `restart` comes first, it belongs to a new connection and counts in full.
    pub(crate) fn rebase(&mut self, raw: &CounterNumbers) {
        let from = |rank: usize| self.totals[rank].wrapping_sub(raw.values[rank]);
        self.set_base(std::array::from_fn(from));
        self.unplaced = !(raw.present as u32);
    }

    /// Leaves out what clocks counted since the last reading of a connection that is over. A reset
    /// that cuts data off does not stop the kernel's clocks; they run until the socket is gone.
    pub(crate) fn skip_clocks(&mut self, raw: &CounterNumbers) {
        let last = self.last();
        for rank in 0..COUNTERS {
            if raw.is_present(rank)
                && HABITS[rank] == CounterHabit::Clock
                && raw.values[rank] != last[rank]
            {
                self.place(rank, raw, 0);
            }
        }
    }

    /// What the kernel said of the current connection last, up to a multiple of each counter's
    /// range.
    #[inline]
    fn last(&self) -> PerCounter {
        let mut last = self.totals;
        if let Some(base) = self.extra.as_ref().and_then(|extra| extra.base.as_ref()) {
            for (last, base) in last.iter_mut().zip(base.iter()) {
                *last = last.wrapping_sub(*base);
            }
        }
        last
    }

    /// The step of each counter since the last reading, 0 for absent and unplaced ones; and
    /// whether any step has a bit of `bits`.
    ///
    /// In each sweep this runs for every connection, so it has no branches.
    #[inline]
    fn steps(&self, raw: &CounterNumbers, bits: &PerCounter) -> (PerCounter, bool) {
        let last = self.last();
        let counted = raw.present & !u64::from(self.unplaced);
        let mut steps = [0; COUNTERS];
        let mut found = 0;
        for rank in 0..COUNTERS {
            let present = (counted >> rank & 1).wrapping_neg();
            steps[rank] = raw.values[rank].wrapping_sub(last[rank]) & MASKS[rank] & present;
            found |= steps[rank] & bits[rank];
        }
        (steps, found != 0)
    }

    /// What a reading adds in which some steps are far (at least half a range), or some counters
    /// are unplaced. Rare, so it may be slow.
    ///
    /// 1. If 64-bit bytes fell, the connection is new, and everything starts again.
    /// 2. Each counter that fell by a far step is judged by itself, as its habit says.
    /// 3. A counter that does not count on gets a new base, so that this reading is where its next
    ///    step begins.
    #[cold]
    fn judge(&mut self, raw: &CounterNumbers) -> PerCounter {
        let (mut added, _) = self.steps(raw, &HALVES);
        let is_new = (0..COUNTERS)
            .any(|rank| HABITS[rank] == CounterHabit::Bytes && added[rank] > raw.values[rank]);
        if is_new {
            self.restart();
            (added, _) = self.steps(raw, &HALVES);
        }
        let last = self.last();
        let unplaced = self.unplaced(raw);
        let bytes = BytesGained::new(raw.present & !unplaced, &last, &added);
        for rank in 0..COUNTERS {
            let (says, step) = (raw.values[rank], added[rank]);
            // A step that is larger than the value itself went past zero: it said more before.
            let fell = step & HALVES[rank] != 0 && step > says;
            if unplaced >> rank & 1 == 0 && !fell {
                continue;
            }
            added[rank] = match HABITS[rank] {
                // Unplaced: this reading is its base.
                _ if !fell => 0,
                CounterHabit::Paced | CounterHabit::MarkedBytes
                    if bytes.allow(step, last[rank]) =>
                {
                    continue;
                }
                CounterHabit::Bytes
                | CounterHabit::Paced
                | CounterHabit::MarkedBytes
                | CounterHabit::Event => says,
                // Set back: with a new connection, or because it was too low to wrap.
                CounterHabit::Clock if is_new || last[rank] < CLOCK_RANGE => says,
                CounterHabit::Clock => 0,
                CounterHabit::HalfWrapping => {
                    // How far the 16 bits went, if they wrapped. A smaller fall is of the 32 bits.
                    let advanced = step.wrapping_sub(MASKS[rank] - u64::from(u16::MAX));
                    if is_new || advanced >= 1 << 15 { 0 } else { advanced }
                }
            };
            self.place(rank, raw, added[rank]);
        }
        self.unplaced &= !(raw.present as u32);
        // `busy_time` is the sum of three clocks: one may have wrapped while another one ran on. It
        // adds at least what the two stalls add, which are parts of it.
        if raw.is_present(BUSY) {
            let stalled = STALLS.iter().fold(0, |sum: u64, rank| sum.saturating_add(added[*rank]));
            if added[BUSY] < stalled {
                added[BUSY] = stalled;
                self.place(BUSY, raw, stalled);
            }
        }
        added
    }

    /// Moves the base of a counter so that `raw` is where the current connection stands, once
    /// `added` is in the total.
    fn place(&mut self, rank: usize, raw: &CounterNumbers, added: u64) {
        let base = self.extra.get_or_insert_default().base.get_or_insert([0; COUNTERS]);
        base[rank] = self.totals[rank].wrapping_add(added).wrapping_sub(raw.values[rank]);
    }
}

/// The bytes of both directions: acknowledged, and received.
struct BytesGained([Direction; 2]);

#[derive(Clone, Copy)]
struct Direction {
    /// At the last reading.
    before: u64,
    /// Since.
    gained: u64,
}

impl BytesGained {
    /// Of the directions that are among the `counted`; nothing of the others.
    fn new(counted: u64, last: &PerCounter, added: &PerCounter) -> Self {
        Self(BYTES.map(|rank| match counted >> rank & 1 {
            0 => Direction { before: 0, gained: 0 },
            _ => Direction { before: last[rank], gained: added[rank] },
        }))
    }

    /// Whether a counter can have wrapped on its way from `last`, by a step of half its range or
    /// more. It can if each segment carried a byte, and the bytes of both directions grew at least
    /// half as much as the counter did, in proportion. A direction with less than one byte per 32
    /// segments does not matter.
    ///
    /// This also excludes a new connection whose segments are up to 1.2 times as large. Such a
    /// connection has all the bytes of the old one and that many more, so it has at least
    /// `31 / 32 * (last + step / 2) / 1.2` segments. That is not less than `last`, but the counter
    /// said less.
    fn allow(&self, step: u64, last: u64) -> bool {
        let wide = u128::from;
        let gained = self.0.iter().fold(0_u64, |sum, way| sum.saturating_add(way.gained));
        gained >= step
            && self.0.iter().all(|Direction { before, gained }| {
                *before < last / 32 || wide(*gained) * wide(last) >= wide(before / 2) * wide(step)
            })
    }
}

#[cfg(test)]
mod tests;
