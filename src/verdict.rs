//! What two readings of a connection say limits it. Pure: no I/O, no clock, no allocation.

use std::time::Duration;

use crate::info::TcpInfo;

mod evidence;
mod growth;
mod retransmits;
mod rules;
#[cfg(feature = "monitor")]
mod steps;
#[cfg(test)]
mod tests;
mod text;
mod thresholds;

pub use evidence::{Evidence, Measure};
pub use retransmits::Retransmits;
#[cfg(all(feature = "monitor", any(target_os = "linux", target_os = "android")))]
pub(crate) use steps::{Earlier, is_quiet};

use evidence::Findings;
use growth::Interval;

/// What limits a connection, or what ended it.
///
/// The rules, their thresholds, and how often they were right in faults made for real are in the
/// guide `docs::verdicts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// Too little happened between the readings to say anything, or they cannot be compared.
    TooLittle,
    /// The program: it had nothing to send most of the time, or waits for one answer at a time.
    Application,
    /// The receive window: the program at the receiving end reads too slowly, or its buffer is too
    /// small for the path.
    ReceiveWindow,
    /// The send buffer of this end is too small for the path.
    SendBuffer,
    /// Segments are lost on the path.
    Loss,
    /// Segments wait in a queue on the path, which multiplies the round-trip time.
    Queue,
    /// The rate that the path takes, without much loss and without a long queue.
    Network,
    /// Nothing is answered any more: repeated timeouts, or probes without an answer.
    Stalled,
    /// The program accepts connections more slowly than they come.
    AcceptQueue,
    /// Nothing limits it.
    Healthy,
    /// A connection attempt that nobody answers.
    Unreachable,
    /// A connection attempt that was answered by a reset.
    Refused,
    /// The connection was cut off by a reset.
    Reset,
}

/// How many causes there are.
pub(crate) const CAUSES: usize = 13;

impl Cause {
    /// Every cause, at the place of its number.
    pub(crate) const ALL: [Self; CAUSES] = [
        Self::TooLittle,
        Self::Application,
        Self::ReceiveWindow,
        Self::SendBuffer,
        Self::Loss,
        Self::Queue,
        Self::Network,
        Self::Stalled,
        Self::AcceptQueue,
        Self::Healthy,
        Self::Unreachable,
        Self::Refused,
        Self::Reset,
    ];

    /// The text for JSON and attributes, in snake case.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TooLittle => "too_little",
            Self::Application => "application",
            Self::ReceiveWindow => "receive_window",
            Self::SendBuffer => "send_buffer",
            Self::Loss => "loss",
            Self::Queue => "queue",
            Self::Network => "network",
            Self::Stalled => "stalled",
            Self::AcceptQueue => "accept_queue",
            Self::Healthy => "healthy",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Reset => "reset",
        }
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Confidence {
    /// The number that decided is near its threshold, or a field that would have helped is absent.
    Low,
    /// The number that decided is well above its threshold.
    High,
}

impl Confidence {
    /// The text for JSON, in snake case.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// Which part of a connection was judged. Each end sees most of what it sends, and little of what
/// it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Side {
    /// What this end sends.
    Sending,
    /// What this end receives.
    Receiving,
    /// The connection as a whole, an attempt to connect, or a listening socket.
    Whole,
}

impl Side {
    /// The text for JSON, in snake case.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Receiving => "receiving",
            Self::Whole => "whole",
        }
    }
}

/// What limited a connection between two readings, with the numbers that say so.
///
/// Printed, it is one line: `the receiver: its window was closed for 92 % of the time that data
/// waited; rtt 21 ms, nothing lost`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// The one cause that matters most.
    pub cause: Cause,
    /// How sure it is.
    pub confidence: Confidence,
    /// Which part of the connection it is about.
    pub side: Side,
    findings: Findings,
}

impl Verdict {
    /// Judges what happened between two readings of one socket.
    ///
    /// It compares counters and looks at the state of the later reading. `elapsed` is the time from
    /// the earlier one to the later one. A few seconds are best: in less than a second too little
    /// happens, and the average of many minutes hides what is wrong now.
    ///
    /// Fields that the kernel does not report are left out, and the verdict is drawn from the rest:
    /// see [`missing`](Self::missing). Counters that went back by more than a wrap, or a socket
    /// that had another connection in between, give [`Cause::TooLittle`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # if !cfg!(any(target_os = "linux", target_os = "android")) { return Ok(()); }
    /// use std::time::Instant;
    /// use tcpinfo::{Cause, Verdict};
    ///
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let (earlier, begun) = (tcpinfo::read(&stream)?, Instant::now());
    /// // Some seconds later:
    /// let verdict = Verdict::between(&earlier, &tcpinfo::read(&stream)?, begun.elapsed());
    /// println!("{verdict}");
    /// assert_eq!(verdict.cause, Cause::TooLittle);
    /// # Ok(())
    /// # }
    /// ```
    pub fn between(earlier: &TcpInfo, later: &TcpInfo, elapsed: Duration) -> Self {
        rules::judge(&Interval::between(earlier, later, elapsed))
    }

    /// The numbers that the verdict rests on, the deciding one first.
    pub fn evidence(&self) -> impl Iterator<Item = Evidence> {
        self.findings.iter()
    }

    /// Fields that the rules ask for and this reply does not have.
    pub fn missing(&self) -> impl Iterator<Item = &'static crate::info::Field> {
        self.findings.missing()
    }
}
