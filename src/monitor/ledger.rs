//! What a set remembers: the totals of every connection it ever held, and which readers were told
//! of them.
//!
//! A set may be forgotten only after every reader was told everything. So the ledger counts its
//! additions, and notes for each reader how many of them it was told of. A sweep does not add to a
//! ledger one reading at a time: its tally adds once, at the end.

use std::time::{Duration, Instant};

use super::sample::{ConnectionSample, Reservoir, Rng};
use crate::info::CounterNumbers;

/// Who reads totals: a registration, or whoever asks for snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Registration(usize),
    Snapshots,
}

impl Reader {
    /// Whether it still reads, given all registrations. Snapshots count only if there are none.
    pub(crate) fn is_alive(self, alive: &[usize]) -> bool {
        match self {
            Self::Registration(id) => alive.contains(&id),
            Self::Snapshots => alive.is_empty(),
        }
    }
}

/// The totals of a set, and what its reports need beside them.
pub(crate) struct Ledger {
    counters: CounterNumbers,
    opened: u64,
    closed: u64,
    /// Which up-downs, states and causes were ever reported: they go to zero, not away.
    pub(crate) up_downs_seen: u64,
    pub(crate) states_seen: u16,
    pub(crate) causes_seen: u16,
    /// Last samples of connections that ended, for each registration that will ask.
    ended: Vec<(usize, Reservoir)>,
    /// How often anything was added.
    additions: u64,
    /// How many additions each reader was told of.
    told: Vec<(Reader, u64)>,
    /// Registrations that were told of the set at all, and of which counters.
    introduced: Vec<(usize, u64)>,
    /// Since when nobody uses the set, and how many additions there were then.
    idle: Option<(Instant, u64)>,
}

/// The totals of a set as one reader is told them.
#[derive(Clone, Copy)]
pub(crate) struct Totals {
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
            causes_seen: 0,
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

    /// Counts the end of a connection that was counted as opened before.
    pub(crate) fn close(&mut self) {
        self.closed += 1;
        self.additions += 1;
    }

    /// Counts a connection that came and went before any reading showed it.
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

    /// Tells a reader the totals, and the samples of ended connections that are for it.
    ///
    /// If the set has taken another's place, each registration is first told zeros: of opened and
    /// closed, and of each counter as soon as it is reported. Otherwise a series that comes back
    /// would look as if it had never been away, or had grown at once.
    pub(crate) fn tell(
        &mut self,
        reader: Reader,
        alive: &[usize],
        takes_a_place: bool,
    ) -> (Totals, Vec<ConnectionSample>) {
        let mut totals =
            Totals { counters: self.counters, opened: self.opened, closed: self.closed };
        let mut samples = Vec::new();
        let mut additions = self.additions;
        if let Reader::Registration(id) = reader {
            let ended = self.ended.iter_mut().find(|(other, _)| *other == id);
            samples = ended.map(|(_, reservoir)| reservoir.take()).unwrap_or_default();
            if takes_a_place && self.introduce(id, alive, &mut totals) {
                // It got zeros, so it is not told yet: no number of additions is this high.
                additions = u64::MAX;
            }
        }
        match self.told.iter_mut().find(|(other, _)| *other == reader) {
            Some((_, told)) => *told = additions,
            None => {
                self.told.retain(|(other, _)| other.is_alive(alive));
                self.told.push((reader, additions));
            }
        }
        (totals, samples)
    }

    /// Replaces what a registration was never told of by zeros. Returns whether there was any.
    fn introduce(&mut self, id: usize, alive: &[usize], totals: &mut Totals) -> bool {
        let known = self.introduced.iter_mut().find(|(other, _)| *other == id);
        let present = totals.counters.present;
        let new = match known {
            Some((_, known)) => present & !std::mem::replace(known, present),
            None => {
                self.introduced.retain(|(other, _)| alive.contains(other));
                self.introduced.push((id, present));
                (totals.opened, totals.closed) = (0, 0);
                u64::MAX
            }
        };
        totals.counters = totals.counters.with_zeros(new);
        new != 0
    }

    /// Whether every registration was told everything. If there are none: whether a snapshot was.
    pub(crate) fn is_told(&self, registrations: &[usize]) -> bool {
        let knows = |reader| self.told.contains(&(reader, self.additions));
        match registrations {
            [] => knows(Reader::Snapshots),
            all => all.iter().all(|id| knows(Reader::Registration(*id))),
        }
    }

    /// Notes whether the set is in use, and returns for how long it has not been. An addition
    /// between two calls shows that it was in use meanwhile.
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
