//! By what one connection of a group is worse than another.

use crate::info::TcpInfo;
use crate::verdict::{Cause, Confidence, Verdict};

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
    /// By the latest verdict, those that have trouble: first what is stalled, cut off, or never
    /// connected, then a full accept queue, loss, queues, and what a window or a buffer limits. Of
    /// one cause the sure and clear ones come first.
    Verdict,
    /// Only those with this cause as their latest verdict, the sure and clear ones first.
    Cause(Cause),
}

/// Causes that are trouble, the gravest last.
const TROUBLES: [Cause; 9] = [
    Cause::SendBuffer,
    Cause::ReceiveWindow,
    Cause::Queue,
    Cause::Loss,
    Cause::AcceptQueue,
    Cause::Refused,
    Cause::Unreachable,
    Cause::Reset,
    Cause::Stalled,
];

/// How clear a verdict is, from 0 to 2: by its confidence, then by how far its deciding number is
/// above the threshold.
fn clearness(verdict: &Verdict) -> f64 {
    let first = verdict.evidence().next();
    let times = first.and_then(|first| Some(first.value / first.threshold.filter(|it| *it > 0.0)?));
    let times = times.unwrap_or(1.0);
    let sure = if verdict.confidence == Confidence::High { 1.0 } else { 0.0 };
    sure + times / (1.0 + times)
}

impl Worst {
    /// How bad a connection is; `None` if it does not say or is not bad at all.
    pub(crate) fn score(self, info: &TcpInfo, verdict: Option<&Verdict>) -> Option<f64> {
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
            Self::Verdict => {
                let verdict = verdict?;
                let rank = TROUBLES.iter().position(|cause| *cause == verdict.cause)?;
                Some(2.0 * rank as f64 + clearness(verdict))
            }
            Self::Cause(cause) => verdict.filter(|it| it.cause == cause).map(clearness),
        }
    }
}
