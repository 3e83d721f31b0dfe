//! What happened between two readings: by how much counters grew, and what the later one says.

use std::time::Duration;

use super::evidence::{Doubt, WANTED};
use super::thresholds::OFFERED_SHARE;
use crate::info::{Row, TcpInfo};
use crate::state::State;

/// Everything that rules look at.
#[derive(Clone, Debug)]
pub(super) struct Interval<'r> {
    /// In seconds.
    pub(super) elapsed: f64,
    pub(super) earlier: Before,
    pub(super) later: &'r TcpInfo,
    pub(super) growth: Growth,
    /// Why the readings cannot be compared, `Doubt::None` where they can.
    pub(super) doubt: Doubt,
    /// Bit `n` says that `WANTED[n]` is absent from the later reading.
    pub(super) missing: u16,
}

/// What rules ask of the earlier reading beside its counters: small enough to be kept for each of
/// many connections, whose increments somebody counts already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// A SYN was under way.
    pub(super) was_connecting: bool,
    pub(super) was_closed: bool,
    pub(super) is_connected: bool,
    pub(super) accept_queue: Option<u32>,
    pub(super) unacked: Option<u32>,
    /// See [`largest`].
    pub(super) pmtu: Option<u16>,
    /// Whether the window that this end offered was small.
    pub(super) offers_little: bool,
}

impl Before {
    fn of(info: &TcpInfo) -> Self {
        Self {
            was_connecting: info.state == State::SynSent,
            was_closed: info.state == State::Close,
            is_connected: is_connected(info),
            accept_queue: info.accept_queue,
            unacked: info.unacked,
            pmtu: info.pmtu.map(largest),
            offers_little: offered(info).is_some_and(is_little),
        }
    }
}

/// An MTU in 16 bits. Only loopback has a larger one, by 1, and it does not fall.
pub(super) fn largest(pmtu: u32) -> u16 {
    pmtu.try_into().unwrap_or(u16::MAX)
}

/// The window this end offers, as a share of its cap.
pub(super) fn offered(info: &TcpInfo) -> Option<f32> {
    let cap = info.rcv_ssthresh.filter(|cap| *cap > 0)?;
    Some(info.rcv_wnd? as f32 / cap as f32)
}

/// Whether that is little.
pub(super) fn is_little(offered: f32) -> bool {
    f64::from(offered) < OFFERED_SHARE
}

/// By how much counters grew: times in seconds, bytes and segments. `None` where one of the
/// readings does not have the counter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub(super) busy_time: Option<f64>,
    pub(super) rwnd_limited: Option<f64>,
    pub(super) sndbuf_limited: Option<f64>,
    pub(super) bytes_sent: Option<u64>,
    pub(super) bytes_retrans: Option<u64>,
    pub(super) bytes_acked: Option<u64>,
    pub(super) bytes_received: Option<u64>,
    pub(super) segs_out: Option<u64>,
    pub(super) data_segs_out: Option<u64>,
    pub(super) data_segs_in: Option<u64>,
    pub(super) total_retrans: Option<u64>,
    pub(super) dsack_dups: Option<u64>,
    pub(super) reord_seen: Option<u64>,
    pub(super) rcv_ooopack: Option<u64>,
    pub(super) delivered: Option<u64>,
    pub(super) delivered_ce: Option<u64>,
    pub(super) received_ce: Option<u64>,
    pub(super) total_rto: Option<u64>,
}

/// A counter went back by more than a wrap.
#[derive(Clone, Copy, Debug)]
pub(super) struct WentBack;

/// A counter of the kernel, which wraps at `MODULUS`, or never at 0.
trait Counter: Copy {
    fn step(self, earlier: Self) -> Option<u64>;
}

/// Less than before and half the range on at most: it wrapped.
macro_rules! wrapping {
    ($($int:ty),+) => {
        $(impl Counter for $int {
            fn step(self, earlier: Self) -> Option<u64> {
                let step = self.wrapping_sub(earlier);
                (step <= <$int>::MAX / 2).then_some(step.into())
            }
        })+
    };
}

wrapping!(u16, u32);

impl Counter for u64 {
    fn step(self, earlier: Self) -> Option<u64> {
        self.checked_sub(earlier)
    }
}

fn step<T: Counter>(earlier: Option<T>, later: Option<T>) -> Result<Option<u64>, WentBack> {
    let Some((earlier, later)) = earlier.zip(later) else { return Ok(None) };
    later.step(earlier).map(Some).ok_or(WentBack)
}

/// A clock of the kernel is a sum of parts that are rounded one by one: it can go back by a tick.
pub(super) const TICK: Duration = Duration::from_millis(10);

fn time(earlier: Option<Duration>, later: Option<Duration>) -> Result<Option<f64>, WentBack> {
    let Some((earlier, later)) = earlier.zip(later) else { return Ok(None) };
    if later + TICK < earlier {
        return Err(WentBack);
    }
    Ok(Some(later.saturating_sub(earlier).as_secs_f64()))
}

