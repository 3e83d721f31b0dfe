//! One set: a group of `tcp.*`, or a shared series of `tcp.socket.*`. It keeps the totals of every
//! connection it ever held.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::attributes::Attributes;
use super::labels::Labels;
use super::ledger::Ledger;
use super::worst::Worst;

/// Which metrics a set feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MetricFamily {
    /// `tcp.*`
    Group,
    /// `tcp.socket.*`
    Socket,
}

/// One attribute set and the totals of all sockets it ever held.
pub(crate) struct Set {
    pub(crate) family: MetricFamily,
    pub(crate) labels: Arc<Labels>,
    /// The index of its tally in a sweep.
    pub(crate) index: usize,
    /// Tells it from every other set that had or will have its attributes.
    pub(crate) serial: u64,
    /// When it began to count.
    pub(crate) since: SystemTime,
    /// Whether it took the place of another, and so comes late to every reader.
    pub(crate) takes_a_place: bool,
    /// How many handles, connections and tallies can still add to it.
    users: AtomicUsize,
    pub(crate) ledger: Mutex<Ledger>,
    /// Which of its connections to show one by one.
    pub(crate) worst: Mutex<Option<(Worst, usize)>>,
}

impl Set {
    pub(crate) fn new(
        family: MetricFamily,
        attributes: Attributes,
        index: usize,
        takes_a_place: bool,
    ) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Self {
            family,
            labels: Arc::new(Labels::new(attributes)),
            index,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            since: SystemTime::now(),
            takes_a_place,
            users: AtomicUsize::new(0),
            ledger: Mutex::new(Ledger::new()),
            worst: Mutex::new(None),
        }
    }

    /// Whether anything can still add to it. Once nothing can, only `Sets::place` changes that.
    ///
    /// `Acquire` here and `Release` where a [`Membership`] ends: whoever sees no users also sees
    /// all that they added.
    pub(crate) fn is_in_use(&self) -> bool {
        self.users.load(Ordering::Acquire) != 0
    }
}

/// A hold on a set that keeps it from being given up. Whoever adds to a set has one, and drops it
/// after the addition. So the ledger of a set without users has everything.
pub(crate) struct Membership(Arc<Set>);

impl Membership {
    /// Adds a user. Only under the lock of `Sets`, so that the set is not given up meanwhile.
    pub(crate) fn join(set: &Arc<Set>) -> Self {
        set.users.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(set))
    }

    pub(crate) fn set(&self) -> &Arc<Set> {
        &self.0
    }
}

/// Needs no lock: the set has a user already, and so is not given up.
impl Clone for Membership {
    fn clone(&self) -> Self {
        Self::join(&self.0)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}
