//! The worst connections of a group, chosen anew by every sweep and shown one by one.

use std::sync::Arc;

#[cfg(feature = "diag")]
use super::attributes::Attributes;
use super::labels::Labels;
use super::snapshot::{Origin, SocketSnapshot, Start, Sums};
use super::worst::Worst;
use crate::info::Reply;

/// The choice of the worst in one group and one sweep.
pub(crate) struct Ranking {
    worst: Worst,
    count: usize,
    /// At most `count`, the least bad last.
    candidates: Vec<Candidate>,
}

/// One connection that is among the worst so far.
struct Candidate {
    score: f64,
    shown: SocketSnapshot,
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

    /// Considers one connection. `show` is asked how to show it if it is among the worst so far.
    pub(crate) fn enter(
        &mut self,
        reply: &Reply<'_>,
        show: impl FnOnce(&Reply<'_>) -> Option<Shown>,
    ) {
        let info = reply.info();
        let Some(score) = self.worst.score(&info) else { return };
        let place = self.candidates.partition_point(|other| other.score >= score);
        if place >= self.count {
            return;
        }
        let Some(Shown { labels, sums, id }) = show(reply) else { return };
        // It counts from now on: an old total would look like a sudden increase.
        let origin = Origin { id, start: Start::Now };
        let shown = SocketSnapshot { info: Some(info), labels, sums, origin };
        self.candidates.truncate(self.count - 1);
        self.candidates.insert(place, Candidate { score, shown });
    }

    /// The chosen ones, the worst first.
    pub(crate) fn into_worst(self) -> impl Iterator<Item = SocketSnapshot> {
        self.candidates.into_iter().map(|candidate| candidate.shown)
    }
}
