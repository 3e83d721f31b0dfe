//! The monitor: groups and watched sockets, and the sweeps that read them.

mod attributes;
mod builder;
mod counters;
mod entry;
mod ledger;
mod sample;
mod set;
mod slots;
mod snapshot;
mod sweep;
#[cfg(test)]
mod tests;
mod watched;
mod worst;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
#[cfg(feature = "hyper")]
use std::os::fd::BorrowedFd;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use opentelemetry::KeyValue;

pub use self::attributes::{Addresses, Attributes, Identity};
pub use self::builder::Builder;
pub(crate) use self::builder::Config;
pub use self::sample::Sample;
pub use self::snapshot::{GroupSnapshot, MonitorSnapshot, Snapshot, SocketSnapshot};
pub use self::watched::{Probe, Watched};
pub use self::worst::Worst;

use self::entry::{Entry, GivenBack, Owner};
use self::sample::Dice;
use self::set::{Family, Membership, Place, Sets};
use self::slots::{Slots, lock};
use self::sweep::Sweeper;
use self::watched::Watch;
use crate::read;

/// Watches sockets and turns them into metrics.
///
/// [`group`](Self::group) makes groups, whose sockets are reported together as `tcp.*`;
/// [`watch`](Self::watch) reports one socket by itself as `tcp.socket.*`. Cloning gives another
/// handle to the same monitor. When the last handle, group and watched socket is gone its
/// instruments fall silent.
///
/// # Examples
///
/// ```
/// use opentelemetry::KeyValue;
/// use tcpinfo::Monitor;
///
/// # fn main() -> std::io::Result<()> {
/// let monitor = Monitor::new();
/// let clients = monitor.group([KeyValue::new("listener", "public")]);
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let stream = clients.watch(std::net::TcpStream::connect(listener.local_addr()?)?);
/// assert_eq!(monitor.snapshot().groups[0].live(), 1);
/// drop(stream);
/// assert_eq!(monitor.snapshot().groups[0].closed, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Monitor {
    pub(crate) shared: Arc<Shared>,
}

impl Monitor {
    /// A monitor with the defaults of [`Builder`].
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Chooses identity, fields, caps and what happens on errors.
    pub fn builder() -> Builder {
        Builder { config: Config::default() }
    }

    /// The group with these attributes: equal attributes, in any order, are the same group.
    ///
    /// Groups are few: a listener, an upstream, a service. Beyond
    /// [`max_groups`](Builder::with_max_groups) a group that nobody uses any more makes room, or
    /// else the sockets are reported under `otel.metric.overflow=true`.
    ///
    /// Histograms are the SDK's own, which forgets none: a cumulative exporter goes on to show
    /// those of every group there ever was. After 1,500 groups the samples of further ones are
    /// under `otel.metric.overflow=true`.
    pub fn group(&self, attributes: impl IntoIterator<Item = KeyValue>) -> Group {
        let attributes = Attributes::new(attributes);
        let place = self.shared.place(Family::Group, &attributes, self.shared.config.groups);
        let (membership, folded) = match place {
            Place::Own(membership) => (membership, false),
            Place::Folded(membership) => (membership, true),
        };
        Group { shared: Arc::clone(&self.shared), membership, folded }
    }

    /// Watches a socket that is reported by itself, with these attributes and its
    /// [`Identity`].
    ///
    /// Beyond [`max_sockets`](Builder::with_max_sockets) its counters and up-downs are summed under
    /// `otel.metric.overflow=true`. What is no TCP socket is reported once as an error and then
    /// left alone; the returned value works as the socket in any case.
    pub fn watch<S: AsFd>(
        &self,
        socket: S,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> Watched<S> {
        let fd = socket.as_fd().as_raw_fd();
        let entry = self.shared.socket_entry(fd, Attributes::new(attributes));
        Watched::new(self.shared.watch(entry), socket)
    }

    /// [`watch`](Self::watch) for a socket that its owner only lends: see
    /// [`Group::watch_borrowed`].
    pub fn watch_borrowed<'s, S: AsFd>(
        &self,
        socket: &'s S,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> Watched<&'s S> {
        let fd = socket.as_fd().as_raw_fd();
        let entry = self.shared.socket_entry(fd, Attributes::new(attributes)).lent(&self.shared);
        Watched::new(self.shared.watch(entry), socket)
    }

    /// Reads every watched socket now and says what that gave.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.sweep(None).snapshot
    }

