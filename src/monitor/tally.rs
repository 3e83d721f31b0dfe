//! What one sweep adds up for one set, before its ledger learns of it.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::asker::Asker;
use super::counters::{COUNTERS, Totals};
use super::entry::{Entry, Reading};
use super::labels::{STATES, UP_DOWNS, state_rank};
use super::ledger::Audience;
use super::sample::{ConnectionSample, Reservoir, Rng};
use super::set::{Membership, MetricFamily, Set};
use super::slots::lock;
use super::snapshot::{GroupSnapshot, Sums};
use super::worst::Ranking;
use crate::info::{FieldKind, Raw, TcpInfo};
use crate::state::State;

/// The readings of one set in one sweep.
pub(crate) struct Tally {
    added: Totals,
    seen: u64,
    opened: u64,
    states: [u64; STATES],
    up_downs: [u64; UP_DOWNS],
    up_downs_seen: u64,
    /// Connections it has, those included that could not be read.
    pub(crate) live: u64,
    /// The only live socket of a shared series, while there is but one.
    pub(crate) info: Option<TcpInfo>,
    samples: Reservoir,
    pub(crate) ranking: Option<Ranking>,
    /// Kept until the ledger has it all, so that the set stays.
    membership: Option<Membership>,
}

/// How samples are chosen in one sweep.
pub(crate) struct Sampling<'s> {
    pub(crate) cap: usize,
    pub(crate) rng: &'s mut Rng,
}

impl Tally {
    pub(crate) fn new(membership: Option<Membership>) -> Self {
        let worst = membership.as_ref().and_then(|membership| *lock(&membership.set().worst));
        Self {
            added: [0; COUNTERS],
            seen: 0,
            opened: 0,
            states: [0; STATES],
            up_downs: [0; UP_DOWNS],
            up_downs_seen: 0,
            live: 0,
            info: None,
            samples: Reservoir::default(),
            ranking: worst.map(|(worst, count)| Ranking::new(worst, count)),
            membership,
        }
    }

    pub(crate) fn is_of(&self, set: &Arc<Set>) -> bool {
        self.membership.as_ref().is_some_and(|membership| Arc::ptr_eq(membership.set(), set))
    }

    /// Adds one reading of one connection.
    #[inline]
    pub(crate) fn add(
        &mut self,
        entry: &mut Entry,
        fd: RawFd,
        reading: &Reading<'_>,
        asker: &Asker,
        sampling: &mut Sampling<'_>,
    ) {
        self.live += 1;
        for (sum, added) in self.added.iter_mut().zip(&reading.increments.added) {
            *sum = sum.wrapping_add(*added);
        }
        self.seen |= reading.counters_present;
        self.opened += u64::from(reading.opened);
        self.states[state_rank(reading.reply.state())] += 1;
        let up_downs = Raw::<UP_DOWNS>::of::<{ FieldKind::UpDown as u8 }>(&reading.reply);
        self.up_downs_seen |= up_downs.present;
        for (rank, sum) in self.up_downs.iter_mut().enumerate() {
            *sum += up_downs.values[rank] & (up_downs.present >> rank & 1).wrapping_neg();
        }
        // A listener has a congestion window too, which nothing ever goes through.
        let connected = reading.reply.state() != State::Listen && !reading.reply.is_blank();
        let place = connected.then(|| self.samples.choose(sampling.cap, sampling.rng)).flatten();
        if let Some(place) = place {
            self.samples.put(place, ConnectionSample::live(&reading.reply));
        }
        if let Some(ranking) = &mut self.ranking {
            ranking.enter(entry, fd, reading, asker);
        }
        let family = self.membership.as_ref().map(|membership| membership.set().family);
        if family == Some(MetricFamily::Socket) {
            self.info = (self.live == 1).then(|| reading.reply.info());
        }
    }

    /// Moves the tally into its set's ledger, and says what the ledger then tells an audience.
    pub(crate) fn settle(
        &mut self,
        set: &Set,
        audience: Audience,
        alive: &[usize],
    ) -> (GroupSnapshot, Vec<ConnectionSample>) {
        let mut ledger = lock(&set.ledger);
        if self.live > 0 {
            ledger.add(&self.added, self.seen, self.opened);
        }
        ledger.up_downs_seen |= self.up_downs_seen;
        for (rank, count) in self.states.iter().enumerate() {
            ledger.states_seen |= u16::from(*count > 0) << rank;
        }
        let (account, ended) = ledger.tell(audience, alive, set.takes_a_place);
        let group = GroupSnapshot {
            opened: account.opened,
            closed: account.closed,
            samples: self.samples.take(),
            labels: Arc::clone(&set.labels),
            sums: Sums {
                totals: account.totals,
                seen: account.seen,
                up_downs: self.up_downs,
                up_downs_seen: ledger.up_downs_seen,
            },
            states: self.states,
            states_seen: ledger.states_seen,
        };
        drop(ledger);
        self.membership = None;
        (group, ended)
    }
}
