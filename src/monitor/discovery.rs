//! Discovered sockets: those that the monitor finds by itself, in this process or on this host.

mod choice;

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

pub use self::choice::Discovery;

use super::shared::Shared;
use super::snapshot::DiscoveryEvents;

/// A discovery under way: see [`Monitor::discover`](crate::Monitor::discover). It ends when this is
/// dropped.
#[must_use = "the discovery ends when this is dropped"]
pub struct Discovered {
    #[allow(dead_code, reason = "until it discovers")]
    shared: Weak<Shared>,
    events: DiscoveryEvents,
}

impl Discovered {
    pub(crate) fn begin(shared: &Arc<Shared>, discovery: Discovery) -> io::Result<Self> {
        let _ = discovery;
        Ok(Self { shared: Arc::downgrade(shared), events: DiscoveryEvents::Off })
    }

    /// Whether the kernel tells the ends of sockets.
    pub fn events(&self) -> DiscoveryEvents {
        self.events
    }
}

impl fmt::Debug for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovered").field("events", &self.events).finish_non_exhaustive()
    }
}
