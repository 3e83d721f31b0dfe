//! Kernel counters made to last: widened across wraps, rebased across resets, never going down.
//!
//! A reading gives a counter modulo its range, and after `tcp_disconnect()` another connection can
//! begin on the socket. So what a counter adds depends on what it says now:
//!
//! | counter | says | so | and adds |
//! | --- | --- | --- | --- |
//! | any | as much as before, or more | it grew | the difference |
//! | bytes in 64 bits | less | the connection is new, all counters start again | what it says |
//! | 16 or 32 bits | less, a step of under half a range on | it wrapped | the step |
//! | segments, ECN bytes | less, a larger step on | the bytes decide | the step, or what it says |
//! | other 16 or 32 bits | less, a larger step on | it alone starts again | what it says |
//!
//! A counter in doubt never restarts another. PerCounter are exact if each counter is read once per
//! half range, and each new connection before it has more bytes of every kind than the one before
//! it. Otherwise they are too low rather than too high.

use crate::info::{CounterHabit, CounterNumbers, FIELDS, Field, FieldKind};

/// How many rows are counters.
const COUNTERS: usize = CounterNumbers::LEN;

/// A number for each counter, by rank.
type PerCounter = [u64; COUNTERS];

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

/// The bits that each counter has.
const MASKS: PerCounter = {
    let (mut masks, mut rank) = ([0; COUNTERS], 0);
    while rank < COUNTERS {
        masks[rank] = u64::MAX >> (64 - 8 * ROWS[rank].size);
        rank += 1;
    }
    masks
};

/// The bit of each counter that is set in a step of at least half its range.
const HALVES: PerCounter = {
    let (mut halves, mut rank) = (MASKS, 0);
    while rank < COUNTERS {
        halves[rank] -= MASKS[rank] >> 1;
        rank += 1;
    }
    halves
};

/// The least range of the kernel's clocks in microseconds: 32 bits of ticks, of which a second has
/// 1,000 at most. `busy_time` is the sum of three clocks and falls when one of them wraps.
const CLOCK_RANGE: u64 = 1_000 << 32;

