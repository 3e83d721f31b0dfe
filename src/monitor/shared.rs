//! What all handles of one monitor share, and how a connection comes into it and leaves it.
//!
//! # Locks
//!
//! A lock is taken only while those held are further up in this list:
//!
//! 1. the sweeper: one sweep at a time; whoever watches or drops never takes it,
//! 2. the cookies of [`Connections`] that ended,
//! 3. a shard of them: from a cookie to a slot,
//! 4. a slot: one connection, held during a read,
//! 5. the list of free slots; the connections given back; the sets,
//! 6. the ledger of a set; which of its connections it shows,
//! 7. the random numbers of [`Registrations`]; the counts and the queue of [`Failures`].
//!
//! A shard's lock is never held while somebody waits for a slot that can be in use: a read may take
//! long, and others watch in the same shard. So a slot's number is looked up under the shard's
//! lock, and the slot is checked again under its own. The program's `on_error` is called with none
//! of them.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use arc_swap::ArcSwapOption;

use super::asker::Asker;
use super::attributes::{Attributes, SocketIdentity};
use super::builder::Config;
use super::connections::{Connections, Returned};
use super::entry::Entry;
use super::failures::{Failed, Failures, panicked};
use super::handles::{Handle, Holding};
use super::owner::Owner;
use super::registrations::Registrations;
use super::set::{Caps, Membership, MetricFamily, Placement, Sets};
use super::slots::{Slots, lock};
use super::snapshot::Snapshot;
use super::sweep::Sweeper;
use crate::read;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) asker: Asker,
    pub(crate) slots: Slots<Entry>,
    groups: Connections,
    series: Connections,
    pub(crate) sets: Mutex<Sets>,
    pub(crate) sweeper: Mutex<Sweeper>,
    pub(crate) latest: ArcSwapOption<Snapshot>,
    pub(crate) registrations: Registrations,
    pub(crate) failures: Failures,
    next_serial: AtomicU64,
    /// Watched sockets with series of their own.
    pub(crate) own: AtomicUsize,
    pub(crate) watched: AtomicU64,
    pub(crate) folded: AtomicU64,
}

/// A watch: where its connection is, and which of its handles it holds.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) slot: usize,
    pub(crate) lineage: u64,
    pub(crate) serial: u64,
}

/// A connection that has left its slot, whose number is still taken.
pub(crate) struct Ended {
    family: MetricFamily,
    cookie: Option<u64>,
    given_back: Option<u64>,
}

impl Shared {
    pub(crate) fn new(mut config: Config) -> Self {
        Self {
            asker: Asker::new(config.source, config.identity),
            slots: Slots::new(),
            groups: Connections::new(),
            series: Connections::new(),
            sets: Mutex::new(Sets::new()),
            sweeper: Mutex::new(Sweeper::new()),
            latest: ArcSwapOption::empty(),
            registrations: Registrations::new(config.samples),
            failures: Failures::new(config.on_error.take()),
            next_serial: AtomicU64::new(0),
            own: AtomicUsize::new(0),
            watched: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            config,
        }
    }

    fn connections(&self, family: MetricFamily) -> &Connections {
        match family {
            MetricFamily::Group => &self.groups,
            MetricFamily::Socket => &self.series,
        }
    }

    /// Open connections that are remembered and not watched.
    pub(crate) fn given_back(&self) -> u64 {
        (self.groups.given_back() + self.series.given_back()) as u64
    }

    pub(crate) fn place(
        &self,
        family: MetricFamily,
        attributes: &Attributes,
        sets: usize,
    ) -> Placement {
        let mut all = lock(&self.sets);
        // Looked up under the lock: whoever is announced later collects without what makes room.
        let registrations = self.registrations.all();
        let retention = self.config.retention;
        let caps = Caps { sets, retention, registrations: &registrations };
        all.place(family, attributes, caps)
    }

