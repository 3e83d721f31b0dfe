//! The worst connections of a group, chosen anew by every sweep and shown one by one.

use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "diag")]
use super::attributes::Attributes;
use super::labels::Labels;
use super::snapshot::{Origin, SocketSnapshot, Start, Sums};
use super::worst::Worst;
use crate::info::Reply;
use crate::verdict::Verdict;

/// The choice of the worst in one group and one sweep.
pub(crate) struct Ranking {
    worst: Worst,
    count: usize,
    /// At most `count`, the least bad last.
    candidates: Vec<Chosen>,
}

/// One connection that is among the worst so far.
struct Chosen {
    score: f64,
    shown: SocketSnapshot,
}

/// A connection that may be among the worst.
pub(crate) trait Candidate {
    /// The latest verdict on it.
    fn verdict(&self) -> Option<Verdict>;
    /// How to show it by itself. It is asked only if it may be among the worst.
    fn show(self, reply: &Reply<'_>) -> Option<Shown>;
}

/// How one connection is shown by itself.
pub(crate) struct Shown {
    pub(crate) labels: Arc<Labels>,
    pub(crate) sums: Sums,
    /// Tells it from every other connection of the monitor.
    pub(crate) id: u64,
}

impl Shown {
    /// With attributes that were made for this.
    #[cfg(feature = "diag")]
    pub(crate) fn new(labels: Attributes, sums: Sums, id: u64) -> Self {
        Self { labels: Arc::new(Labels::new(labels)), sums, id }
    }
}

impl Ranking {
    pub(crate) fn new(worst: Worst, count: usize) -> Self {
        Self { worst, count, candidates: Vec::new() }
    }

    /// Where a connection comes among the candidates. Of two that are as bad the older one comes
    /// first, in whatever order they are read: what is shown does not change for nothing.
    fn place(&self, score: f64, id: u64) -> usize {
        let comes_before = |other: &Chosen| {
            other.score > score || (other.score == score && other.shown.origin.id < id)
        };
        self.candidates.partition_point(comes_before)
    }

    /// Considers one connection.
    pub(crate) fn enter(&mut self, reply: &Reply<'_>, connection: impl Candidate) {
        let (info, verdict) = (reply.info(), connection.verdict());
        let Some(score) = self.worst.score(&info, verdict.as_ref()) else { return };
        // Before all that are as bad, as its age is not known yet.
        if self.place(score, 0) >= self.count {
            return;
        }
        let Some(Shown { labels, sums, id }) = connection.show(reply) else { return };
        // It counts from now on: an old total would look like a sudden increase.
        let origin = Origin { id, start: Start::Now };
        // Of each reader its view says it.
        let since = SystemTime::UNIX_EPOCH;
        let shown = SocketSnapshot { info: Some(info), labels, sums, verdict, origin, since };
        self.consider(Chosen { score, shown });
    }

    /// Considers those that another thread chose in the same group.
    pub(crate) fn absorb(&mut self, other: Self) {
        other.candidates.into_iter().for_each(|candidate| self.consider(candidate));
    }

    fn consider(&mut self, candidate: Chosen) {
        let place = self.place(candidate.score, candidate.shown.origin.id);
        if place < self.count {
            self.candidates.truncate(self.count - 1);
            self.candidates.insert(place, candidate);
        }
    }

    /// The chosen ones, the worst first.
    pub(crate) fn into_worst(self) -> impl Iterator<Item = SocketSnapshot> {
        self.candidates.into_iter().map(|candidate| candidate.shown)
    }
}
