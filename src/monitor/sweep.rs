//! One pass over all watched connections: one kernel read each, added up, published as a snapshot.
//!
//! ```text
//!     slot by slot, each under its lock                 at the end, set by set
//!
//!   slot --read--> reading --+--> tally of its set --+--> ledger of the set --> group's snapshot
//!                            |                       |         ^
//!                            +--> socket's snapshot  |         |  last readings, ends
//!                                                    |   watch and drop, at any time
//!                                                    +--> the worst of the group --> sockets
//! ```
//!
//! A tally lives for one sweep, and belongs to the sweep alone: adding to it needs no lock. The
//! ledger of a set lives as long as the set. Whoever watches or drops meanwhile adds to the ledger
//! directly, and waits for one slot at most.
//!
//! **Why nothing is counted twice, and nothing is lost.** A connection's counters advance only
//! under its slot's lock. Who advances them gets what they advanced by, and adds it to one place:
//! the sweep to a tally, a drop to the ledger. Each tally is moved into its ledger before the
//! ledger is read for the snapshot. What a drop adds after that is in the next snapshot.
//!
//! **Why no set is forgotten too early.** A tally holds a membership of its set until the ledger
//! has everything. So while a sweep has something for a set, the set is in use, and neither makes
//! room nor passes its index on to another set.
//!
//! What a reader is told is the last step. Groups go through the ledger, which knows what each
//! reader was told. Single sockets go through [`Views`], one for each registration.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::builder::Config;
use super::connection::Connection;
use super::connections::{Connections, Ended};
#[cfg(feature = "diag")]
use super::discovery::Discoveries;
use super::failures::{Failed, panicked};
use super::handles::Handle;
use super::labels::Labels;
use super::ledger::Reader;
use super::locks::lock;
use super::owner::Owner;
use super::ranking::{Ranking, Shown};
use super::reader::{ReadError, Verify};
use super::sample::ConnectionSample;
use super::set::{MetricFamily, Set};
use super::snapshot::{GroupSnapshot, MonitorSnapshot, Origin, Snapshot, SocketSnapshot, Start};
use super::tally::{Tallies, Tally};
use super::views::Views;
use crate::info::Reply;
use crate::read::ROOM;

/// A descriptor that only its watch can close is verified once in so many sweeps, although it
/// added nothing: unsafe code may have closed it.
const VERIFIED_EVERY: u64 = 64;

/// What sweeps keep from one to the next.
pub(crate) struct Sweeper {
    tallies: Tallies,
    count: u64,
    /// What each registration was told of single sockets.
    views: HashMap<usize, Views>,
}

/// A snapshot, and what only one registration gets: the samples of ended connections.
pub(crate) struct Swept {
    pub(crate) snapshot: Arc<Snapshot>,
    /// For the groups of the snapshot, in its order.
    pub(crate) ended: Vec<Vec<ConnectionSample>>,
}

/// Where a sweep finds its sockets.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'s> {
    pub(crate) connections: &'s Connections,
    #[cfg(feature = "diag")]
    pub(crate) discoveries: &'s Discoveries,
}

/// A snapshot in the making.
struct Pass<'s> {
    connections: &'s Connections,
    config: &'s Config,
    sweeper: &'s mut Sweeper,
    /// Sockets, or sets of sockets, with series of their own.
    sockets: Vec<SocketSnapshot>,
    room: [u8; ROOM],
}

impl Sweeper {
    pub(crate) fn new(samples: usize) -> Self {
        Self { tallies: Tallies::new(samples), count: 0, views: HashMap::new() }
    }

