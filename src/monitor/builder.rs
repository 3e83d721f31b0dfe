//! What a monitor is built with.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::attributes::{Attributes, Identity};
use super::{Monitor, Shared};
use crate::info::Field;
use crate::kernel::Kernel;
use crate::read::{self, ROOM};

/// Chooses what a [`Monitor`] reports.
pub struct Builder {
    pub(super) config: Config,
}

impl Builder {
    /// What tells one `tcp.socket.*` series from another. The default is the cookie.
    pub fn with_identity(mut self, identity: Identity) -> Self {
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
    /// A group without handles and sockets keeps its totals and its place until a new group needs
    /// the place, and gives it up once every provider has reported it. Its attributes go on from
    /// the old totals when nobody missed them, and begin at zero when everybody did.
    pub fn with_max_groups(mut self, groups: usize) -> Self {
        self.config.groups = groups;
        self
    }

    /// How many sockets have series of their own. The default is 500: even when all are replaced
    /// between two collections that stays below the SDK's limit of 2,000 attribute sets.
    pub fn with_max_sockets(mut self, sockets: usize) -> Self {
        self.config.sockets = sockets;
        self
    }

    /// How many samples one group adds to each histogram in one collection, of live connections
    /// and again of ended ones; a fair choice where there are more. The default is 100.
    pub fn with_samples(mut self, samples: usize) -> Self {
        self.config.samples = samples;
        self
    }

    /// Called for every failed read with the socket's attributes, outside every lock: it may watch,
    /// drop, or log. A panic in it is contained.
    pub fn on_error(
        mut self,
        call: impl Fn(&Attributes, &io::Error) + Send + Sync + 'static,
    ) -> Self {
        self.config.on_error = Some(Box::new(call));
        self
    }

    #[cfg(test)]
    pub(super) fn with_source(mut self, source: Source) -> Self {
        self.config.source = source;
        self
    }

    /// The monitor.
    pub fn build(self) -> Monitor {
        Monitor { shared: Arc::new(Shared::new(self.config)) }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("identity", &self.config.identity)
            .field("groups", &self.config.groups)
            .field("sockets", &self.config.sockets)
            .field("samples", &self.config.samples)
            .finish_non_exhaustive()
    }
}

type OnError = Box<dyn Fn(&Attributes, &io::Error) + Send + Sync>;

/// What a monitor was built with.
pub(crate) struct Config {
    pub(super) identity: Identity,
    pub(crate) fields: Box<dyn Fn(&Field) -> bool + Send + Sync>,
    pub(crate) groups: usize,
    pub(super) sockets: usize,
    pub(super) samples: usize,
    pub(super) on_error: Option<OnError>,
    pub(super) source: Source,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            fields: Box::new(|_| true),
            groups: 150,
            sockets: 500,
            samples: 100,
            on_error: None,
            source: Source { read: read::reply, kernel: Kernel::running() },
        }
    }
}

/// Where replies come from: the kernel, or a test.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) read: fn(RawFd, &mut [u8; ROOM]) -> io::Result<usize>,
    pub(super) kernel: &'static Kernel,
}
