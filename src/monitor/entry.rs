//! One watched socket: its descriptor, what it counted so far, and where that goes.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::attributes::Attributes;
use super::counters::{Counters, Increments, RawCounters};
use super::sample::Sample;
use super::set::{Labels, Membership};
use super::slots::lock;
use super::snapshot::Sums;
use super::{Shared, Trouble};
use crate::info::{Kind, Reply};
use crate::read::{self, ROOM};
use crate::state::State;

/// A socket in its slot. The slot's lock is what keeps the descriptor from being closed, and its
/// number from being used again, while it is read.
pub(crate) struct Entry {
    pub(crate) fd: RawFd,
    pub(crate) cookie: Option<u64>,
    pub(crate) counters: Counters,
    pub(crate) owner: Owner,
    /// Tells it from every other entry of the monitor.
    pub(crate) serial: u64,
    since: Instant,
    /// Whether the descriptor can close without the monitor's knowledge.
    borrowed: bool,
    role: Role,
    /// Whether the last reply described no connection.
    blank: bool,
    /// Whether the last reply was of a closed socket.
    over: bool,
}

/// Who reports a socket.
pub(crate) enum Owner {
    /// A set, together with others.
    Set(Membership),
    /// A series of its own.
    Own(Arc<Labels>),
    /// A series of its own, once the peer's address is known.
    Unnamed(Attributes),
}

/// What a socket turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Never read.
    Unknown,
    Connection,
    /// A listener, or no TCP socket.
    Other,
}

/// Where sockets stood that their programs took back, by cookie: should they be watched again,
/// their history is counted already.
#[derive(Default)]
pub(crate) struct GivenBack(Mutex<HashMap<u64, Counters>>);

impl GivenBack {
    pub(crate) fn remember(&self, entry: &Entry) {
        let Some(cookie) = entry.cookie else { return };
        let mut given_back = lock(&self.0);
        if given_back.len() >= 1_024 {
            let any = given_back.keys().next().copied();
            any.and_then(|any| given_back.remove(&any));
        }
        given_back.insert(cookie, entry.counters.continued());
    }

    pub(crate) fn recall(&self, entry: &mut Entry) {
        let Some(cookie) = entry.cookie else { return };
        let mut given_back = lock(&self.0);
        if given_back.is_empty() {
            return;
        }
        if let Some(counters) = given_back.remove(&cookie) {
            entry.counters = counters;
        }
    }
}

/// One reply, and what it adds.
pub(crate) struct Reading<'r> {
    pub(crate) reply: Reply<'r>,
    pub(crate) increments: Increments,
    pub(crate) counters_present: u64,
    /// Whether this is the first that was seen of a connection.
    pub(crate) opened: bool,
}

/// Why a socket could not be read.
pub(crate) enum Failure {
    /// It may work again.
    Passing(io::Error),
    /// The descriptor is no TCP socket, or no longer this one.
    Final(io::Error),
}

impl Failure {
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Final(_))
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(error) | Failure::Final(error) => error,
        }
    }
}

impl Shared {
    /// Asks the kernel once, and counts that.
    #[inline]
    fn ask<'r>(&'r self, fd: RawFd, room: &'r mut [u8; ROOM]) -> io::Result<Reply<'r>> {
        let source = &self.config.source;
        self.reads.fetch_add(1, Ordering::Relaxed);
        let len = (source.read)(fd, room)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let bytes = room.first_chunk().expect("the room is larger than the table");
        Ok(Reply::new(bytes, len, source.kernel))
    }
}

impl Entry {
    pub(crate) fn new(fd: RawFd, cookie: Option<u64>, owner: Owner) -> Self {
        Self {
            fd,
            cookie,
            serial: 0,
            borrowed: false,
            counters: Counters::new(),
            owner,
            since: Instant::now(),
            role: Role::Unknown,
            blank: true,
            over: false,
        }
    }

    /// A socket whose owner may close it at any time: each reading is checked against the cookie.
    pub(crate) fn borrowed(self) -> Self {
        Self { borrowed: true, ..self }
    }

    /// A socket that its owner lends, with whatever it did before: that is not counted.
    pub(crate) fn lent(self, shared: &Shared) -> Self {
        let mut room = [0; ROOM];
        // What cannot be read now, the next sweep reports.
        let counters = match shared.ask(self.fd, &mut room) {
            Ok(reply) if !reply.is_blank() => {
                Counters::from(&RawCounters::of::<{ Kind::Counter as u8 }>(&reply))
            }
            Ok(_) | Err(_) => Counters::new(),
        };
        Self { counters, ..self.borrowed() }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        match &self.owner {
            Owner::Set(membership) => membership.set().labels.plain.clone(),
            Owner::Own(labels) => labels.plain.clone(),
            Owner::Unnamed(attributes) => attributes.clone(),
        }
    }

