//! Who watches a connection: the values whose descriptors are its socket.

use std::os::fd::RawFd;

/// One watch of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    pub(crate) fd: RawFd,
    pub(crate) serial: u64,
    /// Whether the descriptor can close without the monitor's knowledge.
    pub(crate) borrowed: bool,
}

/// The watches of one connection, nearly always one.
pub(crate) struct Handles {
    first: Option<Handle>,
    others: Vec<Handle>,
}

impl Handles {
    pub(crate) const fn of(handle: Handle) -> Self {
        Self { first: Some(handle), others: Vec::new() }
    }

    /// The one that is asked, `None` where nobody watches.
    pub(crate) fn first(&self) -> Option<Handle> {
        self.first
    }

    /// The one with this number.
    pub(crate) fn find(&self, serial: u64) -> Option<Handle> {
        let mut all = self.first.iter().chain(&self.others);
        all.find(|handle| handle.serial == serial).copied()
    }

    /// Adds one to others.
    pub(crate) fn join(&mut self, handle: Handle) {
        self.others.push(handle);
    }

    /// Takes one out, and says whether it was there and was the last.
    pub(crate) fn withdraw(&mut self, serial: u64) -> bool {
        if self.first.is_some_and(|handle| handle.serial == serial) {
            self.first = self.others.pop();
            return self.first.is_none();
        }
        self.others.retain(|handle| handle.serial != serial);
        false
    }
}
