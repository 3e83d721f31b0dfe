//! How connections come in and how their handles leave: what `watch` and the end of a watch do.
//!
//! `connection.rs` draws the states of one connection, `connections.rs` says in which order the
//! places are changed that know of it.

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;

use super::attributes::Attributes;
use super::connection::{Connection, Key};
use super::connections::Connections;
#[cfg(feature = "diag")]
use super::discovery::outcome::{Adopted, Handover};
use super::failures::{Failed, panicked};
use super::given_back::GivenBack;
use super::handles::{Handle, Ownership, WatchId};
use super::identity::SocketIdentity;
use super::locks::lock;
use super::owner::Owner;
use super::set::{Membership, MetricFamily};
use super::sets::Placement;
use crate::read;

/// What came of adding a handle to a connection that the index knows.
enum Joined {
    /// It watches the connection with this id.
    To(u64),
    /// The descriptor is another socket with the same cookie.
    Another,
    /// The connection left its slot just now.
    Gone,
}

impl Connections {
    /// Watches a connection in a group.
    pub(crate) fn watch_in_group(
        &self,
        fd: RawFd,
        ownership: Ownership,
        group: &Membership,
        folded: bool,
    ) -> (WatchId, Option<u64>) {
        self.watch(MetricFamily::Group, fd, ownership, |_| {
            if folded {
                self.folded.fetch_add(1, Ordering::Relaxed);
            }
            Owner::Set(group.clone())
        })
    }

