//! The registrations: those who collect from a monitor, each with histograms of its own to feed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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
}

impl Registrations {
    pub(crate) fn new(samples: usize) -> Self {
        Self {
            all: ArcSwap::from_pointee(Vec::new()),
            next: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            samples,
            rng: Mutex::new(Rng::new(1)),
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
        number
    }

    pub(crate) fn remove(&self, number: usize) {
        self.all.rcu(|all| all.iter().copied().filter(|it| *it != number).collect::<Vec<_>>());
        self.count.fetch_sub(1, Ordering::Relaxed);
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
