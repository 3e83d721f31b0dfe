//! What a monitor is built with.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attributes::Attributes;
use super::failures::OnError;
use super::identity::SocketIdentity;
use super::reader::ReplySource;
use crate::info::Field;

/// Chooses what a [`Monitor`](crate::Monitor) reports.
pub struct MonitorBuilder {
    pub(crate) config: Config,
}

impl MonitorBuilder {
    /// The monitor's name, for a process that has several. A library that makes a monitor of its
    /// own should name it. An empty name is no name.
    ///
    /// Make one monitor, and groups in it. If libraries make their own, or a program makes another
    /// one later, two attributes of the instrumentation scope tell them apart: `tcp.monitor.name`
    /// and `tcp.monitor.instance`. Some backends leave the scope out, and a monitor that is gone
    /// leaves something behind: see [limits](crate::docs::limits#several-monitors). So never make a
    /// monitor for each connection.
    ///
    /// ```
    /// let monitor = tcpinfo::Monitor::builder().with_name("database").build();
    /// ```
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// What tells one `tcp.socket.*` series from another. The default is the cookie.
    pub fn with_identity(mut self, identity: SocketIdentity) -> Self {
        self.config.identity = identity;
        self
    }

    /// Which fields become metrics. Fewer instruments cost less; the default is all.
    ///
    /// ```
    /// let monitor = tcpinfo::Monitor::builder()
    ///     .with_fields(|field| ["rtt", "total_retrans", "bytes_sent"].contains(&field.name))
    ///     .build();
    /// ```
    pub fn with_fields(mut self, choose: impl Fn(&Field) -> bool + Send + Sync + 'static) -> Self {
        self.config.fields = Box::new(choose);
        self
    }

    /// How many groups have series of their own. The default is 150: with every state and
    /// every verdict that stays below the SDK's limit of 2,000 attribute sets for one instrument.
    ///
    /// Sockets of further groups are summed under `otel.metric.overflow=true`, until a group
    /// [makes room](Self::with_group_retention).
    ///
    /// The histograms of all groups there ever were share a part of each push, which grows with
    /// more groups than the default: see
    /// [limits](crate::docs::limits#histograms-of-groups-that-are-gone).
    pub fn with_max_groups(mut self, groups: usize) -> Self {
        self.config.groups = groups;
        self
    }

    /// How long a group without handles and connections keeps its place at least. The default is an
    /// hour.
    ///
    /// After that it makes room when a new group needs the place, and its series ends. The
    /// [limits](crate::docs::limits#groups-and-their-places) say when that is, and how a backend
    /// sees it.
    ///
    /// Choose more than the longest range of your `rate()` and `increase()`: over a longer range no
    /// backend can tell a series that ended and came back from one that went on.
    pub fn with_group_retention(mut self, retention: Duration) -> Self {
        self.config.retention = retention;
        self
    }

    /// How many sockets have series of their own. The default is 500: even if all are replaced
    /// between two collections, that stays below the SDK's limit of 2,000 attribute sets. A page of
    /// the feature `page` has no limit of its own: for a monitor that no provider reads, choose
    /// what the machine can take.
    pub fn with_max_sockets(mut self, sockets: usize) -> Self {
        self.config.sockets = sockets;
        self
    }

    /// How many samples one group adds to each histogram in one collection: of live connections,
    /// and again of ended ones. If there are more, each has the same chance. The default is 100.
    pub fn with_samples(mut self, samples: usize) -> Self {
        self.config.samples = samples;
        self
    }

    /// How many threads read the sockets in one sweep, the caller's included. The default is one.
    ///
    /// More make a sweep shorter where there are many thousand sockets and free cores. They cost no
    /// less CPU time, and the sums are the same. Each thread gets at least 1,024 connections, so
    /// few connections are read by the caller alone. The threads are started for one sweep and end
    /// with it; if one cannot be started, the others read its part. Zero is one.
    pub fn with_sweep_threads(mut self, threads: usize) -> Self {
        self.config.sweep_threads = threads;
        self
    }

