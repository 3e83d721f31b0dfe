//! Asks the kernel, or what a test has in its place.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::attributes::SocketIdentity;
use super::builder::Source;
use crate::info::Reply;
use crate::read::ROOM;

/// Which readings are verified by the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    Always,
    /// What others can close, and whatever would add something, unless the value that is watched
    /// has the descriptor to itself.
    WhatAdds,
    /// None: the caller has the socket in hand, and has just asked for its cookie.
    Never,
}

/// Why a socket could not be read.
pub(crate) enum ReadError {
    /// It may work again.
    Transient(io::Error),
    /// The descriptor is no TCP socket, or no longer this one.
    Permanent(io::Error),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Transient(error) | ReadError::Permanent(error) => error,
        }
    }
}

/// Asks the kernel, and counts that.
pub(crate) struct Asker {
    source: Source,
    pub(crate) identity: SocketIdentity,
    reads: AtomicU64,
}

impl Asker {
    pub(crate) fn new(source: Source, identity: SocketIdentity) -> Self {
        Self { source, identity, reads: AtomicU64::new(0) }
    }

    /// Reads so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// What the kernel reports of a descriptor, whatever that is by now.
    #[inline]
    pub(crate) fn ask<'r>(&'r self, fd: RawFd, room: &'r mut [u8; ROOM]) -> io::Result<Reply<'r>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let len = (self.source.read)(fd, room)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let bytes = room.first_chunk().expect("the room is larger than the table");
        Ok(Reply::new(bytes, len, self.source.kernel))
    }
}
