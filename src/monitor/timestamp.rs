//! A moment on two clocks: what the monitor measures on one is told on the other.

use std::time::{Duration, Instant, SystemTime};

/// Reading a clock takes less than this.
const CLOSE: Duration = Duration::from_micros(10);
const ATTEMPTS: usize = 10;

/// The same moment on the clock that never stands still and on that of the wall.
#[derive(Clone, Copy)]
pub(crate) struct Timestamp {
    pub(crate) at: SystemTime,
    instant: Instant,
}

impl Timestamp {
    /// Reads both clocks, again where the thread was away between the two.
    pub(crate) fn now() -> Self {
        let mut instant = Instant::now();
        let mut at = SystemTime::now();
        for _ in 0..ATTEMPTS {
            let after = Instant::now();
            if after - instant < CLOSE {
                break;
            }
            (instant, at) = (after, SystemTime::now());
        }
        Self { at, instant }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.instant.elapsed()
    }

    /// When something earlier was, by the clock of the wall. What came later was now.
    #[inline]
    pub(crate) fn wall(&self, then: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(then);
        self.at.checked_sub(ago).unwrap_or(self.at)
    }
}
