//! Which process has the discoveries: after a `fork` the child has a copy of everything.

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of a process, or 0: none.
pub(super) struct Process(AtomicU32);

impl Process {
    pub(super) const fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// It is this one from now on.
    pub(super) fn set(&self) {
        self.0.store(std::process::id(), Ordering::Release);
    }

    /// It is none from now on.
    pub(super) fn unset(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(super) fn is_this(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            0 => false,
            process => process == std::process::id(),
        }
    }

    /// Whether it is another one, of which this is a child.
    pub(super) fn is_another(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            0 => false,
            process => process != std::process::id(),
        }
    }
}
