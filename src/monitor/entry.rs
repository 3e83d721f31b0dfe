//! One connection in its slot: who watches it, what it counted so far, and where that goes.
//!
//! ```text
//!            watch                 last handle dropped, or gave it back
//!   (new) ---------> watched ---------------------------------------+
//!                     ^   |                                         v
//!        watch again  |   | last handle's descriptor    is the socket still open?
//!                     |   | became another socket         | yes          | no
//!                     |   v                               v              v
//!                     |  ended                        given back ----> ended
//!                     +-----------------------------------+   a sweep finds it closed, or
//!                                                             it is forgotten for another
//! ```
//!
//! Each reading takes three steps: ask the kernel, verify that the descriptor still is the socket,
//! take in what it said. A connection given back is not read, and what it does meanwhile does not
//! count: the first reading of the next watch is its base.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asker::{Asker, ReadError, Verify};
use super::connections::Returned;
use super::counters::Counters;
use super::handles::{Handle, Handles, Holding};
use super::labels::Labels;
use super::owner::Owner;
use super::phase::Phase;
use super::registrations::Registrations;
use super::sample::ConnectionSample;
use super::set::{Membership, MetricFamily};
use super::slots::lock;
use super::snapshot::{Origin, Start, Sums};
use crate::info::{CounterNumbers, Reply, UpDownNumbers};
use crate::read::{self, ROOM};
use crate::state::State;

/// A connection in its slot. The slot's lock is held while it is read, so no handle of it can be
/// dropped, and close the descriptor, meanwhile.
pub(crate) struct Entry {
    pub(crate) cookie: Option<u64>,
    /// Tells it from every other entry of the monitor.
    pub(crate) lineage: u64,
    pub(crate) owner: Owner,
    pub(crate) handles: Handles,
    counters: Counters,
    since: Instant,
    phase: Phase,
    standing: Standing,
    /// Whether it is entered nowhere by its cookie.
    apart: bool,
    /// Of its last reading, where somebody collects samples.
    last: Option<Box<ConnectionSample>>,
    rare: Option<Box<Rare>>,
}

/// What few connections have.
#[derive(Default)]
struct Rare {
    /// Where the totals stood when the present watch, or the series under the present peer, began.
    start: Option<Box<CounterNumbers>>,
    /// The group in which it was opened, where that is not its owner.
    home: Option<Membership>,
    /// Its attributes as one of the worst of its group.
    shown: Option<Arc<Labels>>,
    given_back: Option<GivenBack>,
    /// The other side, where that is part of what tells its series from others.
    peer: Option<SocketAddr>,
}

struct GivenBack {
    stamp: u64,
    connection: Returned,
    age: Duration,
}

/// What was counted of its coming and going.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unseen,
    Opened,
    /// Both, before: it was thought to have ended.
    Closed,
}

/// One reply, and what it adds.
pub(crate) struct Reading<'r> {
    pub(crate) reply: Reply<'r>,
    pub(crate) added: CounterNumbers,
    /// Whether this is the first that was seen of a connection.
    pub(crate) opened: bool,
}

impl Entry {
    /// A connection that is watched for the first time.
    pub(crate) fn new(cookie: Option<u64>, lineage: u64, handle: Handle, owner: Owner) -> Self {
        Self {
            cookie,
            lineage,
            owner,
            handles: Handles::of(handle),
            counters: Counters::new(),
            since: Instant::now(),
            phase: Phase::Unread,
            standing: Standing::Unseen,
            apart: false,
            last: None,
            rare: None,
        }
    }

    /// The same for one that its cookie does not tell from others: nobody finds it by that.
    pub(crate) fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// The cookie it is found by.
    pub(crate) fn known_by(&self) -> Option<u64> {
        self.cookie.filter(|_| !self.apart)
    }

    /// Whether a descriptor with this cookie is another socket all the same.
    pub(crate) fn is_another(&self, fd: RawFd) -> bool {
        let given_back = || self.given_back().map(|(_, connection)| connection.fd);
        let own = self.handles.first().map(|handle| handle.fd).or_else(given_back);
        read::shares_cookies(fd) && own.is_some_and(|own| !read::are_same(own, fd))
    }

