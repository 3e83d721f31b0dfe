//! All sets by their attributes: which there are, and who gets one of the few places.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attributes::Attributes;
use super::ledger::Reader;
use super::locks::lock;
use super::retirement::RetiredGroups;
use super::set::{Membership, MetricFamily, Set};

/// All sets by their attributes.
///
/// A cap says how many sets of each family are reported. Everything beyond it is summed in one
/// overflow set. `retirement.rs` draws how a group makes room for another; a shared series is gone
/// with its last socket.
pub(crate) struct Sets {
    named: HashMap<(MetricFamily, Attributes), Arc<Set>>,
    retired: RetiredGroups,
    overflow: HashMap<MetricFamily, Arc<Set>>,
    /// Indexes that no set has, of those below `indexes`.
    free: Vec<usize>,
    indexes: usize,
    /// How many of `named` are groups.
    groups: usize,
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
            retired: RetiredGroups::default(),
            overflow: HashMap::new(),
            free: Vec::new(),
            indexes: 0,
            groups: 0,
        }
    }

    /// The set with these attributes, or the overflow set if there is no room for it.
    pub(crate) fn place(
        &mut self,
        family: MetricFamily,
        attributes: &Attributes,
        caps: Caps<'_>,
    ) -> Placement {
        let name = (family, attributes.clone());
        if let Some(set) = self.named.get(&name) {
            return Placement::Own(Membership::join(set));
        }
        let is_group = family == MetricFamily::Group;
        if is_group && self.retired.is_missed(attributes) {
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
        let taken_back = if is_group { self.retired.take_back(attributes) } else { None };
        let set = taken_back.unwrap_or_else(|| {
            let index = self.index();
            Arc::new(Set::new(family, attributes.clone(), index, takes_a_place))
        });
        self.groups += usize::from(is_group);
        self.named.insert(name, Arc::clone(&set));
        let membership = Membership::join(&set);
        if is_group && self.groups >= caps.sets {
            // The overflow set is reported as zero before anything is folded into it.
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
        Membership::join(&self.overflow[&family])
    }

    /// Every set that is reported.
    pub(crate) fn reported(&self) -> impl Iterator<Item = &Arc<Set>> {
        self.named.values().chain(self.overflow.values())
    }

    /// Gives up the shared series whose sockets are gone.
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
    pub(crate) fn collected_by(&mut self, reader: Reader, alive: &[usize]) {
        let free = &mut self.free;
        self.retired.collected_by(reader, alive, |set| free.push(set.index));
    }

    /// Notes which groups are in use at the end of a sweep.
    pub(crate) fn note_idle(&mut self, now: Instant) {
        for set in groups(&self.named) {
            lock(&set.ledger).idle_for(set.is_in_use(), now);
        }
        self.retired.look_again();
    }

    /// Retires the group that nobody has used for longest, if one can make room. Its index stays
    /// taken until every reader missed it.
    fn retire_one(&mut self, caps: Caps<'_>) -> bool {
        let Caps { retention, registrations, .. } = caps;
        let chosen = self.retired.choose(groups(&self.named), retention, registrations);
        let Some(set) = chosen else { return false };
        self.named.remove(&(MetricFamily::Group, set.labels.plain.clone()));
        self.groups -= 1;
        self.retired.retire(set, registrations);
        true
    }

    fn index(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.indexes += 1;
            self.indexes - 1
        })
    }
}

/// The groups among the sets.
fn groups(
    named: &HashMap<(MetricFamily, Attributes), Arc<Set>>,
) -> impl Iterator<Item = &Arc<Set>> {
    named.values().filter(|set| set.family == MetricFamily::Group)
}

#[cfg(test)]
mod tests;
