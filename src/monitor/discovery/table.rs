//! Every discovered connection of a monitor, by cookie, whichever discovery found it.
//!
//! ```text
//!                  a pass, or an event          its event, or absent from passes
//!   unknown ---------------------------> entry -----------------------------> marked closed
//!      |                                 |   ^                                     |
//!      | every grouping refused it watch |   | given back, and found again         | no pass can
//!      v                                 v   |                                     | show it now
//!   marked refused                      watched                                    v
//!      (until its end)                      | ends, or its event comes         forgotten
//!                                           v
//!                                   marked, until both have happened
//! ```
//!
//! The kernel never uses a cookie again, so each connection is counted as opened once and as closed
//! once, whatever order dumps and events come in:
//!
//! - **A dump can be older than an event.** While a pass runs, the cookie of each connection that
//!   an event ends stays marked as closed; the pass may still show it. When the pass is over, no
//!   later one can.
//! - **An event can come after an absence.** A connection that was closed because passes do not
//!   show it any more stays marked, in case its event is only late. What that adds still counts.
//! - **The end of a watch and the event of its socket come in either order.** Whichever is first
//!   leaves a mark, and the other one takes it away. So a watched connection never counts again,
//!   even if the kernel keeps its socket for long after it was closed.
//!
//! A connection is either in a slot of `Connections` or in the table, never in both: who puts it
//! into one of them does that under the lock of the index of cookies, and looks at the other first.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::super::history::History;
use super::super::locks::lock;
use super::super::set::Membership;
use super::entries::{Entries, Entry, UNKNOWN};
use super::marks::{MarkKind, Marks};
use super::outcome::{Adopted, Coverage, Handover, NOBODY, Newcomer, Parted, Seen, Told};
use super::process::Process;

/// The discovered connections of a monitor.
pub(crate) struct Table {
    inner: Mutex<Inner>,
    /// The process whose discoveries there are: without one, nothing is kept. After a `fork` the
    /// child has a copy, whose lock a thread of the parent may have.
    process: Process,
    epoch: Instant,
}

#[derive(Default)]
struct Inner {
    entries: Entries,
    marks: Marks,
    /// Groups that counted a connection as opened, where that is not its group any more.
    opened_in: HashMap<u64, Membership>,
    /// The discoveries under way, one bit each. A pass goes on with one that has just ended.
    claims: u64,
    pass: u32,
    is_running: bool,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::default(), process: Process::none(), epoch: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Whether this process has discoveries.
    pub(crate) fn is_active(&self) -> bool {
        self.process.is_this()
    }

