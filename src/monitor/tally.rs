//! What one sweep adds up for one set, before it goes to the set's ledger.
//!
//! A tally belongs to one sweep, so adding a reading takes no lock. The ledger of the set is locked
//! once a sweep, in [`Tally::settle`].

use std::sync::Arc;
use std::time::SystemTime;

use super::labels::{STATES, state_rank};
use super::ledger::Reader;
use super::locks::lock;
use super::ranking::{Candidate, Ranking};
use super::reading::Reading;
use super::sample::{ConnectionSample, Reservoir, Rng};
use super::set::{Membership, MetricFamily, Set};
use super::snapshot::{GroupSnapshot, Sums};
use crate::info::{CounterNumbers, TcpInfo, UpDownNumbers};
use crate::state::State;
use crate::verdict::{CAUSES, Verdict};

/// The sum of the readings of one set in one sweep.
pub(crate) struct Tally {
    counters: CounterNumbers,
    up_downs: UpDownNumbers,
    opened: u64,
    states: [u64; STATES],
    causes: [u64; CAUSES],
    /// Its connections in this sweep, those included that could not be read.
    pub(crate) live: u64,
    /// What the kernel said of the only connection of a shared series; `None` if it has several.
    pub(crate) info: Option<TcpInfo>,
    /// The verdict on it.
    pub(crate) verdict: Option<Verdict>,
    samples: Reservoir,
    pub(crate) ranking: Option<Ranking>,
    /// Kept until the ledger has everything, so that the set is not given up before.
    membership: Option<Membership>,
}

/// How samples are chosen in one sweep.
pub(crate) struct Sampling<'s> {
    cap: usize,
    rng: &'s mut Rng,
}

/// The tallies of one sweep, by the index of their set. Empty between sweeps.
pub(crate) struct Tallies {
    all: Vec<Option<Tally>>,
    rng: Rng,
    cap: usize,
}

impl Tallies {
    /// Of one thread among several, which choose samples independently.
    pub(crate) fn new(samples: usize, thread: usize) -> Self {
        let seed = SystemTime::UNIX_EPOCH.elapsed().map(|since| since.as_nanos() as u64);
        let far = (thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { all: Vec::new(), rng: Rng::new(seed.unwrap_or(1) ^ far), cap: samples }
    }

    /// The tally of a set, and how samples are chosen for it.
    #[inline]
    pub(crate) fn of(&mut self, membership: &Membership) -> (&mut Tally, Sampling<'_>) {
        let index = membership.set().index;
        if self.all.len() <= index {
            self.all.resize_with(index + 1, || None);
        }
        // The tally holds its set, so no other set gets its index before it is settled.
        let tally = self.all[index].get_or_insert_with(|| Tally::new(Some(membership.clone())));
        (tally, Sampling { cap: self.cap, rng: &mut self.rng })
    }

    /// Adds those of another thread, and empties them.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        if self.all.len() < other.all.len() {
            self.all.resize_with(other.all.len(), || None);
        }
        for (known, more) in self.all.iter_mut().zip(other.all.drain(..)) {
            match (known, more) {
                (Some(known), Some(more)) => known.absorb(more, self.cap, &mut self.rng),
                (none, more) => *none = none.take().or(more),
            }
        }
    }

    /// Takes all of them.
    pub(crate) fn take(&mut self) -> Vec<Option<Tally>> {
        std::mem::take(&mut self.all)
    }
}

impl Tally {
    pub(crate) fn new(membership: Option<Membership>) -> Self {
        let worst = membership.as_ref().and_then(|membership| *lock(&membership.set().worst));
        Self {
            counters: CounterNumbers::NONE,
            up_downs: UpDownNumbers::NONE,
            opened: 0,
            states: [0; STATES],
            causes: [0; CAUSES],
            live: 0,
            info: None,
            verdict: None,
            samples: Reservoir::default(),
            ranking: worst.map(|(worst, count)| Ranking::new(worst, count)),
            membership,
        }
    }

