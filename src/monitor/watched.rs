//! A socket that is watched, and behaves as the socket otherwise.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Weak};

use super::Shared;
use super::entry::Entry;
use crate::info::TcpInfo;
use crate::read;

/// A socket owned by the program and read by its monitor.
///
/// It reads and writes as the socket does and gives its other methods through [`Deref`]. When it is
/// dropped the socket is read one last time, its totals are kept, and it is closed.
///
/// A watch ends with this value and not with a second handle: what `try_clone` returns keeps the
/// connection open, but is not watched. A value that is leaked stays watched. A descriptor that
/// unsafe code closes behind the monitor's back is noticed by its cookie, reported once as an
/// error, and left alone.
pub struct Watched<S> {
    // Dropped first: the last read needs the socket open.
    watch: Watch,
    socket: S,
}

impl<S> Watched<S> {
    pub(crate) fn new(watch: Watch, socket: S) -> Self {
        Self { watch, socket }
    }

    /// What the kernel reports of the socket now.
    ///
    /// # Errors
    ///
    /// As for [`read`](crate::read()).
    pub fn info(&self) -> io::Result<TcpInfo> {
        read::read_raw(self.watch.fd)
    }

    /// A way to ask about the socket from elsewhere, while this value is with someone else.
    pub fn probe(&self) -> Probe {
        let Watch { shared, slot, serial, .. } = &self.watch;
        Probe { shared: Arc::downgrade(shared), slot: *slot, serial: *serial }
    }

    /// Ends the watch, with a last read, and gives the socket back.
    ///
    /// Should it be watched again, what it counted so far is not counted twice: the monitor
    /// remembers up to 1,024 sockets that were given back.
    pub fn into_inner(self) -> S {
        let Self { mut watch, socket } = self;
        watch.gives_back = true;
        drop(watch);
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
pub struct Probe {
    shared: Weak<Shared>,
    slot: usize,
    serial: u64,
}

impl Probe {
    /// What the kernel reports of the socket now.
    ///
    /// # Errors
    ///
    /// As for [`read`](crate::read()); `NotConnected` once the socket is no longer watched.
    pub fn info(&self) -> io::Result<TcpInfo> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the socket is not watched");
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        let look = |entry: &Entry| {
            // Under the slot's lock the descriptor stays open.
            (entry.serial == self.serial).then(|| {
                let info = read::read_raw(entry.fd);
                if entry.is_borrowed() && !entry.is_same_socket() { Err(gone()) } else { info }
            })
        };
        shared.slots.look(self.slot, look).flatten().ok_or_else(gone)?
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// The hold that a watched socket has on its slot.
pub(crate) struct Watch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fd: RawFd,
    pub(crate) slot: usize,
    /// The entry's serial number: slots are used again.
    pub(crate) serial: u64,
    /// Whether the socket lives on.
    pub(crate) gives_back: bool,
    #[cfg(feature = "hyper")]
    pub(crate) shows_probe: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.unwatch(self.slot, self.gives_back);
    }
}
