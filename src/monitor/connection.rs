//! One connection in its slot: who watches it, who reports it, what it did so far.
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
//! A reading has three steps: ask the kernel, verify that the descriptor still is this socket, take
//! in what the kernel said. A connection that was given back is not read, and what it does then
//! does not count: the first reading of the next watch is its base. `phase.rs` has the phases that
//! readings go through.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use super::given_back::GivenBack;
use super::handles::{Handle, Handles, Ownership};
use super::history::{History, Series};
use super::identity::{Ends, SocketIdentity};
use super::labels::Labels;
use super::locks::lock;
use super::moment::{Moment, Ticker};
use super::owner::Owner;
use super::phase::{End, Phase};
use super::reader::{ReadError, SocketReader, Verify};
use super::reading::{Answer, Reading};
use super::registrations::Registrations;
use super::sample::ConnectionSample;
use super::set::{Membership, MetricFamily};
use super::snapshot::{Origin, Sums};
use super::timestamp::Timestamp;
use crate::info::{CounterNumbers, Reply, UpDownNumbers};
use crate::read::{self, ROOM};
use crate::state::State;
use crate::verdict::Verdict;

/// A connection in its slot. The slot's lock is held while it is read: see `locks.rs`.
pub(crate) struct Connection {
    pub(crate) key: Key,
    /// Tells it from every other connection of the monitor.
    pub(crate) id: u64,
    pub(crate) owner: Owner,
    pub(crate) handles: Handles,
    history: History,
    rare: Option<Box<Rare>>,
}

/// What tells a connection from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Nothing: a kernel without cookies, or a descriptor that is no socket.
    None,
    /// A cookie that another connection has as well. The index finds the other one by it.
    SharedCookie(u64),
    /// A cookie of its own. The index finds it by that.
    Cookie(u64),
}

impl Key {
    /// The cookie that the kernel says of the socket.
    pub(crate) fn cookie(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::SharedCookie(cookie) | Self::Cookie(cookie) => Some(cookie),
        }
    }

    /// The cookie that the index finds it by.
    pub(crate) fn indexed(self) -> Option<u64> {
        match self {
            Self::None | Self::SharedCookie(_) => None,
            Self::Cookie(cookie) => Some(cookie),
        }
    }
}

/// What few connections have.
#[derive(Default)]
struct Rare {
    /// The group that counted it as opened, if that is not its owner any more.
    opened_in: Option<Membership>,
    /// Its attributes as one of the worst of its group.
    shown: Option<Arc<Labels>>,
    unwatched: Option<Unwatched>,
    /// What the last reading through a dropped handle showed, if somebody collects samples.
    last: Option<ConnectionSample>,
}

/// What is known of a connection while nobody watches it.
struct Unwatched {
    stamp: u64,
    given_back: GivenBack,
    /// Its age when it was given back.
    age: Duration,
}

impl Connection {
    /// A connection that is watched for the first time.
    pub(crate) fn new(key: Key, id: u64, handle: Handle, owner: Owner) -> Self {
        let (handles, history) = (Handles::of(handle), History::new());
        Self { key, id, owner, handles, history, rare: None }
    }

    /// Whether a descriptor that has this connection's cookie is another socket all the same.
    pub(crate) fn is_another(&self, fd: RawFd) -> bool {
        let given_back = || self.given_back().map(|(_, given_back)| given_back.fd);
        let own = self.handles.first().map(|handle| handle.fd).or_else(given_back);
        read::shares_cookies(fd) && own.is_some_and(|own| !read::are_same(own, fd))
    }

    /// It had ended as far as the monitor knew, and was counted then.
    pub(crate) fn mark_known(&mut self) {
        self.history.mark_known();
    }

    /// It was discovered before it was watched: its history goes on. `counted_in` is the group that
    /// counts it.
    #[cfg(feature = "diag")]
    pub(crate) fn go_on(&mut self, history: History, counted_in: Membership) {
        self.history = history;
        let is_own =
            matches!(&self.owner, Owner::Set(own) if Arc::ptr_eq(own.set(), counted_in.set()));
        if self.history.is_opened() && !is_own {
            self.rare().opened_in = Some(counted_in);
        }
    }

