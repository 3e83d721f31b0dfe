//! The retirement of groups: how a group that nobody uses makes room, and when its attributes may
//! begin at zero again.
//!
//! ```text
//!             (1) unused for the retention time, and
//!                 every reader was told all its counts
//!   reported ----------------------------------------> unnoticed
//!      ^                                                |     |
//!      |    (2) placed again before any reader          |     | (3) one reader collects without it
//!      +------- collected: its totals go on ------------+     v
//!                                                           missed
//!      placed again meanwhile: folded into overflow <---------|
//!                                                             | (4) the last reader that was told
//!                                                             v     of it collects without it
//!      placed again: a new group, from zero <--------------- gone
//! ```
//!
//! A group is a counter series to each reader, and no series may fall. A reader sees a series end
//! when it collects once without it; only then may a series with the same attributes begin at zero.
//!
//! - (2) is harmless: no reader noticed that the group was away.
//! - Between (3) and (4) no totals would be right for every reader. For one the series ended, and
//!   has to begin at zero. For another it goes on, and must not fall. So the attributes are folded
//!   into the overflow set until (4).
//!
//! A reader is a registration. If there is none, all who ask for snapshots are one reader.
//!
//! Only groups retire. Shared series of `tcp.socket.*` end with their last socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attributes::Attributes;
use super::ledger::Reader;
use super::locks::lock;
use super::set::Set;

/// Retired groups kept at most; while there are so many, none is given up.
const CAPACITY: usize = 4_096;

/// The longest time without another look for a group that can make room.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Groups that were given up, until every reader that was told of them missed them.
#[derive(Default)]
pub(crate) struct RetiredGroups {
    groups: HashMap<Attributes, Retired>,
    /// No group can make room before. A look locks the ledger of each group, and a program may ask
    /// for new groups all the time.
    look_again: Option<Instant>,
}

struct Retired {
    set: Arc<Set>,
    /// Readers that were told of it, and have not collected since.
    waiting: Vec<Reader>,
    /// Whether any reader has collected since.
    missed: bool,
}

impl RetiredGroups {
    /// Whether these attributes have to be folded: some readers missed their group, others did not.
    pub(crate) fn is_missed(&self, attributes: &Attributes) -> bool {
        self.groups.get(attributes).is_some_and(|retired| retired.missed)
    }

    /// Takes back a group that no reader has missed.
    pub(crate) fn take_back(&mut self, attributes: &Attributes) -> Option<Arc<Set>> {
        self.groups.remove(attributes).map(|retired| retired.set)
    }

    /// Notes that a reader collects without the retired groups, given all registrations. Calls
    /// `gone` for each group that every reader missed by now.
    pub(crate) fn collected_by(
        &mut self,
        reader: Reader,
        alive: &[usize],
        mut gone: impl FnMut(&Set),
    ) {
        self.groups.retain(|_, retired| {
            retired.waiting.retain(|other| *other != reader && other.is_alive(alive));
            retired.missed = true;
            if retired.waiting.is_empty() {
                gone(&retired.set);
            }
            !retired.waiting.is_empty()
        });
    }

    /// The group that nobody has used for longest, if it can make room now: see (1) above. A group
    /// that shows its worst connections is in use.
    pub(crate) fn choose<'s>(
        &mut self,
        groups: impl Iterator<Item = &'s Arc<Set>>,
        retention: Duration,
        registrations: &[usize],
    ) -> Option<Arc<Set>> {
        let now = Instant::now();
        if self.look_again.is_some_and(|then| now < then) || self.groups.len() >= CAPACITY {
            return None;
        }
        let idle = groups.filter_map(|set| {
            if lock(&set.worst).is_some() {
                return None;
            }
            let mut ledger = lock(&set.ledger);
            let idle = ledger.idle_for(set.is_in_use(), now)?;
            (idle >= retention && ledger.is_told(registrations)).then_some((idle, set))
        });
        let longest = idle.max_by_key(|(idle, _)| *idle);
        if longest.is_none() {
            self.look_again = Some(now + LOOK_AGAIN.min(retention));
        }
        longest.map(|(_, set)| Arc::clone(set))
    }

    /// Looks for a group to make room whenever the next one needs it: a sweep may have told the
    /// last counts of some group.
    pub(crate) fn look_again(&mut self) {
        self.look_again = None;
    }

    /// Keeps a group that is not reported from now on.
    pub(crate) fn retire(&mut self, set: Arc<Set>, registrations: &[usize]) {
        let waiting = match registrations {
            [] => vec![Reader::Snapshots],
            all => all.iter().copied().map(Reader::Registration).collect(),
        };
        self.groups.insert(set.labels.plain.clone(), Retired { set, waiting, missed: false });
    }
}