impl Growth {
    fn between(earlier: &TcpInfo, later: &TcpInfo) -> Result<Self, WentBack> {
        Ok(Self {
            busy_time: time(earlier.busy_time, later.busy_time)?,
            rwnd_limited: time(earlier.rwnd_limited, later.rwnd_limited)?,
            sndbuf_limited: time(earlier.sndbuf_limited, later.sndbuf_limited)?,
            bytes_sent: step(earlier.bytes_sent, later.bytes_sent)?,
            bytes_retrans: step(earlier.bytes_retrans, later.bytes_retrans)?,
            bytes_acked: step(earlier.bytes_acked, later.bytes_acked)?,
            bytes_received: step(earlier.bytes_received, later.bytes_received)?,
            segs_out: step(earlier.segs_out, later.segs_out)?,
            data_segs_out: step(earlier.data_segs_out, later.data_segs_out)?,
            data_segs_in: step(earlier.data_segs_in, later.data_segs_in)?,
            total_retrans: step(earlier.total_retrans, later.total_retrans)?,
            dsack_dups: step(earlier.dsack_dups, later.dsack_dups)?,
            reord_seen: step(earlier.reord_seen, later.reord_seen)?,
            rcv_ooopack: step(earlier.rcv_ooopack, later.rcv_ooopack)?,
            delivered: step(earlier.delivered, later.delivered)?,
            delivered_ce: step(earlier.delivered_ce, later.delivered_ce)?,
            received_ce: step(earlier.received_ce, later.received_ce)?,
            total_rto: step(earlier.total_rto, later.total_rto)?,
        })
    }

    /// Whether parts of the time are no longer than their whole.
    fn times_fit(&self, elapsed: f64) -> bool {
        // A tick of the kernel for each of the clocks, and a hundredth for another clock's pace.
        let slack = 0.05 + elapsed / 100.0;
        let fits = |part: Option<f64>, whole: Option<f64>| {
            part.zip(whole).is_none_or(|(part, whole)| part <= whole + slack)
        };
        let limited = self.rwnd_limited.zip(self.sndbuf_limited).map(|(one, other)| one + other);
        fits(self.busy_time, Some(elapsed)) && fits(limited, self.busy_time)
    }

    /// Whether there are no more of a part than of its whole.
    fn counts_fit(&self) -> bool {
        let fits = |part: Option<u64>, whole: Option<u64>| {
            part.zip(whole).is_none_or(|(part, whole)| part <= whole)
        };
        fits(self.bytes_retrans, self.bytes_sent) && fits(self.data_segs_out, self.segs_out)
    }
}

impl<'r> Interval<'r> {
    pub(super) fn between(earlier: &'r TcpInfo, later: &'r TcpInfo, elapsed: Duration) -> Self {
        Self::of(Before::of(earlier), later, Growth::between(earlier, later), elapsed)
    }

    /// With the growth of the counters as somebody found it.
    pub(super) fn of(
        earlier: Before,
        later: &'r TcpInfo,
        growth: Result<Growth, WentBack>,
        elapsed: Duration,
    ) -> Self {
        let elapsed = elapsed.as_secs_f64();
        let (growth, doubt) = match growth {
            Err(WentBack) => (Growth::default(), Doubt::OtherConnection),
            Ok(growth) if elapsed == 0.0 => (growth, Doubt::Contradiction),
            Ok(growth) => {
                // After a reset the kernel lets its clocks run on.
                let times = later.state == State::Close || growth.times_fit(elapsed);
                let holds = times && growth.counts_fit();
                (growth, if holds { Doubt::None } else { Doubt::Contradiction })
            }
        };
        let missing = if is_connected(later) { missing(later) } else { 0 };
        Self { elapsed, earlier, later, growth, doubt, missing }
    }

    /// Growth of a whole that is not zero, and how much of it a part is.
    pub(super) fn share(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
        let (part, whole) = part.zip(whole)?;
        (whole > 0.0).then(|| (part / whole).min(1.0))
    }
}

/// Whether there is, or was, a connection.
pub(super) fn is_connected(info: &TcpInfo) -> bool {
    // Absent in all states without a connection, however old the kernel.
    info.last_ack_recv.is_some() || info.rtt.is_some()
}

fn missing(info: &TcpInfo) -> u16 {
    let is_absent = |row: Row| match row {
        Row::busy_time => info.busy_time.is_none(),
        Row::rwnd_limited => info.rwnd_limited.is_none(),
        Row::sndbuf_limited => info.sndbuf_limited.is_none(),
        Row::bytes_sent => info.bytes_sent.is_none(),
        Row::bytes_retrans => info.bytes_retrans.is_none(),
        Row::dsack_dups => info.dsack_dups.is_none(),
        Row::data_segs_out => info.data_segs_out.is_none(),
        Row::data_segs_in => info.data_segs_in.is_none(),
        Row::min_rtt => info.min_rtt.is_none(),
        Row::delivery_rate_app_limited => info.delivery_rate_app_limited.is_none(),
        Row::snd_wnd => info.snd_wnd.is_none(),
        Row::rcv_wnd => info.rcv_wnd.is_none(),
        Row::rcv_ooopack => info.rcv_ooopack.is_none(),
        // Absent in states in which nothing can wait, too.
        Row::notsent_bytes => info.min_rtt.is_none() && info.notsent_bytes.is_none(),
        _ => false,
    };
    let bits = WANTED.iter().enumerate();
    bits.fold(0, |bits, (bit, row)| bits | u16::from(is_absent(*row)) << bit)
}
