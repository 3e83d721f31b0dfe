//! Kernel counters made to last: widened across wraps, rebased across resets, never going down.

use crate::info::{self, FIELDS, Field, Kind, Raw, Value};

/// How many rows are counters.
pub(crate) const COUNTERS: usize = info::count(Kind::Counter);

/// The raw counters of one reply.
pub(crate) type RawCounters = Raw<COUNTERS>;

/// Totals in the kernel's units, by rank among the counters.
pub(crate) type Totals = [u64; COUNTERS];

/// What happens to a counter besides growing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Starts again with the connection; going down proves a new one.
    Witness,
    /// Starts again with the connection, but may wrap several times between two sweeps: the
    /// 32-bit counts of ECN bytes.
    Fickle,
    /// Outlives `tcp_disconnect()`, which forgets to clear it.
    Survivor,
    /// A sum of 32 and 16 bits, of which the latter wraps alone.
    HalfWrapping,
}

/// What the sums below must know of a row.
#[derive(Clone, Copy)]
struct Trait {
    mask: u64,
    habit: Habit,
}

const TRAITS: [Trait; COUNTERS] = {
    let mut traits = [Trait { mask: u64::MAX, habit: Habit::Witness }; COUNTERS];
    let (mut row, mut rank) = (0, 0);
    while row < FIELDS.len() {
        let field = &FIELDS[row];
        if matches!(field.kind, Kind::Counter) {
            traits[rank] = Trait { mask: mask(field), habit: habit(field) };
            rank += 1;
        }
        row += 1;
    }
    traits
};

const fn mask(field: &Field) -> u64 {
    match field.size {
        2 => u16::MAX as u64,
        4 => u32::MAX as u64,
        _ => u64::MAX,
    }
}

const fn habit(field: &Field) -> Habit {
    match field.name.as_bytes() {
        b"busy_time" | b"rwnd_limited" | b"sndbuf_limited" => Habit::Survivor,
        b"rehash" => Habit::HalfWrapping,
        // Bytes in 32 bits: 4 GiB are seconds on a fast link.
        _ if field.size == 4 && matches!(field.unit.as_bytes(), b"By") => Habit::Fickle,
        _ => Habit::Witness,
    }
}

/// The counters of one socket since it is watched.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    totals: Totals,
    /// Which counters were ever reported.
    seen: u64,
    /// What earlier connections of the same socket left in `totals`, once there were any.
    base: Option<Box<Totals>>,
}

/// What one reading added.
pub(crate) struct Increments {
    /// The additions, 0 where nothing was reported.
    pub(crate) added: Totals,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self { totals: [0; COUNTERS], seen: 0, base: None }
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether the kernel now says less than before, so that another connection must have begun.
    #[inline]
    pub(crate) fn goes_back(&self, raw: &RawCounters) -> bool {
        let last = self.last();
        let mut back = false;
        for rank in 0..COUNTERS {
            let Trait { mask, habit } = TRAITS[rank];
            let step = raw.values[rank].wrapping_sub(last[rank]) & mask;
            // From zero nothing can go back, however large the first reading is.
            let here = step > mask >> 1 && last[rank] & mask != 0 && raw.present >> rank & 1 != 0;
            back |= here && habit as u8 == Habit::Witness as u8;
        }
        back
    }

    /// Whether the kernel now says anything else than before.
    #[inline]
    pub(crate) fn differs(&self, raw: &RawCounters) -> bool {
        let last = self.last();
        let mut differs = 0;
        for rank in 0..COUNTERS {
            let present = (raw.present >> rank & 1).wrapping_neg();
            differs |= raw.values[rank].wrapping_sub(last[rank]) & TRAITS[rank].mask & present;
        }
        differs != 0
    }

