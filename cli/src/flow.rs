//! Connections over time: what changed between two samples, by the kernel's cookie.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tcpinfo::diag::Socket;
use tcpinfo::{State, TcpInfo, Verdict};

use crate::column::queueing_delay;
use crate::sample::Sample;

/// One socket over time.
#[derive(Debug)]
pub(crate) struct Flow {
    /// As the latest sample has it.
    pub(crate) socket: Socket,
    /// When the latest dump began, since the first sample.
    at: Duration,
    /// When it ended.
    end: Duration,
    pub(crate) rates: Rates,
    pub(crate) history: VecDeque<Point>,
    /// What limited it since the window began. Absent until there are two samples.
    pub(crate) verdict: Option<Verdict>,
    counts: Counts,
    /// Where the window begins, and where the next one will.
    window: [Option<(Duration, TcpInfo)>; 2],
}

/// What a socket moved each second between the latest two samples. Absent until there are two, and
/// if the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// Bytes sent each second, retransmitted ones too; before Linux 4.19 those acknowledged.
    pub(crate) sent: Option<f64>,
    /// Bytes received each second.
    pub(crate) received: Option<f64>,
}

/// One moment of the recent course.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    /// Seconds.
    pub(crate) rtt: Option<f32>,
    /// Bytes each second, both directions.
    pub(crate) throughput: Option<f32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: Option<u64>,
    received: Option<u64>,
}

impl Counts {
    fn of(socket: &Socket) -> Self {
        let info = socket.info.as_ref();
        Self {
            sent: info.and_then(|info| info.bytes_sent.or(info.bytes_acked)),
            received: info.and_then(|info| info.bytes_received),
        }
    }
}

impl Flow {
    /// Points of the recent course that are kept.
    pub(crate) const COURSE: usize = 60;
    /// The window begins so long ago, or up to twice that.
    const WINDOW: Duration = Duration::from_secs(5);

    fn new(socket: Socket, at: Duration, end: Duration) -> Self {
        let counts = Counts::of(&socket);
        let begin = socket.info.clone().map(|info| (at, info));
        let mut flow = Self {
            socket,
            at,
            end,
            rates: Rates::default(),
            history: VecDeque::new(),
            verdict: None,
            counts,
            window: [begin.clone(), begin],
        };
        flow.note();
        flow
    }

    fn update(&mut self, socket: Socket, at: Duration, end: Duration) {
        let elapsed = at.saturating_sub(self.at).as_secs_f64();
        let counts = Counts::of(&socket);
        let rate = |earlier: Option<u64>, later: Option<u64>| {
            // A socket that was disconnected and connected again counts from zero.
            let grown = later?.saturating_sub(earlier?);
            (elapsed > 0.0).then(|| grown as f64 / elapsed)
        };
        self.rates = Rates {
            sent: rate(self.counts.sent, counts.sent),
            received: rate(self.counts.received, counts.received),
        };
        (self.socket, self.at, self.end, self.counts) = (socket, at, end, counts);
        let next = self.window[1].as_ref().map(|(begin, _)| *begin);
        if next.is_none_or(|begin| at.saturating_sub(begin) >= Self::WINDOW) {
            let begin = self.socket.info.clone().map(|info| (at, info));
            self.window.swap(0, 1);
            self.window[1] = begin;
        }
        let later = self.socket.info.as_ref();
        let judge = |((earlier, elapsed), later)| Verdict::between(earlier, later, elapsed);
        self.verdict = self.earlier().zip(later).map(judge);
        self.note();
    }

    fn note(&mut self) {
        if self.history.len() == Self::COURSE {
            self.history.pop_front();
        }
        let rtt = self.socket.info.as_ref().and_then(|info| info.rtt);
        let total =
            self.rates.sent.zip(self.rates.received).map(|(sent, received)| sent + received);
        self.history.push_back(Point {
            rtt: rtt.map(|rtt| rtt.as_secs_f32()),
            throughput: total.map(|total| total as f32),
        });
    }

    /// The reading at the begin of the window, and how long ago that was at most: a verdict doubts
    /// what grew by more than the time that passed.
    pub(crate) fn earlier(&self) -> Option<(&TcpInfo, Duration)> {
        let (begin, info) = self.window[0].as_ref()?;
        (self.at > *begin).then(|| (info, self.end.saturating_sub(*begin)))
    }

    /// Bytes sent and retransmitted within the window.
    pub(crate) fn retransmitted(&self) -> Option<(u64, u64)> {
        let (earlier, _) = self.earlier()?;
        let later = self.socket.info.as_ref()?;
        let sent = later.bytes_sent?.saturating_sub(earlier.bytes_sent?);
        Some((sent, later.bytes_retrans?.saturating_sub(earlier.bytes_retrans?)))
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.socket.info.as_ref()?.rtt
    }

    pub(crate) fn queueing_delay(&self) -> Option<Duration> {
        queueing_delay(&self.socket)
    }

    /// How long the peer has acknowledged nothing although a timer has expired over it; zero while
    /// all is well.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        let info = self.socket.info.as_ref()?;
        let timeouts = u32::from(info.retransmits?) + u32::from(info.backoff.unwrap_or_default());
        let waits = info.unacked? > 0 || info.probes.is_some_and(|probes| probes > 0);
        if timeouts > 0 && waits { info.last_ack_recv } else { Some(Duration::ZERO) }
    }
}

/// All sockets of the latest sample.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    by_cookie: HashMap<u64, Flow>,
    /// Local ports that a program listens on.
    listening: HashSet<u16>,
}

impl Flows {
    /// Takes in a sample, and gives back its memory. What is not in it has ended.
    pub(crate) fn update(&mut self, sample: Sample) -> Vec<Socket> {
        let Sample { at, took, mut sockets, listening, .. } = sample;
        let end = at + took;
        self.listening = listening;
        // Flows are large: a map that grows step by step moves them several times.
        self.by_cookie.reserve(sockets.len().saturating_sub(self.by_cookie.len()));
        for socket in sockets.drain(..) {
            match self.by_cookie.get_mut(&socket.cookie) {
                // A dump can have a socket twice.
                Some(flow) if flow.at == at => {}
                Some(flow) => flow.update(socket, at, end),
                None => {
                    self.by_cookie.insert(socket.cookie, Flow::new(socket, at, end));
                }
            }
        }
        self.by_cookie.retain(|_, flow| flow.at == at);
        sockets
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.by_cookie.values()
    }

    pub(crate) fn get(&self, cookie: u64) -> Option<&Flow> {
        self.by_cookie.get(&cookie)
    }

    /// Whether this side is the one that was connected to.
    pub(crate) fn is_server(&self, socket: &Socket) -> bool {
        socket.state == State::Listen || self.listening.contains(&socket.local.port())
    }
}