    /// Asks the kernel once and takes in what it says. `verify` asks in addition whether the
    /// descriptor still is the socket it was.
    #[inline]
    pub(crate) fn read<'r>(
        &mut self,
        shared: &'r Shared,
        room: &'r mut [u8; ROOM],
        verify: bool,
    ) -> Result<Reading<'r>, Failure> {
        let reply = match shared.ask(self.fd, room) {
            Ok(reply) => reply,
            Err(error) if read::is_gone(&error) => return Err(self.give_up(error)),
            Err(error) => return Err(Failure::Passing(error)),
        };
        let raw = RawCounters::of::<{ Kind::Counter as u8 }>(&reply);
        let back = self.counters.goes_back(&raw);
        // After the reply: what still is the same socket now was it then.
        if (verify || back || self.borrowed) && !self.is_same_socket() {
            return Err(self.give_up(io::Error::other(read::WrongSocket)));
        }
        if reply.is_blank() != self.blank {
            self.blank = !self.blank;
            if self.blank {
                self.counters.restart();
            }
        }
        let over = reply.state() == State::Close;
        if self.over && over {
            self.counters.skip_clocks(&raw);
        }
        self.over = over;
        let increments = self.counters.advance(&raw);
        let listener = reply.state() == State::Listen;
        let opened = self.role == Role::Unknown && !listener;
        if self.role == Role::Unknown {
            self.role = if listener { Role::Other } else { Role::Connection };
        }
        if let Owner::Unnamed(attributes) = &self.owner {
            let more = shared.config.identity.attributes(self.fd, self.cookie, reply.state());
            if let Some(more) = more {
                self.owner = Owner::Own(Arc::new(Labels::new(attributes.with(more))));
            }
        }
        Ok(Reading { reply, increments, counters_present: raw.present, opened })
    }

    fn give_up(&mut self, error: io::Error) -> Failure {
        if self.role == Role::Unknown {
            self.role = Role::Other;
        }
        Failure::Final(error)
    }

    /// What it counted so far, and its levels in a reply.
    pub(crate) fn sums(&self, reply: Option<&Reply<'_>>) -> Sums {
        Sums::new(*self.counters.totals(), self.counters.seen(), reply)
    }

    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed
    }

    pub(crate) fn is_same_socket(&self) -> bool {
        let unknown = !self.borrowed;
        self.cookie
            .map_or(unknown, |cookie| read::cookie_of(self.fd).is_ok_and(|now| now == cookie))
    }

    /// Reads the socket one last time, while it is still open, and adds that to its totals.
    pub(crate) fn finish(&mut self, shared: &Shared) -> Option<Trouble> {
        let mut room = [0; ROOM];
        let mut trouble = None;
        match self.read(shared, &mut room, false) {
            Ok(reading) => {
                if let Owner::Set(membership) = &self.owner {
                    let mut ledger = lock(&membership.set().ledger);
                    let added = &reading.increments.added;
                    ledger.add(added, reading.counters_present, u64::from(reading.opened));
                    let registrations = shared.registrations.load();
                    if self.role == Role::Connection && !registrations.is_empty() {
                        let last = Sample::last(&reading.reply.info(), self.since.elapsed());
                        let cap = shared.config.samples;
                        ledger.offer(last, &registrations, cap, &mut lock(&shared.dice));
                    }
                }
            }
            Err(failure) => trouble = Some(Trouble::new(self.attributes(), failure.into())),
        }
        trouble
    }

    /// Counts the socket out.
    pub(crate) fn leave(&mut self, shared: &Shared) {
        shared.watched.fetch_sub(1, Ordering::Relaxed);
        match &self.owner {
            Owner::Set(membership) => {
                let mut ledger = lock(&membership.set().ledger);
                match self.role {
                    Role::Other => {}
                    Role::Connection => ledger.closed += 1,
                    // Never read, not even now: whatever it was, it came and went.
                    Role::Unknown => {
                        ledger.opened += 1;
                        ledger.closed += 1;
                    }
                }
            }
            Owner::Own(_) | Owner::Unnamed(_) => {
                shared.own.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
