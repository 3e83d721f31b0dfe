//! All connections of a monitor: how one comes in, how its handles leave, and how it ends.
//!
//! `connection.rs` draws the states of one connection. This file moves it between them, and keeps
//! three places consistent: the slot that holds the connection, the index that finds the slot by
//! the cookie, and the queue of connections that nobody watches. The order is always:
//!
//! - in: into a slot, then into the index, both under the lock of the index's shard;
//! - out: out of the slot under the slot's lock ([`end`](Connections::end)), then, with no lock
//!   held, out of the queue and the index, and at last the slot's number is free again
//!   ([`forget`](Connections::forget)).
//!
//! So a number that the index has is never that of another connection's slot. The slot may be empty
//! already, if another thread is between `end` and `forget`; then `watch` tries again.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::attributes::Attributes;
use super::builder::Config;
use super::connection::Connection;
use super::cookies::CookieIndex;
#[cfg(feature = "diag")]
use super::discovery::table::Table;
use super::failures::{Failed, Failures};
use super::given_back::GivenBackQueue;
use super::handles::WatchId;
use super::locks::lock;
use super::owner::Owner;
use super::reader::SocketReader;
use super::registrations::Registrations;
use super::set::MetricFamily;
use super::sets::{Caps, Placement, Sets};
use super::slots::Slots;
use crate::read;
use crate::verdict::Verdict;

/// All connections of a monitor, and what is needed to read them.
pub(crate) struct Connections {
    pub(crate) reader: SocketReader,
    pub(crate) slots: Slots<Connection>,
    pub(crate) sets: Mutex<Sets>,
    pub(crate) registrations: Arc<Registrations>,
    pub(crate) failures: Arc<Failures>,
    /// Connections that are not watched, and that the monitor found by itself.
    #[cfg(feature = "diag")]
    pub(crate) discovered: Table,
    pub(crate) groups: Family,
    sockets: Family,
    pub(crate) config: Arc<Config>,
    pub(crate) next_serial: AtomicU64,
    /// Connections with series of their own.
    pub(crate) own: AtomicUsize,
    pub(crate) watched: AtomicU64,
    pub(crate) folded: AtomicU64,
}

/// The connections of one family of metrics, by cookie, and those of them that nobody watches.
#[derive(Default)]
pub(crate) struct Family {
    pub(crate) cookies: CookieIndex,
    pub(crate) given_back: GivenBackQueue,
}

/// A connection that has left its slot, whose number is still taken.
pub(crate) struct Ended {
    family: MetricFamily,
    cookie: Option<u64>,
    stamp: Option<u64>,
}

impl Connections {
    pub(crate) fn new(
        config: Arc<Config>,
        registrations: Arc<Registrations>,
        failures: Arc<Failures>,
    ) -> Self {
        Self {
            reader: SocketReader::new(config.source, config.identity, config.verdicts),
            slots: Slots::new(),
            sets: Mutex::new(Sets::new()),
            registrations,
            failures,
            #[cfg(feature = "diag")]
            discovered: Table::new(),
            groups: Family::default(),
            sockets: Family::default(),
            config,
            next_serial: AtomicU64::new(0),
            own: AtomicUsize::new(0),
            watched: AtomicU64::new(0),
            folded: AtomicU64::new(0),
        }
    }

    pub(crate) fn family(&self, family: MetricFamily) -> &Family {
        match family {
            MetricFamily::Group => &self.groups,
            MetricFamily::Socket => &self.sockets,
        }
    }

    /// The latest verdict on a watched connection.
    pub(crate) fn verdict(&self, watch: WatchId) -> Option<Verdict> {
        self.slots.with(watch.slot, |slot| {
            slot.as_ref().filter(|it| it.id == watch.connection)?.verdict()
        })
    }

    /// Connections that somebody watches.
    pub(crate) fn watched(&self) -> u64 {
        self.watched.load(Ordering::Relaxed)
    }

    /// Connections with series of their own.
    pub(crate) fn own(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// How many times a cap folded a connection into an overflow set.
    pub(crate) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    /// Open connections that are remembered and not watched.
    pub(crate) fn given_back(&self) -> u64 {
        (self.groups.given_back.len() + self.sockets.given_back.len()) as u64
    }

    /// The set with these attributes, or the overflow set if there is no room for it.
    pub(crate) fn place(&self, family: MetricFamily, attributes: &Attributes) -> Placement {
        let mut sets = lock(&self.sets);
        // Under the lock: a registration that is added later collects without the group that makes
        // room, and so need not miss it.
        let registrations = self.registrations.all();
        let cap = match family {
            MetricFamily::Group => self.config.groups,
            MetricFamily::Socket => self.config.sockets,
        };
        let retention = self.config.retention;
        sets.place(family, attributes, Caps { sets: cap, retention, registrations: &registrations })
    }

    /// Takes out a handle that was leaked and whose descriptor is closed, while others watch.
    pub(crate) fn withdraw_leaked(&self, connection: &mut Connection, handle: u64) {
        let error = io::Error::other(read::WrongSocket);
        self.failures.note(Failed::new(connection.owner.attributes(), error));
        self.withdraw(connection, handle);
    }

    /// Takes a handle from a connection. Returns whether nobody watches it any more.
    pub(crate) fn withdraw(&self, connection: &mut Connection, handle: u64) -> bool {
        let is_last = connection.handles.withdraw(handle);
        if is_last {
            self.watched.fetch_sub(1, Ordering::Relaxed);
            if matches!(connection.owner, Owner::Own(..)) {
                self.own.fetch_sub(1, Ordering::Relaxed);
            }
        }
        is_last
    }

    /// Takes a connection out of its slot, whose lock the caller holds. Then the caller releases
    /// the lock, and calls [`forget`](Self::forget).
    pub(crate) fn end(&self, slot: &mut Option<Connection>) -> Option<Ended> {
        let connection = slot.as_ref()?;
        let ended = Ended {
            family: connection.owner.family(),
            cookie: connection.key.indexed(),
            stamp: connection.given_back().map(|(stamp, _)| stamp),
        };
        connection.leave(&self.registrations);
        *slot = None;
        Some(ended)
    }

    /// Takes a connection that ended out of the queue and the index, and frees its slot's number.
    pub(crate) fn forget(&self, slot: usize, ended: Ended) {
        let family = self.family(ended.family);
        if let Some(stamp) = ended.stamp {
            family.given_back.remove(stamp);
        }
        if let Some(cookie) = ended.cookie {
            #[cfg(feature = "diag")]
            if ended.family == MetricFamily::Group {
                self.discovered.unwatched(cookie);
            }
            family.cookies.end(cookie);
        }
        self.slots.free(slot);
    }
}