    /// It had ended as far as the monitor knew: it was counted before.
    pub(crate) fn mark_known(&mut self) {
        self.phase = Phase::Resumed;
        self.standing = Standing::Closed;
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Watched again, after nobody did. Returns the stamp it was given back under.
    pub(crate) fn resume(&mut self, handle: Handle, owner: Owner) -> Option<u64> {
        let last = std::mem::replace(&mut self.owner, owner);
        self.phase = Phase::Resumed;
        self.handles = Handles::of(handle);
        let (opened, start) = (self.standing == Standing::Opened, *self.counters.totals());
        let moved = match (last, &self.owner) {
            (Owner::Set(last), Owner::Set(now)) if !Arc::ptr_eq(last.set(), now.set()) => {
                Some(last)
            }
            _ => None,
        };
        let rare = self.rare();
        rare.start = Some(Box::new(start));
        if let Some(last) = moved {
            rare.shown = None;
            if opened && rare.home.is_none() {
                rare.home = Some(last);
            }
        }
        rare.given_back.take().map(|given_back| given_back.stamp)
    }

    /// Nobody watches it any more, and its socket is open.
    pub(crate) fn give_back(&mut self, stamp: u64, connection: Returned) {
        let age = self.since.elapsed();
        self.rare().given_back = Some(GivenBack { stamp, connection, age });
        if self.owner.family() == MetricFamily::Socket {
            self.owner = Owner::Nobody;
        }
    }

    /// The stamp it was given back under, and what tells whether it is still open.
    pub(crate) fn given_back(&self) -> Option<(u64, Returned)> {
        let given_back = self.rare.as_ref()?.given_back.as_ref()?;
        Some((given_back.stamp, given_back.connection))
    }

    /// Asks the kernel once through a handle and takes in what it says.
    #[inline]
    pub(crate) fn read<'r>(
        &mut self,
        asker: &'r Asker,
        room: &'r mut [u8; ROOM],
        handle: Handle,
        verify: Verify,
    ) -> Result<Reading<'r>, ReadError> {
        let reply = match asker.ask(handle.fd, room) {
            Ok(reply) => reply,
            Err(error) if read::is_gone(&error) => {
                let unread = matches!(self.phase, Phase::Unread | Phase::Resumed);
                if unread && (self.cookie.is_none() || self.is_behind(handle)) {
                    self.phase = Phase::Foreign;
                }
                return Err(ReadError::Permanent(error));
            }
            Err(error) => return Err(ReadError::Transient(error)),
        };
        let raw = CounterNumbers::of(&reply);
        let check = match verify {
            Verify::Always => true,
            Verify::WhatAdds => {
                let first = || matches!(self.phase, Phase::Unread | Phase::Resumed);
                match handle.holding {
                    Holding::Alone => false,
                    Holding::Unknown => first() || self.counters.differs(&raw),
                    Holding::Borrowed => true,
                }
            }
            Verify::Never => false,
        };
        // Verified after reading: if the cookie still matches, the reply came from this socket.
        // Only who swaps the descriptor by `dup2` and back, between the two calls, deceives that.
        if check && !self.is_behind(handle) {
            if self.was_no_socket(handle) {
                self.phase = Phase::Foreign;
            }
            return Err(ReadError::Permanent(io::Error::other(read::WrongSocket)));
        }
        Ok(self.take_in(asker, handle.fd, reply, &raw))
    }

    /// Whether the handle's descriptor is this socket. A kernel without cookies cannot say; an
    /// owned descriptor is believed then.
    pub(crate) fn is_behind(&self, handle: Handle) -> bool {
        match self.cookie {
            Some(cookie) => read::cookie_of(handle.fd).is_ok_and(|now| now == cookie),
            None => handle.holding != Holding::Borrowed && !self.was_no_socket(handle),
        }
    }

    /// What has a cookie now, and had none when it was watched, was no socket then.
    fn was_no_socket(&self, handle: Handle) -> bool {
        self.cookie.is_none() && read::cookie_of(handle.fd).is_ok()
    }

    #[inline]
    fn take_in<'r>(
        &mut self,
        asker: &Asker,
        fd: RawFd,
        reply: Reply<'r>,
        raw: &CounterNumbers,
    ) -> Reading<'r> {
        let next = Phase::of(&reply);
        let names_peers = asker.identity.names_peers();
        let resumed = self.phase == Phase::Resumed;
        match (self.phase, next) {
            (Phase::Unread | Phase::Blank, _) => {}
            (_, Phase::Blank) => {
                if resumed {
                    self.counters.rebase(raw);
                }
                // Disconnected: the next connection counts from zero, and has another peer.
                self.counters.restart();
                if names_peers {
                    self.begin_series(None);
                }
            }
            (Phase::Resumed, _) => self.counters.rebase(raw),
            (Phase::Over, Phase::Over) => self.counters.skip_clocks(raw),
            _ => {}
        }
        self.phase = next;
        if names_peers && self.shows_peer() {
            self.follow_peer(fd, resumed);
        }
        let added = self.counters.advance(raw);
        let connection = matches!(next, Phase::Connected | Phase::Over);
        let opened = connection && self.standing == Standing::Unseen;
        if opened {
            self.standing = Standing::Opened;
        }
        if let Owner::Own(attributes, labels @ None) = &mut self.owner {
            let more = asker.identity.attributes(fd, self.cookie, reply.state());
            *labels = more.map(|more| Arc::new(Labels::new(attributes.with(more))));
        }
        Reading { reply, added, opened }
    }

    fn shows_peer(&self) -> bool {
        let shown = self.rare.as_ref().is_some_and(|rare| rare.shown.is_some());
        shown || matches!(self.owner, Owner::Own(..))
    }

    /// After a disconnect that nobody saw, the other side is another.
    fn follow_peer(&mut self, fd: RawFd, resumed: bool) {
        let Some(peer) = read::peer_of(fd) else { return };
        match self.rare.as_ref().and_then(|rare| rare.peer) {
            Some(known) if known == peer => {}
            Some(_) => {
                if !resumed {
                    self.counters.restart();
                }
                self.begin_series(Some(peer));
            }
            None => {
                let rare = self.rare();
                (rare.shown, rare.peer) = (None, Some(peer));
            }
        }
    }

    /// Under another peer it has another series, without what it counted under the last.
    fn begin_series(&mut self, peer: Option<SocketAddr>) {
        if let Owner::Own(_, labels) = &mut self.owner {
            *labels = None;
        }
        let start = *self.counters.totals();
        let rare = self.rare();
        rare.shown = None;
        rare.peer = peer;
        rare.start = Some(Box::new(start));
    }

    /// What it counted so far, and its levels in a reply.
    pub(crate) fn sums(&self, reply: Option<&Reply<'_>>) -> Sums {
        let up_downs = reply.map_or(UpDownNumbers::NONE, UpDownNumbers::of);
        Sums { counters: *self.counters.totals(), up_downs }
    }

    /// Where a series of its own begins for whoever has not seen it.
    pub(crate) fn origin(&self) -> Origin {
        let start = self.rare.as_ref().and_then(|rare| rare.start.clone());
        let start = start.map_or(Start::Whole, Start::After);
        Origin { lineage: self.lineage, start }
    }

    /// Its attributes as one of the worst of its group, the same ones as long as it has them.
    pub(crate) fn shown(&mut self, asker: &Asker, fd: RawFd, state: State) -> Option<Arc<Labels>> {
        if let Some(shown) = self.rare.as_ref().and_then(|rare| rare.shown.as_ref()) {
            return Some(Arc::clone(shown));
        }
        let Owner::Set(membership) = &self.owner else { return None };
        let identity = asker.identity.always(fd, self.cookie?, state)?;
        let labels = Arc::new(Labels::new(membership.set().labels.plain.with(identity)));
        self.rare().shown = Some(Arc::clone(&labels));
        Some(labels)
    }

    /// Reads the socket one last time through a handle that is about to end, and adds that to the
    /// totals.
    pub(crate) fn finish(
        &mut self,
        asker: &Asker,
        registrations: &Registrations,
        handle: Handle,
    ) -> io::Result<()> {
        let mut room = [0; ROOM];
        let reading = self.read(asker, &mut room, handle, Verify::Always)?;
        if let Owner::Set(membership) = &self.owner {
            let opened = u64::from(reading.opened);
            lock(&membership.set().ledger).add(&reading.added, opened);
            if self.owner.family() == MetricFamily::Group && !registrations.is_empty() {
                let last = ConnectionSample::live(&reading.reply);
                self.last = Some(Box::new(last));
            }
        }
        Ok(())
    }

    /// The first reading of a watch that goes on with an earlier one: its base. Where that fails
    /// the next reading is the base.
    pub(crate) fn take_base(&mut self, asker: &Asker, handle: Handle) {
        if self.phase != Phase::Resumed {
            return;
        }
        let mut room = [0; ROOM];
        let reading = self.read(asker, &mut room, handle, Verify::Never);
        let Ok(reading) = reading else { return };
        if let (Owner::Set(membership), true) = (&self.owner, reading.opened) {
            // It adds nothing, and which counters there are says the next reading.
            lock(&membership.set().ledger).add(&CounterNumbers::NONE, 1);
        }
    }

    /// Counts the connection out, in the group that it was opened in.
    pub(crate) fn leave(&self, registrations: &Registrations) {
        let rare = self.rare.as_deref();
        let home = match (rare.and_then(|rare| rare.home.as_ref()), &self.owner) {
            (Some(home), _) | (None, Owner::Set(home)) => home.set(),
            (None, Owner::Own(..) | Owner::Nobody) => return,
        };
        let mut ledger = lock(&home.ledger);
        match (self.standing, self.phase) {
            (Standing::Opened, _) => ledger.close(),
            (Standing::Closed, _) | (_, Phase::Listening | Phase::Foreign) => return,
            // Never connected, or never read: whatever it was, it came and went.
            (Standing::Unseen, _) => ledger.pass(),
        }
        if !registrations.is_empty() {
            let given_back = rare.and_then(|rare| rare.given_back.as_ref());
            let age = given_back.map_or_else(|| self.since.elapsed(), |it| it.age);
            let last = self.last.as_ref().map_or(ConnectionSample::NOTHING, |last| **last);
            registrations.offer(&mut ledger, last.at_the_end(age));
        }
    }
}
