//! Sets: the groups of `tcp.*`, and the shared series of `tcp.socket.*`. Each keeps the totals of
//! everything it ever held.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Worst;
use super::attributes::Attributes;
use super::labels::Labels;
use super::ledger::{Audience, Ledger};
use super::slots::lock;

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
    /// The place of its tally in a sweep.
    pub(crate) index: usize,
    /// Tells it from every other set that had or will have its attributes.
    pub(crate) serial: u64,
    /// Whether it took the place of another, and so comes late to every audience.
    pub(crate) takes_a_place: bool,
    /// Handles, connections and tallies that can still add to it.
    users: AtomicUsize,
    pub(crate) ledger: Mutex<Ledger>,
    /// Which of its connections to show one by one.
    pub(crate) worst: Mutex<Option<(Worst, usize)>>,
}

impl Set {
    fn new(
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
            takes_a_place,
            users: AtomicUsize::new(0),
            ledger: Mutex::new(Ledger::new()),
            worst: Mutex::new(None),
        }
    }

    /// Whether anything can still add to it. Once nothing can, only [`Sets::place`] changes that.
    pub(crate) fn is_in_use(&self) -> bool {
        self.users.load(Ordering::Acquire) != 0
    }
}

/// A hold on a set that keeps it from being given up. Whoever adds to a set has one, and lets go of
/// it after the addition: a set without users has everything in its ledger.
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
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

/// A group given up to make room. Whoever reported it has to have missed it once before its
/// attributes can start from zero again.
struct Retired {
    set: Arc<Set>,
    /// Who has not collected since; whoever asks for snapshots, where nobody collects.
    waiting: Vec<Audience>,
    missed: bool,
}

/// Retired groups kept at the most; while there are that many, none is given up.
const RETIRED: usize = 4_096;

/// The longest time without another look for a group that can make room.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// All sets by their attributes.
///
/// ```text
/// place() --> named --(idle for long, everybody told)--> retired --(everybody missed it)--> gone
///               ^                                           |
///               +-------------(nobody missed it)------------+
/// ```
///
/// Once some registrations have missed a retired group and others have not, its attributes are
/// folded until the others have: no totals would be right for both. Shared series of
/// `tcp.socket.*` need none of this: they are gone with their last socket.
pub(crate) struct Sets {
    named: HashMap<(MetricFamily, Attributes), Arc<Set>>,
    retired: HashMap<(MetricFamily, Attributes), Retired>,
    overflow: HashMap<MetricFamily, Arc<Set>>,
    free: Vec<usize>,
    indexes: usize,
    groups: usize,
    /// No group can make room before.
    look_again: Option<Instant>,
}

/// What became of a wish for a set.
pub(crate) enum Placement {
    /// The set itself.
    Own(Membership),
    /// The overflow set: the cap is reached.
    Folded(Membership),
}

/// How many sets there may be, and when a group makes room for another.
#[derive(Clone, Copy)]
pub(crate) struct Caps<'r> {
    pub(crate) sets: usize,
    pub(crate) retention: Duration,
    pub(crate) registrations: &'r [usize],
}

impl Sets {
    pub(crate) fn new() -> Self {
        Self {
            named: HashMap::new(),
            retired: HashMap::new(),
            overflow: HashMap::new(),
            free: Vec::new(),
            indexes: 0,
            groups: 0,
            look_again: None,
        }
    }

    /// The set with these attributes, or the overflow set where that would exceed the cap.
    pub(crate) fn place(
        &mut self,
        family: MetricFamily,
        attributes: &Attributes,
        caps: Caps<'_>,
    ) -> Placement {
        let name = (family, attributes.clone());
        if let Some(set) = self.named.get(&name) {
            return Placement::Own(join(set));
        }
        if self.retired.get(&name).is_some_and(|retired| retired.missed) {
            return Placement::Folded(self.overflow(family));
        }
        let mut takes_a_place = false;
        if self.count(family) >= caps.sets {
            match family {
                MetricFamily::Group => takes_a_place = self.retire_one(caps),
                MetricFamily::Socket => self.drop_unused_series(),
            }
            if self.count(family) >= caps.sets {
                return Placement::Folded(self.overflow(family));
            }
        }
        let set = match self.retired.remove(&name) {
            // Nobody noticed that it was gone.
            Some(retired) => retired.set,
            None => {
                let index = self.index();
                Arc::new(Set::new(family, attributes.clone(), index, takes_a_place))
            }
        };
        self.groups += usize::from(family == MetricFamily::Group);
        self.named.insert(name, Arc::clone(&set));
        let membership = join(&set);
        if family == MetricFamily::Group && self.groups >= caps.sets {
            // Reported as zero before anything is folded into it.
            drop(self.overflow(family));
        }
        Placement::Own(membership)
    }