    /// What the latest sweep gave, without a new one; `None` before the first.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.shared.latest.load_full()
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = self.shared.watched.load(Ordering::Relaxed);
        f.debug_struct("Monitor").field("watched", &watched).finish_non_exhaustive()
    }
}

/// A small, named attribute set whose sockets are reported together, closed ones included.
///
/// Cloning gives another handle to the same group.
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
    membership: Membership,
    folded: bool,
}

impl Group {
    /// Watches a socket as one of the group: it is read once a collection and one last time when it
    /// is dropped.
    pub fn watch<S: AsFd>(&self, socket: S) -> Watched<S> {
        let entry = self.entry(socket.as_fd().as_raw_fd());
        Watched::new(self.shared.watch(entry), socket)
    }

    /// Watches a socket that its owner only lends, as a database driver does.
    ///
    /// The watch ends with the returned value, with a last read. It counts as one connection, with
    /// what is sent and received meanwhile: a socket may be lent again and nothing is counted
    /// twice, except that it opens and closes each time. Should the value be leaked, the
    /// owner can close the socket while it is watched; so each reading is checked against the
    /// socket's cookie (0.2 us), and where a kernel has no cookies the socket is reported as an
    /// error instead of read.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let queries = tcpinfo::Monitor::new().group([]);
    /// let watch = queries.watch_borrowed(&stream);
    /// // ... the owner's work with `stream` ...
    /// println!("{}", watch.info()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_borrowed<'s, S: AsFd>(&self, socket: &'s S) -> Watched<&'s S> {
        let entry = self.entry(socket.as_fd().as_raw_fd()).lent(&self.shared);
        Watched::new(self.shared.watch(entry), socket)
    }

    /// [`watch`](Self::watch) for a connection that has its socket within, and may close it alone.
    #[cfg(feature = "hyper")]
    pub(crate) fn watch_within<T>(
        &self,
        connection: T,
        may_close: bool,
        find: impl FnOnce(&T) -> BorrowedFd<'_>,
    ) -> Watched<T> {
        let entry = self.entry(find(&connection).as_raw_fd());
        let entry = if may_close { entry.borrowed() } else { entry };
        Watched::new(self.shared.watch(entry), connection)
    }

    fn entry(&self, fd: RawFd) -> Entry {
        if self.folded {
            self.shared.folded.fetch_add(1, Ordering::Relaxed);
        }
        Entry::new(fd, read::cookie_of(fd).ok(), Owner::Set(self.membership.clone()))
    }

    /// Shows the `count` worst connections of the group one by one, as `tcp.socket.*`.
    ///
    /// They are chosen anew by every sweep and carry the group's attributes and their
    /// [`Identity`], at least the cookie. Their counters start at zero when they are chosen.
    /// A `count` of 0 ends it; no more than the monitor's cap of sockets are shown.
    pub fn show_worst(&self, worst: Worst, count: usize) {
        *lock(&self.membership.set().worst) = (count > 0).then_some((worst, count));
    }

    /// The attributes its metrics carry.
    pub fn attributes(&self) -> &Attributes {
        &self.membership.set().labels.plain
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(self.attributes()).finish()
    }
}

/// A failed read, until it is reported.
struct Trouble {
    attributes: Attributes,
    error: io::Error,
}

impl Trouble {
    fn new(attributes: Attributes, error: io::Error) -> Self {
        Self { attributes, error }
    }

    fn panicked(attributes: Attributes) -> Self {
        Self::new(attributes, io::Error::other("a read panicked"))
    }
}

/// What all handles of one monitor share. Locks are taken in this order: sweeper, slot, sets,
/// ledger; watching and dropping never takes the sweeper's.
pub(crate) struct Shared {
    pub(crate) config: Config,
    slots: Slots<Entry>,
    sets: Mutex<Sets>,
    sweeper: Mutex<Sweeper>,
    latest: ArcSwapOption<Snapshot>,
    /// Who collects, and so has histograms of its own to feed.
    registrations: ArcSwap<Vec<usize>>,
    next_registration: AtomicUsize,
    next_serial: AtomicU64,
    dice: Mutex<Dice>,
    errors: Mutex<BTreeMap<&'static str, u64>>,
    given_back: GivenBack,
    /// Sockets with series of their own.
    own: AtomicUsize,
    watched: AtomicU64,
    folded: AtomicU64,
    reads: AtomicU64,
}