    /// Reads every watched connection once.
    pub(crate) fn sweep(
        &mut self,
        sources: Sources<'_>,
        config: &Config,
        registration: Option<usize>,
    ) -> Swept {
        let connections = sources.connections;
        let (at, began) = (SystemTime::now(), Instant::now());
        self.count += 1;
        let sockets = Vec::with_capacity(connections.own());
        let mut pass = Pass { connections, config, sweeper: self, sockets, room: [0; ROOM] };
        connections.slots.visit(
            |number, slot| {
                // A panic costs one connection its reading, and nobody else anything.
                let visited = catch_unwind(AssertUnwindSafe(|| pass.visit(number, slot)));
                visited.unwrap_or_else(|_| {
                    pass.note(slot.as_ref()?, panicked());
                    pass.show_last(slot.as_ref()?);
                    None
                })
            },
            // With the slot's lock released: see `Connections::end`.
            |number, ended| {
                if let Some(ended) = ended {
                    connections.forget(number, ended);
                }
            },
        );
        #[cfg(feature = "diag")]
        let found = sources.discoveries.sweep(&mut pass.sweeper.tallies);
        #[cfg(not(feature = "diag"))]
        let found = super::snapshot::Found::default();
        let (groups, ended) = pass.merge(registration);
        let Pass { sockets, .. } = pass;
        let monitor = MonitorSnapshot {
            watched: connections.watched(),
            given_back: connections.given_back(),
            sweep_duration: began.elapsed(),
            reads: connections.reader.reads(),
            read_errors: connections.failures.counts(),
            folded: connections.folded(),
            discovered: found.discovered,
            event_overruns: found.overruns,
            discoveries: found.discoveries,
            was_discovered: found.was_used,
        };
        Swept { snapshot: Arc::new(Snapshot { at, groups, sockets, monitor }), ended }
    }
}

