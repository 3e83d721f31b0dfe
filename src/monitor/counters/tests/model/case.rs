//! Random cases of the model: paths, connections and what happens to them.

use std::ops::Range;

use crate::kernel::KernelVersion;
use crate::monitor::sample::Rng;

/// What the connections of one socket have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) kernel: KernelVersion,
    /// Segments for one retransmit, and for one congestion mark.
    pub(super) per_loss: u64,
    pub(super) per_mark: u64,
    /// Bytes for one that the ECN counters have.
    pub(super) per_ecn_byte: u64,
    /// Segments for one rehash by PLB, 0 for never.
    pub(super) per_plb: u64,
}

/// What went over one connection, or is to go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) segments: [u64; 2],
    pub(super) bytes: [u64; 2],
    pub(super) micros: u64,
}

impl Traffic {
    pub(super) fn new(segments: [u64; 2], size: u64, micros: u64) -> Self {
        Self { segments, bytes: segments.map(|segments| segments * size), micros }
    }

    pub(super) fn with(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            segments: [0, 1].map(|way| of(self.segments[way], other.segments[way])),
            bytes: [0, 1].map(|way| of(self.bytes[way], other.bytes[way])),
            micros: of(self.micros, other.micros),
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.segments == [0; 2] && self.micros == 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Pass(Traffic),
    /// So many percent of the connection before, so that it looks like going on, in segments of a
    /// size.
    PassAgain(u64, u64),
    Read,
    /// Whether a reading shows the socket without a connection.
    Disconnect(bool),
}

/// Random numbers of a test's case, which it names when it fails.
pub(super) struct Case {
    number: u64,
    pub(super) random: Rng,
}

/// Cases of each test.
const CASES: u64 = 1_000;

impl Case {
    pub(super) fn each(mut check: impl FnMut(&mut Self)) {
        for number in 1..=CASES {
            check(&mut Self { number, random: Rng::new(number << 32) });
        }
    }

    /// A number of a range.
    pub(super) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.random.below(range.end - range.start)
    }

    /// Small numbers, large ones, and those around half a range and a whole.
    pub(super) fn segments(&mut self) -> u64 {
        match self.random.below(2) {
            0 => self.random.below(u64::MAX) >> self.within(30..64),
            _ => (self.within(1..4) << 31) + self.random.below(18) - 9,
        }
    }

    /// Segments of two connections differ in size by no more than a fifth.
    pub(super) fn size(&mut self) -> u64 {
        self.within(1_000..1_201)
    }

    fn traffic(&mut self) -> Traffic {
        let segments = match self.random.below(3) {
            0 => [self.segments(), self.segments()],
            1 => [self.segments(), 0],
            _ => [0, self.segments()],
        };
        Traffic::new(segments, self.size(), self.within(0..1 << 40))
    }

    /// Up to 23, few in the first cases: what fails there is short.
    pub(super) fn steps(&mut self, disconnects: bool) -> Vec<Action> {
        let count = self.within(1..24.min(3 + self.number / 8));
        let step = |_| match self.random.below(if disconnects { 14 } else { 8 }) {
            0..4 => Action::Pass(self.traffic()),
            4..8 => Action::Read,
            8..11 => Action::PassAgain(self.within(50..150), self.size()),
            _ => Action::Disconnect(self.random.below(2) == 0),
        };
        (0..count).map(step).collect()
    }

    pub(super) fn path(&mut self, per_ecn_byte: u64, per_plb: u64) -> Path {
        let kernels = ["3.10", "4.2", "4.19", "6.1", "6.18"].map(KernelVersion::literal);
        Path {
            kernel: kernels[self.random.below(5) as usize],
            per_loss: self.within(32..100_000),
            per_mark: self.within(1..100_000),
            per_ecn_byte,
            per_plb,
        }
    }

    pub(super) fn any_path(&mut self) -> Path {
        let ecn = self.within(1..4_000);
        let plb = match self.random.below(2) {
            0 => 0,
            _ => self.within(1 << 24..1 << 40),
        };
        self.path(ecn, plb)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("case {} of {CASES}", self.number);
        }
    }
}
