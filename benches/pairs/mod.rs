//! One load over bare and over watched sockets, in turns of a few milliseconds on one thread, so
//! that whatever else the machine does falls on both: ratios of throughput, of the slowest percent,
//! and of the processor's time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tcpinfo::{Group, Monitor};
use tokio::task::LocalSet;

/// Connections that stay open from turn to turn.
pub(crate) trait Load {
    type Open;

    /// Connects, both ends in the group or both bare.
    async fn open(&self, group: Option<&Group>) -> Self::Open;

    /// Exchanges messages on all connections until the turn is over.
    async fn take_turn(&self, open: &mut Self::Open, turn: &Turn);

    /// How many sockets are watched while one side is.
    fn sockets(&self) -> u64;
}

/// What this thread has used of a processor.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("time goes on from zero")
}

/// Who holds the sockets.
#[derive(Clone, Copy)]
enum Side {
    Bare,
    Watched,
    /// Bare once more: what the machine's noise alone makes of a ratio.
    Control,
}

/// How often, and how long each time. Connections are new in every batch: a socket keeps what luck
/// it had with its place in memory.
#[derive(Clone, Copy)]
struct Plan {
    batches: usize,
    turns: usize,
    turn: Duration,
}

impl Plan {
    /// `-- --test` shows that it runs; anything else measures.
    fn of_arguments() -> Self {
        let turn = Duration::from_millis(5);
        if argument("--test") {
            Self { batches: 3, turns: 6, turn }
        } else {
            Self { batches: 60, turns: 60, turn }
        }
    }
}

fn argument(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// Some milliseconds that belong to one side.
#[derive(Clone)]
pub(crate) struct Turn {
    until: Instant,
    nanoseconds: Rc<RefCell<Vec<u64>>>,
}

impl Turn {
    /// Notes an exchange that began then, and says whether there is time for one more.
    pub(crate) fn note(&self, began: Instant) -> bool {
        let now = Instant::now();
        let took = u64::try_from((now - began).as_nanos()).expect("it is short");
        self.nanoseconds.borrow_mut().push(took);
        now < self.until
    }
}

/// What one side did in all turns of a batch.
#[derive(Default)]
struct Tally {
    took: Duration,
    worked: Duration,
    nanoseconds: Rc<RefCell<Vec<u64>>>,
}

#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p99: f64,
    work: f64,
}

impl Tally {
    async fn add<L: Load>(&mut self, load: &L, open: &mut L::Open, length: Duration) {
        let (began, before) = (Instant::now(), worked());
        let nanoseconds = Rc::clone(&self.nanoseconds);
        load.take_turn(open, &Turn { until: began + length, nanoseconds }).await;
        self.took += began.elapsed();
        self.worked += worked() - before;
    }

    fn figures(self) -> Figures {
        let mut nanoseconds = self.nanoseconds.take();
        nanoseconds.sort_unstable();
        let count = nanoseconds.len();
        let p99 = nanoseconds[(count - 1) * 99 / 100] as f64;
        let count = count as f64;
        let (rate, work) = (count / self.took.as_secs_f64(), self.worked.as_secs_f64() / count);
        Figures { rate, p99, work }
    }
}

async fn batch(load: &impl Load, plan: Plan, group: &Group) -> [Figures; 3] {
    use Side::{Bare, Control, Watched};
    const ORDERS: [[Side; 3]; 6] = [
        [Bare, Watched, Control],
        [Control, Watched, Bare],
        [Watched, Control, Bare],
        [Watched, Bare, Control],
        [Bare, Control, Watched],
        [Control, Bare, Watched],
    ];
    let mut open = [load.open(None).await, load.open(Some(group)).await, load.open(None).await];
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    for turn in 0..plan.turns {
        for side in ORDERS[turn % ORDERS.len()] {
            let side = side as usize;
            // Both bare sides run the same code and warm the caches for each other; nobody does
            // so for the watched one.
            Tally::default().add(load, &mut open[side], plan.turn / 4).await;
            tallies[side].add(load, &mut open[side], plan.turn).await;
        }
    }
    tallies.map(Tally::figures)
}

/// Runs the load in many batches and prints the ratios. Meanwhile another thread sweeps ten times a
/// second, where an exporter does it every few seconds (`-- --no-sweep` leaves that out).
pub(crate) fn compare(what: &str, load: &impl Load) {
    let plan = Plan::of_arguments();
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let done = AtomicBool::new(argument("--no-sweep"));
    let sockets = load.sockets();
    let (mut batches, mut sweeps) = (Vec::new(), 0_u32);
    thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            let mut full = 0_u32;
            while !done.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(100));
                full += u32::from(monitor.snapshot().monitor.watched == sockets);
            }
            full
        });
        for _ in 0..plan.batches {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("there are descriptors");
            batches.push(LocalSet::new().block_on(&runtime, batch(load, plan, &group)));
        }
        done.store(true, Ordering::Relaxed);
        sweeper.thread().unpark();
        sweeps = sweeper.join().expect("a sweep does not panic");
    });
    assert_eq!(monitor.snapshot().monitor.read_errors, []);

    let all = |figure: &dyn Fn(&[Figures; 3]) -> f64| batches.iter().map(figure).collect();
    let rate = Spread::of(all(&|of| of[0].rate));
    let p99 = Spread::of(all(&|of| of[0].p99));
    let Plan { batches: count, turns, turn } = plan;
    println!("{what}: {count} batches of {turns} turns of {turn:?} a side, swept {sweeps} times");
    println!("  bare: {:.0} exchanges/s, p99 {:.1} us", rate.median, p99.median / 1e3);
    for (side, name) in [(Side::Watched, "watched / bare"), (Side::Control, "   bare / bare")] {
        let side = side as usize;
        let rate = Spread::of(all(&|of| of[side].rate / of[0].rate));
        let p99 = Spread::of(all(&|of| of[side].p99 / of[0].p99));
        let work = Spread::of(all(&|of| of[side].work / of[0].work));
        println!("  throughput {name}: {rate}");
        println!("         p99 {name}: {p99}");
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