    pub(crate) fn is_of(&self, set: &Arc<Set>) -> bool {
        self.membership.as_ref().is_some_and(|membership| Arc::ptr_eq(membership.set(), set))
    }

    /// Adds one reading of one connection, which may be shown by itself if it is among the worst.
    #[inline]
    pub(crate) fn add(
        &mut self,
        reading: &Reading<'_>,
        sampling: Sampling<'_>,
        connection: impl Candidate,
    ) {
        self.live += 1;
        self.counters.add(&reading.added);
        self.up_downs.add(&UpDownNumbers::of(&reading.reply));
        self.opened += u64::from(reading.opened);
        self.states[state_rank(reading.reply.state())] += 1;
        self.causes[reading.cause as usize] += 1;
        // No sample of a listener or a blank socket: each has a congestion window, and nothing ever
        // goes through it.
        let connected = reading.reply.state() != State::Listen && !reading.reply.is_blank();
        let place = connected.then(|| self.samples.choose(sampling.cap, sampling.rng)).flatten();
        if let Some(place) = place {
            self.samples.put(place, ConnectionSample::live(&reading.reply));
        }
        let family = self.membership.as_ref().map(|membership| membership.set().family);
        if family == Some(MetricFamily::Socket) {
            let is_only = self.live == 1;
            self.info = is_only.then(|| reading.reply.info());
            self.verdict = if is_only { connection.verdict() } else { None };
        }
        if let Some(ranking) = &mut self.ranking {
            ranking.enter(&reading.reply, connection);
        }
    }

    /// Adds what another thread added up for the same set.
    fn absorb(&mut self, other: Self, cap: usize, rng: &mut Rng) {
        // Only a series with one connection shows what the kernel said of it.
        let is_only = self.live + other.live == 1;
        self.info = if is_only { self.info.take().or(other.info) } else { None };
        self.verdict = if is_only { self.verdict.or(other.verdict) } else { None };
        self.live += other.live;
        self.counters.add(&other.counters);
        self.up_downs.add(&other.up_downs);
        self.opened += other.opened;
        self.states.iter_mut().zip(other.states).for_each(|(state, more)| *state += more);
        self.causes.iter_mut().zip(other.causes).for_each(|(cause, more)| *cause += more);
        self.samples.absorb(other.samples, cap, rng);
        match (&mut self.ranking, other.ranking) {
            (Some(ranking), Some(other)) => ranking.absorb(other),
            (none, other) => *none = none.take().or(other),
        }
    }

    /// Moves the tally into its set's ledger, and returns what the ledger then tells a reader.
    pub(crate) fn settle(
        &mut self,
        set: &Set,
        reader: Reader,
        alive: &[usize],
    ) -> (GroupSnapshot, Vec<ConnectionSample>) {
        let mut ledger = lock(&set.ledger);
        // An addition keeps the set from retiring, so a set without connections adds nothing.
        if self.live > 0 {
            ledger.add(&self.counters, self.opened);
        }
        ledger.up_downs_seen |= self.up_downs.present;
        for (rank, count) in self.states.iter().enumerate() {
            ledger.states_seen |= u16::from(*count > 0) << rank;
        }
        for (rank, count) in self.causes.iter().enumerate() {
            ledger.causes_seen |= u16::from(*count > 0) << rank;
        }
        let (totals, ended) = ledger.tell(reader, alive, set.takes_a_place);
        let group = GroupSnapshot {
            opened: totals.opened,
            closed: totals.closed,
            samples: self.samples.take(),
            since: set.since,
            labels: Arc::clone(&set.labels),
            sums: Sums {
                counters: totals.counters,
                up_downs: self.up_downs.with_present(ledger.up_downs_seen),
            },
            states: self.states,
            states_seen: ledger.states_seen,
            causes: self.causes,
            causes_seen: ledger.causes_seen,
        };
        drop(ledger);
        // Now the ledger has everything.
        self.membership = None;
        (group, ended)
    }
}
