//! One thing done in two ways, in turns: ratios of throughput, of the slowest percent, and of the
//! processor's time, which other programs on the machine disturb least.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What this thread has used of a processor.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("time goes on from zero")
}

/// Who holds the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Bare,
    Watched,
    /// Bare once more: what the machine's noise alone makes of a ratio.
    Control,
}

/// How often, and how long each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
}

/// Whether watched slices are swept in their middle, ten times a second. `-- --no-sweep` shows what
/// the wrapper alone costs: a sweep delays whatever waits for the one thread meanwhile.
pub(crate) fn sweeps() -> bool {
    !std::env::args().any(|argument| argument == "--no-sweep")
}

impl Plan {
    /// `-- --test` shows that it runs; anything else measures.
    pub(crate) fn of_arguments() -> Self {
        if std::env::args().any(|argument| argument == "--test") {
            Self { rounds: 3, slice: Duration::from_millis(20) }
        } else {
            Self { rounds: 90, slice: Duration::from_millis(100) }
        }
    }
}

/// The exchanges of one slice.
pub(crate) struct Slice {
    until: Instant,
    began: Instant,
    worked: Duration,
    nanoseconds: Vec<u64>,
}

impl Slice {
    pub(crate) fn start(length: Duration) -> Self {
        let began = Instant::now();
        let nanoseconds = Vec::with_capacity(100_000);
        Self { until: began + length, began, worked: worked(), nanoseconds }
    }

    /// Notes an exchange that began then, and says whether there is time for one more.
    pub(crate) fn note(&mut self, began: Instant) -> bool {
        let now = Instant::now();
        self.nanoseconds.push(u64::try_from((now - began).as_nanos()).expect("it is short"));
        now < self.until
    }

    fn end(mut self) -> Figures {
        let (took, worked) = (self.began.elapsed(), worked() - self.worked);
        self.nanoseconds.sort_unstable();
        let count = self.nanoseconds.len();
        let p99 = self.nanoseconds[(count - 1) * 99 / 100];
        let rate = count as f64 / took.as_secs_f64();
        Figures { rate, p99: p99 as f64, work: worked.as_secs_f64() / count as f64 }
    }
}

#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p99: f64,
    work: f64,
}

/// Runs all sides in every round, each round in another order, and prints the ratios.
pub(crate) fn compare(what: &str, plan: Plan, mut run: impl FnMut(Side) -> Slice) {
    use Side::{Bare, Control, Watched};
    const ORDERS: [[Side; 3]; 6] = [
        [Bare, Watched, Control],
        [Control, Watched, Bare],
        [Watched, Control, Bare],
        [Watched, Bare, Control],
        [Bare, Control, Watched],
        [Control, Bare, Watched],
    ];
    run(Bare);
    run(Watched);
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        let mut of = [Figures { rate: 0.0, p99: 0.0, work: 0.0 }; 3];
        for side in ORDERS[round % ORDERS.len()] {
            of[side as usize] = run(side).end();
        }
        rounds.push(of);
    }
    let all = |figure: &dyn Fn(&[Figures; 3]) -> f64| rounds.iter().map(figure).collect();
    let rate = Spread::of(all(&|of| of[Bare as usize].rate));
    let p99 = Spread::of(all(&|of| of[Bare as usize].p99));
    println!("{what}: {} rounds of {:?}", plan.rounds, plan.slice);
    println!("  bare: {:.0} exchanges/s, p99 {:.1} us", rate.median, p99.median / 1e3);
    for (side, name) in [(Watched, "watched / bare"), (Control, "   bare / bare")] {
        let rate = Spread::of(all(&|of| of[side as usize].rate / of[Bare as usize].rate));
        let p99 = Spread::of(all(&|of| of[side as usize].p99 / of[Bare as usize].p99));
        println!("  throughput {name}: {rate}");
        println!("         p99 {name}: {p99}");
        let work = Spread::of(all(&|of| of[side as usize].work / of[Bare as usize].work));
        println!("    CPU time {name}: {work}");
    }
}

/// The order statistics of many ratios.
struct Spread {
    median: f64,
    /// Holds the true median with a probability of 95 %.
    trust: [f64; 2],
    quartiles: [f64; 2],
    range: [f64; 2],
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let last = (all.len() - 1) as f64;
        let at = |place: f64| all[place.round().clamp(0.0, last) as usize];
        let reach = 0.98 * (all.len() as f64).sqrt();
        Self {
            median: at(last / 2.0),
            trust: [at(last / 2.0 - reach), at(last / 2.0 + reach)],
            quartiles: [at(last / 4.0), at(last * 3.0 / 4.0)],
            range: [at(0.0), at(last)],
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, trust, quartiles, range } = self;
        write!(f, "median {median:.4} (95 % {:.4} to {:.4}", trust[0], trust[1])?;
        write!(f, "; quartiles {:.4}, {:.4}", quartiles[0], quartiles[1])?;
        write!(f, "; range {:.3} to {:.3})", range[0], range[1])
    }
}
