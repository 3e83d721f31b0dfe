//! Asks the kernel for a descriptor's reply, or what a test has in the kernel's place.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::identity::SocketIdentity;
use super::moment::{Clock, Moment, Ticker};
use crate::info::Reply;
use crate::kernel::Kernel;
use crate::read::{self, ROOM};

/// Which readings are verified by the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    Always,
    /// Those through a descriptor that others can close, and those that would add something. None,
    /// if the watched value has the descriptor to itself.
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

/// Where replies come from: the kernel, or a test.
#[derive(Clone, Copy)]
pub(crate) struct ReplySource {
    pub(crate) read: fn(RawFd, &mut [u8; ROOM]) -> io::Result<usize>,
    pub(crate) kernel: &'static Kernel,
}

impl ReplySource {
    /// The kernel that runs.
    pub(crate) fn running() -> Self {
        Self { read: read::reply, kernel: Kernel::running() }
    }
}

/// All that is needed to read a socket: where replies come from, and what tells one socket from
/// another. Counts the reads.
pub(crate) struct SocketReader {
    source: ReplySource,
    pub(crate) identity: SocketIdentity,
    clock: Option<Clock>,
    reads: AtomicU64,
}

impl SocketReader {
    /// `judges` says whether readings are for verdicts.
    pub(crate) fn new(source: ReplySource, identity: SocketIdentity, judges: bool) -> Self {
        let clock = judges.then(Clock::new);
        Self { source, identity, clock, reads: AtomicU64::new(0) }
    }

    /// When the next reading of one after another is made; `None` if there are no verdicts.
    #[inline]
    pub(crate) fn moment(&self, ticker: &mut Ticker) -> Option<Moment> {
        self.clock.as_ref().map(|clock| ticker.next(clock))
    }

    /// Reads so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// What the kernel reports of a descriptor, whatever that is by now.
    #[inline]
    pub(crate) fn ask<'r>(&'r self, fd: RawFd, room: &'r mut [u8; ROOM]) -> io::Result<Reply<'r>> {
        let len = self.ask_raw(fd, room)?;
        Ok(self.reply(room, len))
    }

    /// Asks, and leaves the reply's bytes in `room`. Returns how many there are.
    #[inline]
    pub(crate) fn ask_raw(&self, fd: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let len = (self.source.read)(fd, room)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(len)
    }

    /// The reply in the first `len` bytes.
    #[inline]
    pub(crate) fn reply<'r>(&'r self, room: &'r [u8; ROOM], len: usize) -> Reply<'r> {
        let bytes = room.first_chunk().expect("the room is larger than the table");
        Reply::new(bytes, len, self.source.kernel)
    }
}