    /// Whether sweeps judge what limits each connection, for `tcp.connection.verdict` and for
    /// [`Watched::verdict`](crate::Watched::verdict). The default is yes: for quiet connections it
    /// costs 1 % of a sweep. The guide [verdicts](crate::docs::verdicts#in-a-monitor) says what
    /// they are about.
    pub fn with_verdicts(mut self, judge: bool) -> Self {
        self.config.verdicts = judge;
        self
    }

    /// After how long without a collection the program is told that a provider or a page does not
    /// collect. The default is 90 seconds: readers that push do so every 60 by default.
    /// [`Duration::MAX`] is never.
    ///
    /// A provider collects nothing if it has no reader, or if it is of another version of
    /// OpenTelemetry: the global provider of another version is one that does nothing, and that is
    /// told at once. [`on_error`](Self::on_error) is told once each time, and
    /// [`MonitorSnapshot::uncollected`](crate::MonitorSnapshot::uncollected) shows it.
    pub fn with_collection_deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self
    }

    /// Called for every failed read with the socket's attributes, and for every attribute that
    /// cannot be exported as it was given: see [`Attributes`]. Also, without attributes, for a
    /// provider or a page that [does not collect](Self::with_collection_deadline).
    ///
    /// It is called by the next call that the program makes, on that thread:
    /// [`Monitor::group`](crate::Monitor::group), [`Monitor::snapshot`](crate::Monitor::snapshot),
    /// `Monitor::instrument`, the next write of a `Page`, a `watch`, or the end of a
    /// [`Watched`](crate::Watched). Where sockets are discovered, the thread that takes their ends
    /// calls it too. A collection never calls it, because the SDK holds a lock then.
    ///
    /// It may watch, drop, collect, create instruments, or log. What fails by that waits for the
    /// next call, so it never calls itself. Up to 1,024 errors wait; it is not called for those
    /// that come after them. Every failed read is counted in `tcp.monitor.read.errors`. A panic in
    /// it is contained.
    pub fn on_error(
        mut self,
        call: impl Fn(&Attributes, &io::Error) + Send + Sync + 'static,
    ) -> Self {
        self.config.on_error = Some(Box::new(call));
        self
    }

    #[cfg(test)]
    pub(super) fn with_source(mut self, source: ReplySource) -> Self {
        self.config.source = source;
        self
    }
}

impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorBuilder")
            .field("name", &self.config.name)
            .field("identity", &self.config.identity)
            .field("groups", &self.config.groups)
            .field("sockets", &self.config.sockets)
            .field("samples", &self.config.samples)
            .field("sweep_threads", &self.config.sweep_threads)
            .field("verdicts", &self.config.verdicts)
            .finish_non_exhaustive()
    }
}

/// What a monitor was built with.
pub(crate) struct Config {
    pub(crate) name: Option<Cow<'static, str>>,
    /// Tells the monitor from others, and lives as long as it does.
    pub(crate) life: Arc<()>,
    /// When the monitor was made.
    pub(crate) since: SystemTime,
    pub(super) identity: SocketIdentity,
    pub(crate) fields: Box<dyn Fn(&Field) -> bool + Send + Sync>,
    pub(crate) groups: usize,
    pub(super) sockets: usize,
    pub(super) samples: usize,
    pub(super) sweep_threads: usize,
    pub(crate) verdicts: bool,
    /// Taken out when the monitor is made.
    pub(super) on_error: Option<OnError>,
    pub(super) retention: Duration,
    pub(super) deadline: Duration,
    pub(super) source: ReplySource,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            life: Arc::default(),
            since: SystemTime::now(),
            identity: SocketIdentity::default(),
            fields: Box::new(|_| true),
            groups: 150,
            sockets: 500,
            samples: 100,
            sweep_threads: 1,
            verdicts: true,
            on_error: None,
            retention: Duration::from_secs(3_600),
            deadline: Duration::from_secs(90),
            source: ReplySource::running(),
        }
    }
}