    fn serial(&self) -> u64 {
        self.next_serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Watches a connection in a group.
    pub(crate) fn watch_in_group(
        &self,
        fd: RawFd,
        holding: Holding,
        group: &Membership,
        folded: bool,
    ) -> (Ticket, Option<u64>) {
        self.watch(MetricFamily::Group, fd, holding, |_| {
            if folded {
                self.folded.fetch_add(1, Ordering::Relaxed);
            }
            Owner::Set(group.clone())
        })
    }

    /// Watches a connection that is reported by itself, or with those it cannot be told from.
    pub(crate) fn watch_alone(
        &self,
        fd: RawFd,
        holding: Holding,
        attributes: Attributes,
    ) -> (Ticket, Option<u64>) {
        self.watch(MetricFamily::Socket, fd, holding, |cookie| {
            let cap = self.config.sockets;
            let membership = if cookie.is_none() || self.config.identity == SocketIdentity::None {
                match self.place(MetricFamily::Socket, &attributes, cap) {
                    Placement::Own(membership) => return Owner::Set(membership),
                    Placement::Folded(membership) => membership,
                }
            } else {
                let one_more = |own| (own < cap).then_some(own + 1);
                let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
                if self.own.fetch_update(set, fetch, one_more).is_ok() {
                    return Owner::Own(attributes, None);
                }
                lock(&self.sets).overflow(MetricFamily::Socket)
            };
            self.folded.fetch_add(1, Ordering::Relaxed);
            Owner::Set(membership)
        })
    }

    /// Enters a handle of a connection. Who owns the connection is asked only if nobody watches it
    /// yet.
    fn watch(
        &self,
        family: MetricFamily,
        fd: RawFd,
        holding: Holding,
        owner: impl FnOnce(Option<u64>) -> Owner,
    ) -> (Ticket, Option<u64>) {
        let handle = Handle { fd, serial: self.serial(), holding };
        let cookie = read::cookie_of(fd).ok();
        let ticket = |slot, lineage| Ticket { slot, lineage, serial: handle.serial };
        let apart = |owner: Owner| {
            let entry = Entry::new(cookie, handle.serial, handle, owner).apart();
            self.watched.fetch_add(1, Ordering::Relaxed);
            (ticket(self.slots.insert(entry), handle.serial), cookie)
        };
        let Some(number) = cookie else { return apart(owner(None)) };
        let connections = self.connections(family);
        let mut owner = Some(owner);
        let mut own = || owner.take().map(|owner| owner(cookie)).expect("asked once");
        loop {
            let mut ended = false;
            let (slot, new) = connections.slot(number, |known| {
                ended = known && !read::shares_cookies(fd);
                let mut entry = Entry::new(cookie, handle.serial, handle, own());
                if ended {
                    entry.mark_known();
                }
                // Before a sweep can meet it, and take it out again.
                self.watched.fetch_add(1, Ordering::Relaxed);
                self.slots.insert(entry)
            });
            if new {
                if ended {
                    self.slots.with(slot, |slot| {
                        if let Some(entry) = slot {
                            entry.take_base(&self.asker, handle);
                        }
                    });
                }
                return (ticket(slot, handle.serial), cookie);
            }
            let lineage = self.slots.with(slot, |slot| {
                let entry = slot.as_mut().filter(|entry| entry.cookie == cookie)?;
                if entry.is_another(fd) {
                    return Some(None);
                }
                if entry.handles.first().is_some() {
                    entry.handles.join(handle);
                } else {
                    let stamp = entry.resume(handle, own());
                    stamp.into_iter().for_each(|stamp| connections.take_back(stamp));
                    self.watched.fetch_add(1, Ordering::Relaxed);
                    entry.take_base(&self.asker, handle);
                }
                Some(Some(entry.lineage))
            });
            match lineage {
                Some(Some(lineage)) => return (ticket(slot, lineage), cookie),
                Some(None) => return apart(owner.take().map(|it| it(None)).expect("asked once")),
                // It left its slot just now, on another thread that is about to say so.
                None => thread::yield_now(),
            }
        }
    }

    /// The handle of a watch is about to be closed or given away: reads the connection through it
    /// one last time. Says whether the descriptor still was the connection.
    pub(crate) fn unwatch(&self, ticket: Ticket) -> bool {
        let finished = self.slots.with(ticket.slot, |slot| {
            let entry = slot.as_mut().filter(|entry| entry.lineage == ticket.lineage)?;
            let handle = entry.handles.find(ticket.serial)?;
            let (asker, registrations) = (&self.asker, &self.registrations);
            let last = AssertUnwindSafe(|| entry.finish(asker, registrations, handle));
            let last = catch_unwind(last).unwrap_or_else(|_| Err(panicked()));
            let next = |entry: &Entry| entry.handles.beside(ticket.serial).next();
            while let Some(other) = next(entry).filter(|it| !entry.is_behind(*it)) {
                self.withdraw_leaked(entry, other.serial);
            }
            self.withdraw(entry, ticket.serial);
            Some(last.map_err(|error| Failed::new(entry.owner.attributes(), error)))
        });
        match finished {
            Some(Ok(())) => true,
            Some(Err(failed)) => {
                self.failures.note(failed);
                false
            }
            None => false,
        }
    }

    /// Takes out one of several handles that was leaked, and whose descriptor is closed: it is not
    /// the last that watched.
    pub(crate) fn withdraw_leaked(&self, entry: &mut Entry, serial: u64) {
        let error = io::Error::other(read::WrongSocket);
        self.failures.note(Failed::new(entry.owner.attributes(), error));
        self.withdraw(entry, serial);
    }

    /// Takes a handle from a connection, and says whether nobody watches it any more.
    pub(crate) fn withdraw(&self, entry: &mut Entry, serial: u64) -> bool {
        let last = entry.handles.withdraw(serial);
        if last {
            self.watched.fetch_sub(1, Ordering::Relaxed);
            if matches!(entry.owner, Owner::Own(..)) {
                self.own.fetch_sub(1, Ordering::Relaxed);
            }
        }
        last
    }

    /// A handle is gone. Where it was the last, its connection ends with it, unless the descriptor
    /// still is the same socket: then only a handle went, and the connection can be watched again.
    pub(crate) fn release(&self, ticket: Ticket, fd: RawFd, is_open: Option<bool>) {
        let mut forgotten = Vec::new();
        let mut family = MetricFamily::Group;
        let ended = self.slots.with(ticket.slot, |slot| {
            let entry = slot.as_mut().filter(|entry| entry.lineage == ticket.lineage)?;
            // While this one's socket was dropped, others may have watched and gone: the last of
            // them says how it ended, or has said so.
            if !entry.handles.ended_with(ticket.serial) || entry.given_back().is_some() {
                return None;
            }
            let returned =
                entry.known_by().map(|cookie| Returned { slot: ticket.slot, cookie, fd });
            let Some(returned) = returned.filter(|it| is_open.unwrap_or_else(|| it.is_open()))
            else {
                return self.end(slot);
            };
            family = entry.owner.family();
            let (stamp, others) = self.connections(family).give_back(returned);
            entry.give_back(stamp, returned);
            forgotten = others;
            None
        });
        if let Some(ended) = ended {
            self.forget(ticket.slot, ended);
        }
        for (stamp, returned) in forgotten {
            let ended = self.slots.with(returned.slot, |slot| {
                let entry = slot.as_ref()?;
                let given_back = entry.owner.family() == family && entry.given_back()?.0 == stamp;
                given_back.then(|| self.end(slot)).flatten()
            });
            if let Some(ended) = ended {
                self.forget(returned.slot, ended);
            }
        }
    }

    /// Takes a connection out of its slot. The caller holds the slot's lock, and then forgets it.
    pub(crate) fn end(&self, slot: &mut Option<Entry>) -> Option<Ended> {
        let entry = slot.as_ref()?;
        let ended = Ended {
            family: entry.owner.family(),
            cookie: entry.known_by(),
            given_back: entry.given_back().map(|(stamp, _)| stamp),
        };
        entry.leave(&self.registrations);
        *slot = None;
        Some(ended)
    }

    /// Frees the slot of a connection that ended.
    pub(crate) fn forget(&self, slot: usize, ended: Ended) {
        let connections = self.connections(ended.family);
        if let Some(stamp) = ended.given_back {
            connections.take_back(stamp);
        }
        if let Some(cookie) = ended.cookie {
            connections.end(cookie);
        }
        self.slots.free(slot);
    }
}
