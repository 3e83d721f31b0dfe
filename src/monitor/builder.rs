//! What a monitor is built with.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

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
    /// # Several monitors
    ///
    /// Make one monitor, and groups in it. If libraries make their own, or a program makes another
    /// one later, two attributes of the instrumentation scope tell them apart, so that none
    /// overwrites another's series:
    ///
    /// - `tcp.monitor.name`, if it has a name;
    /// - `tcp.monitor.instance`, a number from 2. The first monitor of each name that the process
    ///   instruments has none, and so has the first without a name.
    ///
    /// A monitor keeps its number. When it is gone, and every provider that reported it has
    /// collected without it, another monitor can have the number. Its series begin at zero then, as
    /// after a restart of the program.
    ///
    /// Prometheus shows them as labels, `otel_scope_tcp_monitor_instance="2"`. Some exporters and
    /// backends leave the scope out: an exporter with `scope_info_enabled(false)`, VictoriaMetrics
    /// 1.112, and Prometheus' receiver of OTLP unless `promote_scope_metadata` is set. There, equal
    /// attributes of two monitors are one series with two values at a time, and one of them is
    /// lost. So give the groups of each monitor an attribute of their own.
    ///
    /// The SDK unregisters nothing. Each monitor that was instrumented and is gone leaves its
    /// callbacks on its provider, which report nothing (22 KiB, and 0.5 us a collection). Each
    /// monitor that exists at the same time as others has tables of instruments of its own: 5 MiB,
    /// of which 1 MiB is in RAM, and 15 to 40 us a collection, for as long as the provider lives.
    /// So never make a monitor for each connection.
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

    /// How many groups have series of their own. The default is 150: with every connection state
    /// that stays below the SDK's limit of 2,000 attribute sets for one instrument.
    ///
    /// Sockets of further groups are summed under `otel.metric.overflow=true`, until a group
    /// [makes room](Self::with_group_retention).
    ///
    /// With cumulative temporality the SDK never forgets a histogram series. So the histograms of
    /// all groups there ever were share 1.25 MiB of each push over OTLP. With the default fields
    /// that is about 400 groups of two attributes or 270 of six, with keys and values of 20
    /// characters. A group takes its share with its first sample. The samples of groups that come
    /// too late are under `otel.metric.overflow=true`; their other metrics are their own.
    ///
    /// With more groups than the default the 1.25 MiB grow in proportion, up to 1,500 groups or as
    /// many as this. Then a push may be longer than the 4 MiB that receivers of gRPC take by
    /// default.
    pub fn with_max_groups(mut self, groups: usize) -> Self {
        self.config.groups = groups;
        self
    }

    /// How long a group without handles and connections keeps its place at least. The default is an
    /// hour.
    ///
    /// After that it makes room when a new group needs the place. Before, every provider has to
    /// report its last counts; if there is no provider, a snapshot has to show them. Then its
    /// series ends, and begins at zero if the group comes back. Each counter of a group that takes
    /// the place of another is reported as zero once, so that a backend sees the beginning.
    ///
    /// Choose more than the longest range of your `rate()` and `increase()`: over a longer range no
    /// backend can tell a series that ended and came back from one that went on.
    pub fn with_group_retention(mut self, retention: Duration) -> Self {
        self.config.retention = retention;
        self
    }

    /// How many sockets have series of their own. The default is 500: even if all are replaced
    /// between two collections, that stays below the SDK's limit of 2,000 attribute sets.
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

    /// Called for every failed read with the socket's attributes, and for every attribute that
    /// cannot be exported as it was given: see [`Attributes`].
    ///
    /// It is called by the next call that the program makes, on that thread:
    /// [`Monitor::group`](crate::Monitor::group), [`Monitor::snapshot`](crate::Monitor::snapshot),
    /// [`Monitor::instrument`](crate::Monitor::instrument), a `watch`, or the end of a
    /// [`Watched`](crate::Watched). A collection never calls it, because the SDK holds a lock then.
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
            .finish_non_exhaustive()
    }
}

/// What a monitor was built with.
pub(crate) struct Config {
    pub(crate) name: Option<Cow<'static, str>>,
    /// Tells the monitor from others, and lives as long as it does.
    pub(crate) life: Arc<()>,
    pub(super) identity: SocketIdentity,
    pub(crate) fields: Box<dyn Fn(&Field) -> bool + Send + Sync>,
    pub(crate) groups: usize,
    pub(super) sockets: usize,
    pub(super) samples: usize,
    /// Taken out when the monitor is made.
    pub(super) on_error: Option<OnError>,
    pub(super) retention: Duration,
    pub(super) source: ReplySource,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            life: Arc::default(),
            identity: SocketIdentity::default(),
            fields: Box::new(|_| true),
            groups: 150,
            sockets: 500,
            samples: 100,
            on_error: None,
            retention: Duration::from_secs(3_600),
            source: ReplySource::running(),
        }
    }
}
