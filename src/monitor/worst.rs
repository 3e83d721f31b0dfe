//! The worst connections of a group, shown one by one.

use std::sync::Arc;

use opentelemetry::KeyValue;

use super::Config;
use super::counters::Totals;
use super::entry::{Entry, Reading};
use super::set::Labels;
use super::snapshot::{SocketSnapshot, Sums};
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
pub(crate) struct Contest {
    worst: Worst,
    count: usize,
    /// At most `count`, the least bad last.
    entrants: Vec<Entrant>,
}

/// One connection that is among the worst so far.
pub(crate) struct Entrant {
    /// What tells it from every other connection.
    pub(crate) cookie: u64,
    score: f64,
    identity: Vec<KeyValue>,
    info: TcpInfo,
    sums: Sums,
}

/// What stays of a choice until the next: the series it made.
pub(crate) struct Chosen {
    labels: Arc<Labels>,
    /// Where its counters stood when it was chosen.
    base: Totals,
}

impl Contest {
    pub(crate) fn new(worst: Worst, count: usize) -> Self {
        Self { worst, count, entrants: Vec::new() }
    }

    /// Considers one connection, under the lock of its slot.
    pub(crate) fn enter(&mut self, entry: &Entry, reading: &Reading<'_>, config: &Config) {
        let info = reading.reply.info();
        let (Some(cookie), Some(score)) = (entry.cookie, self.worst.score(&info)) else { return };
        let place = self.entrants.partition_point(|other| other.score >= score);
        if place >= self.count {
            return;
        }
        let state = reading.reply.state();
        let Some(identity) = config.identity.always(entry.fd, cookie, state) else { return };
        self.entrants.truncate(self.count - 1);
        let entrant =
            Entrant { cookie, score, identity, info, sums: entry.sums(Some(&reading.reply)) };
        self.entrants.insert(place, entrant);
    }

    pub(crate) fn into_worst(self) -> Vec<Entrant> {
        self.entrants
    }
}

impl Entrant {
    /// The connection's series. Its counters start at zero whenever it is chosen anew: a series
    /// that comes back with an old total would be read as a sudden increase.
    pub(crate) fn show(mut self, last: Option<Chosen>, group: &Labels) -> (Chosen, SocketSnapshot) {
        let chosen = last.unwrap_or_else(|| Chosen {
            labels: Arc::new(Labels::new(group.plain.with(self.identity))),
            base: self.sums.totals,
        });
        for (total, base) in self.sums.totals.iter_mut().zip(&chosen.base) {
            *total = total.wrapping_sub(*base);
        }
        let shown = SocketSnapshot {
            info: Some(self.info),
            labels: Arc::clone(&chosen.labels),
            sums: self.sums,
        };
        (chosen, shown)
    }
}
