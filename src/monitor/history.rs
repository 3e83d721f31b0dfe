//! What one connection did so far, over all its watches: its life, its counters, and where its
//! series begins. It takes in readings and does not care who made them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::phase::{End, Life, Phase, Step};
use super::progress::Progress;
use super::reading::Answer;
use super::snapshot::Start;
use super::timestamp::Timestamp;
use crate::info::CounterNumbers;
use crate::verdict::{Cause, Verdict};

/// What one connection did so far.
pub(crate) struct History {
    progress: Progress,
    since: Instant,
    series: Option<Box<SeriesOrigin>>,
}

/// Where a series began that does not show the whole history, or that names the peer.
#[derive(Default)]
struct SeriesOrigin {
    /// When the present watch, or the series under the present peer, began, and the totals then.
    start: Option<(Instant, Box<CounterNumbers>)>,
    /// The other side, if it is a part of what tells the series from others.
    peer: Option<SocketAddr>,
}

/// What one reading brought.
pub(crate) struct Taken {
    pub(crate) added: CounterNumbers,
    /// Whether this reading is the first that shows a connection.
    pub(crate) opened: bool,
    pub(crate) series: Series,
}

/// Whether the series of the connection is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    Same,
    /// The same, and the peer, which was unknown, is known now.
    PeerKnown,
    /// Another one: the peer changed.
    New,
}

impl History {
    /// Of a connection that the monitor does not know.
    pub(crate) fn new() -> Self {
        Self::of(Progress::new(), Instant::now())
    }

    /// Of a connection that the monitor knows otherwise.
    pub(crate) fn of(progress: Progress, since: Instant) -> Self {
        Self { progress, since, series: None }
    }

    /// How far it has come, and since when the monitor knows it.
    #[cfg(feature = "diag")]
    pub(crate) fn into_progress(self) -> (Progress, Instant) {
        (self.progress, self.since)
    }

    /// The connection ended as far as the monitor knew, and was counted.
    pub(crate) fn mark_known(&mut self) {
        self.progress.life = Life::KNOWN;
    }

    /// It is watched again. Returns whether it is counted as opened.
    pub(crate) fn resume(&mut self) -> bool {
        self.progress.life.resume();
        let totals = self.progress.counters.totals();
        self.series.get_or_insert_default().start = Some((Instant::now(), Box::new(totals)));
        self.progress.life.is_opened()
    }

    /// The descriptor is no TCP socket.
    pub(crate) fn turn_foreign(&mut self) {
        self.progress.life.turn_foreign();
    }

    pub(crate) fn phase(&self) -> Phase {
        self.progress.life.phase()
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(crate) fn totals(&self) -> CounterNumbers {
        self.progress.counters.totals()
    }

    /// Whether this reading would add anything.
    #[inline]
    pub(crate) fn would_add(&self, raw: &CounterNumbers) -> bool {
        self.progress.counters.differs(raw)
    }

    /// The cause of the latest verdict.
    #[inline]
    pub(crate) fn cause(&self) -> Cause {
        self.progress.judged.cause()
    }

    /// The latest verdict; `None` before the second reading.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.progress.verdict()
    }

    /// Whether it is counted as opened, and not as closed.
    #[cfg(feature = "diag")]
    pub(crate) fn is_opened(&self) -> bool {
        self.progress.life.is_opened()
    }

    /// What the group counts when the connection ends.
    pub(crate) fn end(&self) -> End {
        self.progress.life.end()
    }

    /// Where a series of its own begins for readers that have not seen it.
    pub(crate) fn start(&self, now: Timestamp) -> Start {
        match self.series.as_ref().and_then(|series| series.start.clone()) {
            Some((since, totals)) => Start::After(now.wall(since), totals),
            None => Start::Whole(now.wall(self.since)),
        }
    }

    /// Takes in one reading: its verdict, its phase and its counters.
    ///
    /// `names_peers` says whether the peer tells the series from others, and `peer` asks for the
    /// peer, if the connection is shown under it. A change of the peer ends a series: the next one
    /// has other attributes, and must not contain what was counted under the last.
    #[inline]
    pub(crate) fn take_in(
        &mut self,
        answer: &Answer<'_>,
        names_peers: bool,
        peer: impl FnOnce() -> Option<SocketAddr>,
    ) -> Taken {
        let resumed = self.progress.life.phase() == Phase::Resumed;
        let stepped = self.progress.step(answer);
        let mut series = Series::Same;
        // Disconnected: the next connection has another peer.
        if names_peers && matches!(stepped.step, Step::Restart { .. }) {
            series = self.begin_series(None);
        }
        if names_peers {
            if let Some(peer) = peer() {
                series = self.follow(peer, resumed, series);
            }
        }
        let is_rebased = series == Series::New;
        let added = self.progress.advance(&answer.raw, &stepped, is_rebased);
        Taken { added, opened: stepped.opened, series }
    }

    /// Compares the peer with the one that was known. After a disconnect that no reading saw, it
    /// is another one.
    fn follow(&mut self, peer: SocketAddr, resumed: bool, series: Series) -> Series {
        match self.series.as_ref().and_then(|series| series.peer) {
            Some(known) if known == peer => series,
            Some(_) => {
                // After a gap the base was taken from the new connection already.
                if !resumed {
                    self.progress.counters.restart();
                }
                self.begin_series(Some(peer))
            }
            None => {
                self.series.get_or_insert_default().peer = Some(peer);
                if series == Series::Same { Series::PeerKnown } else { series }
            }
        }
    }

    fn begin_series(&mut self, peer: Option<SocketAddr>) -> Series {
        let start = Some((Instant::now(), Box::new(self.progress.counters.totals())));
        self.series = Some(Box::new(SeriesOrigin { start, peer }));
        Series::New
    }
}
