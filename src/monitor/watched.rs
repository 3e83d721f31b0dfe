//! A watched socket: it behaves as the socket, and its monitor reads it.
//!
//! The end of a watch has three steps, in the order of the fields of [`Watched`]:
//!
//! 1. [`Watch`] is dropped: the last read, while the descriptor is surely open. The handle leaves
//!    its slot, so no sweep uses the descriptor any more.
//! 2. The socket is dropped. Often that closes the descriptor, but a clone or a borrowed socket
//!    stays open.
//! 3. [`Release`] is dropped: if this was the last handle, it asks whether the descriptor still is
//!    the socket. If so, the connection is given back. If not, it ended.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Weak};

use super::handles::{Ownership, WatchId};
use super::shared::Shared;
use crate::info::TcpInfo;
use crate::read;
use crate::verdict::Verdict;

/// A socket owned by the program and read by its monitor.
///
/// It reads and writes as the socket does, and gives its other methods through [`Deref`]. When it
/// is dropped, the socket is read one last time, its totals are kept, and it is closed.
///
/// A connection counts once in a monitor, however many values watch it: clones made with
/// `try_clone`, references, or an `Arc` of one socket, watched one by one. It is watched until the
/// last of them is gone. A clone that nobody watches keeps the connection open, but the connection
/// is not read any more.
///
/// A value that is leaked stays watched until its descriptor is closed. A sweep notices that by the
/// socket's cookie, reports it once as an error, and never counts another socket in its place. Only
/// one thing deceives it: a program that swaps the descriptor of a borrowed socket itself, by
/// `dup2` to another socket and back, while the socket is read.
pub struct Watched<S> {
    // Dropped first: the last read needs the socket open.
    watch: Watch,
    socket: S,
    // Dropped last: only then it shows whether the socket is closed.
    release: Release,
}

impl<S> Watched<S> {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        fd: RawFd,
        (id, cookie): (WatchId, Option<u64>),
        socket: S,
    ) -> Self {
        shared.tell();
        // Such a value closes its descriptor when it is dropped.
        let is_open = (Ownership::of::<S>() == Ownership::Sole).then_some(false);
        Self {
            watch: Watch {
                shared: Arc::clone(shared),
                id,
                fd,
                cookie,
                has_ended: false,
                #[cfg(feature = "hyper")]
                shows_probe: false,
            },
            socket,
            release: Release { shared: Arc::clone(shared), id, fd, is_open },
        }
    }

    /// What the kernel reports of the socket now.
    ///
    /// # Errors
    ///
    /// As for [`read`](crate::read()). Also if the descriptor has become another socket, because
    /// this value was leaked, or its socket was replaced, or closed by its owner.
    pub fn info(&self) -> io::Result<TcpInfo> {
        read::read_same(self.watch.fd, self.watch.cookie)
    }

    /// What limits the socket, as the last sweeps saw it; `None` before the second one, and of a
    /// monitor without [verdicts](crate::MonitorBuilder::with_verdicts).
    ///
    /// It asks no kernel, and waits for one read of the socket at most. A verdict is about at least
    /// a second. One that says that too little happened may have no numbers. To judge a time of
    /// your own, compare two [readings](Self::info) by [`Verdict::between`], or
    /// [observe](SocketProbe::observe).
    pub fn verdict(&self) -> Option<Verdict> {
        self.watch.shared.connections.verdict(self.watch.id)
    }

    /// A way to ask about the socket while this value is somewhere else.
    pub fn probe(&self) -> SocketProbe {
        SocketProbe { shared: Arc::downgrade(&self.watch.shared), id: self.watch.id }
    }

    /// Ends the watch, with a last read, and gives the socket back.
    ///
    /// The connection goes on, and counts as closed only after it ended. If it is watched again,
    /// what it did before is not counted twice, and what it did between the two watches is not
    /// counted at all. The group that watches it then gets what it does from then on.
    ///
    /// If other values watch it too, nothing ends. Then it counts as closed when the last of them
    /// is dropped and the descriptor of that one is closed, even if this socket is still open.
    ///
    /// A monitor remembers only so many connections that nobody watches: see
    /// [limits](crate::docs::limits#given-back-and-ended).
    pub fn into_inner(self) -> S {
        let Self { mut watch, socket, mut release } = self;
        // If the last read met the socket, it is open: its owner has it in hand.
        release.is_open = Some(watch.end()).filter(|met| *met);
        drop(watch);
        drop(release);
        socket
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn shows_probe(&self) -> bool {
        self.watch.shows_probe
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn show_probe(mut self, show: bool) -> Self {
        self.watch.shows_probe = show;
        self
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }
}

impl<S> Deref for Watched<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

impl<S> AsRef<S> for Watched<S> {
    fn as_ref(&self) -> &S {
        &self.socket
    }
}

impl<S: AsFd> AsFd for Watched<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: AsRawFd> AsRawFd for Watched<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<S: Read> Read for Watched<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.read_vectored(buffers)
    }
}

impl<S> Read for &Watched<S>
where
    for<'s> &'s S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.socket).read_vectored(buffers)
    }
}

impl<S: Write> Write for Watched<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl<S> Write for &Watched<S>
where
    for<'s> &'s S: Write,
{
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&self.socket).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.socket).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.socket).flush()
    }
}

impl<S: fmt::Debug> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.socket).finish()
    }
}

/// Asks about a watched socket that is with someone else, such as the connection of the request at
/// hand, which the server owns.
///
/// It keeps neither the socket nor the monitor alive, and never reads another socket in its place.
#[derive(Clone)]
pub struct SocketProbe {
    shared: Weak<Shared>,
    id: WatchId,
}

impl SocketProbe {
    /// What the kernel reports of the socket now.
    ///
    /// # Errors
    ///
    /// As for [`read`](crate::read()); `NotConnected` once the socket is no longer watched.
    pub fn info(&self) -> io::Result<TcpInfo> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the socket is not watched");
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        shared.connections.slots.with(self.id.slot, |slot| {
            // Under the slot's lock no watch of the connection can end.
            let connection = slot.as_ref().filter(|it| it.id == self.id.connection);
            let (connection, handle) =
                connection.and_then(|it| Some((it, it.handles.first()?))).ok_or_else(gone)?;
            let info = read::read_raw(handle.fd);
            // Verified after reading: if the cookie still matches, the reply came from this socket.
            if connection.is_behind(handle) { info } else { Err(gone()) }
        })
    }
}

impl SocketProbe {
    /// What limits the socket, as the last sweeps saw it: see [`Watched::verdict`].
    pub fn verdict(&self) -> Option<Verdict> {
        self.shared.upgrade()?.connections.verdict(self.id)
    }
}

impl fmt::Debug for SocketProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketProbe").field("serial", &self.id.handle).finish_non_exhaustive()
    }
}

/// A watch until its socket is closed or given away.
struct Watch {
    shared: Arc<Shared>,
    id: WatchId,
    fd: RawFd,
    cookie: Option<u64>,
    has_ended: bool,
    #[cfg(feature = "hyper")]
    shows_probe: bool,
}

impl Watch {
    /// Ends it with a last read. Returns whether that met the socket.
    fn end(&mut self) -> bool {
        self.has_ended = true;
        self.shared.connections.unwatch(self.id)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end();
        }
    }
}

/// Ends a watch for good, after its socket was closed or given away.
struct Release {
    shared: Arc<Shared>,
    id: WatchId,
    fd: RawFd,
    /// Whether the socket is open, if that is known.
    is_open: Option<bool>,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.shared.connections.release(self.id, self.fd, self.is_open);
        self.shared.tell();
    }
}
