//! The monitor: groups and watched sockets, and the sweeps that read them. This file is its face:
//! what a program calls.
//!
//! A file imports only from files below it, so read it from the bottom (a test compares this
//! drawing with the imports):
//!
//! ```text
//! 18  monitor
//! 17  group observation
//! 16  discovered registration watched
//! 15  shared
//! 14  sweep
//! 13  discovery
//! 12  discovery::thread
//! 11  discovery::pass discovery::sightings
//! 10  discovery::walk
//!  9  discovery::engine visitor watching
//!  8  connections
//!  7  discovery::table
//!  6  discovery::entries discovery::marks discovery::sight
//!  5  connection discovery::active discovery::outcome sets tally
//!  4  discovery::choice history owner ranking retirement views
//!  3  builder progress set snapshot
//!  2  failures judged labels registrations
//!  1  attributes cookies discovery::listening given_back ledger reader reading slots
//!  0  attributes::problems counters discovery::process handles identity locks moment phase sample
//!     timestamp worst
//! ```
//!
//! `locks.rs` has the locks and their order, `sweep.rs` the way of a reading into the snapshot,
//! `connection.rs` and `phase.rs` the states of a connection, `retirement.rs` those of a group.

mod attributes;
mod builder;
mod connection;
mod connections;
mod cookies;
mod counters;
#[cfg(feature = "diag")]
mod discovered;
#[cfg(feature = "diag")]
mod discovery;
mod failures;
mod given_back;
mod group;
mod handles;
mod history;
mod identity;
mod judged;
mod labels;
mod ledger;
mod locks;
mod moment;
mod observation;
mod owner;
mod phase;
mod progress;
mod ranking;
mod reader;
mod reading;
mod registration;
mod registrations;
mod retirement;
mod sample;
mod set;
mod sets;
mod shared;
mod slots;
mod snapshot;
mod sweep;
mod tally;
#[cfg(all(test, feature = "otel"))]
mod tests;
mod timestamp;
mod views;
mod visitor;
mod watched;
mod watching;
mod worst;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use opentelemetry::KeyValue;

pub use self::attributes::Attributes;
#[cfg(feature = "page")]
pub(crate) use self::attributes::label;
pub use self::builder::MonitorBuilder;
#[cfg(feature = "diag")]
pub use self::discovered::Discovered;
#[cfg(feature = "diag")]
pub use self::discovery::Discovery;
pub use self::group::Group;
pub use self::identity::{SocketAddresses, SocketIdentity};
#[cfg(feature = "page")]
pub(crate) use self::labels::LabelText;
pub(crate) use self::labels::{Labels, STATES, state_text};
pub use self::observation::Observation;
pub(crate) use self::registration::Registration;
pub use self::sample::ConnectionSample;
pub use self::snapshot::{
    DiscoveryEvents, DiscoveryScope, DiscoverySnapshot, GroupSnapshot, MonitorSnapshot, Snapshot,
    SocketSnapshot,
};
pub use self::watched::{SocketProbe, Watched};
pub use self::worst::Worst;

use self::builder::Config;
use self::failures::Failed;
use self::handles::Ownership;
use self::set::MetricFamily;
use self::sets::Placement;
use self::shared::Shared;

/// Watches sockets and turns them into metrics.
///
/// [`group`](Self::group) makes groups, whose sockets are reported together as `tcp.*`;
/// [`watch`](Self::watch) reports one socket by itself as `tcp.socket.*`. Cloning gives another
/// handle to the same monitor. When the last handle, group and watched socket is gone, its
/// instruments report nothing any more.
///
/// # Memory
///
/// Half a kilobyte for each socket of the most that were ever watched at once. Everything else is
/// bounded, whatever the program does: see [cost](crate::docs::cost#memory).
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
    shared: Arc<Shared>,
}

