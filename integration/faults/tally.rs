//! What passed one way of a path, counted from the headers alone: an oracle for both ends.

use std::time::{Duration, Instant};

use super::packet::{Ecn, Segment};

/// One direction's counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    // What came into the path.
    pub(crate) packets: u64,
    pub(crate) data: u64,
    pub(crate) bytes: u64,
    /// Segments and bytes of these that came before, whatever became of them.
    pub(crate) again: u64,
    pub(crate) again_bytes: u64,
    pub(crate) resets: u64,
    // What the path did.
    pub(crate) dropped: u64,
    pub(crate) copied: u64,
    pub(crate) held_back: u64,
    pub(crate) marked: u64,
    pub(crate) too_big: u64,
    pub(crate) swallowed: u64,
    /// The longest wait at the bottleneck.
    pub(crate) queued: Duration,
    // What left the path.
    pub(crate) handed: u64,
    pub(crate) handed_data: u64,
    /// Segments that came while something before them was missing.
    pub(crate) out_of_order: u64,
    /// Segments with nothing new in them.
    pub(crate) duplicates: u64,
    pub(crate) ce: u64,
    /// Bytes that were new when they came, by their marks.
    pub(crate) fresh: Fresh,
    /// How long the window was shut that this way's end advertised.
    pub(crate) zero_window: Duration,
    /// Where the stream begins, once its SYN came by.
    start: Option<u32>,
    highest: u64,
    received: Vec<(u64, u64)>,
    firsts: u64,
}

/// New bytes by what their packet said of ECN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fresh {
    pub(crate) all: u64,
    pub(crate) ect0: u64,
    pub(crate) ce: u64,
}

impl Tally {
    /// First and end byte in the stream; a SYN begins it.
    fn range(&mut self, segment: &Segment) -> (u64, u64) {
        if segment.is_syn {
            self.start = Some(segment.sequence.wrapping_add(1));
            return (0, 0);
        }
        let start = self.start.unwrap_or(segment.sequence);
        let first = u64::from(segment.sequence.wrapping_sub(start));
        (first, first + u64::from(segment.len))
    }

    /// A packet came into the path: its place among the segments that carry data for the first
    /// time.
    pub(crate) fn sent(&mut self, segment: &Segment) -> Option<u64> {
        let (first, end) = self.range(segment);
        self.packets += 1;
        self.resets += u64::from(segment.is_reset);
        if segment.len == 0 {
            return None;
        }
        self.data += 1;
        self.bytes += u64::from(segment.len);
        let again = self.highest.min(end).saturating_sub(first);
        self.again += u64::from(again > 0);
        self.again_bytes += again;
        self.highest = self.highest.max(end);
        self.firsts += u64::from(again == 0);
        (again == 0).then_some(self.firsts)
    }

    /// A packet left the path.
    pub(crate) fn handed(&mut self, segment: &Segment) {
        let (first, end) = self.range(segment);
        self.handed += 1;
        self.ce += u64::from(segment.ecn == Ecn::Ce);
        if segment.len == 0 {
            return;
        }
        self.handed_data += 1;
        let next = self.received.first().filter(|held| held.0 == 0).map_or(0, |held| held.1);
        self.out_of_order += u64::from(first > next);
        let before = self.held();
        self.received.push((first, end));
        self.received.sort_unstable();
        self.received.dedup_by(|later, earlier| {
            let joined = later.0 <= earlier.1;
            earlier.1 = if joined { earlier.1.max(later.1) } else { earlier.1 };
            joined
        });
        let new = self.held() - before;
        self.duplicates += u64::from(new == 0);
        self.fresh.all += new;
        match segment.ecn {
            Ecn::Ect0 => self.fresh.ect0 += new,
            Ecn::Ce => self.fresh.ce += new,
            Ecn::Ect1 | Ecn::None => {}
        }
    }

    fn held(&self) -> u64 {
        self.received.iter().map(|(first, end)| end - first).sum()
    }
}

/// Since when the advertised window is shut.
#[derive(Default)]
pub(crate) struct Window(Option<Instant>);

impl Window {
    /// Before a segment is handed over: no later than its receiver sees it.
    pub(crate) fn opens(&mut self, segment: &Segment, shut: &mut Duration) {
        if segment.window > 0 || segment.is_reset {
            *shut += self.0.take().map(|since| since.elapsed()).unwrap_or_default();
        }
    }

    /// After a segment was handed over: no earlier than its receiver sees it.
    pub(crate) fn shuts(&mut self, segment: &Segment) {
        if segment.window == 0 && !segment.is_reset {
            self.0.get_or_insert_with(Instant::now);
        }
    }
}
