//! The rules, in the order in which they are asked: the first that holds is the cause.
//!
//! ```text
//!  listening ........ AcceptQueue, Healthy
//!  connecting ....... Unreachable, Refused
//!  cut off .......... Reset, Stalled
//!  nothing answers .. Stalled
//!  sending .......... ReceiveWindow, SendBuffer, Loss, Queue, Network by marks
//!  receiving ........ ReceiveWindow, Network by gaps and marks
//!  no trouble ....... Application, Network, Healthy
//! ```
//!
//! Where too little was sent, the rules for sending are left out; the same for receiving.

use super::evidence::{Doubt, Findings, Kind};
use super::growth::{Before, Growth, Interval, is_connected, is_little, largest, offered};
use super::retransmits::Retransmits;
use super::thresholds::*;
use super::{Cause, Confidence, Side, Verdict};
use crate::info::{Row, TcpInfo};
use crate::state::State;

/// What is in favour of a cause so far.
struct Case<'i> {
    interval: &'i Interval<'i>,
    findings: Findings,
}

pub(super) fn judge(interval: &Interval<'_>) -> Verdict {
    let case = Case { interval, findings: Findings::new(interval.missing) };
    let Interval { earlier, later, .. } = *interval;
    if later.state == State::Listen {
        return case.listening(earlier, later);
    }
    if !is_connected(later) {
        return case.connecting(later);
    }
    if interval.doubt != Doubt::None {
        return case.nothing(interval.doubt);
    }
    if !earlier.is_connected && !earlier.was_connecting {
        return case.nothing(Doubt::NoConnection);
    }
    case.connected()
}

