//! [`Counters`] against a kernel's model: true counts, told modulo their ranges, and disconnects.

use super::super::*;
use super::{rank, raw};
use crate::kernel::KernelVersion;

mod case;

use case::{Action, Case, Path, Traffic};

/// A socket and its kernel.
#[derive(Clone, Debug)]
struct ModelSocket {
    path: Path,
    connection: Traffic,
    /// What earlier connections counted.
    ended: PerCounter,
    /// What outlives them.
    micros: u64,
    timeouts: u64,
}

impl ModelSocket {
    fn new(path: Path) -> Self {
        let connection = Traffic::default();
        Self { path, connection, ended: [0; COUNTERS], micros: 0, timeouts: 0 }
    }

    fn pass(&mut self, traffic: Traffic) {
        self.connection = self.connection.with(traffic, |sum, more| sum + more);
    }

    /// What the connection counted.
    fn counts(&self) -> PerCounter {
        let Path { per_loss, per_mark, per_ecn_byte, per_plb, .. } = self.path;
        let Traffic { segments: [sent, received], bytes: [bytes_sent, bytes_received], .. } =
            self.connection;
        let lost = sent / per_loss;
        let timeouts = self.lasting_timeouts();
        let micros = self.micros + self.connection.micros;
        let value = |name: &str| match name {
            "total_retrans" => lost,
            "bytes_acked" => bytes_sent,
            "bytes_received" => bytes_received,
            "segs_out" => sent + lost + received / 2,
            "segs_in" => received + sent / 2,
            "data_segs_in" => received,
            "data_segs_out" => sent + lost,
            "busy_time" => micros,
            "rwnd_limited" => micros / 2,
            "sndbuf_limited" => micros / 4,
            "delivered" => sent,
            "delivered_ce" => sent / per_mark,
            "bytes_sent" => bytes_sent + bytes_sent / per_loss,
            "bytes_retrans" => bytes_sent / per_loss,
            "dsack_dups" => lost / 16,
            "reord_seen" => lost / 64,
            "rcv_ooopack" => received / per_loss,
            "rehash" => sent.checked_div(per_plb).unwrap_or(0) + timeouts,
            "total_rto" => lost >> 12,
            "total_rto_recoveries" => lost >> 13,
            "total_rto_time" => 200 * (lost >> 12),
            "received_ce" => received / per_mark,
            "delivered_e0_bytes" => bytes_sent / per_ecn_byte,
            "received_e0_bytes" => bytes_received / per_ecn_byte,
            "delivered_ce_bytes" => bytes_sent / per_ecn_byte / per_mark,
            "received_ce_bytes" => bytes_received / per_ecn_byte / per_mark,
            "delivered_e1_bytes" | "received_e1_bytes" => 0,
            other => panic!("how does {other} count?"),
        };
        ROWS.map(|row| value(row.name))
    }

    /// Whether the kernel has the counter.
    fn has(&self, rank: usize) -> bool {
        ROWS[rank].since <= self.path.kernel
    }

    fn lasting_timeouts(&self) -> u64 {
        self.timeouts + ((self.connection.segments[0] / self.path.per_loss) >> 12)
    }

    /// What all connections counted.
    fn truth(&self) -> PerCounter {
        let counts = self.counts();
        std::array::from_fn(|rank| self.ended[rank] + counts[rank])
    }

    fn reading(&self) -> CounterNumbers {
        let mut counts = self.counts();
        let timeouts = self.lasting_timeouts();
        counts[rank("rehash")] -= timeouts - timeouts % (1 << 16);
        let says = |row: &Field| {
            self.has(row.rank) && (!self.connection.is_nothing() || row.name == "total_retrans")
        };
        let number = |row: &&Field| (row.name, counts[row.rank] & MASKS[row.rank]);
        raw(&ROWS.iter().filter(|row| says(row)).map(number).collect::<Vec<_>>())
    }

    fn disconnect(&mut self) {
        self.ended = self.truth();
        self.timeouts = self.lasting_timeouts();
        self.micros += self.connection.micros;
        self.connection = Traffic::default();
        // The truth has these from the connection that runs.
        for (rank, ended) in self.ended.iter_mut().enumerate() {
            if HABITS[rank] == CounterHabit::Clock {
                *ended = 0;
            }
        }
        self.ended[rank("rehash")] -= self.timeouts;
    }
}

/// A socket as the monitor sees it.
struct Monitored {
    socket: ModelSocket,
    counters: Counters,
    /// What the connection counted at the last reading.
    read: PerCounter,
    blank: bool,
}

impl Monitored {
    fn new(path: Path) -> Self {
        let socket = ModelSocket::new(path);
        Self { socket, counters: Counters::new(), read: [0; COUNTERS], blank: true }
    }

    /// Reads as `Connection::read` does. Whatever happened, totals do not fall.
    fn read(&mut self) {
        let before = self.counters.totals().values;
        let blank = self.socket.connection.is_nothing();
        if blank && !self.blank {
            self.counters.restart();
        }
        self.blank = blank;
        self.counters.advance(&self.socket.reading());
        self.read = self.socket.counts();
        for (rank, total) in self.counters.totals().values.iter().enumerate() {
            assert!(*total >= before[rank], "{} fell from {} to {total}", name(rank), before[rank]);
        }
    }

    /// Ends the connection, unseen where that can be found out later.
    fn disconnect(&mut self, seen: bool) {
        // Nothing but a retransmit count: it must not stand where going back looks like a wrap.
        let counts = self.socket.counts();
        let alone = self.socket.path.kernel < KernelVersion::new(4, 1)
            && counts[rank("total_retrans")] >= HALVES[rank("total_retrans")];
        self.socket.disconnect();
        if seen || alone {
            self.read();
        }
    }

