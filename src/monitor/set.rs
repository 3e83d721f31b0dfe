//! Sets: the groups of `tcp.*`, and the shared series of `tcp.socket.*`. Each keeps the totals of
//! everything it ever held.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use opentelemetry::KeyValue;

use super::Worst;
use super::attributes::{Attributes, key};
use super::ledger::Ledger;
use super::slots::lock;
use crate::info::{self, FIELDS, Kind};
use crate::state::State;

/// How many rows are up-down counters.
pub(crate) const UP_DOWNS: usize = info::count(Kind::UpDown);

/// Room for every named state and one for all unknown ones.
pub(crate) const STATES: usize = 12;

/// The place of a state in per-state arrays.
pub(crate) fn state_rank(state: State) -> usize {
    match state {
        State::Unknown(_) => 0,
        known => usize::from(known.number()),
    }
}

/// Which metrics a set feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// `tcp.*`
    Group,
    /// `tcp.socket.*`
    Socket,
}

/// An attribute set in all the forms in which metrics report it, each built once.
#[derive(Debug)]
pub(crate) struct Labels {
    pub(crate) plain: Attributes,
    parts: OnceLock<Vec<Attributes>>,
    states: OnceLock<Vec<Attributes>>,
}

impl Labels {
    pub(crate) fn new(plain: Attributes) -> Self {
        Self { plain, parts: OnceLock::new(), states: OnceLock::new() }
    }

    /// The set with the part a field is of a shared metric, in the order of such fields.
    pub(crate) fn part(&self, rank: usize) -> &[KeyValue] {
        let parts = self.parts.get_or_init(|| {
            let parts = FIELDS.iter().filter_map(|field| field.part);
            parts.map(|part| self.plain.with([KeyValue::new(key::LIMITED_BY, part)])).collect()
        });
        parts[rank].as_slice()
    }

    /// The set with a state, by the state's rank.
    pub(crate) fn state(&self, rank: usize) -> &[KeyValue] {
        let states = self.states.get_or_init(|| {
            let text = |rank| State::from(rank as u8).text().unwrap_or("unknown");
            let label = |rank| self.plain.with([KeyValue::new(key::CONNECTION_STATE, text(rank))]);
            (0..STATES).map(label).collect()
        });
        states[rank].as_slice()
    }
}

/// One attribute set and the totals of all sockets it ever held.
pub(crate) struct Set {
    pub(crate) family: Family,
    pub(crate) labels: Arc<Labels>,
    /// The place of its tally in a sweep.
    pub(crate) index: usize,
    /// Handles and sockets that can still add to it.
    users: AtomicUsize,
    pub(crate) ledger: Mutex<Ledger>,
    /// Which of its connections to show one by one.
    pub(crate) worst: Mutex<Option<(Worst, usize)>>,
}

impl Set {
    fn new(family: Family, attributes: Attributes, index: usize) -> Self {
        Self {
            family,
            labels: Arc::new(Labels::new(attributes)),
            index,
            users: AtomicUsize::new(0),
            ledger: Mutex::new(Ledger::default()),
            worst: Mutex::new(None),
        }
    }

    fn is_idle(&self) -> bool {
        self.users.load(Ordering::Acquire) == 0
    }
}

/// A hold on a set that keeps it from being given up.
pub(crate) struct Membership(Arc<Set>);

impl Membership {
    pub(crate) fn set(&self) -> &Arc<Set> {
        &self.0
    }
}

impl Clone for Membership {
    fn clone(&self) -> Self {
        self.0.users.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        static DEPARTURES: AtomicUsize = AtomicUsize::new(1);
        if self.0.users.fetch_sub(1, Ordering::Release) == 1 {
            let departure = DEPARTURES.fetch_add(1, Ordering::Relaxed) as u64;
            let mut ledger = lock(&self.0.ledger);
            ledger.left = departure;
            ledger.reported_to.clear();
        }
    }
}

/// A set given up to make room. Whoever reported it has to have missed it once before its
/// attributes can start from zero again.
struct Retired {
    set: Arc<Set>,
    /// Registrations that have not collected since.
    waiting: Vec<usize>,
    missed: bool,
}

/// Retired sets kept at the most; while there are that many, none is given up.
const RETIRED: usize = 4_096;

/// All sets by their attributes.
pub(crate) struct Sets {
    named: HashMap<(Family, Attributes), Arc<Set>>,
    retired: HashMap<(Family, Attributes), Retired>,
    overflow: HashMap<Family, Arc<Set>>,
    free: Vec<usize>,
    indexes: usize,
}

/// What became of a wish for a set.
pub(crate) enum Place {
    /// The set itself.
    Own(Membership),
    /// The overflow set: the cap is reached.
    Folded(Membership),
}

impl Sets {
    pub(crate) fn new() -> Self {
        Self {
            named: HashMap::new(),
            retired: HashMap::new(),
            overflow: HashMap::new(),
            free: Vec::new(),
            indexes: 0,
        }
    }

    /// The set with these attributes, or the overflow set where that would exceed `cap` sets.
    pub(crate) fn place(
        &mut self,
        family: Family,
        attributes: &Attributes,
        cap: usize,
        registrations: &[usize],
    ) -> Place {
        let name = (family, attributes.clone());
        if let Some(set) = self.named.get(&name) {
            return Place::Own(join(set));
        }
        let count = self.named.keys().filter(|(other, _)| *other == family).count();
        let half_missed = self.retired.get(&name).is_some_and(|retired| retired.missed);
        if half_missed || (count >= cap && !self.retire_one(family, registrations)) {
            return Place::Folded(self.overflow(family));
        }
        let set = match self.retired.remove(&name) {
            // Nobody noticed that it was gone.
            Some(retired) => retired.set,
            None => Arc::new(Set::new(family, attributes.clone(), self.index())),
        };
        self.named.insert(name, Arc::clone(&set));
        Place::Own(join(&set))
    }

