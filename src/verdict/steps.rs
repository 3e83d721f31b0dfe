//! Verdicts from steps of counters, which a monitor takes anyway: those of
//! [`Verdict::between`], without the earlier reply. What is kept of that one is 7 bytes.
//!
//! Most connections do too little between two readings to be judged. [`is_quiet`] finds that out by
//! a few comparisons, and nothing is decoded.

use std::time::Duration;

use super::Verdict;
use super::evidence::{Doubt, Findings};
use super::growth::{Before, Growth, Interval, TICK, WentBack, is_little, largest};
use super::rules;
use super::thresholds::{ENOUGH_BUSY, ENOUGH_SEGMENTS, TIMEOUTS};
use super::{Cause, Confidence, Side};
use crate::info::{CounterNumbers, FIELDS, Reply, Row};
use crate::state::State;

/// How far each counter went since the earlier reading, by rank, modulo its range.
type Steps = [u64; CounterNumbers::LEN];

/// What is kept of a reading to judge the next one by, beside its counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Earlier {
    /// `unacked`, or `accept_queue` of a listener, in bytes that need no alignment. `u32::MAX` if
    /// it is absent.
    level: [u8; 4],
    /// 0 if it is absent.
    pmtu: [u8; 2],
    flags: u8,
}

/// There is a reading.
const KNOWN: u8 = 1;
const LISTEN: u8 = 2;
const SYN_SENT: u8 = 4;
const CLOSE: u8 = 8;
const CONNECTED: u8 = 16;
const OFFERS_LITTLE: u8 = 32;
/// It has `total_retrans`, which a socket has before it connects.
const RETRANSMITS: u8 = 64;
/// It has the other counters. A kernel fills all of those that it knows, or none.
const COUNTERS: u8 = 128;

const RETRANSMITTED: u64 = 1 << Row::total_retrans.rank();

impl Earlier {
    /// There was no reading.
    pub(crate) const NONE: Self = Self { level: [0; 4], pmtu: [0; 2], flags: 0 };

    /// Of a reply, and which counters it has.
    #[inline]
    pub(crate) fn of(reply: &Reply<'_>, present: u64) -> Self {
        let state = reply.state();
        let level =
            reply.raw(if state == State::Listen { Row::accept_queue } else { Row::unacked });
        let is_connected = reply.raw(Row::last_ack_recv).is_some()
            || reply.raw(Row::rtt).is_some_and(|rtt| rtt > 0);
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        Self {
            level: level.map_or(u32::MAX, |level| level as u32).to_ne_bytes(),
            pmtu: reply.raw(Row::pmtu).map_or(0, |pmtu| largest(pmtu as u32)).to_ne_bytes(),
            flags: KNOWN
                | flag(LISTEN, state == State::Listen)
                | flag(SYN_SENT, state == State::SynSent)
                | flag(CLOSE, state == State::Close)
                | flag(CONNECTED, is_connected)
                | flag(OFFERS_LITTLE, offers_little(reply))
                | flag(RETRANSMITS, present & RETRANSMITTED != 0)
                | flag(COUNTERS, present & !RETRANSMITTED != 0),
        }
    }

    /// Whether there is a reading.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.has(KNOWN)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The counters that it has, of those that a later reply of the same kernel has.
    fn present(&self, later: u64) -> u64 {
        let retransmits = if self.has(RETRANSMITS) { RETRANSMITTED } else { 0 };
        let others = if self.has(COUNTERS) { !RETRANSMITTED } else { 0 };
        later & (retransmits | others)
    }

    fn before(&self) -> Before {
        let level = Some(u32::from_ne_bytes(self.level)).filter(|level| *level < u32::MAX);
        let listens = self.has(LISTEN);
        Before {
            was_connecting: self.has(SYN_SENT),
            was_closed: self.has(CLOSE),
            is_connected: self.has(CONNECTED),
            accept_queue: level.filter(|_| listens),
            unacked: level.filter(|_| !listens),
            pmtu: Some(u16::from_ne_bytes(self.pmtu)).filter(|pmtu| *pmtu > 0),
            offers_little: self.has(OFFERS_LITTLE),
        }
    }
}

