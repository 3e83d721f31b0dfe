//! One pass over all watched connections: one kernel read each, added up, published as a snapshot.
//!
//! A sweep visits one slot after the other under its lock, keeps what it reads in tallies, and at
//! its end moves the tallies into the ledgers of their sets and copies out what these then say.
//! Whoever watches or drops meanwhile adds to the ledgers directly and waits at most for one slot.
//! An addition is in exactly one of them: a connection's counters advance under its slot's lock,
//! and what they advanced by goes to the tally or to the ledger of whoever advanced them.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::asker::{ReadError, Verify};
use super::entry::Entry;
use super::failures::{Failed, panicked};
use super::handles::Handle;
use super::labels::Labels;
use super::ledger::Audience;
use super::owner::Owner;
use super::sample::{ConnectionSample, Rng};
use super::set::{Membership, MetricFamily, Set};
use super::shared::{Ended, Shared};
use super::slots::lock;
use super::snapshot::{GroupSnapshot, MonitorSnapshot, Origin, Snapshot, SocketSnapshot, Start};
use super::tally::{Sampling, Tally};
use super::views::Views;
use super::worst::Ranking;
use crate::info::Reply;
use crate::read::ROOM;

/// A descriptor that its watch owns is verified every so many sweeps, although it added nothing.
const VERIFIED_EVERY: u64 = 64;

/// What sweeps keep from one to the next.
pub(crate) struct Sweeper {
    /// By the index of the set.
    tallies: Vec<Option<Tally>>,
    rng: Rng,
    count: u64,
    /// What each registration was told of single sockets.
    views: HashMap<usize, Views>,
}

impl Sweeper {
    pub(crate) fn new() -> Self {
        let seed = SystemTime::UNIX_EPOCH.elapsed().map(|since| since.as_nanos() as u64);
        Self {
            tallies: Vec::new(),
            rng: Rng::new(seed.unwrap_or(1)),
            count: 0,
            views: HashMap::new(),
        }
    }
}

/// A snapshot, and beside it what only one registration gets: the samples of ended connections.
pub(crate) struct Swept {
    pub(crate) snapshot: Arc<Snapshot>,
    /// For the groups of the snapshot, in its order.
    pub(crate) ended: Vec<Vec<ConnectionSample>>,
}

/// A snapshot in the making.
struct Pass<'s> {
    shared: &'s Shared,
    sweeper: &'s mut Sweeper,
    sockets: Vec<SocketSnapshot>,
    room: [u8; ROOM],
}

impl Shared {
    /// Reads every watched connection once. Sweeps wait for each other; watching and dropping waits
    /// at most for one read. What fails is not told to the program here: the caller may be in a
    /// collection.
    pub(crate) fn sweep(&self, registration: Option<usize>) -> Swept {
        let mut sweeper = lock(&self.sweeper);
        let (at, began) = (SystemTime::now(), Instant::now());
        sweeper.count += 1;
        let mut pass = Pass {
            shared: self,
            sweeper: &mut sweeper,
            sockets: Vec::with_capacity(self.own.load(Ordering::Relaxed)),
            room: [0; ROOM],
        };
        self.slots.visit(
            |number, slot| {
                let visited = catch_unwind(AssertUnwindSafe(|| pass.visit(number, slot)));
                visited.unwrap_or_else(|_| {
                    let entry = slot.as_ref()?;
                    self.failures.note(Failed::new(entry.owner.attributes(), panicked()));
                    pass.show_last(entry);
                    None
                })
            },
            |number, ended| {
                if let Some(ended) = ended {
                    self.forget(number, ended);
                }
            },
        );
        let (groups, ended) = pass.merge(registration);
        let Pass { sockets, .. } = pass;
        let snapshot = Arc::new(Snapshot {
            at,
            groups,
            sockets,
            monitor: MonitorSnapshot {
                watched: self.watched.load(Ordering::Relaxed),
                given_back: self.given_back(),
                sweep_duration: began.elapsed(),
                reads: self.asker.reads(),
                read_errors: self.failures.counts(),
                folded: self.folded.load(Ordering::Relaxed),
            },
        });
        self.latest.store(Some(Arc::clone(&snapshot)));
        Swept { snapshot, ended }
    }
}