    /// Watches a connection that is reported by itself, or together with those that its attributes
    /// do not tell it from.
    pub(crate) fn watch_alone(
        &self,
        fd: RawFd,
        ownership: Ownership,
        attributes: Attributes,
    ) -> (WatchId, Option<u64>) {
        self.watch(MetricFamily::Socket, fd, ownership, |cookie| {
            let membership = if cookie.is_none() || self.config.identity == SocketIdentity::None {
                match self.place(MetricFamily::Socket, &attributes) {
                    Placement::Own(membership) => return Owner::Set(membership),
                    Placement::Folded(membership) => membership,
                }
            } else {
                let one_more = |own| (own < self.config.sockets).then_some(own + 1);
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

    /// Adds a handle to its connection, which may be new. Returns the watch, and the cookie.
    ///
    /// `owner` says who reports the connection. It is called only if nobody watches the connection
    /// yet: whoever watched it first keeps it.
    fn watch(
        &self,
        family: MetricFamily,
        fd: RawFd,
        ownership: Ownership,
        owner: impl FnOnce(Option<u64>) -> Owner,
    ) -> (WatchId, Option<u64>) {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let handle = Handle { fd, serial, ownership };
        let watch = |slot, connection| WatchId { slot, connection, handle: serial };
        let cookie = read::cookie_of(fd).ok();
        let mut owner = Some(owner);
        // At most one of the ways below needs an owner.
        let mut own = |cookie| owner.take().expect("it is asked for once")(cookie);
        if let Some(number) = cookie {
            loop {
                let mut known = false;
                let (slot, is_new) = self.family(family).cookies.slot(number, |ended| {
                    // A cookie that is shared does not prove that it is the one that ended.
                    known = ended && !read::shares_cookies(fd);
                    let (key, owner) = (Key::Cookie(number), own(cookie));
                    let mut connection = Connection::new(key, serial, handle, owner);
                    #[cfg(feature = "diag")]
                    if family == MetricFamily::Group {
                        known |= self.take_discovered(number, &mut connection);
                    }
                    if known {
                        connection.mark_known();
                    }
                    self.insert(connection)
                });
                if is_new {
                    if known {
                        self.take_base(slot, handle);
                    }
                    return (watch(slot, serial), cookie);
                }
                match self.join(family, slot, number, handle, || own(cookie)) {
                    Joined::To(connection) => return (watch(slot, connection), cookie),
                    Joined::Another => break,
                    // The other thread is about to correct the index.
                    Joined::Gone => thread::yield_now(),
                }
            }
        }
        // Nothing tells it from others, so it is a connection of its own.
        let key = cookie.map_or(Key::None, Key::SharedCookie);
        let connection = Connection::new(key, serial, handle, own(None));
        (watch(self.insert(connection), serial), cookie)
    }

    /// Puts a connection into a slot.
    fn insert(&self, connection: Connection) -> usize {
        // Counted before a sweep can meet it, which may take it out again.
        self.watched.fetch_add(1, Ordering::Relaxed);
        self.slots.insert(connection)
    }

    /// Adds a handle to the connection that the index has in this slot.
    fn join(
        &self,
        family: MetricFamily,
        slot: usize,
        cookie: u64,
        handle: Handle,
        own: impl FnOnce() -> Owner,
    ) -> Joined {
        self.slots.with(slot, |slot| {
            // If it left meanwhile, its slot can be the other family's, with the same cookie.
            let is_it = |it: &&mut Connection| {
                it.key.indexed() == Some(cookie) && it.owner.family() == family
            };
            let Some(connection) = slot.as_mut().filter(is_it) else { return Joined::Gone };
            if connection.is_another(handle.fd) {
                return Joined::Another;
            }
            if connection.handles.first().is_some() {
                connection.handles.join(handle);
            } else {
                if let Some(stamp) = connection.resume(handle, own()) {
                    self.family(family).given_back.remove(stamp);
                }
                self.watched.fetch_add(1, Ordering::Relaxed);
                connection.take_base(&self.reader, handle);
            }
            Joined::To(connection.id)
        })
    }

    /// Reads the base of a connection that the monitor took for ended.
    fn take_base(&self, slot: usize, handle: Handle) {
        self.slots.with(slot, |slot| {
            if let Some(connection) = slot {
                connection.take_base(&self.reader, handle);
            }
        });
    }

    /// Reads a connection one last time through a handle that is about to be closed or given away,
    /// and takes the handle out. Returns whether the descriptor still was the connection.
    pub(crate) fn unwatch(&self, watch: WatchId) -> bool {
        if self.is_inherited() {
            return false;
        }
        let finished = self.slots.with(watch.slot, |slot| {
            let connection = slot.as_mut().filter(|it| it.id == watch.connection)?;
            let handle = connection.handles.find(watch.handle)?;
            let (reader, registrations) = (&self.reader, &self.registrations);
            let last = AssertUnwindSafe(|| connection.finish(reader, registrations, handle));
            let last = catch_unwind(last).unwrap_or_else(|_| Err(panicked()));
            // The next handle takes over, so it must not be one that was leaked.
            let next = |connection: &Connection| connection.handles.beside(watch.handle).next();
            while let Some(other) = next(connection).filter(|it| !connection.is_behind(*it)) {
                self.withdraw_leaked(connection, other.serial);
            }
            self.withdraw(connection, watch.handle);
            Some(last.map_err(|error| Failed::new(connection.owner.attributes(), error)))
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

    /// The value of a watch is gone, and its descriptor closed or given away. If it was the last
    /// watch, the connection ends; or it is given back, if the descriptor still is its socket.
    /// `is_open` says so where the caller knows.
    pub(crate) fn release(&self, watch: WatchId, fd: RawFd, is_open: Option<bool>) {
        if self.is_inherited() {
            return;
        }
        let mut forgotten = Vec::new();
        let mut family = MetricFamily::Group;
        let ended = self.slots.with(watch.slot, |slot| {
            let connection = slot.as_mut().filter(|it| it.id == watch.connection)?;
            // While this value was dropped, others may have watched and gone. The last of them
            // says how the connection ended, or has said so.
            if !connection.handles.ended_with(watch.handle) || connection.given_back().is_some() {
                return None;
            }
            let given_back =
                connection.key.indexed().map(|cookie| GivenBack { slot: watch.slot, cookie, fd });
            let given_back = given_back.filter(|it| is_open.unwrap_or_else(|| it.is_open()));
            let Some(given_back) = given_back else { return self.end(slot) };
            family = connection.owner.family();
            let (stamp, others) = self.family(family).given_back.add(given_back);
            connection.give_back(stamp, given_back);
            forgotten = others;
            None
        });
        if let Some(ended) = ended {
            self.forget(watch.slot, ended);
        }
        // Their slots are locked one at a time, after this one's lock was released.
        for (stamp, given_back) in forgotten {
            let ended = self.slots.with(given_back.slot, |slot| {
                let connection = slot.as_ref()?;
                // It may have been watched again since, or its slot be another's.
                let is_same =
                    connection.owner.family() == family && connection.given_back()?.0 == stamp;
                is_same.then(|| self.end(slot)).flatten()
            });
            if let Some(ended) = ended {
                self.forget(given_back.slot, ended);
            }
        }
    }

    /// Whether this is a child of the process whose connections these are, and there they are
    /// counted. A thread of the parent may have had any of the locks.
    fn is_inherited(&self) -> bool {
        #[cfg(feature = "diag")]
        return self.discovered.is_inherited();
        #[cfg(not(feature = "diag"))]
        false
    }

    /// Takes over what is known of a connection that was discovered before it is watched. Returns
    /// whether it had ended as far as the monitor knew.
    #[cfg(feature = "diag")]
    fn take_discovered(&self, cookie: u64, connection: &mut Connection) -> bool {
        match self.discovered.hand_over(cookie) {
            Handover::Nothing => false,
            Handover::Known => true,
            Handover::Entry(history, group, opened_in) => {
                connection.go_on(history, opened_in.unwrap_or(group));
                false
            }
        }
    }

    /// Whether somebody watches the connection in this slot.
    #[cfg(feature = "diag")]
    pub(crate) fn is_watched(&self, slot: usize, cookie: u64) -> bool {
        self.slots.with(slot, |slot| {
            slot.as_ref().is_some_and(|it| is_in_group(it, cookie) && it.handles.first().is_some())
        })
    }

    /// Takes a connection out of its slot that nobody watches, and gives it to the discovery that
    /// found it.
    #[cfg(feature = "diag")]
    pub(crate) fn give_to_discovery(&self, slot: usize, cookie: u64, claim: u8) -> Adopted {
        if !self.discovered.is_claiming(claim) {
            return Adopted::Nothing;
        }
        let family = &self.groups;
        let taken = self.slots.with(slot, |slot| {
            let connection = slot.as_ref().filter(|it| is_in_group(it, cookie))?;
            let (stamp, _) = connection.given_back()?;
            let (history, group, opened_in) = slot.take()?.into_history();
            Some((stamp, history, group?, opened_in))
        });
        let Some((stamp, history, group, opened_in)) = taken else { return Adopted::Nothing };
        family.given_back.remove(stamp);
        let adopted = family
            .cookies
            .leave(cookie, || self.discovered.adopt(cookie, history, group, opened_in, claim));
        self.slots.free(slot);
        adopted
    }
}

/// Whether this is the connection with this cookie, in a group: if that left meanwhile, its slot
/// can be another's.
#[cfg(feature = "diag")]
fn is_in_group(connection: &Connection, cookie: u64) -> bool {
    connection.key.indexed() == Some(cookie) && connection.owner.family() == MetricFamily::Group
}