    /// What it did so far, its group, and the group that counted it as opened if that is another.
    #[cfg(feature = "diag")]
    pub(crate) fn into_history(self) -> (History, Option<Membership>, Option<Membership>) {
        let group = match self.owner {
            Owner::Set(group) => Some(group),
            Owner::Own(..) | Owner::Nobody => None,
        };
        (self.history, group, self.rare.and_then(|rare| rare.opened_in))
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// It is watched again, after nobody did. Returns the stamp it was given back under.
    pub(crate) fn resume(&mut self, handle: Handle, owner: Owner) -> Option<u64> {
        let last = std::mem::replace(&mut self.owner, owner);
        self.handles = Handles::of(handle);
        let is_opened = self.history.resume();
        let moved_from = match (last, &self.owner) {
            (Owner::Set(last), Owner::Set(now)) if !Arc::ptr_eq(last.set(), now.set()) => {
                Some(last)
            }
            _ => None,
        };
        // A shared series does not say how many it opened, and goes with its last socket.
        let is_group = self.owner.family() == MetricFamily::Group;
        let rare = self.rare();
        if let Some(last) = moved_from {
            rare.shown = None;
            if is_group && is_opened && rare.opened_in.is_none() {
                rare.opened_in = Some(last);
            }
        }
        rare.unwatched.take().map(|unwatched| unwatched.stamp)
    }

    /// Nobody watches it any more, and its socket is open.
    pub(crate) fn give_back(&mut self, stamp: u64, given_back: GivenBack) {
        let age = self.history.age();
        self.rare().unwatched = Some(Unwatched { stamp, given_back, age });
        if self.owner.family() == MetricFamily::Socket {
            self.owner = Owner::Nobody;
        }
    }

    /// The stamp it was given back under, and what tells whether it is still open.
    pub(crate) fn given_back(&self) -> Option<(u64, GivenBack)> {
        let unwatched = self.rare.as_ref()?.unwatched.as_ref()?;
        Some((unwatched.stamp, unwatched.given_back))
    }

    /// Reads the socket once through a handle: asks, verifies, takes in.
    #[inline]
    pub(crate) fn read<'r>(
        &mut self,
        reader: &'r SocketReader,
        room: &'r mut [u8; ROOM],
        handle: Handle,
        verify: Verify,
        at: Option<Moment>,
    ) -> Result<Reading<'r>, ReadError> {
        let reply = match reader.ask(handle.fd, room) {
            Ok(reply) => reply,
            Err(error) => return Err(self.unanswered(handle, error)),
        };
        let answer = Answer::new(reply, at);
        // After the reply: if the cookie still matches now, the reply came from this socket. Only
        // a program that swaps the descriptor by `dup2` and back, between the two calls, deceives
        // this check.
        if self.has_to_verify(handle, verify, &answer.raw) {
            self.verify(handle)?;
        }
        Ok(self.take_in(reader.identity, handle.fd, &answer))
    }

    /// What an error of the kernel means: the descriptor is gone, or the next try may work.
    #[cold]
    fn unanswered(&mut self, handle: Handle, error: io::Error) -> ReadError {
        if !read::is_gone(&error) {
            return ReadError::Transient(error);
        }
        // The descriptor is what it was from the start, and that is no TCP socket.
        let was_never_read = self.history.phase().is_first();
        if was_never_read && (self.key == Key::None || self.is_behind(handle)) {
            self.history.turn_foreign();
        }
        ReadError::Permanent(error)
    }

    /// Whether a reading has to be verified. The cookie costs a second system call, so a descriptor
    /// that only its watch can close is asked for it now and then, and one that others may close
    /// when an error would change a sum.
    #[inline]
    fn has_to_verify(&self, handle: Handle, verify: Verify, raw: &CounterNumbers) -> bool {
        match (verify, handle.ownership) {
            (Verify::Always, _) => true,
            (Verify::Never, _) | (Verify::WhatAdds, Ownership::Sole) => false,
            (Verify::WhatAdds, Ownership::Borrowed) => true,
            (Verify::WhatAdds, Ownership::Unknown) => {
                self.history.phase().is_first() || self.history.would_add(raw)
            }
        }
    }

    /// Fails if the handle's descriptor is not this socket.
    fn verify(&mut self, handle: Handle) -> Result<(), ReadError> {
        if self.is_behind(handle) {
            return Ok(());
        }
        if self.was_no_socket(handle) {
            self.history.turn_foreign();
        }
        Err(ReadError::Permanent(io::Error::other(read::WrongSocket)))
    }

    /// Whether the handle's descriptor is this socket. A kernel without cookies cannot say; then
    /// only a descriptor that the watched value may own is believed.
    pub(crate) fn is_behind(&self, handle: Handle) -> bool {
        match self.key.cookie() {
            Some(cookie) => read::cookie_of(handle.fd).is_ok_and(|now| now == cookie),
            None => handle.ownership != Ownership::Borrowed && !self.was_no_socket(handle),
        }
    }

    /// Whether the descriptor became a socket after it was watched: it has a cookie now, and had
    /// none then.
    fn was_no_socket(&self, handle: Handle) -> bool {
        self.key == Key::None && read::cookie_of(handle.fd).is_ok()
    }

    /// Takes in one reply of this socket.
    #[inline]
    fn take_in<'r>(
        &mut self,
        identity: SocketIdentity,
        fd: RawFd,
        answer: &Answer<'r>,
    ) -> Reading<'r> {
        let (next, reply) = (answer.phase(), answer.reply);
        let names_peers = identity.names_peers();
        let shows_peer = names_peers && self.shows_peer(next);
        let peer = || if shows_peer { read::peer_of(fd) } else { None };
        let taken = self.history.take_in(answer, names_peers, peer);
        if taken.series != Series::Same {
            self.forget_labels(taken.series);
        }
        if let Owner::Own(attributes, labels @ None) = &mut self.owner {
            let more = identity.attributes(Ends::Of(fd), self.key.cookie(), reply.state());
            *labels = more.map(|more| Arc::new(Labels::new(attributes.with(more))));
        }
        let cause = self.history.cause();
        Reading { reply, added: taken.added, opened: taken.opened, cause }
    }

    /// Whether its peer is among the attributes of a series: of its own, or as one of the worst of
    /// its group.
    fn shows_peer(&self, next: Phase) -> bool {
        let is_shown = || self.rare.as_ref().is_some_and(|rare| rare.shown.is_some());
        matches!(self.owner, Owner::Own(..)) || (next != Phase::Blank && is_shown())
    }

    /// Forgets attributes that its series does not have any more: the next reading builds others.
    #[cold]
    fn forget_labels(&mut self, series: Series) {
        if let (Owner::Own(_, labels), Series::New) = (&mut self.owner, series) {
            *labels = None;
        }
        if let Some(rare) = &mut self.rare {
            rare.shown = None;
        }
    }

    /// What it counted so far, and its levels in a reply.
    pub(crate) fn sums(&self, reply: Option<&Reply<'_>>) -> Sums {
        let up_downs = reply.map_or(UpDownNumbers::NONE, UpDownNumbers::of);
        Sums { counters: self.history.totals(), up_downs }
    }

    /// The latest verdict on it; `None` before the second reading.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.history.verdict()
    }

    /// Where a series of its own begins for readers that have not seen it.
    pub(crate) fn origin(&self, now: Timestamp) -> Origin {
        Origin { id: self.id, start: self.history.start(now) }
    }

    /// Its attributes as one of the worst of its group, the same ones as long as it has them.
    pub(crate) fn shown(
        &mut self,
        identity: SocketIdentity,
        fd: RawFd,
        state: State,
    ) -> Option<Arc<Labels>> {
        if let Some(shown) = self.rare.as_ref().and_then(|rare| rare.shown.as_ref()) {
            return Some(Arc::clone(shown));
        }
        let Owner::Set(membership) = &self.owner else { return None };
        let more = identity.always(Ends::Of(fd), self.key.cookie()?, state)?;
        let labels = Arc::new(Labels::new(membership.set().labels.plain.with(more)));
        self.rare().shown = Some(Arc::clone(&labels));
        Some(labels)
    }

    /// Reads the socket one last time through a handle that is about to end, and adds that to the
    /// totals of its set.
    pub(crate) fn finish(
        &mut self,
        reader: &SocketReader,
        registrations: &Registrations,
        handle: Handle,
    ) -> io::Result<()> {
        let mut room = [0; ROOM];
        let reading = self.read(reader, &mut room, handle, Verify::Always, None)?;
        if let Owner::Set(membership) = &self.owner {
            lock(&membership.set().ledger).add(&reading.added, u64::from(reading.opened));
            if self.owner.family() == MetricFamily::Group && !registrations.is_empty() {
                let last = ConnectionSample::live(&reading.reply);
                self.rare().last = Some(last);
            }
        }
        Ok(())
    }

    /// Makes the first reading of a watch that goes on with an earlier one: its base. If that
    /// fails, the next reading is the base.
    pub(crate) fn take_base(&mut self, reader: &SocketReader, handle: Handle) {
        if self.history.phase() != Phase::Resumed {
            return;
        }
        let mut room = [0; ROOM];
        let at = reader.moment(&mut Ticker::default());
        let reading = self.read(reader, &mut room, handle, Verify::Never, at);
        let Ok(reading) = reading else { return };
        if let (Owner::Set(membership), true) = (&self.owner, reading.opened) {
            // It adds nothing. Which counters its group has is for the next reading to say.
            lock(&membership.set().ledger).add(&CounterNumbers::NONE, 1);
        }
    }

    /// Counts the end of the connection, in the group that counted it as opened.
    pub(crate) fn leave(&self, registrations: &Registrations) {
        let rare = self.rare.as_deref();
        let group = match (rare.and_then(|rare| rare.opened_in.as_ref()), &self.owner) {
            (Some(group), _) | (None, Owner::Set(group)) => group.set(),
            (None, Owner::Own(..) | Owner::Nobody) => return,
        };
        let mut ledger = lock(&group.ledger);
        match self.history.end() {
            End::Closed => ledger.close(),
            End::Nothing => return,
            End::OpenedAndClosed => ledger.pass(),
        }
        if !registrations.is_empty() {
            let unwatched = rare.and_then(|rare| rare.unwatched.as_ref());
            let age = unwatched.map_or_else(|| self.history.age(), |unwatched| unwatched.age);
            let last = rare.and_then(|rare| rare.last).unwrap_or(ConnectionSample::NOTHING);
            registrations.offer(&mut ledger, last.at_the_end(age));
        }
    }
}
