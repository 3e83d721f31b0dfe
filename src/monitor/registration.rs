//! One who collects from a monitor again and again: a provider of OpenTelemetry, a page, or OTLP.

use std::sync::{Arc, Weak};

use super::shared::Shared;
use super::sweep::Swept;

/// A hold on what one reader is told. It does not keep the monitor alive.
///
/// While it lives, no group makes room before this reader was told its last counts, and samples of
/// ended connections are kept for it.
pub(crate) struct Registration {
    shared: Weak<Shared>,
    /// Tells it from every other registration of the monitor.
    number: usize,
}

impl Registration {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), number: shared.registrations.add() }
    }

    /// Sweeps, and returns what this reader is told; `None` if the monitor is gone.
    ///
    /// Failed reads are not told to the program: the caller may be in a collection.
    pub(crate) fn collect(&self) -> Option<Swept> {
        Some(self.shared.upgrade()?.sweep(Some(self.number)))
    }

    /// Tells the program what failed. The caller is in no collection.
    #[cfg(any(feature = "otlp", feature = "page"))]
    pub(crate) fn tell_failures(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell();
        }
    }

    /// Whether the monitor is gone: nothing will be collected any more.
    pub(crate) fn is_silent(&self) -> bool {
        self.shared.strong_count() == 0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.registrations.remove(self.number);
        }
    }
}