    /// Whether another process has the discoveries, of which this one is a child.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_another()
    }

    /// A discovery begins: keeps its connections. It has not refused anything.
    pub(crate) fn claim(&self, claim: u8) {
        let mut inner = lock(&self.inner);
        inner.claims |= 1 << claim;
        inner.marks.forget_refusals(1 << claim);
        self.process.set();
    }

    /// Whether this discovery is under way.
    pub(crate) fn is_claiming(&self, claim: u8) -> bool {
        self.is_active() && lock(&self.inner).is_claiming(claim)
    }

    /// Forgets everything, and keeps nothing from now on.
    pub(crate) fn clear(&self) {
        let mut inner = lock(&self.inner);
        self.process.unset();
        // A pass that is under way goes on, and finds nothing.
        let Inner { pass, is_running, .. } = *inner;
        let forgotten = Inner { pass, is_running, ..Inner::default() };
        let forgotten = std::mem::replace(&mut *inner, forgotten);
        drop(inner);
        drop(forgotten);
    }

    /// Whether the cookie is an entry.
    pub(crate) fn has(&self, cookie: u64) -> bool {
        lock(&self.inner).entries.find(cookie).is_some()
    }

    /// A pass begins: what it asks the kernel, it asks after this. Returns its number.
    pub(crate) fn begin_pass(&self) -> u32 {
        let mut inner = lock(&self.inner);
        inner.pass += 1;
        inner.is_running = true;
        inner.pass
    }

    /// A pass shows a connection. `take_in` gets an entry that has not been seen in this pass.
    /// `asks` has a bit for each discovery that wants to know of it.
    #[inline]
    pub(crate) fn see(&self, cookie: u64, asks: u64, take_in: impl FnOnce(&mut Entry)) -> Seen {
        let mut inner = lock(&self.inner);
        let pass = inner.pass;
        if let Some(entry) = inner.entries.find(cookie) {
            if entry.claim == NOBODY {
                return Seen::Unclaimed;
            }
            if std::mem::replace(&mut entry.seen, pass) == pass {
                return Seen::Ignored;
            }
            take_in(entry);
            return Seen::Taken;
        }
        let is_marked = inner.marks.see(cookie, asks, pass, || self.now());
        if is_marked { Seen::Ignored } else { Seen::Unknown }
    }

    /// Notes that a connection is open, without a reading.
    pub(crate) fn note(&self, cookie: u64) {
        let inner = &mut *lock(&self.inner);
        inner.marks.see(cookie, 0, inner.pass, || self.now());
        if let Some(entry) = inner.entries.find(cookie) {
            entry.seen = inner.pass;
        }
    }

    /// Puts a connection into the table, unless it has come there, or ended, in the meantime. The
    /// caller holds the lock of the index of cookies.
    pub(crate) fn insert(&self, new: Newcomer) -> bool {
        let Newcomer { cookie, progress, group, claim, is_base, has_event } = new;
        let since = if is_base { UNKNOWN } else { self.now() };
        let mut inner = lock(&self.inner);
        if inner.is_known(cookie) || !inner.is_claiming(claim) {
            return false;
        }
        inner.marks.remove(cookie);
        let seen = inner.pass;
        let is_adopted = false;
        let new = Entry { cookie, progress, group, since, seen, claim, has_event, is_adopted };
        inner.entries.insert(new);
        true
    }

    /// Puts a connection into the table that nobody watches any more. It stays in its group. If its
    /// event has come, it is returned instead: an older dump may still show it.
    pub(crate) fn adopt(
        &self,
        cookie: u64,
        history: History,
        group: Membership,
        opened_in: Option<Membership>,
        claim: u8,
    ) -> Adopted {
        let (progress, since) = history.into_progress();
        let since = since.saturating_duration_since(self.epoch).as_nanos() as u64;
        let now = self.now();
        let mut inner = lock(&self.inner);
        if inner.entries.find(cookie).is_some() {
            return Adopted::Entry;
        }
        let (pass, is_running) = (inner.pass, inner.is_running);
        if inner.marks.bar(cookie) {
            inner.marks.meet(cookie, MarkKind::Unwatched, pass, now, is_running);
            let age = Some(Duration::from_nanos(now.saturating_sub(since)));
            return Adopted::Ended(Parted { group, opened_in, progress, age, claim });
        }
        inner.marks.remove(cookie);
        inner.opened_in.extend(opened_in.map(|group| (cookie, group)));
        // Not seen by this pass yet: its reading is still to come.
        let seen = pass.wrapping_sub(1);
        let (has_event, is_adopted) = (true, is_running);
        let new = Entry { cookie, progress, group, since, seen, claim, has_event, is_adopted };
        inner.entries.insert(new);
        Adopted::Entry
    }

    /// Another discovery claims an entry that nobody claims any more. It goes to that one's group.
    pub(crate) fn reclaim(&self, cookie: u64, group: Membership, claim: u8) {
        let mut inner = lock(&self.inner);
        if !inner.is_claiming(claim) {
            return;
        }
        let entry = inner.entries.find(cookie).filter(|entry| entry.claim == NOBODY);
        let Some(entry) = entry else { return };
        entry.claim = claim;
        let last = std::mem::replace(&mut entry.group, group);
        if entry.progress.life.is_opened() && !std::sync::Arc::ptr_eq(last.set(), entry.group.set())
        {
            inner.opened_in.entry(cookie).or_insert(last);
        }
    }

    /// These discoveries do not want this connection.
    pub(crate) fn refuse(&self, cookie: u64, by: u64) {
        let at = self.now();
        let mut inner = lock(&self.inner);
        let seen = inner.pass;
        if inner.entries.find(cookie).is_some_and(|entry| entry.claim == NOBODY) {
            inner.entries.remove(cookie);
            inner.opened_in.remove(&cookie);
        }
        inner.marks.refuse(cookie, by, seen, at);
    }

    /// The event of a socket came.
    pub(crate) fn end(&self, cookie: u64) -> Told {
        let now = self.now();
        let mut inner = lock(&self.inner);
        let (pass, is_running) = (inner.pass, inner.is_running);
        if let Some(mark) = inner.marks.end(cookie, is_running) {
            return match mark.kind {
                MarkKind::Refused => Told::Refused(mark.by),
                MarkKind::Absent => inner.marks.take_late(cookie).map_or(Told::Ignored, Told::Late),
                _ => Told::Ignored,
            };
        }
        let Some(parted) = inner.part(cookie, now) else { return Told::Unknown };
        if is_running {
            inner.marks.put(cookie, MarkKind::Closed, pass, now);
        }
        Told::Parted(parted)
    }

    /// The event of a connection came that nobody knew. Returns whether it counts: if not, it has
    /// come into the table or ended in the meantime.
    pub(crate) fn pass_by(&self, cookie: u64) -> bool {
        let at = self.now();
        let mut inner = lock(&self.inner);
        if inner.is_known(cookie) {
            return false;
        }
        if inner.is_running {
            let seen = inner.pass;
            inner.marks.put(cookie, MarkKind::Closed, seen, at);
        }
        true
    }

    /// The event of a connection came that is in a slot.
    pub(crate) fn tell_watched(&self, cookie: u64) {
        self.meet(cookie, MarkKind::Told);
    }

    /// The watch of a connection ended, and the connection with it.
    pub(crate) fn unwatched(&self, cookie: u64) {
        if self.is_active() {
            self.meet(cookie, MarkKind::Unwatched);
        }
    }

    fn meet(&self, cookie: u64, kind: MarkKind) {
        let at = self.now();
        let inner = &mut *lock(&self.inner);
        inner.marks.meet(cookie, kind, inner.pass, at, inner.is_running);
    }

    /// A watch begins: the connection leaves the table. The caller holds the lock of the index of
    /// cookies.
    pub(crate) fn hand_over(&self, cookie: u64) -> Handover {
        if !self.is_active() {
            return Handover::Nothing;
        }
        let now = self.now();
        let mut inner = lock(&self.inner);
        if let Some(mark) = inner.marks.remove(cookie) {
            return match mark.kind {
                MarkKind::Refused => Handover::Nothing,
                _ => Handover::Known,
            };
        }
        let Some(parted) = inner.part(cookie, now) else { return Handover::Nothing };
        drop(inner);
        let since = Instant::now() - parted.age.unwrap_or_default();
        Handover::Entry(History::of(parted.progress, since), parted.group, parted.opened_in)
    }

    /// A discovery ended: nobody claims its connections any more.
    pub(crate) fn unclaim(&self, claim: u8) {
        let mut inner = lock(&self.inner);
        inner.claims &= !(1 << claim);
        inner.marks.unclaim(claim);
        drop(inner);
        self.by_chunks(|inner, number| {
            let entries = inner.entries.chunk_mut(number).iter_mut();
            entries.filter(|entry| entry.claim == claim).for_each(|entry| entry.claim = NOBODY);
        });
    }

    /// Whether there is a connection that somebody claims and so many passes did not show.
    pub(crate) fn lacks_any(&self, passes: u32) -> bool {
        let inner = lock(&self.inner);
        inner.entries.lack_any(inner.pass, passes)
    }

    /// Does something for each chunk of entries, from the last one to the first, each under a lock
    /// of its own. What is taken out is replaced by an entry that was visited.
    fn by_chunks(&self, mut visit: impl FnMut(&mut Inner, usize)) {
        let chunks = lock(&self.inner).entries.chunks();
        for number in (0..chunks).rev() {
            visit(&mut lock(&self.inner), number);
        }
    }

    /// A pass is over. Takes out what it should have shown and did not, and gives that to `part`
    /// with no lock held. `covered` says of a discovery what the pass says of its connections;
    /// nothing if it has ended. `has_events` says whether the kernel tells any of them the ends of
    /// sockets, and `is_whole` whether the pass was complete for all of them.
    pub(crate) fn end_pass(
        &self,
        has_events: bool,
        is_whole: bool,
        covered: impl Fn(u8) -> Option<Coverage>,
        part: impl FnMut(Parted),
    ) {
        let now = self.now();
        let mut parted = Vec::new();
        self.by_chunks(|inner, number| {
            let pass = inner.pass;
            let entries = inner.entries.chunk_mut(number).iter_mut();
            let gone = entries.filter_map(|it| {
                it.is_gone(pass, covered(it.claim), has_events, is_whole).then_some(it.cookie)
            });
            for cookie in gone.collect::<Vec<_>>() {
                let Some(gone) = inner.part(cookie, now) else { continue };
                if gone.is_unclaimed() {
                    // Only a discovery that begins later may want it, as its base.
                    inner.marks.refuse(cookie, u64::MAX, pass, now);
                } else {
                    inner.marks.put_absent(cookie, &gone, has_events, pass, now);
                    parted.push(gone);
                }
            }
        });
        parted.into_iter().for_each(part);
        let inner = &mut *lock(&self.inner);
        inner.is_running = false;
        inner.marks.end_pass(inner.pass, now, has_events);
    }
}

impl Inner {
    fn is_claiming(&self, claim: u8) -> bool {
        self.claims >> claim & 1 != 0
    }

    /// Whether the cookie is an entry, or one that does not count any more.
    fn is_known(&mut self, cookie: u64) -> bool {
        self.marks.bar(cookie) || self.entries.find(cookie).is_some()
    }

    /// Takes out an entry.
    fn part(&mut self, cookie: u64, now: u64) -> Option<Parted> {
        let Entry { progress, group, since, claim, .. } = self.entries.remove(cookie)?;
        let opened_in =
            if self.opened_in.is_empty() { None } else { self.opened_in.remove(&cookie) };
        let age = (since != UNKNOWN).then(|| Duration::from_nanos(now.saturating_sub(since)));
        Some(Parted { group, opened_in, progress, age, claim })
    }
}

#[cfg(test)]
mod tests;