    /// Counts from here on: what the kernel says now is no increment.
    pub(crate) fn rebase(&mut self, raw: &RawCounters) {
        let base = std::array::from_fn(|rank| {
            let present = (raw.present >> rank & 1).wrapping_neg();
            self.totals[rank].wrapping_sub(raw.values[rank] & present)
        });
        self.base = Some(Box::new(base));
    }

    /// Takes in what the kernel says now.
    pub(crate) fn advance(&mut self, raw: &RawCounters) -> Increments {
        if self.goes_back(raw) {
            self.restart();
        }
        let last = self.last();
        let mut added = [0; COUNTERS];
        for rank in 0..COUNTERS {
            let present = (raw.present >> rank & 1).wrapping_neg();
            added[rank] = raw.values[rank].wrapping_sub(last[rank]) & TRAITS[rank].mask & present;
        }
        self.mend(raw, &last, &mut added);
        for (total, added) in self.totals.iter_mut().zip(&added) {
            *total = total.wrapping_add(*added);
        }
        self.seen |= raw.present;
        Increments { added }
    }

    /// Forgets where the connection stood: the next reading counts from zero.
    pub(crate) fn restart(&mut self) {
        let last = self.last();
        let mut base = self.totals;
        for (rank, base) in base.iter_mut().enumerate() {
            if TRAITS[rank].habit == Habit::Survivor {
                *base = base.wrapping_sub(last[rank]);
            }
        }
        self.base = Some(Box::new(base));
    }

    /// Leaves out what clocks counted since the last reading: the kernel does not stop them at a
    /// reset that cuts data off, only with the socket.
    pub(crate) fn skip_clocks(&mut self, raw: &RawCounters) {
        let last = self.last();
        for rank in 0..COUNTERS {
            let present = raw.present >> rank & 1 != 0;
            if present && TRAITS[rank].habit == Habit::Survivor && raw.values[rank] != last[rank] {
                let base = self.base.get_or_insert_with(|| Box::new([0; COUNTERS]));
                base[rank] = self.totals[rank].wrapping_sub(raw.values[rank]);
            }
        }
    }

    /// What the current connection reported last, up to a multiple of each counter's range.
    #[inline]
    fn last(&self) -> Totals {
        let mut last = self.totals;
        if let Some(base) = &self.base {
            for (last, base) in last.iter_mut().zip(base.iter()) {
                *last = last.wrapping_sub(*base);
            }
        }
        last
    }

    /// The counters whose going down is no new connection.
    #[inline]
    fn mend(&mut self, raw: &RawCounters, last: &Totals, added: &mut Totals) {
        for rank in 0..COUNTERS {
            let Trait { mask, habit } = TRAITS[rank];
            let back = added[rank] > mask >> 1 && last[rank] & mask != 0;
            if !back || !matches!(habit, Habit::Survivor | Habit::HalfWrapping) {
                continue;
            }
            let fallen = last[rank].wrapping_sub(raw.values[rank]) & mask;
            let half = u64::from(u16::MAX) + 1;
            added[rank] = if habit == Habit::HalfWrapping && fallen <= half {
                half - fallen
            } else {
                raw.values[rank]
            };
            // Keep `totals - base` congruent with what the kernel says.
            let total = self.totals[rank].wrapping_add(added[rank]);
            let base = self.base.get_or_insert_with(|| Box::new([0; COUNTERS]));
            base[rank] = total.wrapping_sub(raw.values[rank]);
        }
    }
}

