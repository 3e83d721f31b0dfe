//! The worst connections of a group, shown one by one.

use std::os::fd::RawFd;

use super::asker::Asker;
use super::entry::{Entry, Reading};
use super::snapshot::{Origin, SocketSnapshot, Start};
use crate::info::TcpInfo;

/// By what a connection is worse than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Worst {
    /// Share of the payload bytes sent that were retransmits; of segments before Linux 4.19.
    Retransmitted,
    /// Smoothed round-trip time over its recent minimum.
    RttInflation,
    /// Time stalled by the peer's receive window or the local send buffer.
    Stalled,
}

impl Worst {
    /// How bad a connection is; `None` where it does not say or is not bad at all.
    fn score(self, info: &TcpInfo) -> Option<f64> {
        let share = |part: f64, whole: f64| (part > 0.0 && whole > 0.0).then(|| part / whole);
        match self {
            Self::Retransmitted => match (info.bytes_retrans, info.bytes_sent) {
                (Some(again), Some(sent)) => share(again as f64, sent as f64),
                _ => share(info.total_retrans?.into(), info.segs_out?.into()),
            },
            Self::RttInflation => {
                share(info.rtt?.as_secs_f64(), info.min_rtt?.as_secs_f64()).filter(|by| *by > 1.0)
            }
            Self::Stalled => {
                let stalled = info.rwnd_limited? + info.sndbuf_limited?;
                (!stalled.is_zero()).then_some(stalled.as_secs_f64())
            }
        }
    }
}

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

    /// Considers one connection, under the lock of its slot.
    pub(crate) fn enter(
        &mut self,
        entry: &mut Entry,
        fd: RawFd,
        reading: &Reading<'_>,
        asker: &Asker,
    ) {
        let info = reading.reply.info();
        let Some(score) = self.worst.score(&info) else { return };
        let place = self.candidates.partition_point(|other| other.score >= score);
        if place >= self.count {
            return;
        }
        let Some(labels) = entry.shown(asker, fd, reading.reply.state()) else { return };
        let shown = SocketSnapshot {
            info: Some(info),
            labels,
            sums: entry.sums(Some(&reading.reply)),
            // An old total would be read as a sudden increase.
            origin: Origin { lineage: entry.lineage, start: Start::Now },
        };
        self.candidates.truncate(self.count - 1);
        self.candidates.insert(place, Candidate { score, shown });
    }

    /// The chosen ones, the worst first.
    pub(crate) fn into_worst(self) -> impl Iterator<Item = SocketSnapshot> {
        self.candidates.into_iter().map(|candidate| candidate.shown)
    }
}
