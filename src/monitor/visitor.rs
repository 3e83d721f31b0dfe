//! One thread's part of a sweep: reads connections, slot by slot, and adds up what they say.

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::connection::Connection;
use super::connections::{Connections, Ended};
use super::failures::{Failed, panicked};
use super::handles::Handle;
use super::identity::SocketIdentity;
use super::labels::Labels;
use super::moment::Ticker;
use super::owner::Owner;
use super::ranking::{Candidate, Shown};
use super::reader::{ReadError, Verify};
use super::slots::Walk;
use super::snapshot::SocketSnapshot;
use super::tally::Tallies;
use super::timestamp::Timestamp;
use crate::info::Reply;
use crate::read::ROOM;
use crate::verdict::Verdict;

/// A descriptor that only its watch can close is verified once in so many sweeps, although it
/// added nothing: unsafe code may have closed it.
const VERIFIED_EVERY: u64 = 64;

/// What one thread adds up in one sweep. No other thread touches it before the
/// last reading.
pub(crate) struct Lane {
    pub(crate) tallies: Tallies,
    /// Sockets, or sets of sockets, with series of their own. Empty between sweeps.
    pub(crate) sockets: Vec<SocketSnapshot>,
}

/// One thread's part of a sweep.
pub(crate) struct Visitor<'s> {
    connections: &'s Connections,
    lane: &'s mut Lane,
    /// How many sweeps there were, this one included.
    count: u64,
    /// When the sweep began.
    began: Timestamp,
    room: [u8; ROOM],
    ticker: Ticker,
}

impl Lane {
    pub(crate) fn new(samples: usize, thread: usize) -> Self {
        Self { tallies: Tallies::new(samples, thread), sockets: Vec::new() }
    }

    /// Adds what another thread added up, and empties its lane.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        self.sockets.append(&mut other.sockets);
        self.tallies.absorb(&mut other.tallies);
    }
}

impl<'s> Visitor<'s> {
    pub(crate) fn new(
        connections: &'s Connections,
        lane: &'s mut Lane,
        count: u64,
        began: Timestamp,
    ) -> Self {
        Self { connections, lane, count, began, room: [0; ROOM], ticker: Ticker::default() }
    }

    /// Reads a part of the connections.
    pub(crate) fn read(&mut self, walk: &Walk<'_, Connection>) {
        let connections = self.connections;
        walk.visit(
            |number, slot| {
                // A panic costs one connection its reading, and nobody else anything.
                let visited = catch_unwind(AssertUnwindSafe(|| self.visit(number, slot)));
                visited.unwrap_or_else(|_| {
                    self.note(slot.as_ref()?, panicked());
                    self.show_last(slot.as_ref()?);
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
    }

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
        let is_due = (number as u64 + self.count) % VERIFIED_EVERY == 0;
        let verify = if is_due { Verify::Always } else { Verify::WhatAdds };
        loop {
            match self.read_once(connection, handle, verify) {
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
    fn read_once(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        verify: Verify,
    ) -> Result<(), ReadError> {
        let reader = &self.connections.reader;
        let at = reader.moment(&mut self.ticker);
        let reading = connection.read(reader, &mut self.room, handle, verify, at)?;
        match &connection.owner {
            Owner::Set(membership) => {
                let (tally, sampling) = self.lane.tallies.of(membership);
                let identity = reader.identity;
                tally.add(&reading, sampling, Read { connection, identity, fd: handle.fd });
            }
            Owner::Own(_, Some(labels)) => {
                let reply = Some(&reading.reply);
                let shown = socket_snapshot(connection, labels, reply, self.began);
                self.lane.sockets.push(shown);
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
                self.lane.sockets.push(socket_snapshot(connection, labels, None, self.began));
            }
            // Its shared series stays, even if it is the only one.
            Owner::Set(membership) => self.lane.tallies.of(membership).0.live += 1,
            Owner::Own(_, None) | Owner::Nobody => {}
        }
    }
}

/// A connection that was just read.
struct Read<'c> {
    connection: &'c mut Connection,
    identity: SocketIdentity,
    fd: RawFd,
}

impl Candidate for Read<'_> {
    fn verdict(&self) -> Option<Verdict> {
        self.connection.verdict()
    }

    fn show(self, reply: &Reply<'_>) -> Option<Shown> {
        let Self { connection, identity, fd } = self;
        let labels = connection.shown(identity, fd, reply.state())?;
        Some(Shown { labels, sums: connection.sums(Some(reply)), id: connection.id })
    }
}

/// A connection with a series of its own, with the reply that this sweep got for it.
fn socket_snapshot(
    connection: &Connection,
    labels: &Arc<Labels>,
    reply: Option<&Reply<'_>>,
    now: Timestamp,
) -> SocketSnapshot {
    SocketSnapshot {
        info: reply.map(Reply::info),
        labels: Arc::clone(labels),
        sums: connection.sums(reply),
        verdict: connection.verdict(),
        origin: connection.origin(now),
        since: now.at,
    }
}