impl Pass<'_> {
    /// Reads the connection in a slot. If nobody watches it, looks whether it is still open.
    /// Returns the connection if it ended by that.
    ///
    /// A connection is read through its first handle. If that handle's descriptor is not the
    /// connection any more, the handle is taken out and the next one tried; without another handle
    /// the connection ends.
    fn visit(&mut self, number: usize, slot: &mut Option<Connection>) -> Option<Ended> {
        let connection = slot.as_mut()?;
        let Some(mut handle) = connection.handles.first() else {
            let given_back = connection.given_back();
            let is_closed = given_back.is_some_and(|(_, given_back)| !given_back.is_open());
            return is_closed.then(|| self.connections.end(slot)).flatten();
        };
        // A different part of the slots in each sweep.
        let is_due = (number as u64 + self.sweeper.count) % VERIFIED_EVERY == 0;
        let verify = if is_due { Verify::Always } else { Verify::WhatAdds };
        loop {
            match self.read(connection, handle, verify) {
                Ok(()) => {
                    self.withdraw_leaked(connection, handle);
                    return None;
                }
                Err(ReadError::Transient(error)) => {
                    self.note(connection, error);
                    self.show_last(connection);
                    return None;
                }
                Err(ReadError::Permanent(error)) => self.note(connection, error),
            }
            if self.connections.withdraw(connection, handle.serial) {
                return self.connections.end(slot);
            }
            handle = connection.handles.first()?;
        }
    }

    /// Takes out other handles whose descriptors are not the connection any more: their values were
    /// leaked, and nothing else would ever end them.
    fn withdraw_leaked(&self, connection: &mut Connection, read: Handle) {
        let leaked = |connection: &Connection| {
            connection.handles.beside(read.serial).find(|it| !connection.is_behind(*it))
        };
        while let Some(other) = leaked(connection) {
            self.connections.withdraw_leaked(connection, other.serial);
        }
    }

    /// Counts a failed read, and keeps it for the program.
    #[cold]
    fn note(&self, connection: &Connection, error: std::io::Error) {
        self.connections.failures.note(Failed::new(connection.owner.attributes(), error));
    }

    /// Reads a connection once, and adds the reading to what reports it.
    #[inline]
    fn read(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        verify: Verify,
    ) -> Result<(), ReadError> {
        let reader = &self.connections.reader;
        let reading = connection.read(reader, &mut self.room, handle, verify)?;
        match &connection.owner {
            Owner::Set(membership) => {
                let (tally, sampling) = self.sweeper.tallies.of(membership);
                let show = |reply: &Reply<'_>| {
                    let labels = connection.shown(reader.identity, handle.fd, reply.state())?;
                    Some(Shown { labels, sums: connection.sums(Some(reply)), id: connection.id })
                };
                tally.add(&reading, sampling, show);
            }
            Owner::Own(_, Some(labels)) => {
                self.sockets.push(socket_snapshot(connection, labels, Some(&reading.reply)));
            }
            // Its identity is not known yet: it has no series.
            Owner::Own(_, None) | Owner::Nobody => {}
        }
        Ok(())
    }

    /// Shows a connection that could not be read with the counters it has.
    fn show_last(&mut self, connection: &Connection) {
        match &connection.owner {
            Owner::Own(_, Some(labels)) => {
                self.sockets.push(socket_snapshot(connection, labels, None));
            }
            // Its shared series stays, even if it is the only one.
            Owner::Set(membership) => self.sweeper.tallies.of(membership).0.live += 1,
            Owner::Own(_, None) | Owner::Nobody => {}
        }
    }

    /// Adds the tallies to the ledgers of their sets, and copies out what the ledgers then say.
    ///
    /// The sets are listed after the last reading, so every set with a tally is among them: it was
    /// there, and its tally has kept it in use since.
    fn merge(
        &mut self,
        registration: Option<usize>,
    ) -> (Vec<GroupSnapshot>, Vec<Vec<ConnectionSample>>) {
        let reader = registration.map_or(Reader::Snapshots, Reader::Registration);
        let alive = self.connections.registrations.all();
        let sets: Vec<Arc<Set>> = {
            let mut sets = lock(&self.connections.sets);
            // Snapshots are no reader while there are registrations: they need not miss a group.
            if reader.is_alive(&alive) {
                sets.collected_by(reader, &alive);
            }
            sets.drop_unused_series();
            sets.note_idle(Instant::now());
            sets.reported().cloned().collect()
        };
        let mut tallies = self.sweeper.tallies.take();
        let mut groups: Vec<(GroupSnapshot, Vec<ConnectionSample>)> = Vec::new();
        let mut rankings = Vec::new();
        for set in &sets {
            let known = tallies.get_mut(set.index);
            let known = known.and_then(|tally| tally.take_if(|tally| tally.is_of(set)));
            // A set without a reading in this sweep is reported all the same.
            let mut tally = known.unwrap_or_else(|| Tally::new(None));
            let (group, ended) = tally.settle(set, reader, &alive);
            match set.family {
                MetricFamily::Group => groups.push((group, ended)),
                MetricFamily::Socket => self.sockets.push(SocketSnapshot {
                    info: tally.info.take(),
                    labels: group.labels,
                    sums: group.sums,
                    origin: Origin { id: set.serial, start: Start::Whole },
                }),
            }
            rankings.extend(tally.ranking.take());
        }
        self.show_worst(rankings);
        self.tell_sockets(registration, &alive);
        groups.sort_by_cached_key(|(group, _)| format!("{:?}", group.attributes()));
        groups.into_iter().unzip()
    }

    /// Adds the worst connections of each group that asked for them to the sockets shown, as far
    /// as the cap of sockets leaves room.
    fn show_worst(&mut self, rankings: Vec<Ranking>) {
        let room = self.config.sockets.saturating_sub(self.sockets.len());
        self.sockets.extend(rankings.into_iter().flat_map(Ranking::into_worst).take(room));
    }

    /// Turns the totals of single sockets into what this reader is told. A snapshot has the totals
    /// themselves, each series once.
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
    connection: &Connection,
    labels: &Arc<Labels>,
    reply: Option<&Reply<'_>>,
) -> SocketSnapshot {
    SocketSnapshot {
        info: reply.map(Reply::info),
        labels: Arc::clone(labels),
        sums: connection.sums(reply),
        origin: connection.origin(),
    }
}
