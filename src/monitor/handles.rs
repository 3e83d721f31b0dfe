//! Who watches a connection: the values whose descriptors are its socket.

use std::any::TypeId;
use std::mem::needs_drop;
use std::os::fd::RawFd;

/// One watch of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    pub(crate) fd: RawFd,
    /// Tells it from every other handle of the monitor.
    pub(crate) serial: u64,
    pub(crate) ownership: Ownership,
}

/// Where a handle is: the slot, the connection in it, and its serial there.
#[derive(Clone, Copy)]
pub(crate) struct WatchId {
    pub(crate) slot: usize,
    pub(crate) connection: u64,
    pub(crate) handle: u64,
}

/// Who can close the descriptor of a watched value, as far as the value's type tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The value alone: the descriptor is open as long as the value lives, and closed with it.
    Sole,
    /// Perhaps the value: it owns something, and that may be the descriptor.
    Unknown,
    /// Somebody else.
    Borrowed,
}

impl Ownership {
    /// Only known types are owners for sure. Any other type can have a reference inside, unless it
    /// has nothing to drop: then it owns nothing.
    pub(crate) fn of<S>() -> Self {
        let of = typeid::of::<S>();
        let mut owners = [
            TypeId::of::<std::net::TcpStream>(),
            TypeId::of::<std::net::TcpListener>(),
            TypeId::of::<std::os::fd::OwnedFd>(),
            #[cfg(feature = "tokio")]
            TypeId::of::<tokio::net::TcpStream>(),
            #[cfg(feature = "tokio")]
            TypeId::of::<tokio::net::TcpListener>(),
        ]
        .into_iter();
        if owners.any(|known| known == of) {
            Self::Sole
        } else if needs_drop::<S>() {
            Self::Unknown
        } else {
            Self::Borrowed
        }
    }
}

/// The watches of one connection, nearly always one.
pub(crate) struct Handles {
    first: Option<Handle>,
    others: Vec<Handle>,
    /// The serial of the last handle that was withdrawn, once nobody watches.
    last: u64,
}

impl Handles {
    pub(crate) const fn of(handle: Handle) -> Self {
        Self { first: Some(handle), others: Vec::new(), last: handle.serial }
    }

    /// The one through which the connection is read; `None` if nobody watches.
    pub(crate) fn first(&self) -> Option<Handle> {
        self.first
    }

    /// The one with this serial.
    pub(crate) fn find(&self, serial: u64) -> Option<Handle> {
        let mut all = self.first.iter().chain(&self.others);
        all.find(|handle| handle.serial == serial).copied()
    }

    /// Whether nobody watches any more, and this handle was the last.
    pub(crate) fn ended_with(&self, serial: u64) -> bool {
        self.first.is_none() && self.last == serial
    }

    /// All but the one with this serial.
    pub(crate) fn beside(&self, serial: u64) -> impl Iterator<Item = Handle> {
        let all = self.others.iter().rev().chain(&self.first);
        all.filter(move |handle| handle.serial != serial).copied()
    }

    /// Adds one to others.
    pub(crate) fn join(&mut self, handle: Handle) {
        self.others.push(handle);
    }

    /// Takes one out. Returns whether it was there and was the last.
    pub(crate) fn withdraw(&mut self, serial: u64) -> bool {
        if self.first.is_some_and(|handle| handle.serial == serial) {
            self.first = self.others.pop();
            self.last = serial;
            return self.first.is_none();
        }
        self.others.retain(|handle| handle.serial != serial);
        false
    }
}