impl Pass<'_> {
    /// Reads what is in a slot, or looks whether it is still open if nobody watches it. Says what
    /// ended by that.
    fn visit(&mut self, number: usize, slot: &mut Option<Entry>) -> Option<Ended> {
        let entry = slot.as_mut()?;
        let Some(mut handle) = entry.handles.first() else {
            let closed = entry.given_back().is_some_and(|(_, returned)| !returned.is_open());
            return closed.then(|| self.shared.end(slot)).flatten();
        };
        let due = (number as u64 + self.sweeper.count) % VERIFIED_EVERY == 0;
        let verify = if due { Verify::Always } else { Verify::WhatAdds };
        loop {
            match self.read(entry, handle, verify) {
                Ok(()) => {
                    let gone = |entry: &Entry| {
                        entry.handles.beside(handle.serial).find(|it| !entry.is_behind(*it))
                    };
                    while let Some(other) = gone(entry) {
                        self.shared.withdraw_leaked(entry, other.serial);
                    }
                    return None;
                }
                Err(ReadError::Transient(error)) => {
                    self.shared.failures.note(Failed::new(entry.owner.attributes(), error));
                    self.show_last(entry);
                    return None;
                }
                Err(ReadError::Permanent(error)) => {
                    self.shared.failures.note(Failed::new(entry.owner.attributes(), error));
                }
            }
            // This handle's descriptor is no more what it was. Another handle may know better.
            if self.shared.withdraw(entry, handle.serial) {
                return self.shared.end(slot);
            }
            handle = entry.handles.first()?;
        }
    }

    #[inline]
    fn read(&mut self, entry: &mut Entry, handle: Handle, verify: Verify) -> Result<(), ReadError> {
        let shared = self.shared;
        let reading = entry.read(&shared.asker, &mut self.room, handle, verify)?;
        match &entry.owner {
            Owner::Set(membership) => {
                let Sweeper { tallies, rng, .. } = &mut *self.sweeper;
                let tally = tally_of(tallies, membership);
                let mut sampling = Sampling { cap: shared.config.samples, rng };
                tally.add(entry, handle.fd, &reading, &shared.asker, &mut sampling);
            }
            Owner::Own(_, Some(labels)) => {
                self.sockets.push(socket_snapshot(entry, labels, Some(&reading.reply)));
            }
            Owner::Own(_, None) | Owner::Nobody => {}
        }
        Ok(())
    }

    /// A connection that could not be read keeps its counters.
    fn show_last(&mut self, entry: &Entry) {
        match &entry.owner {
            Owner::Own(_, Some(labels)) => {
                self.sockets.push(socket_snapshot(entry, labels, None));
            }
            // Its shared series stays, even if it is the only one.
            Owner::Set(membership) => tally_of(&mut self.sweeper.tallies, membership).live += 1,
            Owner::Own(_, None) | Owner::Nobody => {}
        }
    }

    /// Adds the tallies to their sets and copies out what the sets now say.
    fn merge(
        &mut self,
        registration: Option<usize>,
    ) -> (Vec<GroupSnapshot>, Vec<Vec<ConnectionSample>>) {
        let audience = registration.map_or(Audience::Snapshots, Audience::Registration);
        let alive = self.shared.registrations.all();
        let sets: Vec<Arc<Set>> = {
            let mut sets = lock(&self.shared.sets);
            if audience.is_alive(&alive) {
                sets.collected_by(audience, &alive);
            }
            sets.drop_unused_series();
            sets.note_idle(Instant::now());
            sets.reported().cloned().collect()
        };
        let mut tallies = std::mem::take(&mut self.sweeper.tallies);
        let mut shown: Vec<(GroupSnapshot, Vec<ConnectionSample>)> = Vec::new();
        let mut rankings = Vec::new();
        for set in &sets {
            let known = tallies.get_mut(set.index);
            let known = known.and_then(|tally| tally.take_if(|tally| tally.is_of(set)));
            let mut tally = known.unwrap_or_else(|| Tally::new(None));
            let (group, ended) = tally.settle(set, audience, &alive);
            match set.family {
                MetricFamily::Group => shown.push((group, ended)),
                MetricFamily::Socket => self.sockets.push(SocketSnapshot {
                    info: tally.info.take(),
                    labels: group.labels,
                    sums: group.sums,
                    origin: Origin { lineage: set.serial, start: Start::Whole },
                }),
            }
            rankings.extend(tally.ranking.take());
        }
        self.choose(rankings);
        self.tell_sockets(registration, &alive);
        shown.sort_by_cached_key(|(group, _)| format!("{:?}", group.attributes()));
        shown.into_iter().unzip()
    }

    /// Adds the worst connections of each group that asked for them to the sockets shown.
    fn choose(&mut self, rankings: Vec<Ranking>) {
        let room = self.shared.config.sockets.saturating_sub(self.sockets.len());
        self.sockets.extend(rankings.into_iter().flat_map(Ranking::into_worst).take(room));
    }

    /// Turns the totals of single sockets into what this audience is to be told.
    fn tell_sockets(&mut self, registration: Option<usize>, alive: &[usize]) {
        let views = &mut self.sweeper.views;
        views.retain(|known, _| alive.contains(known));
        match registration {
            Some(registration) => views.entry(registration).or_default().tell(&mut self.sockets),
            None => {
                let mut told = HashSet::new();
                self.sockets.retain(|socket| told.insert(socket.labels.plain.clone()));
            }
        }
    }
}

/// A connection with a series of its own, with the reply that this sweep got for it.
fn socket_snapshot(
    entry: &Entry,
    labels: &Arc<Labels>,
    reply: Option<&Reply<'_>>,
) -> SocketSnapshot {
    SocketSnapshot {
        info: reply.map(Reply::info),
        labels: Arc::clone(labels),
        sums: entry.sums(reply),
        origin: entry.origin(),
    }
}

/// The tally of a set, at the set's index.
#[inline]
fn tally_of<'t>(tallies: &'t mut Vec<Option<Tally>>, membership: &Membership) -> &'t mut Tally {
    let index = membership.set().index;
    if tallies.len() <= index {
        tallies.resize_with(index + 1, || None);
    }
    // The tally holds its set, so no other set gets its index before it is settled.
    tallies[index].get_or_insert_with(|| Tally::new(Some(membership.clone())))
}
