//! A group: a small, named attribute set whose sockets are reported together.

use std::fmt;
#[cfg(feature = "hyper")]
use std::os::fd::BorrowedFd;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use super::attributes::Attributes;
use super::handles::Ownership;
use super::locks::lock;
use super::set::Membership;
use super::shared::Shared;
use super::watched::Watched;
use super::worst::Worst;

/// A small, named attribute set whose sockets are reported together, closed ones included.
///
/// Cloning gives another handle to the same group.
#[derive(Clone)]
pub struct Group {
    pub(super) shared: Arc<Shared>,
    pub(super) membership: Membership,
    pub(super) folded: bool,
}

impl Group {
    /// Watches a socket as one of the group: it is read in each collection, and one last time when
    /// it is dropped.
    ///
    /// What it did before counts. A connection counts once in a monitor, however many values watch
    /// it. The group that watched it first keeps it until the last of them is gone: see
    /// [`Watched`].
    pub fn watch<S: AsFd>(&self, socket: S) -> Watched<S> {
        let fd = socket.as_fd().as_raw_fd();
        self.enter(fd, Ownership::of::<S>(), socket)
    }

    /// Watches a socket that somebody else owns, such as a database driver.
    ///
    /// The watch ends with the returned value, with a last read. However often a socket is watched
    /// like this, it is one connection. What it did before the first watch counts. What it does
    /// between two watches does not. It ends when its owner closes it; only a sweep notices that,
    /// so its duration is up to the end of the last watch.
    ///
    /// If the value is leaked, the owner can close the socket while it is watched. So each reading
    /// is verified by the socket's cookie (0.1 to 0.2 us). On a kernel without cookies the socket
    /// is not read, but reported as an error.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let queries = tcpinfo::Monitor::new().group([]);
    /// let watch = queries.watch_borrowed(&stream);
    /// // ... the owner's work with `stream` ...
    /// println!("{}", watch.info()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_borrowed<'s, S: AsFd>(&self, socket: &'s S) -> Watched<&'s S> {
        self.watch(socket)
    }

    /// [`watch`](Self::watch) for a connection that has its socket inside, and may close it while
    /// it is watched.
    #[cfg(feature = "hyper")]
    pub(crate) fn watch_within<T>(
        &self,
        connection: T,
        may_close: bool,
        find: impl FnOnce(&T) -> BorrowedFd<'_>,
    ) -> Watched<T> {
        let fd = find(&connection).as_raw_fd();
        let ownership = if may_close { Ownership::Borrowed } else { Ownership::Sole };
        self.enter(fd, ownership, connection)
    }

    fn enter<S>(&self, fd: RawFd, ownership: Ownership, socket: S) -> Watched<S> {
        let watch =
            self.shared.connections.watch_in_group(fd, ownership, &self.membership, self.folded);
        Watched::new(&self.shared, fd, watch, socket)
    }

    /// Shows the `count` worst connections of the group one by one, as `tcp.socket.*`.
    ///
    /// They can be chosen by what limits them: `Worst::Cause(Cause::Loss)` shows those that lose
    /// segments, and [`Worst::Verdict`] those with any trouble.
    ///
    /// They are chosen anew by every sweep and carry the group's attributes and their
    /// [`SocketIdentity`](crate::SocketIdentity), at least the cookie. For each provider their
    /// counters start at zero when they are chosen, after a collection in which they were not. In
    /// snapshots they are those of the connection since it was first watched. A `count` of 0 ends
    /// it; no more than the monitor's cap of sockets are shown. A group that shows its worst keeps
    /// its place.
    pub fn show_worst(&self, worst: Worst, count: usize) {
        *lock(&self.membership.set().worst) = (count > 0).then_some((worst, count));
    }

    /// The attributes its metrics carry.
    pub fn attributes(&self) -> &Attributes {
        &self.membership.set().labels.plain
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(self.attributes()).finish()
    }
}