impl Monitor {
    /// A monitor with the defaults of [`MonitorBuilder`].
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A builder, to choose identity, fields, caps and what happens on errors.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder { config: Config::default() }
    }

    /// The group with these attributes: equal attributes, in any order, are the same group.
    ///
    /// Groups are few: a listener, an upstream, a service. Beyond
    /// [`max_groups`](MonitorBuilder::with_max_groups) a group that nobody has used
    /// [for long](MonitorBuilder::with_group_retention) makes room. If there is none, the sockets
    /// are reported under `otel.metric.overflow=true`.
    ///
    /// The guide on [groups](crate::docs::groups) says which attributes to choose. The histograms
    /// of groups that are gone have a
    /// [limit](crate::docs::limits#histograms-of-groups-that-are-gone).
    ///
    /// An attribute that cannot be exported is changed, and reported to
    /// [`on_error`](MonitorBuilder::on_error): see [`Attributes`].
    pub fn group(&self, attributes: impl IntoIterator<Item = KeyValue>) -> Group {
        let attributes = self.checked(attributes);
        let place = self.shared.connections.place(MetricFamily::Group, &attributes);
        let (membership, folded) = match place {
            Placement::Own(membership) => (membership, false),
            Placement::Folded(membership) => (membership, true),
        };
        self.shared.tell();
        Group { shared: Arc::clone(&self.shared), membership, folded }
    }

    /// Watches a socket that is reported by itself, with these attributes and its
    /// [`SocketIdentity`].
    ///
    /// Its series begin with what it did before. A socket that several values watch has one series,
    /// with the attributes it was first watched with, until the last of the values is gone. A
    /// socket that is watched in a group as well is in `tcp.*` and in `tcp.socket.*`, in full in
    /// both, and is read for each.
    ///
    /// Beyond [`max_sockets`](MonitorBuilder::with_max_sockets) its counters and up-downs are
    /// summed under `otel.metric.overflow=true`. If it is no TCP socket, that is reported once as
    /// an error. The returned value works as the socket in any case.
    pub fn watch<S: AsFd>(
        &self,
        socket: S,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> Watched<S> {
        let fd = socket.as_fd().as_raw_fd();
        let attributes = self.checked(attributes);
        let watch = self.shared.connections.watch_alone(fd, Ownership::of::<S>(), attributes);
        Watched::new(&self.shared, fd, watch, socket)
    }

    /// [`watch`](Self::watch) for a socket that somebody else owns: see [`Group::watch_borrowed`].
    pub fn watch_borrowed<'s, S: AsFd>(
        &self,
        socket: &'s S,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> Watched<&'s S> {
        self.watch(socket, attributes)
    }

    /// Finds TCP connections by itself from now on, whoever opened them: those of this process, or
    /// of the whole host. They are reported as watched ones are, by the same metrics and sweeps.
    ///
    /// Several discoveries, and watched sockets beside them, count every connection once: where it
    /// is watched, else where it was found first. A connection that is watched after it was
    /// discovered goes on from there, and so does one that is given back.
    ///
    /// Connections that are there now count from now on. Later ones count in full, also those that
    /// open and close between two sweeps: the kernel tells a thread of ours the end of every socket
    /// with its last counters. The [limits](crate::docs::limits#sockets-that-nobody-hands-over) say
    /// where it does not, and what that costs.
    ///
    /// Begin it early in `main`. After a `fork` the copy of the monitor in the child is silent.
    ///
    /// # Errors
    ///
    /// For a host: those of [`Query::dump`](crate::diag::Query::dump) and of its iterator. For a
    /// process: those of reading `/proc`. Also with 64 discoveries under way, within a function of
    /// [`with_groups`](Discovery::with_groups), and in a child of the process that discovers.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use opentelemetry::KeyValue;
    /// use tcpinfo::{Discovery, Monitor};
    ///
    /// let monitor = Monitor::new();
    /// // Connections of the host to our database, by the program's user.
    /// let database = tcpinfo::diag::Query::new().with_peer_port(5432);
    /// let _discovered = monitor.discover(Discovery::host().with_query(database).with_groups(
    ///     |socket| Some(vec![KeyValue::new("user", i64::from(socket.uid.unwrap_or(u32::MAX)))]),
    /// ))?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "diag")]
    pub fn discover(&self, discovery: Discovery) -> std::io::Result<Discovered> {
        Discovered::begin(&self.shared, discovery)
    }

    /// What it was built with.
    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Adds somebody who collects.
    pub(crate) fn register(&self) -> Registration {
        Registration::new(&self.shared)
    }

    /// Notes that a provider keeps no instrument.
    pub(crate) fn refuse(&self) {
        self.shared.refuse();
    }

    /// Tells the program what failed. Not in a collection: see `failures.rs`.
    pub(crate) fn tell_failures(&self) {
        self.shared.tell();
    }

    /// The attributes as they can be exported; the program is told what was changed of them.
    fn checked(&self, attributes: impl IntoIterator<Item = KeyValue>) -> Attributes {
        let (attributes, problems) = Attributes::checked(attributes);
        for problem in problems {
            self.shared.failures.put(Failed::new(attributes.clone(), problem.into()));
        }
        attributes
    }

    /// Reads every watched socket now, and returns the result.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.shared.sweep(None).snapshot;
        self.shared.tell();
        snapshot
    }

    /// The result of the latest sweep, without a new one; `None` before the first.
    ///
    /// A collection sweeps too, and its snapshot has what its provider was told. In that one, the
    /// worst of a group count from when they were chosen, and a group that took another's place may
    /// still show zeros. For totals that never fall, ask for a [`snapshot`](Self::snapshot).
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.shared.latest()
    }
}

impl MonitorBuilder {
    /// The monitor.
    pub fn build(self) -> Monitor {
        Monitor { shared: Arc::new(Shared::new(self.config)) }
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = self.shared.connections.watched();
        f.debug_struct("Monitor").field("watched", &watched).finish_non_exhaustive()
    }
}