/// The counters of one socket since it is watched.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// What was counted so far, of every counter that was ever reported.
    totals: CounterNumbers,
    /// Which counters start where their next reading is.
    unplaced: u64,
    /// What in `totals` is not of the current connection, once there was another or a rebase.
    base: Option<Box<PerCounter>>,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self { totals: CounterNumbers::NONE, unplaced: 0, base: None }
    }

    pub(crate) fn totals(&self) -> &CounterNumbers {
        &self.totals
    }

    /// Whether the kernel now says anything else than before.
    #[inline]
    pub(crate) fn differs(&self, raw: &CounterNumbers) -> bool {
        self.steps(raw, &MASKS).1 || raw.present & self.unplaced != 0
    }

    /// Takes in what the kernel says now, and returns what that adds.
    pub(crate) fn advance(&mut self, raw: &CounterNumbers) -> CounterNumbers {
        let (mut values, far) = self.steps(raw, &HALVES);
        if far || raw.present & self.unplaced != 0 {
            values = self.judge(raw);
        }
        let added = CounterNumbers { present: raw.present, values };
        self.totals.add(&added);
        added
    }

    /// Forgets where the connection stood: the next reading counts from zero.
    pub(crate) fn restart(&mut self) {
        let last = self.last();
        let mut base = self.totals.values;
        let mut outliving = 0;
        for (rank, base) in base.iter_mut().enumerate() {
            if HABITS[rank].outlives() {
                *base = base.wrapping_sub(last[rank]);
                outliving |= 1 << rank;
            }
        }
        self.base = Some(Box::new(base));
        self.unplaced &= outliving;
    }

    /// Counts on from what `raw` says and adds nothing of it: the socket was not watched for a
    /// while. A counter that `raw` lacks starts where it is first reported, and so adds 0 there;
    /// if a `restart` comes first, it belongs to a new connection and counts in full.
    pub(crate) fn rebase(&mut self, raw: &CounterNumbers) {
        let base =
            std::array::from_fn(|rank| self.totals.values[rank].wrapping_sub(raw.values[rank]));
        self.base = Some(Box::new(base));
        self.unplaced = !raw.present;
    }

    /// Leaves out what clocks counted since the last reading: the kernel does not stop them at a
    /// reset that cuts data off, only with the socket.
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

    /// What the current connection reported last, up to a multiple of each counter's range.
    #[inline]
    fn last(&self) -> PerCounter {
        let mut last = self.totals.values;
        if let Some(base) = &self.base {
            for (last, base) in last.iter_mut().zip(base.iter()) {
                *last = last.wrapping_sub(*base);
            }
        }
        last
    }

    /// How far forward each counter is from where it was, and whether a step has its bit of
    /// `halves`.
    #[inline]
    fn steps(&self, raw: &CounterNumbers, halves: &PerCounter) -> (PerCounter, bool) {
        let last = self.last();
        let counted = raw.present & !self.unplaced;
        let mut steps = [0; COUNTERS];
        let mut far = 0;
        for rank in 0..COUNTERS {
            let present = (counted >> rank & 1).wrapping_neg();
            steps[rank] = raw.values[rank].wrapping_sub(last[rank]) & MASKS[rank] & present;
            far |= steps[rank] & halves[rank];
        }
        (steps, far != 0)
    }

    /// What a reading adds that has far steps, or counters without a place to count from.
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
        let unplaced = raw.present & self.unplaced;
        let bytes = Bytes::new(raw.present & !unplaced, &last, &added);
        for rank in 0..COUNTERS {
            let (says, step) = (raw.values[rank], added[rank]);
            // A step beyond the value itself went past zero: it said more before.
            let back = step & HALVES[rank] != 0 && step > says;
            if unplaced >> rank & 1 == 0 && !back {
                continue;
            }
            added[rank] = match HABITS[rank] {
                _ if !back => 0,
                CounterHabit::Paced | CounterHabit::MarkedBytes
                    if bytes.allow(step, last[rank]) =>
                {
                    continue;
                }
                CounterHabit::Bytes
                | CounterHabit::Paced
                | CounterHabit::MarkedBytes
                | CounterHabit::Event => says,
                CounterHabit::Clock if is_new || last[rank] < CLOCK_RANGE => says,
                CounterHabit::Clock => 0,
                CounterHabit::HalfWrapping => {
                    // How far the 16 bits went, if they wrapped. A lesser fall is of the 32 bits.
                    let advanced = step.wrapping_sub(MASKS[rank] - u64::from(u16::MAX));
                    if is_new || advanced >= 1 << 15 { 0 } else { advanced }
                }
            };
            self.place(rank, raw, added[rank]);
        }
        self.unplaced &= !raw.present;
        // `busy_time` is the sum of three clocks: one may have wrapped while another one ran on.
        let mut clocks = (0..COUNTERS).filter(|rank| HABITS[*rank] == CounterHabit::Clock);
        if let Some(busy) = clocks.next().filter(|busy| raw.is_present(*busy)) {
            let stalled = clocks.fold(0, |sum: u64, rank| sum.saturating_add(added[rank]));
            if added[busy] < stalled {
                added[busy] = stalled;
                self.place(busy, raw, stalled);
            }
        }
        added
    }

    /// Makes the current connection stand where `raw` says, once `added` is in the total.
    fn place(&mut self, rank: usize, raw: &CounterNumbers, added: u64) {
        let base = self.base.get_or_insert_with(|| Box::new([0; COUNTERS]));
        base[rank] = self.totals.values[rank].wrapping_add(added).wrapping_sub(raw.values[rank]);
    }
}

/// The bytes acknowledged, and those received.
struct Bytes([Direction; 2]);

#[derive(Clone, Copy)]
struct Direction {
    /// At the last reading.
    before: u64,
    /// Since.
    gained: u64,
}

impl Bytes {
    fn new(counted: u64, last: &PerCounter, added: &PerCounter) -> Self {
        let mut bytes = Self([Direction { before: 0, gained: 0 }; 2]);
        let rows = ROWS.iter().filter(|row| {
            counted >> row.rank & 1 != 0 && matches!(row.name, "bytes_acked" | "bytes_received")
        });
        for (direction, row) in bytes.0.iter_mut().zip(rows) {
            *direction = Direction { before: last[row.rank], gained: added[row.rank] };
        }
        bytes
    }

    /// Whether a counter can have wrapped on its way from `last`, by a step of half its range or
    /// more: each segment carried a byte, and the bytes of both directions grew at least half as
    /// much as the counter, in proportion. A direction with less than one byte per 32 segments
    /// does not matter.
    ///
    /// That also excludes a new connection whose segments are up to 1.2 times as large. It has all
    /// the old bytes and that many more, so at least `31 / 32 * (last + step / 2) / 1.2` segments:
    /// not less than `last`, and it is less that is to be explained.
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
