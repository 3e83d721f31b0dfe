//! What passes and events hand over: how more is learned of a connection, and where readings go.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use super::super::moment::Ticker;
use super::super::tally::Tallies;
use super::listening::Listener;
use crate::diag::{RawSocket, Socket};
use crate::info::Reply;
use crate::kernel::Kernel;
use crate::wire::{Bytes, LEN};

/// Where the readings of a pass go.
pub(crate) struct Sink<'t> {
    /// The tallies of a sweep. Without one they go to the ledgers.
    pub(crate) tallies: Option<&'t mut Tallies>,
    pub(crate) readings: u64,
    /// Says when each reading was made.
    pub(crate) ticker: Ticker,
}

impl<'t> Sink<'t> {
    pub(crate) fn new(tallies: Option<&'t mut Tallies>) -> Self {
        Self { tallies, readings: 0, ticker: Ticker::default() }
    }
}

/// How more is learned of a connection that a pass shows.
pub(crate) trait Sight {
    fn cookie(&self) -> u64;
    /// Both addresses: this side and the other one.
    fn ends(&self) -> Option<[SocketAddr; 2]>;
    fn socket(&self) -> Option<Socket>;
    /// Whether the kernel tells its end.
    fn has_event(&self) -> bool;
    /// Whether the kernel has checked the query.
    fn is_selected(&self) -> bool;
}

/// A listener of this process.
#[derive(Clone, Copy)]
pub(crate) struct OwnListener {
    pub(crate) fd: RawFd,
    pub(crate) listener: Listener,
}

impl Sight for RawSocket<'_> {
    fn cookie(&self) -> u64 {
        RawSocket::cookie(self)
    }

    fn ends(&self) -> Option<[SocketAddr; 2]> {
        self.decode().ok().map(|socket| [socket.local, socket.peer])
    }

    fn socket(&self) -> Option<Socket> {
        self.decode().ok()
    }

    fn has_event(&self) -> bool {
        true
    }

    fn is_selected(&self) -> bool {
        true
    }
}

/// Whether an ended connection that nobody saw was one of this process, and how long it was known.
pub(crate) trait Ownership {
    fn of(&mut self, socket: &Socket) -> Option<Option<Duration>>;
}

/// The reply in the bytes of `TCP_INFO`. `room` is for one that is shorter than the table.
#[inline]
pub(crate) fn reply_of<'b>(bytes: &'b [u8], room: &'b mut Bytes) -> Option<Reply<'b>> {
    let kernel = Kernel::running();
    if bytes.is_empty() {
        return None;
    }
    if let Some(whole) = bytes.first_chunk::<LEN>() {
        return Some(Reply::new(whole, bytes.len(), kernel));
    }
    room.fill(0);
    room[..bytes.len()].copy_from_slice(bytes);
    Some(Reply::new(room, bytes.len(), kernel))
}
