//! What a set remembers: the totals of every connection it ever held, and who was told of them.

use std::time::{Duration, Instant};

use super::sample::{ConnectionSample, Reservoir, Rng};
use crate::info::CounterNumbers;

/// Who reads totals: a registration, or whoever asks for snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Registration(usize),
    Snapshots,
}

impl Audience {
    /// Whether it still reads, given all who collect: snapshots count where nobody does.
    pub(crate) fn is_alive(self, alive: &[usize]) -> bool {
        match self {
            Self::Registration(id) => alive.contains(&id),
            Self::Snapshots => alive.is_empty(),
        }
    }
}

/// The totals of a set, and what its reports need besides.
pub(crate) struct Ledger {
    counters: CounterNumbers,
    opened: u64,
    closed: u64,
    /// Which up-downs and states were ever reported: they go to zero, not away.
    pub(crate) up_downs_seen: u64,
    pub(crate) states_seen: u16,
    /// Last samples of connections that ended, for each registration that will ask.
    ended: Vec<(usize, Reservoir)>,
    /// How often anything was added.
    additions: u64,
    /// How many additions each audience was told of.
    told: Vec<(Audience, u64)>,
    /// Registrations that were told of it at all, and of which counters.
    introduced: Vec<(usize, u64)>,
    /// Since when nobody uses the set, and the additions by then.
    idle: Option<(Instant, u64)>,
}

/// The counters of a set as one audience is told them.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) counters: CounterNumbers,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            counters: CounterNumbers::NONE,
            opened: 0,
            closed: 0,
            up_downs_seen: 0,
            states_seen: 0,
            ended: Vec::new(),
            additions: 0,
            told: Vec::new(),
            introduced: Vec::new(),
            idle: None,
        }
    }

    /// Adds what readings brought.
    pub(crate) fn add(&mut self, added: &CounterNumbers, opened: u64) {
        self.counters.add(added);
        self.opened += opened;
        self.additions += 1;
    }

    /// A connection that `opened` counted before has ended.
    pub(crate) fn close(&mut self) {
        self.closed += 1;
        self.additions += 1;
    }

    /// A connection came and went unseen.
    pub(crate) fn pass(&mut self) {
        self.opened += 1;
        self.close();
    }

    /// Offers the last sample of a connection to the histograms of every registration.
    pub(crate) fn offer(
        &mut self,
        last: ConnectionSample,
        registrations: &[usize],
        cap: usize,
        rng: &mut Rng,
    ) {
        self.additions += 1;
        if self.ended.iter().map(|(id, _)| id).ne(registrations) {
            self.ended.retain(|(id, _)| registrations.contains(id));
            for id in registrations {
                if !self.ended.iter().any(|(known, _)| known == id) {
                    self.ended.push((*id, Reservoir::default()));
                }
            }
            self.ended.sort_by_key(|(id, _)| *id);
        }
        for (_, reservoir) in &mut self.ended {
            if let Some(place) = reservoir.choose(cap, rng) {
                reservoir.put(place, last);
            }
        }
    }

    /// Tells an audience the totals, and the samples of ended connections that are for it.
    ///
    /// Where a set has taken another's place, each registration is first told of zeros: for each
    /// counter when there is one. A series that comes back would otherwise look as if it had never
    /// been away, or had grown at once.
    pub(crate) fn tell(
        &mut self,
        audience: Audience,
        alive: &[usize],
        takes_a_place: bool,
    ) -> (Account, Vec<ConnectionSample>) {
        let mut account =
            Account { counters: self.counters, opened: self.opened, closed: self.closed };
        let mut samples = Vec::new();
        let mut additions = self.additions;
        if let Audience::Registration(id) = audience {
            let ended = self.ended.iter_mut().find(|(other, _)| *other == id);
            samples = ended.map(|(_, reservoir)| reservoir.take()).unwrap_or_default();
            if takes_a_place && self.introduce(id, alive, &mut account) {
                // Not told of them yet.
                additions = u64::MAX;
            }
        }
        match self.told.iter_mut().find(|(other, _)| *other == audience) {
            Some((_, told)) => *told = additions,
            None => {
                self.told.retain(|(other, _)| other.is_alive(alive));
                self.told.push((audience, additions));
            }
        }
        (account, samples)
    }

    /// Leaves zeros of what a registration was never told of, and says whether there was any.
    fn introduce(&mut self, id: usize, alive: &[usize], account: &mut Account) -> bool {
        let known = self.introduced.iter_mut().find(|(other, _)| *other == id);
        let present = account.counters.present;
        let new = match known {
            Some((_, known)) => present & !std::mem::replace(known, present),
            None => {
                self.introduced.retain(|(other, _)| alive.contains(other));
                self.introduced.push((id, present));
                (account.opened, account.closed) = (0, 0);
                u64::MAX
            }
        };
        account.counters = account.counters.with_zeros(new);
        new != 0
    }

    /// Whether everybody who collects was told of everything; whoever asks for snapshots, where
    /// nobody collects.
    pub(crate) fn is_told(&self, registrations: &[usize]) -> bool {
        let knows = |audience| self.told.contains(&(audience, self.additions));
        match registrations {
            [] => knows(Audience::Snapshots),
            all => all.iter().all(|id| knows(Audience::Registration(*id))),
        }
    }

    /// Notes whether the set is in use, and says for how long it has not been.
    pub(crate) fn idle_for(&mut self, in_use: bool, now: Instant) -> Option<Duration> {
        if in_use {
            self.idle = None;
            return None;
        }
        match self.idle {
            Some((since, additions)) if additions == self.additions => {
                Some(now.saturating_duration_since(since))
            }
            _ => {
                self.idle = Some((now, self.additions));
                Some(Duration::ZERO)
            }
        }
    }
}
