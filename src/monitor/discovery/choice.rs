//! What to discover, and how to group it.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;

use super::super::snapshot::DiscoveryScope;
use crate::diag::{Query, Socket};

/// Chooses the groups of discovered connections; `None` if a connection does not count.
pub(crate) type Grouping = dyn Fn(&Socket) -> Option<Vec<KeyValue>> + Send + Sync;

/// Which sockets the monitor finds by itself, and how it groups them: see
/// [`Monitor::discover`](crate::Monitor::discover).
#[derive(Clone)]
#[must_use = "nothing is discovered until a monitor has it"]
pub struct Discovery {
    pub(crate) scope: DiscoveryScope,
    pub(crate) query: Query,
    pub(crate) grouping: Option<Arc<Grouping>>,
    pub(crate) receive_buffer: usize,
    /// Share of one core that sightings may take.
    pub(crate) sighting_budget: f64,
    pub(crate) events: bool,
}

impl Discovery {
    fn new(scope: DiscoveryScope) -> Self {
        Self {
            scope,
            query: Query::new(),
            grouping: None,
            receive_buffer: 4 << 20,
            sighting_budget: 0.01,
            events: true,
        }
    }

    /// Every TCP socket of this process, whoever opened it. Works without netlink, too.
    ///
    /// By default the groups have the attributes `tcp.role` (`server` where the local port is one
    /// that is listened on, else `client`), `server.port`, and for clients `server.address`.
    pub fn process() -> Self {
        Self::new(DiscoveryScope::Process)
    }

    /// Every TCP socket of the network namespace, whoever owns it; of the namespace of the calling
    /// thread, or of that of the [query](Self::with_query). Needs no privilege.
    ///
    /// By default the groups have the attributes `tcp.role` (`server` where the local port is one
    /// that is listened on, else `client`) and `server.port`.
    pub fn host() -> Self {
        Self::new(DiscoveryScope::Host)
    }

    /// Only sockets that this query selects. For a host the kernel checks that, and discoveries
    /// with equal queries share a dump. What an ended connection or one of this process does not
    /// say, such as its control group, meets no condition. What else the query asks for, such as
    /// memory, is for the closure of [`with_groups`](Self::with_groups).
    pub fn with_query(self, query: Query) -> Self {
        Self { query, ..self }
    }

    /// Groups connections by the attributes that a function gives to each; `None` if a connection
    /// does not count. It replaces the default attributes.
    ///
    /// The function is called once for each connection, when it is first seen. If that is by its
    /// event alone, after it ended, `uid`, `inode`, `cgroup`, `memory` and `mark` are absent, and
    /// the state is `Close`. Of a socket of this process `inode` is known, and those four others
    /// are not.
    ///
    /// It is called by the thread that collects, or by the one that takes events. It may call the
    /// monitor: from there, a snapshot is the last one. It must not wait for another thread that
    /// collects. If it panics, that connection does not count, and
    /// [`on_error`](crate::MonitorBuilder::on_error) is told.
    pub fn with_groups(
        self,
        groups: impl Fn(&Socket) -> Option<Vec<KeyValue>> + Send + Sync + 'static,
    ) -> Self {
        Self { grouping: Some(Arc::new(groups)), ..self }
    }

    /// Asks for a receive buffer of this many bytes for the events of ended sockets; see
    /// [`Events::with_receive_buffer`](crate::diag::Events::with_receive_buffer). The default is
    /// 4 MiB, of which a program without `CAP_NET_ADMIN` gets what `net.core.rmem_max` allows.
    pub fn with_receive_buffer(self, bytes: usize) -> Self {
        Self { receive_buffer: bytes, ..self }
    }

    /// How much of one core may be spent on looking for new sockets of this process between two
    /// sweeps. The default is 0.01, a hundredth; 0 turns it off.
    pub fn with_sighting_budget(self, share: f64) -> Self {
        Self { sighting_budget: share.clamp(0.0, 1.0), ..self }
    }

    /// Does without events of ended sockets, and so without a thread. Connections that live between
    /// two sweeps are then not seen, and what a connection does after the last sweep of its life is
    /// not counted.
    pub fn without_events(self) -> Self {
        Self { events: false, ..self }
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("scope", &self.scope)
            .field("query", &self.query)
            .field("has_groups", &self.grouping.is_some())
            .field("receive_buffer", &self.receive_buffer)
            .field("sighting_budget", &self.sighting_budget)
            .field("events", &self.events)
            .finish()
    }
}
