//! The guard of a discovery.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::discovery::Discovery;
use super::shared::Shared;
use super::snapshot::DiscoveryEvents;

/// A discovery under way: see [`Monitor::discover`](crate::Monitor::discover).
///
/// It ends when this is dropped. What it counted stays in its groups. Its live connections are not
/// reported any more, and do not count as closed. If another discovery wants them, they go on
/// there.
#[must_use = "the discovery ends when this is dropped"]
pub struct Discovered {
    shared: Arc<Shared>,
    number: u8,
    events: DiscoveryEvents,
}

impl Discovered {
    pub(crate) fn begin(shared: &Arc<Shared>, discovery: Discovery) -> io::Result<Self> {
        let begun = shared.discover(discovery);
        shared.failures.tell();
        let (number, events) = begun?;
        Ok(Self { shared: Arc::clone(shared), number, events })
    }

    /// Whether the kernel tells the ends of sockets.
    pub fn events(&self) -> DiscoveryEvents {
        self.events
    }
}

impl Drop for Discovered {
    fn drop(&mut self) {
        self.shared.discoveries.end(self.number);
    }
}

impl fmt::Debug for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovered").field("events", &self.events).finish_non_exhaustive()
    }
}