/// Whether the window that this end offers is small.
#[inline]
fn offers_little(reply: &Reply<'_>) -> bool {
    match reply.raw(Row::rcv_ssthresh).zip(reply.raw(Row::rcv_wnd)) {
        // Most windows are larger than the cap: then nothing is divided.
        Some((cap, window)) => window < cap && is_little(window as f32 / cap as f32),
        None => false,
    }
}

/// Whether the verdict is that too little happened, as few numbers say already. If not, it may be
/// that all the same.
#[inline]
pub(crate) fn is_quiet(reply: &Reply<'_>, steps: &Steps) -> bool {
    const BUSY: u64 = (ENOUGH_BUSY * 1e6) as u64;
    let is_live =
        !matches!(reply.state(), State::Listen | State::SynSent | State::Close | State::Unknown(_));
    let is_few = |row: Row| steps[row.rank()] < ENOUGH_SEGMENTS;
    let is_none = |row: Row| reply.raw(row).is_none_or(|count| count == 0);
    const { assert!(TIMEOUTS > 1) };
    is_live
        && steps[Row::busy_time.rank()] < BUSY
        && is_few(Row::segs_out)
        && is_few(Row::data_segs_out)
        && is_few(Row::data_segs_in)
        && is_none(Row::retransmits)
        && is_none(Row::probes)
        && !offers_little(reply)
}

impl Verdict {
    /// That of a reading of which [`is_quiet`] says so. It has no numbers.
    pub(crate) const fn quiet() -> Self {
        let mut findings = Findings::new(0);
        findings.doubt = Doubt::Quiet;
        Self { cause: Cause::TooLittle, confidence: Confidence::High, side: Side::Whole, findings }
    }

    /// What [`between`](Self::between) says of an earlier reply and this one. `raw` are this one's
    /// counters.
    pub(crate) fn of_steps(
        earlier: &Earlier,
        reply: &Reply<'_>,
        raw: &CounterNumbers,
        steps: &Steps,
        elapsed: Duration,
    ) -> Self {
        let later = reply.info();
        let growth = Growth::of_steps(earlier.present(raw.present), raw, steps);
        rules::judge(&Interval::of(earlier.before(), &later, growth, elapsed))
    }
}

impl Growth {
    /// Of the counters that are `present` in both replies.
    fn of_steps(present: u64, raw: &CounterNumbers, steps: &Steps) -> Result<Self, WentBack> {
        let step = |row: Row| {
            let rank = row.rank();
            let (step, says) = (steps[rank], raw.values[rank]);
            (present >> rank & 1 != 0).then_some((step, says))
        };
        let count = |row: Row| {
            let Some((step, says)) = step(row) else { return Ok(None) };
            let size = FIELDS[row as usize].size;
            let went_back = match size {
                8 => step > says,
                _ => step >> (8 * size - 1) & 1 != 0,
            };
            if went_back { Err(WentBack) } else { Ok(Some(step)) }
        };
        let time = |row: Row| {
            let Some((step, says)) = step(row) else { return Ok(None) };
            let grown = if step <= says { Duration::from_micros(step) } else { Duration::ZERO };
            let is_far = step > says && Duration::from_micros(step.wrapping_neg()) > TICK;
            if is_far { Err(WentBack) } else { Ok(Some(grown.as_secs_f64())) }
        };
        Ok(Self {
            busy_time: time(Row::busy_time)?,
            rwnd_limited: time(Row::rwnd_limited)?,
            sndbuf_limited: time(Row::sndbuf_limited)?,
            bytes_sent: count(Row::bytes_sent)?,
            bytes_retrans: count(Row::bytes_retrans)?,
            bytes_acked: count(Row::bytes_acked)?,
            bytes_received: count(Row::bytes_received)?,
            segs_out: count(Row::segs_out)?,
            data_segs_out: count(Row::data_segs_out)?,
            data_segs_in: count(Row::data_segs_in)?,
            total_retrans: count(Row::total_retrans)?,
            dsack_dups: count(Row::dsack_dups)?,
            reord_seen: count(Row::reord_seen)?,
            rcv_ooopack: count(Row::rcv_ooopack)?,
            delivered: count(Row::delivered)?,
            delivered_ce: count(Row::delivered_ce)?,
            received_ce: count(Row::received_ce)?,
            total_rto: count(Row::total_rto)?,
        })
    }
}

#[cfg(test)]
mod tests;