    fn count(&self, family: MetricFamily) -> usize {
        match family {
            MetricFamily::Group => self.groups,
            MetricFamily::Socket => self.named.len() - self.groups,
        }
    }

    /// The set that everything beyond the cap is folded into.
    pub(crate) fn overflow(&mut self, family: MetricFamily) -> Membership {
        if !self.overflow.contains_key(&family) {
            let set = Set::new(family, Attributes::overflow(), self.index(), false);
            self.overflow.insert(family, Arc::new(set));
        }
        join(&self.overflow[&family])
    }

    /// Every set that is reported.
    pub(crate) fn reported(&self) -> impl Iterator<Item = &Arc<Set>> {
        self.named.values().chain(self.overflow.values())
    }

    /// Gives up the series whose sockets are gone.
    pub(crate) fn drop_unused_series(&mut self) {
        let free = &mut self.free;
        self.named.retain(|(family, _), set| {
            let stays = *family == MetricFamily::Group || set.is_in_use();
            if !stays {
                free.push(set.index);
            }
            stays
        });
    }

    /// Notes that somebody collects, without what was retired before.
    pub(crate) fn collected_by(&mut self, audience: Audience, alive: &[usize]) {
        let free = &mut self.free;
        self.retired.retain(|_, retired| {
            retired.waiting.retain(|other| *other != audience && other.is_alive(alive));
            retired.missed = true;
            if retired.waiting.is_empty() {
                free.push(retired.set.index);
            }
            !retired.waiting.is_empty()
        });
    }

    /// Notes which groups are in use at the end of a sweep.
    pub(crate) fn note_idle(&mut self, now: Instant) {
        for ((family, _), set) in &self.named {
            if *family == MetricFamily::Group {
                lock(&set.ledger).idle_for(set.is_in_use(), now);
            }
        }
        self.look_again = None;
    }

    /// Gives up the group that nobody has used for longest, if that is long enough and everybody
    /// was told of all that it counted.
    fn retire_one(&mut self, caps: Caps<'_>) -> bool {
        let now = Instant::now();
        if self.look_again.is_some_and(|then| now < then) || self.retired.len() >= RETIRED {
            return false;
        }
        let Caps { retention, registrations, .. } = caps;
        let idle = self.named.iter().filter_map(|(name, set)| {
            if name.0 != MetricFamily::Group || lock(&set.worst).is_some() {
                return None;
            }
            let mut ledger = lock(&set.ledger);
            let idle = ledger.idle_for(set.is_in_use(), now)?;
            (idle >= retention && ledger.is_told(registrations)).then_some((idle, name))
        });
        let longest = idle.max_by_key(|(idle, _)| *idle);
        let Some(name) = longest.map(|(_, name)| name.clone()) else {
            self.look_again = Some(now + LOOK_AGAIN.min(retention));
            return false;
        };
        let Some(set) = self.named.remove(&name) else { return false };
        self.groups -= 1;
        let waiting = match registrations {
            [] => vec![Audience::Snapshots],
            all => all.iter().copied().map(Audience::Registration).collect(),
        };
        self.retired.insert(name, Retired { set, waiting, missed: false });
        true
    }

    fn index(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.indexes += 1;
            self.indexes - 1
        })
    }
}

/// Adds a user. Only under the lock of [`Sets`], so that a set is not given up meanwhile.
fn join(set: &Arc<Set>) -> Membership {
    set.users.fetch_add(1, Ordering::Relaxed);
    Membership(Arc::clone(set))
}

#[cfg(test)]
mod tests;