/// The value of one counter's total, `None` where it was never reported.
pub(crate) fn total_of(field: &Field, totals: &Totals, seen: u64) -> Option<Value> {
    let counts = field.kind == Kind::Counter && seen >> field.rank & 1 != 0;
    counts.then(|| field.measure(totals[field.rank]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(name: &str) -> usize {
        info::rows(Kind::Counter).position(|row| row.name == name).expect("a counter")
    }

    fn raw(values: &[(&str, u64)]) -> RawCounters {
        let mut raw = RawCounters { present: 0, values: [0; COUNTERS] };
        for (name, value) in values {
            raw.present |= 1 << rank(name);
            raw.values[rank(name)] = *value;
        }
        raw
    }

    /// The totals after each reading.
    fn totals(name: &str, readings: &[u64]) -> Vec<u64> {
        let mut counters = Counters::new();
        let each = readings.iter().map(|reading| {
            counters.advance(&raw(&[(name, *reading)]));
            counters.totals()[rank(name)]
        });
        each.collect()
    }

    #[test]
    fn narrow_counters_widen_across_wraps() {
        let range = 1 << 32;
        assert_eq!(
            totals("segs_in", &[range - 2, 1, range / 2, range - 1, 4]),
            [range - 2, range + 1, range + range / 2, 2 * range - 1, 2 * range + 4]
        );
        assert_eq!(totals("total_rto", &[60_000, 5, 30_000]), [60_000, 65_541, 95_536]);
    }

    #[test]
    fn a_new_connection_on_the_socket_adds_to_the_old() {
        assert_eq!(totals("bytes_sent", &[5_000, 3, 9, 2]), [5_000, 5_003, 5_009, 5_011]);
        assert_eq!(totals("segs_out", &[5, 2, 4]), [5, 7, 9]);
    }

    #[test]
    fn one_counter_going_back_restarts_those_that_did_not() {
        let mut counters = Counters::new();
        counters.advance(&raw(&[("bytes_sent", 100), ("segs_in", 7), ("busy_time", 40)]));
        let step = counters.advance(&raw(&[("bytes_sent", 30), ("segs_in", 9), ("busy_time", 44)]));
        assert_eq!(step.added[rank("bytes_sent")], 30);
        assert_eq!(step.added[rank("segs_in")], 9);
        // The chronographs outlive a disconnect.
        assert_eq!(step.added[rank("busy_time")], 4);
        counters.advance(&raw(&[("bytes_sent", 31), ("segs_in", 10), ("busy_time", 44)]));
        assert_eq!(counters.totals()[rank("bytes_sent")], 131);
        assert_eq!(counters.totals()[rank("segs_in")], 17);
        assert_eq!(counters.totals()[rank("busy_time")], 44);
    }

    #[test]
    fn a_known_restart_counts_everything_again() {
        let mut counters = Counters::new();
        counters.advance(&raw(&[("bytes_sent", 100)]));
        counters.restart();
        counters.advance(&raw(&[("bytes_sent", 250)]));
        assert_eq!(counters.totals()[rank("bytes_sent")], 350);
    }

    #[test]
    fn half_of_rehash_wraps_alone() {
        // 65,530 timeouts' rehashes and 3 by PLB, then 10 more timeouts.
        assert_eq!(totals("rehash", &[65_533, 7, 8]), [65_533, 65_543, 65_544]);
    }

    #[test]
    fn ecn_bytes_that_race_around_are_no_restart() {
        let mut counters = Counters::new();
        counters.advance(&raw(&[("received_e0_bytes", 100), ("bytes_received", 100)]));
        let jump = u64::from(u32::MAX) - 100;
        counters.advance(&raw(&[("received_e0_bytes", jump), ("bytes_received", 1 << 40)]));
        assert_eq!(counters.totals()[rank("received_e0_bytes")], jump);
    }

    #[test]
    fn any_first_reading_counts_in_full() {
        assert_eq!(totals("segs_in", &[4_000_000_000, 4_000_000_001])[1], 4_000_000_001);
    }

    #[test]
    fn an_absent_counter_keeps_its_total() {
        let mut counters = Counters::new();
        counters.advance(&raw(&[("bytes_sent", 100), ("segs_in", 3)]));
        counters.advance(&raw(&[("segs_in", 4)]));
        assert_eq!(counters.totals()[rank("bytes_sent")], 100);
        counters.advance(&raw(&[("bytes_sent", 160)]));
        assert_eq!(counters.totals()[rank("bytes_sent")], 160);
    }
}
