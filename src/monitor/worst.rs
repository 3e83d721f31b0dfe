//! By what one connection of a group is worse than another.

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
    /// How bad a connection is; `None` if it does not say or is not bad at all.
    pub(crate) fn score(self, info: &TcpInfo) -> Option<f64> {
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
