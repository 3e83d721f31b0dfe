//! Who watches a connection: the values whose descriptors are its socket.

use std::any::TypeId;
use std::mem::needs_drop;
use std::os::fd::RawFd;

/// One watch of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    pub(crate) fd: RawFd,
    pub(crate) serial: u64,
    pub(crate) holding: Holding,
}

/// What the type of a watched value says of its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// The value owns it alone: it is open as long as the value lives, and closed with it.
    Alone,
    /// The value owns something, and perhaps that.
    Unknown,
    /// It is somebody else's to close.
    Borrowed,
}

impl Holding {
    /// By the types that are known. What may be a reference within cannot be told from `S`
    /// otherwise, except where there is nothing to drop.
    pub(crate) fn of<S>() -> Self {
        let of = typeid::of::<S>();
        let mut alone = [
            TypeId::of::<std::net::TcpStream>(),
            TypeId::of::<std::net::TcpListener>(),
            TypeId::of::<std::os::fd::OwnedFd>(),
            #[cfg(feature = "tokio")]
            TypeId::of::<tokio::net::TcpStream>(),
            #[cfg(feature = "tokio")]
            TypeId::of::<tokio::net::TcpListener>(),
        ]
        .into_iter();
        if alone.any(|known| known == of) {
            Self::Alone
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
    /// The serial of the last that was withdrawn, once nobody watches.
    last: u64,
}

impl Handles {
    pub(crate) const fn of(handle: Handle) -> Self {
        Self { first: Some(handle), others: Vec::new(), last: handle.serial }
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

    /// Whether nobody watches any more, and this one did last.
    pub(crate) fn ended_with(&self, serial: u64) -> bool {
        self.first.is_none() && self.last == serial
    }

    /// All others than the one with this number.
    pub(crate) fn beside(&self, serial: u64) -> impl Iterator<Item = Handle> {
        let all = self.others.iter().rev().chain(&self.first);
        all.filter(move |handle| handle.serial != serial).copied()
    }

    /// Adds one to others.
    pub(crate) fn join(&mut self, handle: Handle) {
        self.others.push(handle);
    }

    /// Takes one out, and says whether it was there and was the last.
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
