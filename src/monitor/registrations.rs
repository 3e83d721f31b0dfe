//! The registrations: those who collect from a monitor, each with histograms of its own to feed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

use super::ledger::Ledger;
use super::locks::lock;
use super::sample::{ConnectionSample, Rng};

/// The numbers of all registrations. A number is never used again.
pub(crate) struct Registrations {
    all: ArcSwap<Vec<usize>>,
    next: AtomicUsize,
    /// The length of `all`.
    count: AtomicUsize,
    /// How many samples one group keeps for each.
    samples: usize,
    rng: Mutex<Rng>,
    collections: Mutex<Collections>,
    /// When the first registration will have waited too long, in nanoseconds since `began`.
    overdue_at: AtomicU64,
    began: Instant,
    /// How long one may wait for a collection.
    deadline: Duration,
}

/// When each registration collected last.
#[derive(Default)]
struct Collections {
    last: Vec<Collection>,
    /// Providers that took no instrument.
    refused: u64,
}

/// The last collection of one registration.
struct Collection {
    number: usize,
    /// Or when it was added.
    at: Instant,
    /// Whether the program was told that there were none since.
    told: bool,
}

impl Registrations {
    pub(crate) fn new(samples: usize, deadline: Duration) -> Self {
        Self {
            all: ArcSwap::from_pointee(Vec::new()),
            next: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            samples,
            rng: Mutex::new(Rng::new(1)),
            collections: Mutex::default(),
            overdue_at: AtomicU64::new(u64::MAX),
            began: Instant::now(),
            deadline,
        }
    }

    /// Adds a registration, and returns its number.
    pub(crate) fn add(&self) -> usize {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(number);
            // Two threads can add in another order than they got their numbers in.
            all.sort_unstable();
            all
        });
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut collections = lock(&self.collections);
        collections.last.push(Collection { number, at: Instant::now(), told: false });
        self.plan(&collections);
        number
    }

    pub(crate) fn remove(&self, number: usize) {
        self.all.rcu(|all| all.iter().copied().filter(|it| *it != number).collect::<Vec<_>>());
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut collections = lock(&self.collections);
        collections.last.retain(|it| it.number != number);
        self.plan(&collections);
    }

    /// Notes that a registration collects now.
    pub(crate) fn note_collection(&self, number: usize) {
        let mut collections = lock(&self.collections);
        if let Some(last) = collections.last.iter_mut().find(|it| it.number == number) {
            (last.at, last.told) = (Instant::now(), false);
        }
        self.plan(&collections);
    }

    /// Notes that a provider took no instrument.
    pub(crate) fn note_refusal(&self) {
        lock(&self.collections).refused += 1;
    }

    /// How many have not collected for too long, or never will.
    pub(crate) fn uncollected(&self) -> u64 {
        let now = Instant::now();
        let collections = lock(&self.collections);
        let late = |it: &&Collection| now.saturating_duration_since(it.at) >= self.deadline;
        collections.refused + collections.last.iter().filter(late).count() as u64
    }

    /// How many have waited too long and were not told of: each is counted once.
    #[inline]
    pub(crate) fn take_overdue(&self) -> usize {
        let overdue_at = self.overdue_at.load(Ordering::Relaxed);
        if overdue_at == u64::MAX || (self.began.elapsed().as_nanos() as u64) < overdue_at {
            return 0;
        }
        self.take_all_overdue()
    }

    #[cold]
    fn take_all_overdue(&self) -> usize {
        let now = Instant::now();
        let mut collections = lock(&self.collections);
        let late = |it: &&mut Collection| {
            !it.told && now.saturating_duration_since(it.at) >= self.deadline
        };
        let overdue = collections.last.iter_mut().filter(late).map(|it| it.told = true).count();
        self.plan(&collections);
        overdue
    }

    /// Says when to look again.
    fn plan(&self, collections: &Collections) {
        let waiting = collections.last.iter().filter(|it| !it.told);
        let next = waiting.map(|it| it.at.saturating_duration_since(self.began)).min();
        let nanos = |next: Duration| next.saturating_add(self.deadline).as_nanos();
        let next = next.map_or(u64::MAX, |next| nanos(next).try_into().unwrap_or(u64::MAX));
        self.overdue_at.store(next, Ordering::Relaxed);
    }

    /// The numbers of all, in order.
    pub(crate) fn all(&self) -> Guard<Arc<Vec<usize>>> {
        self.all.load()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Keeps the last sample of a connection for the histograms of every registration.
    pub(crate) fn offer(&self, ledger: &mut Ledger, last: ConnectionSample) {
        let all = self.all.load();
        if !all.is_empty() {
            ledger.offer(last, &all, self.samples, &mut lock(&self.rng));
        }
    }
}
