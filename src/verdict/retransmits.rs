//! What was sent again, told apart by why.

use std::time::Duration;

use super::evidence::Doubt;
use super::growth::{Growth, Interval};
use crate::info::TcpInfo;

/// What was sent again between two readings, and how much of it for nothing.
///
/// `total_retrans` alone makes a path look worse than it is. It counts segments, whatever their
/// size; so [`share`](Self::share) is one of bytes.
/// It also counts what was not lost: a segment that came late, or a probe of the tail, which the
/// kernel sends when an acknowledgement is late (RFC 8985). Receivers tell of such duplicates
/// (RFC 2883), and these are [`needless`](Self::needless). No field counts tail-loss probes: those
/// that were needless are in here, and those that repaired a loss are not told from other repairs.
/// Reports arrive a round trip later, so the last needless ones are in the next interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Retransmits {
    /// Payload bytes that were sent again. Absent before Linux 4.19.
    pub bytes: Option<u64>,
    /// Payload bytes that were sent, these among them. Absent before Linux 4.19.
    pub bytes_sent: Option<u64>,
    /// Segments that were sent again.
    pub segments: Option<u64>,
    /// Segments of these that the peer had already, as it reported. Copies that the path makes
    /// count here too, up to what was sent again. Absent before Linux 4.19.
    pub needless: Option<u64>,
    /// Timeouts. Absent before Linux 6.7.
    pub timeouts: Option<u64>,
}

impl Retransmits {
    /// What was sent again between two readings of one connection. Everything is absent where the
    /// socket had another connection in between.
    pub fn between(earlier: &TcpInfo, later: &TcpInfo) -> Self {
        let interval = Interval::between(earlier, later, Duration::MAX);
        match interval.doubt {
            Doubt::None => Self::of(&interval.growth),
            _ => Self::default(),
        }
    }

    pub(super) fn of(growth: &Growth) -> Self {
        let segments = growth.total_retrans;
        let needless = growth.dsack_dups.zip(segments).map(|(dups, again)| dups.min(again));
        Self {
            bytes: growth.bytes_retrans,
            bytes_sent: growth.bytes_sent,
            segments,
            needless,
            timeouts: growth.total_rto,
        }
    }

    /// Segments that were sent again and that the peer did not have, as far as it said.
    pub fn lost(&self) -> Option<u64> {
        Some(self.segments? - self.needless.unwrap_or(0))
    }

    /// The part of the bytes sent that was sent again and needed. `None` if nothing was sent.
    pub fn share(&self) -> Option<f64> {
        let (bytes, sent) = (self.bytes?, self.bytes_sent?);
        let segments = self.segments? as f64;
        let needed = if segments > 0.0 { self.lost()? as f64 / segments } else { 1.0 };
        (sent > 0).then(|| bytes as f64 * needed / sent as f64)
    }
}
