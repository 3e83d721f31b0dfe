//! The worst connections of a group, chosen anew by every sweep and shown one by one.

use std::os::fd::RawFd;

use super::connection::{Connection, Reading};
use super::identity::SocketIdentity;
use super::snapshot::{Origin, SocketSnapshot, Start};
use super::worst::Worst;

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

impl Ranking {
    pub(crate) fn new(worst: Worst, count: usize) -> Self {
        Self { worst, count, candidates: Vec::new() }
    }

    /// Considers one connection, whose slot is locked.
    pub(crate) fn enter(
        &mut self,
        connection: &mut Connection,
        fd: RawFd,
        reading: &Reading<'_>,
        identity: SocketIdentity,
    ) {
        let info = reading.reply.info();
        let Some(score) = self.worst.score(&info) else { return };
        let place = self.candidates.partition_point(|other| other.score >= score);
        if place >= self.count {
            return;
        }
        let Some(labels) = connection.shown(identity, fd, reading.reply.state()) else { return };
        let shown = SocketSnapshot {
            info: Some(info),
            labels,
            sums: connection.sums(Some(&reading.reply)),
            // It counts from now on: an old total would look like a sudden increase.
            origin: Origin { id: connection.id, start: Start::Now },
        };
        self.candidates.truncate(self.count - 1);
        self.candidates.insert(place, Candidate { score, shown });
    }

    /// The chosen ones, the worst first.
    pub(crate) fn into_worst(self) -> impl Iterator<Item = SocketSnapshot> {
        self.candidates.into_iter().map(|candidate| candidate.shown)
    }
}