impl Shared {
    fn new(config: Config) -> Self {
        Self {
            config,
            slots: Slots::new(),
            sets: Mutex::new(Sets::new()),
            sweeper: Mutex::new(Sweeper::new()),
            latest: ArcSwapOption::empty(),
            registrations: ArcSwap::from_pointee(Vec::new()),
            next_registration: AtomicUsize::new(0),
            next_serial: AtomicU64::new(0),
            dice: Mutex::new(Dice::new(1)),
            errors: Mutex::new(BTreeMap::new()),
            given_back: GivenBack::default(),
            own: AtomicUsize::new(0),
            watched: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    /// Announces someone who collects, and returns its number.
    pub(crate) fn register(&self) -> usize {
        let registration = self.next_registration.fetch_add(1, Ordering::Relaxed);
        self.registrations.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(registration);
            all
        });
        registration
    }

    pub(crate) fn unregister(&self, registration: usize) {
        self.registrations.rcu(|all| {
            all.iter().copied().filter(|other| *other != registration).collect::<Vec<_>>()
        });
    }

    fn place(&self, family: Family, attributes: &Attributes, cap: usize) -> Place {
        let registrations = self.registrations.load();
        lock(&self.sets).place(family, attributes, cap, &registrations)
    }

    /// A socket that is reported by itself, or with those it cannot be told from.
    fn socket_entry(&self, fd: RawFd, attributes: Attributes) -> Entry {
        let cookie = read::cookie_of(fd).ok();
        let cap = self.config.sockets;
        if cookie.is_none() || self.config.identity == Identity::None {
            let membership = match self.place(Family::Socket, &attributes, cap) {
                Place::Own(membership) => membership,
                Place::Folded(membership) => {
                    self.folded.fetch_add(1, Ordering::Relaxed);
                    membership
                }
            };
            return Entry::new(fd, cookie, Owner::Set(membership));
        }
        if self.own.fetch_add(1, Ordering::Relaxed) >= cap {
            self.own.fetch_sub(1, Ordering::Relaxed);
            self.folded.fetch_add(1, Ordering::Relaxed);
            let membership = lock(&self.sets).overflow(Family::Socket);
            return Entry::new(fd, cookie, Owner::Set(membership));
        }
        Entry::new(fd, cookie, Owner::Unnamed(attributes))
    }

    fn watch(self: &Arc<Self>, mut entry: Entry) -> Watch {
        self.watched.fetch_add(1, Ordering::Relaxed);
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        entry.serial = serial;
        self.given_back.recall(&mut entry);
        let fd = entry.fd;
        Watch {
            shared: Arc::clone(self),
            fd,
            slot: self.slots.insert(entry),
            serial,
            gives_back: false,
            #[cfg(feature = "hyper")]
            shows_probe: false,
        }
    }

    /// The descriptor is about to be closed or given away: reads it one last time.
    fn unwatch(&self, slot: usize, gives_back: bool) {
        let trouble = self.slots.remove(slot, |entry| {
            let last = catch_unwind(AssertUnwindSafe(|| entry.finish(self)));
            entry.leave(self);
            if gives_back {
                self.given_back.remember(entry);
            }
            last.unwrap_or_else(|_| Some(Trouble::panicked(entry.attributes())))
        });
        if let Some(Some(trouble)) = trouble {
            self.note(std::slice::from_ref(&trouble));
            self.report(vec![trouble]);
        }
    }

    /// Counts failed reads and says how many there were so far.
    fn note(&self, trouble: &[Trouble]) -> Vec<(&'static str, u64)> {
        let mut errors = lock(&self.errors);
        for Trouble { error, .. } in trouble {
            *errors.entry(read::error_type(error)).or_default() += 1;
        }
        errors.iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    /// Tells the program about failed reads. The caller holds no lock.
    fn report(&self, trouble: Vec<Trouble>) {
        let Some(on_error) = &self.config.on_error else { return };
        for Trouble { attributes, error } in trouble {
            // A panic in the program's callback is the program's; the pipeline goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| on_error(&attributes, &error)));
        }
    }
}