    /// The set that everything beyond the cap is folded into.
    pub(crate) fn overflow(&mut self, family: Family) -> Membership {
        if !self.overflow.contains_key(&family) {
            let set = Set::new(family, Attributes::overflow(), self.index());
            self.overflow.insert(family, Arc::new(set));
        }
        join(&self.overflow[&family])
    }

    /// Every set that is reported.
    pub(crate) fn reported(&self) -> impl Iterator<Item = &Arc<Set>> {
        self.named.values().chain(self.overflow.values())
    }

    /// Notes that a registration collects, without what was retired before.
    pub(crate) fn collected_by(&mut self, registration: usize, alive: &[usize]) {
        for set in self.named.values().filter(|set| set.is_idle()) {
            let mut ledger = lock(&set.ledger);
            if !ledger.reported_to.contains(&registration) {
                ledger.reported_to.push(registration);
            }
        }
        let free = &mut self.free;
        self.retired.retain(|_, retired| {
            retired.waiting.retain(|id| *id != registration && alive.contains(id));
            retired.missed = true;
            if retired.waiting.is_empty() {
                free.push(retired.set.index);
            }
            !retired.waiting.is_empty()
        });
    }

    /// Gives up the set that has been without users for longest, if all that it counted was
    /// reported.
    fn retire_one(&mut self, family: Family, registrations: &[usize]) -> bool {
        if self.retired.len() >= RETIRED {
            return false;
        }
        let reported = |set: &Set| {
            let ledger = lock(&set.ledger);
            registrations.iter().all(|registration| ledger.reported_to.contains(registration))
        };
        let idle = self
            .named
            .iter()
            .filter(|((of, _), set)| *of == family && set.is_idle() && reported(set));
        let oldest = idle.min_by_key(|(_, set)| lock(&set.ledger).left);
        let Some(name) = oldest.map(|(name, _)| name.clone()) else { return false };
        let Some(set) = self.named.remove(&name) else { return false };
        if registrations.is_empty() {
            self.free.push(set.index);
        } else {
            let waiting = registrations.to_vec();
            self.retired.insert(name, Retired { set, waiting, missed: false });
        }
        true
    }

    fn index(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.indexes += 1;
            self.indexes - 1
        })
    }
}

/// Adds a user. Only under the lock of [`Sets`], so that a set is not retired meanwhile.
fn join(set: &Arc<Set>) -> Membership {
    set.users.fetch_add(1, Ordering::Relaxed);
    Membership(Arc::clone(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &'static str) -> Attributes {
        Attributes::new([KeyValue::new("name", name)])
    }

    fn place(sets: &mut Sets, name: &'static str, registrations: &[usize]) -> (bool, Membership) {
        match sets.place(Family::Group, &named(name), 2, registrations) {
            Place::Own(membership) => (true, membership),
            Place::Folded(membership) => (false, membership),
        }
    }

    #[test]
    fn beyond_the_cap_everything_is_one_set() {
        let mut sets = Sets::new();
        let held: Vec<_> = ["a", "b", "c", "d"].map(|name| place(&mut sets, name, &[])).into();
        assert_eq!(
            held.iter().map(|(own, _)| *own).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(Arc::ptr_eq(held[2].1.set(), held[3].1.set()));
        assert_eq!(held[2].1.set().labels.plain, Attributes::overflow());
    }

    /// Two sets of which one has no user any more, after both readers reported them.
    fn two_with_one_idle(sets: &mut Sets) -> Membership {
        let (_, first) = place(sets, "a", &[0, 1]);
        lock(&first.set().ledger).opened = 5;
        let (_, second) = place(sets, "b", &[0, 1]);
        drop(first);
        sets.collected_by(0, &[0, 1]);
        sets.collected_by(1, &[0, 1]);
        second
    }

    #[test]
    fn a_set_whose_last_counts_nobody_reported_is_kept() {
        let mut sets = Sets::new();
        let (_, first) = place(&mut sets, "a", &[0]);
        let _b = place(&mut sets, "b", &[0]);
        drop(first);
        assert!(!place(&mut sets, "c", &[0]).0);
        sets.collected_by(0, &[0]);
        assert!(place(&mut sets, "c", &[0]).0);
    }

    #[test]
    fn a_set_without_users_makes_room_and_can_come_back_unnoticed() {
        let mut sets = Sets::new();
        let second = two_with_one_idle(&mut sets);
        let (own, third) = place(&mut sets, "c", &[0, 1]);
        assert!(own);
        // Nobody has collected since: nothing was missed, the totals go on.
        drop(second);
        lock(&third.set().ledger).opened = 1;
        for registration in [0, 1] {
            let idle = sets.named.values().filter(|set| set.is_idle());
            idle.for_each(|set| lock(&set.ledger).reported_to.push(registration));
        }
        let (own, again) = place(&mut sets, "a", &[0, 1]);
        assert!(own);
        assert_eq!(lock(&again.set().ledger).opened, 5);
    }

    #[test]
    fn a_set_that_one_of_two_readers_missed_is_folded_until_the_other_did() {
        let mut sets = Sets::new();
        let _second = two_with_one_idle(&mut sets);
        let (_, third) = place(&mut sets, "c", &[0, 1]);
        drop(third);
        sets.collected_by(0, &[0, 1]);
        assert!(!place(&mut sets, "a", &[0, 1]).0);
        sets.collected_by(1, &[0, 1]);
        let (own, again) = place(&mut sets, "a", &[0, 1]);
        assert!(own);
        assert_eq!(lock(&again.set().ledger).opened, 0);
    }
}