    /// Whether a reading after this traffic could not tell every counter.
    fn needs_reading(&self, traffic: Traffic) -> bool {
        let mut next = self.socket.clone();
        next.pass(traffic);
        let (truth, here) = (next.truth(), self.socket.truth());
        let witness = |rank: &usize| HABITS[*rank] == CounterHabit::Bytes && self.socket.has(*rank);
        let proved = |counts: PerCounter| {
            (0..COUNTERS).filter(witness).any(|rank| counts[rank] < self.read[rank])
        };
        let far = (0..COUNTERS).filter(|rank| self.socket.has(*rank)).any(|rank| {
            let half = if name(rank) == "rehash" { 1 << 15 } else { HALVES[rank] };
            let unread = here[rank] - self.counters.totals().values[rank];
            unread + (truth[rank] - here[rank]) >= half
        });
        far || (proved(self.socket.counts()) && !proved(next.counts()))
    }

    /// Fails where a total is above the truth.
    #[track_caller]
    fn is_not_too_much(&self) {
        let truth = self.socket.truth();
        for (rank, total) in self.counters.totals().values.iter().enumerate() {
            assert!(*total <= truth[rank], "{}: {total} of {}", name(rank), truth[rank]);
        }
    }

    /// Fails where a total that the kernel reports is not the truth.
    #[track_caller]
    fn is_exact(&self, of: impl Fn(&Field) -> bool) {
        let truth = self.socket.truth();
        for row in ROWS.iter().filter(|row| self.socket.has(row.rank) && of(row)) {
            let total = self.counters.totals().values[row.rank];
            assert_eq!(total, truth[row.rank], "{}", row.name);
        }
    }
}

fn name(rank: usize) -> &'static str {
    ROWS[rank].name
}

/// Takes the steps; what the connection before had is known where it is to be had again.
fn run(
    watch: &mut Monitored,
    steps: &[Action],
    mut each: impl FnMut(&mut Monitored, Action, Traffic),
) {
    let mut before = Traffic::default();
    for step in steps {
        let traffic = match *step {
            Action::Pass(traffic) => traffic,
            Action::PassAgain(percent, size) => {
                let share =
                    |segments: u64| (u128::from(segments) * u128::from(percent) / 100) as u64;
                Traffic::new(before.segments.map(share), size, 0)
            }
            Action::Read => Traffic::default(),
            Action::Disconnect(_) => {
                before = watch.socket.connection;
                Traffic::default()
            }
        };
        each(watch, *step, traffic);
    }
}

#[test]
fn one_connection_is_never_counted_too_high() {
    Case::each(|case| {
        let mut watch = Monitored::new(case.any_path());
        run(&mut watch, &case.steps(false), |watch, step, traffic| {
            watch.socket.pass(traffic);
            if matches!(step, Action::Read) {
                watch.read();
            }
        });
        watch.read();
        watch.is_not_too_much();
    });
}

#[test]
fn many_connections_are_never_counted_too_high() {
    Case::each(|case| {
        let mut watch = Monitored::new(case.any_path());
        run(&mut watch, &case.steps(true), |watch, step, traffic| {
            watch.socket.pass(traffic);
            match step {
                Action::Read => watch.read(),
                Action::Disconnect(seen) => watch.disconnect(seen),
                Action::Pass(_) | Action::PassAgain(..) => {}
            }
            watch.is_not_too_much();
        });
        watch.read();
        watch.is_not_too_much();
    });
}

/// ECN has one byte of 2,048 here, so that it does not wrap more often than segments do.
#[test]
fn what_is_read_once_per_half_range_is_exact() {
    Case::each(|case| {
        let mut watch = Monitored::new(case.path(2_048, 0));
        run(&mut watch, &case.steps(true), |watch, step, mut traffic| {
            // In parts, each of which is less than half a range.
            while watch.needs_reading(traffic) {
                watch.read();
                let mut part = traffic;
                while watch.needs_reading(part) {
                    part = part.with(part, |whole, _| whole / 2);
                }
                watch.socket.pass(part);
                traffic = traffic.with(part, |whole, part| whole - part);
            }
            watch.socket.pass(traffic);
            match step {
                Action::Read => watch.read(),
                Action::Disconnect(seen) => {
                    // What comes between the last reading and the end, no one can know.
                    watch.read();
                    watch.disconnect(seen || watch.socket.path.kernel < KernelVersion::new(4, 1));
                }
                Action::Pass(_) | Action::PassAgain(..) => {}
            }
        });
        watch.read();
        watch.is_exact(|_| true);
    });
}

#[test]
fn segments_of_a_steady_connection_are_exact_up_to_a_whole_range() {
    Case::each(|case| {
        let ecn = case.within(1..4_000);
        let mut watch = Monitored::new(case.path(ecn, 0));
        let shape = [0; 2].map(|_| case.random.below(5));
        for _ in 0..case.within(1..24) {
            // Retransmits and acknowledgements count too: in both directions no more than this.
            let most = (u64::from(u32::MAX) - 16) / (2 * (shape[0] + shape[1]).max(1));
            let segments = case.segments();
            let segments = shape.map(|share| share * segments.min(most));
            watch.socket.pass(Traffic::new(segments, case.size(), 1));
            watch.read();
        }
        watch.is_exact(|row| HABITS[row.rank] == CounterHabit::Paced);
    });
}