impl Case<'_> {
    fn nothing(mut self, doubt: Doubt) -> Verdict {
        self.findings.doubt = doubt;
        self.verdict(Cause::TooLittle, Side::Whole, true)
    }

    fn verdict(self, cause: Cause, side: Side, sure: bool) -> Verdict {
        let confidence = if sure { Confidence::High } else { Confidence::Low };
        Verdict { cause, confidence, side, findings: self.findings }
    }

    fn listening(mut self, earlier: Before, later: &TcpInfo) -> Verdict {
        let Some((queue, backlog)) = later.accept_queue.zip(later.backlog) else {
            return self.nothing(Doubt::Quiet);
        };
        let before = earlier.accept_queue.unwrap_or(0);
        let full = backlog.max(1);
        // Half full once is a burst; half full twice is a program that is slow.
        let half = full.div_ceil(2).max(2);
        let is_full = queue >= full;
        let cause =
            if is_full || queue.min(before) >= half { Cause::AcceptQueue } else { Cause::Healthy };
        let threshold = if is_full { full } else { half };
        self.findings.add(Row::accept_queue, Kind::Level, queue.into(), Some(threshold.into()));
        self.findings.add(Row::backlog, Kind::Level, backlog.into(), None);
        let sure = cause == Cause::Healthy || is_full && before >= full;
        self.verdict(cause, Side::Whole, sure)
    }

    /// A SYN under way, or what came of one.
    fn connecting(mut self, later: &TcpInfo) -> Verdict {
        let again = later.total_retrans.unwrap_or(0);
        let tried = later.segs_out.unwrap_or(0) > 0;
        let is_over = later.state == State::Close;
        if is_over && tried && later.segs_in.is_some_and(|answers| answers > 0) {
            self.findings.support(Row::segs_in, Kind::Level, later.segs_in.map(f64::from));
            return self.verdict(Cause::Refused, Side::Whole, true);
        }
        let waits = later.state == State::SynSent && again > 0;
        if waits || is_over && tried {
            self.findings.add(Row::total_retrans, Kind::Level, again.into(), Some(1.0));
            return self.verdict(Cause::Unreachable, Side::Whole, is_over || again > 1);
        }
        self.nothing(Doubt::NoConnection)
    }

    fn connected(mut self) -> Verdict {
        let Interval { elapsed, later, ref growth, .. } = *self.interval;
        if let Some(verdict) = self.cut_off() {
            return verdict;
        }
        if let Some(verdict) = self.stalled() {
            return verdict;
        }
        let sent = growth.data_segs_out.or(growth.segs_out).unwrap_or(0);
        let busy = growth.busy_time;
        let sends = sent >= ENOUGH_SEGMENTS || busy.is_some_and(|busy| busy >= ENOUGH_BUSY);
        let receives = growth.data_segs_in.is_some_and(|it| it >= ENOUGH_SEGMENTS);
        if let Some(verdict) = sends.then(|| self.sending()).flatten() {
            return verdict;
        }
        if let Some(verdict) = self.receiving(receives) {
            return verdict;
        }
        if sends {
            return self.untroubled();
        }
        if receives {
            let bytes = growth.bytes_received.map(|bytes| bytes as f64);
            self.findings.support(Row::bytes_received, Kind::Growth, bytes);
            return self.verdict(Cause::Healthy, Side::Receiving, true);
        }
        let share = Interval::share(busy, Some(elapsed));
        let segments = Some(ENOUGH_SEGMENTS as f64);
        self.findings.add(Row::data_segs_out, Kind::Growth, sent as f64, segments);
        self.findings.support(Row::busy_time, Kind::ShareOfTime, share);
        if let State::Unknown(_) = later.state {
            return self.nothing(Doubt::NoConnection);
        }
        self.nothing(Doubt::Quiet)
    }

    /// The end of a connection that was none: data, or our FIN, was never acknowledged.
    fn cut_off(&mut self) -> Option<Verdict> {
        let Interval { earlier, later, ref growth, .. } = *self.interval;
        if later.state != State::Close || earlier.was_closed {
            return None;
        }
        let fresh = later.bytes_sent?.checked_sub(later.bytes_retrans?)?;
        let acked = later.bytes_acked?;
        // A SYN and a FIN count 1 each where they were acknowledged, so this is the least.
        let lost = fresh.saturating_sub(acked);
        let by = |growth: Option<u64>| growth.unwrap_or(0);
        let grown = by(growth.bytes_sent) as i128 - by(growth.bytes_retrans) as i128;
        let no_fin = earlier.unacked == Some(0)
            && growth.bytes_sent.is_some()
            && i128::from(by(growth.bytes_acked)) - grown <= 0;
        if lost == 0 && !no_fin {
            return None;
        }
        let timeouts = later.retransmits.unwrap_or(0).max(later.probes.unwrap_or(0));
        if timeouts > 0 {
            self.findings.add(Row::retransmits, Kind::Level, timeouts.into(), Some(1.0));
            return Some(self.take(Cause::Stalled, Side::Whole, true));
        }
        self.findings.add(Row::bytes_acked, Kind::Level, acked as f64, Some(fresh as f64));
        Some(self.take(Cause::Reset, Side::Whole, true))
    }

    fn take(&mut self, cause: Cause, side: Side, sure: bool) -> Verdict {
        let findings = std::mem::replace(&mut self.findings, Findings::new(0));
        Case { interval: self.interval, findings }.verdict(cause, side, sure)
    }

    /// Nothing is answered any more.
    fn stalled(&mut self) -> Option<Verdict> {
        let later = self.interval.later;
        if later.state == State::Close {
            return None;
        }
        let timeouts = later.retransmits.unwrap_or(0);
        // `rto` doubles with each timeout: a second one is due after one and a half of it.
        let silence = later.last_ack_recv.zip(later.rto);
        let is_silent = silence.is_some_and(|(silence, rto)| silence > rto * 5 / 4);
        let (row, count, sure) = match later.unacked {
            Some(0) => {
                let probes = later.probes.unwrap_or(0);
                (Row::probes, probes, probes > TIMEOUTS)
            }
            Some(_) => (Row::retransmits, timeouts, timeouts > TIMEOUTS),
            None => return None,
        };
        let is_nearly = row == Row::retransmits && count == TIMEOUTS - 1 && is_silent;
        if count < TIMEOUTS && !is_nearly {
            return None;
        }
        self.findings.add(row, Kind::Level, count.into(), Some(TIMEOUTS.into()));
        let silence = later.last_ack_recv.map(|time| time.as_secs_f64());
        self.findings.support(Row::last_ack_recv, Kind::Level, silence);
        let waiting = later.unacked.map(f64::from);
        self.findings.support(Row::unacked, Kind::Level, waiting);
        Some(self.take(Cause::Stalled, Side::Sending, sure))
    }

    /// Trouble with what this end sends.
    fn sending(&mut self) -> Option<Verdict> {
        let Interval { later, ref growth, elapsed, .. } = *self.interval;
        let window = Interval::share(growth.rwnd_limited, growth.busy_time);
        let buffer = Interval::share(growth.sndbuf_limited, growth.busy_time);
        let is_shut = later.snd_wnd == Some(0) && later.notsent_bytes.is_some_and(|it| it > 0);
        let least = |share: Option<f64>, least: f64| share.filter(|share| *share >= least);
        let by_window = least(window, WINDOW_SHARE).filter(|window| Some(*window) >= buffer);
        let is_fast = |bytes: Option<u64>| bytes.is_some_and(|it| it as f64 >= FAST * elapsed);
        if let Some(share) = by_window.filter(|_| !is_fast(growth.bytes_acked)) {
            let threshold = Some(WINDOW_SHARE);
            let kind = Kind::ShareOf(Row::busy_time);
            self.findings.add(Row::rwnd_limited, kind, share, threshold);
            self.findings.support(Row::snd_wnd, Kind::Level, later.snd_wnd.map(f64::from));
            self.path();
            return Some(self.take(Cause::ReceiveWindow, Side::Sending, share > 0.6 || is_shut));
        }
        if let Some(share) = least(buffer, BUFFER_SHARE) {
            let kind = Kind::ShareOf(Row::busy_time);
            self.findings.add(Row::sndbuf_limited, kind, share, Some(BUFFER_SHARE));
            self.path();
            return Some(self.take(Cause::SendBuffer, Side::Sending, true));
        }
        self.loss(growth).or_else(|| self.queue(growth)).or_else(|| {
            let marked = growth.delivered_ce.map(|it| it as f64);
            let share = Interval::share(marked, growth.delivered.map(|it| it as f64));
            let share = least(share, MARKS_SHARE)?;
            let kind = Kind::ShareOf(Row::delivered);
            self.findings.add(Row::delivered_ce, kind, share, Some(MARKS_SHARE));
            self.path();
            Some(self.take(Cause::Network, Side::Sending, share > 2.0 * MARKS_SHARE))
        })
    }

    fn loss(&mut self, growth: &Growth) -> Option<Verdict> {
        let Interval { earlier, later, .. } = *self.interval;
        // What was too large for a new path is sent again as well, and is not lost.
        let pmtu = later.pmtu.map(largest);
        if earlier.pmtu > pmtu && pmtu.is_some() {
            return None;
        }
        let again = Retransmits::of(growth);
        let lost = again.lost().filter(|lost| *lost >= LOST)?;
        // Each was a gap that closed by itself, so what filled such gaps was needless as well.
        if growth.reord_seen.is_some_and(|reordered| reordered >= lost) {
            return None;
        }
        let (row, kind, share, threshold) = match again.share() {
            Some(share) => (Row::bytes_retrans, Kind::ShareOf(Row::bytes_sent), share, LOSS_SHARE),
            None => {
                let sent = growth.segs_out? as f64;
                let share = Interval::share(Some(lost as f64), Some(sent))?;
                (Row::total_retrans, Kind::ShareOf(Row::segs_out), share, LOSS_SEGMENTS)
            }
        };
        if share < threshold {
            return None;
        }
        self.findings.add(row, kind, share, Some(threshold));
        let count = |count: Option<u64>| count.map(|count| count as f64);
        self.findings.support(Row::total_retrans, Kind::Growth, count(again.segments));
        self.findings.support(Row::dsack_dups, Kind::Growth, count(again.needless));
        self.findings.support(Row::total_rto, Kind::Growth, count(again.timeouts));
        let rtt = later.rtt.map(|rtt| rtt.as_secs_f64());
        self.findings.support(Row::rtt, Kind::Level, rtt);
        let sure = share > 2.0 * threshold && growth.dsack_dups.is_some();
        Some(self.take(Cause::Loss, Side::Sending, sure))
    }

    fn queue(&mut self, growth: &Growth) -> Option<Verdict> {
        let Interval { later, elapsed, .. } = *self.interval;
        let (rtt, least) = (later.rtt?.as_secs_f64(), later.min_rtt?.as_secs_f64());
        let added = rtt - least;
        let busy = growth.busy_time.unwrap_or(elapsed);
        let flight = growth.data_segs_out.map(|sent| sent as f64 * rtt / busy.max(f64::EPSILON));
        let is_thin = later.delivery_rate_app_limited == Some(true)
            || busy < 0.9 * elapsed
            || flight.is_none_or(|flight| flight < FLIGHT);
        let threshold = if is_thin {
            QUEUE_THIN
        } else {
            QUEUE.max(QUEUE_RATIO * least).min(QUEUE_LONG.max(least))
        };
        if added < threshold {
            return None;
        }
        self.findings.add(Row::rtt, Kind::Above(Row::min_rtt), added, Some(threshold));
        self.findings.add(Row::min_rtt, Kind::Level, least, None);
        self.findings.support(
            Row::data_segs_out,
            Kind::Growth,
            growth.data_segs_out.map(|it| it as f64),
        );
        Some(self.take(Cause::Queue, Side::Sending, !is_thin && added > 2.0 * threshold))
    }

    /// Adds what the path is like.
    fn path(&mut self) {
        let Interval { later, ref growth, .. } = *self.interval;
        let rtt = later.rtt.map(|rtt| rtt.as_secs_f64());
        self.findings.support(Row::rtt, Kind::Level, rtt);
        let lost = Retransmits::of(growth).lost().map(|lost| lost as f64);
        self.findings.support(Row::total_retrans, Kind::Growth, lost);
    }

    /// Trouble with what this end receives.
    fn receiving(&mut self, enough: bool) -> Option<Verdict> {
        let Interval { earlier, later, ref growth, elapsed, .. } = *self.interval;
        let is_fast = growth.bytes_received.is_some_and(|it| it as f64 >= FAST * elapsed);
        let is_slow = later.state == State::Established && !is_fast;
        let is_small = is_slow && earlier.offers_little;
        if let Some(now) = offered(later).filter(|now| is_small && is_little(*now)) {
            let kind = Kind::LevelOf(Row::rcv_ssthresh);
            self.findings.add(Row::rcv_wnd, kind, now.into(), Some(OFFERED_SHARE));
            return Some(self.take(Cause::ReceiveWindow, Side::Receiving, now == 0.0));
        }
        if !enough {
            return None;
        }
        let count = |count: Option<u64>| count.map(|count| count as f64);
        let whole = count(growth.data_segs_in);
        let kind = Kind::ShareOf(Row::data_segs_in);
        for (row, part, least) in [
            (Row::rcv_ooopack, growth.rcv_ooopack, GAPS_SHARE),
            (Row::received_ce, growth.received_ce, MARKS_SHARE),
        ] {
            let share = Interval::share(count(part.filter(|part| *part >= LOST)), whole);
            if let Some(share) = share.filter(|share| *share >= least) {
                self.findings.add(row, kind, share, Some(least));
                return Some(self.take(Cause::Network, Side::Receiving, share > 2.0 * least));
            }
        }
        None
    }

    /// What limits a connection that has no trouble.
    fn untroubled(mut self) -> Verdict {
        let Interval { later, ref growth, elapsed, .. } = *self.interval;
        let busy = Interval::share(growth.busy_time, Some(elapsed));
        let window = later.snd_cwnd.filter(|cwnd| *cwnd > 0);
        let used =
            later.unacked.zip(window).map(|(unacked, cwnd)| f64::from(unacked) / f64::from(cwnd));
        let waits = later.notsent_bytes.map(|bytes| bytes > 0);
        let idles = busy.is_some_and(|busy| busy < BUSY_SHARE);
        let starves = later.delivery_rate_app_limited == Some(true) && waits != Some(true);
        self.findings.support(Row::busy_time, Kind::ShareOfTime, busy);
        if idles || starves {
            self.path();
            return self.verdict(Cause::Application, Side::Sending, idles);
        }
        let is_full = used.is_some_and(|used| used >= 0.9);
        self.findings.support(Row::unacked, Kind::LevelOf(Row::snd_cwnd), used);
        self.path();
        let window = Interval::share(growth.rwnd_limited, growth.busy_time);
        if window.is_some_and(|window| window >= WINDOW_SHARE) {
            return self.verdict(Cause::Healthy, Side::Sending, true);
        }
        if waits == Some(true) || is_full {
            return self.verdict(Cause::Network, Side::Sending, is_full && busy.is_some());
        }
        // All that the program wrote is on its way, and there is room for more.
        if waits == Some(false) && used.is_some() {
            return self.verdict(Cause::Application, Side::Sending, false);
        }
        self.verdict(Cause::Healthy, Side::Sending, busy.is_some())
    }
}
