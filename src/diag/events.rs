//! The end of each socket, told by the kernel with its last `TCP_INFO`.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};

use crate::kernel::{Kernel, KernelVersion};
use crate::netlink::{Answer, MalformedReply, Message};

use super::abi::SOCK_DIAG_BY_FAMILY;
use super::channel::Channel;
use super::dump;
use super::socket::Socket;

/// The stream of TCP sockets that end in the network namespace, whoever owned them.
///
/// Each comes with its last `TCP_INFO`: the final counters of a connection, however short it was.
/// The kernel tells it when it frees the socket. After an active close that is early: when the peer
/// has acknowledged our FIN, and TIME_WAIT or FIN_WAIT2 without a program begins. Also listeners
/// end, and sockets that were never connected, whose ports are 0.
///
/// Needs no privilege. Since Linux 4.2.
///
/// As an iterator it waits without end. [`next_within`](Self::next_within) waits for some time, and
/// for an event loop there are [`AsFd`] (readable) and [`try_next`](Self::try_next).
///
/// # Lost events
///
/// The kernel keeps events until they are taken, as many as the receive buffer holds: see
/// [`with_receive_buffer`](Self::with_receive_buffer). If there is no room for one it drops that
/// and all others until the buffer is empty, and says so once: [`Event::Lost`]. To learn what still
/// lives, [dump](super::Query::dump). The kernel says nothing if it lacks memory for an event.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use tcpinfo::diag::{Event, Events};
///
/// let events = Events::open()?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let cookie = tcpinfo::socket_cookie(&stream)?;
/// drop(stream);
///
/// for event in events {
///     match event? {
///         Event::Ended(socket) if socket.cookie == cookie => {
///             let info = socket.info.expect("events have it");
///             println!("{} acknowledged {:?} bytes", socket.peer, info.bytes_acked);
///             break;
///         }
///         Event::Ended(socket) => println!("another one: {}", socket.local),
///         Event::Lost => println!("some have ended unseen"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "SKNLGRP_INET_TCP_DESTROY")]
pub struct Events {
    channel: Channel,
    /// Whether an error ended the iterator.
    finished: bool,
}

/// What [`Events`] tells.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[allow(clippy::large_enum_variant, reason = "a box would be an allocation for each event")]
#[non_exhaustive]
pub enum Event {
    /// A socket ended. Its state is always `Close`; `uid`, `inode`, `cgroup` and what else a dump
    /// would tell beside `info` are absent.
    Ended(Socket),
    /// The receive buffer was full, so events were dropped (`ENOBUFS`). Those that were in it by
    /// then come after this.
    Lost,
}

/// What the next message was.
pub(super) enum Taken<T> {
    Message(T),
    Lost,
    /// There is none so far.
    Nothing,
}

impl Events {
    /// Begins to listen in the network namespace of the calling thread. No earlier end is told.
    ///
    /// # Errors
    ///
    /// The kernel's own: `EPROTONOSUPPORT` without `NETLINK_SOCK_DIAG` (gVisor), `EACCES` or
    /// `EPERM` if a policy forbids it (Android), `ENOENT` without `inet_diag`.
    /// [`Unsupported`](io::ErrorKind::Unsupported) before Linux 4.2, which has no such events.
    pub fn open() -> io::Result<Self> {
        Self::within(None)
    }

    /// Begins to listen in another network namespace, see
    /// [`Query::with_namespace`](super::Query::with_namespace).
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and of `setns(2)`: `EPERM`, `EINVAL` if it is no such
    /// namespace.
    pub fn open_in(namespace: impl AsFd) -> io::Result<Self> {
        Self::within(Some(namespace.as_fd()))
    }

    fn within(namespace: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        is_known(Kernel::running())?;
        // The first dump loads the kernel's modules, without which there would be no events.
        dump::check()?;
        Ok(Self::new(Channel::listen(namespace)?))
    }

    fn new(channel: Channel) -> Self {
        Self { channel, finished: false }
    }

    /// Asks for a receive buffer of this many bytes: `SO_RCVBUFFORCE` for callers with
    /// `CAP_NET_ADMIN`; for others `SO_RCVBUF`, which `net.core.rmem_max` limits.
    ///
    /// The kernel doubles the number. An event takes about 1280 bytes of it, so the usual buffer of
    /// 208 KiB holds 166 events. To take one costs about a microsecond.
    ///
    /// # Errors
    ///
    /// None is known. To get less than was asked for is not an error, see
    /// [`receive_buffer`](Self::receive_buffer).
    pub fn with_receive_buffer(self, bytes: usize) -> io::Result<Self> {
        // The kernel's number is an `int`.
        let bytes = bytes.min(i32::MAX as usize / 2);
        match set_socket_recv_buffer_size_force(self.as_fd(), bytes) {
            Err(Errno::PERM) => set_socket_recv_buffer_size(self.as_fd(), bytes)?,
            done => done?,
        }
        Ok(self)
    }

    /// Bytes of the receive buffer, the kernel's overhead included: twice what was asked for, or
    /// less if that was not allowed.
    ///
    /// # Errors
    ///
    /// None is known.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        Ok(socket_recv_buffer_size(self.as_fd())?)
    }

    /// The next event. `None` if there is none so far.
    ///
    /// # Errors
    ///
    /// An error of kind [`InvalidData`](io::ErrorKind::InvalidData), with a [`MalformedReply`]
    /// inside, if bytes are not an event. The next call skips them. Others of the kernel: `ENOMEM`.
    pub fn try_next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let decode = |message: &Message<'_>| Event::decode(message, Kernel::running());
            return Ok(match self.take(decode)? {
                Taken::Message(None) => continue,
                Taken::Message(Some(event)) => Some(event),
                Taken::Lost => Some(Event::Lost),
                Taken::Nothing => None,
            });
        }
    }

    /// Takes the next message, without waiting for it.
    pub(super) fn take<T>(
        &mut self,
        decode: impl FnOnce(&Message<'_>) -> Result<T, MalformedReply>,
    ) -> io::Result<Taken<T>> {
        match self.channel.try_message() {
            Ok(Some(message)) => Ok(Taken::Message(decode(&message)?)),
            Ok(None) => Ok(Taken::Nothing),
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                Ok(Taken::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// The next event. `None` if none comes within this time.
    ///
    /// # Errors
    ///
    /// Those of [`try_next`](Self::try_next).
    pub fn next_within(&mut self, timeout: Duration) -> io::Result<Option<Event>> {
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// Without an end, it waits until there is an event.
    fn next_until(&mut self, end: Option<Instant>) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Event {
    /// The event of a message. `None` if it is about something else.
    pub(super) fn decode(
        message: &Message<'_>,
        kernel: &Kernel,
    ) -> Result<Option<Self>, MalformedReply> {
        Ok(match message.answer()? {
            Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload } => {
                Some(Self::Ended(Socket::decode(payload, kernel)?))
            }
            Answer::Data { .. } | Answer::Done | Answer::Acknowledged | Answer::Failed(_) => None,
        })
    }
}

/// A kernel without these events takes the request for them, and stays silent.
fn is_known(kernel: &Kernel) -> io::Result<()> {
    const SINCE: KernelVersion = KernelVersion::new(4, 2);
    if kernel.is_below(SINCE) {
        let release = kernel.release();
        let text = format!("events of ended sockets need linux {SINCE}, this is {release}");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}

/// Never `None`, except after an error that is none of bytes: such an error ends it.
impl Iterator for Events {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.next_until(None).transpose();
        let ends = |error: &io::Error| error.kind() != io::ErrorKind::InvalidData;
        self.finished = next.as_ref().and_then(|next| next.as_ref().err()).is_some_and(ends);
        next
    }
}

impl std::iter::FusedIterator for Events {}

/// Readable when there is an event.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("fd", &self.as_fd()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use crate::info::tests::bytes;

    use super::*;

    const CLOSED: &str = include_str!("captures/k6.18_event_destroy_client.hex");

    /// Events, and the other end of their channel in place of the kernel.
    fn events() -> (Events, UnixDatagram) {
        let (kernel, netlink) = UnixDatagram::pair().expect("two descriptors");
        (Events::new(Channel::new(netlink.into())), kernel)
    }

    fn cookie(event: io::Result<Option<Event>>) -> u64 {
        match event.expect("well-formed") {
            Some(Event::Ended(socket)) => socket.cookie,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_captured_event_is_the_end_of_a_connection() {
        let (mut events, kernel) = events();
        assert_eq!(events.try_next().expect("nothing sent"), None);
        kernel.send(&bytes(CLOSED)).expect("room for it");
        let next = events.next().expect("it does not end").expect("well-formed");
        let Event::Ended(socket) = next else { panic!("{next:?}") };
        assert_eq!(socket.cookie, 97055);
        assert_eq!(socket.info.and_then(|info| info.bytes_acked), Some(5002));
        assert_eq!(events.next_within(Duration::ZERO).expect("nothing more"), None);
    }

    #[test]
    fn what_is_no_event_is_skipped() {
        let (mut events, kernel) = events();
        let message = |kind, payload| Message { kind, flags: 0, seq: 0, payload }.encode();
        let others = [message(2, &[0; 4]), message(3, &[0; 4]), message(19, &[])].concat();
        kernel.send(&[others, bytes(CLOSED)].concat()).expect("room for it");
        assert_eq!(cookie(events.try_next()), 97055);
        assert_eq!(events.try_next().expect("nothing more"), None);
    }

    #[test]
    fn malformed_bytes_do_not_hide_the_next_event() {
        let (mut events, kernel) = events();
        let whole = bytes(CLOSED);
        let long = [&whole[..], &vec![0; 40_000]].concat();
        for (bad, text) in [
            (&whole[..100], "netlink message of 380 bytes in 100"),
            (&whole[..3], "netlink message of 3 bytes in 3"),
            (&[], "netlink message of 0 bytes in 0"),
            (&long, "netlink datagram of 40380 bytes in a buffer of 32768"),
        ] {
            kernel.send(bad).expect("room for it");
            kernel.send(&whole).expect("room for it");
            let error = events.next().expect("it does not end").expect_err("malformed");
            assert_eq!(error.to_string(), text);
            assert_eq!(cookie(events.next().transpose()), 97055);
        }
    }

    #[test]
    fn another_error_ends_the_iterator() {
        // A file cannot be received from: ENOTSOCK.
        let file = std::fs::File::open("/dev/null").expect("every machine has it");
        let mut events = Events::new(Channel::new(file.into()));
        let error = events.next().expect("an error").expect_err("no socket");
        assert_eq!(error.raw_os_error(), Some(88));
        assert!(events.next().is_none());
        assert!(events.try_next().is_err(), "only the iterator has an end");
    }

    #[test]
    fn an_old_kernel_is_an_error_with_its_release() {
        let check = |release: &str| is_known(&Kernel::from_release(release));
        let error = check("3.10.0-1160.el7").expect_err("it has no events");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let text = "events of ended sockets need linux 4.2, this is 3.10.0-1160.el7";
        assert_eq!(error.to_string(), text);
        assert!(check("4.2.0").is_ok() && check("mystery").is_ok());
    }
}
