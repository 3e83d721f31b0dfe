//! A netlink socket of `NETLINK_SOCK_DIAG`: sends requests to the kernel and receives messages.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::netlink::{MalformedReply, Message, NLM_F_REQUEST};

use super::abi::{SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY, SOCK_DIAG_BY_FAMILY};
use super::namespace::inside;

/// Size of the receive buffer: the kernel never makes a dump's datagrams longer.
///
/// The size must not shrink between two datagrams of a dump. While the kernel hands out one
/// datagram, it already prepares the next, for the largest buffer it has seen on this socket.
pub(super) const BUFFER: usize = 32 * 1024;

/// How long to wait for the kernel. Its answer is ready at once, so this only prevents a hang.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A netlink socket and the last datagram it received.
pub(super) struct Channel {
    netlink: OwnedFd,
    /// Number of the last request.
    seq: u32,
    buffer: Vec<u8>,
    /// How many bytes of the buffer have been consumed.
    consumed: usize,
}

impl Channel {
    /// Opens a channel to the kernel, in this network namespace or in that of the calling thread.
    pub(super) fn open(namespace: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        Self::with_groups(&[], namespace)
    }

    /// A channel on which the kernel tells the end of every TCP socket of the namespace.
    pub(super) fn listen(namespace: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        Self::with_groups(&[SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY], namespace)
    }

    /// Opens a channel that also receives what the kernel sends to these groups.
    fn with_groups(groups: &[u32], namespace: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
        let open =
            || Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?);
        let netlink = namespace.map_or_else(open, |namespace| inside(namespace, open))?;
        if !groups.is_empty() {
            // The address has a set of bits. Port 0: the kernel chooses one for us.
            let groups = groups.iter().fold(0, |set, group| set | 1 << (group - 1));
            rustix::net::bind(&netlink, &SocketAddrNetlink::new(0, groups))?;
        }
        // Port 0 is the kernel. A connected socket receives nothing from other programs.
        rustix::net::connect(&netlink, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&netlink, Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self::new(netlink))
    }

    /// A channel over an open socket.
    pub(super) fn new(netlink: OwnedFd) -> Self {
        Self { netlink, seq: 0, buffer: Vec::with_capacity(BUFFER), consumed: 0 }
    }

    /// Sends a request and returns its number, which the kernel repeats in every answer to it.
    pub(super) fn send(&mut self, flags: u16, payload: &[u8]) -> io::Result<u32> {
        self.seq += 1;
        let flags = NLM_F_REQUEST | flags;
        let message = Message { kind: SOCK_DIAG_BY_FAMILY, flags, seq: self.seq, payload };
        let bytes = message.encode();
        retry_on_intr(|| rustix::net::send(&self.netlink, &bytes, SendFlags::empty()))?;
        Ok(self.seq)
    }

    /// The next message. Receives a datagram when the last one is consumed.
    pub(super) fn message(&mut self) -> io::Result<Message<'_>> {
        if self.consumed >= self.buffer.len() {
            self.receive(RecvFlags::empty())?;
        }
        self.first()
    }

    /// The next message, or `None` instead of waiting for a datagram.
    pub(super) fn try_message(&mut self) -> io::Result<Option<Message<'_>>> {
        if self.consumed >= self.buffer.len() {
            match self.receive(RecvFlags::DONTWAIT) {
                Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
                    return Ok(None);
                }
                done => done?,
            }
        }
        self.first().map(Some)
    }

    /// Consumes one message of the buffer, or all of them if that is malformed.
    fn first(&mut self) -> io::Result<Message<'_>> {
        let begin = std::mem::replace(&mut self.consumed, self.buffer.len());
        let (message, len) = Message::first(&self.buffer[begin..])?;
        self.consumed = begin + len;
        Ok(message)
    }

    /// Replaces the content of the buffer by one datagram.
    fn receive(&mut self, flags: RecvFlags) -> io::Result<()> {
        self.buffer.clear();
        self.consumed = 0;
        let room = self.buffer.capacity();
        // TRUNC returns the whole length of a datagram, also of one that is longer than the buffer.
        let (_, len) = retry_on_intr(|| {
            let flags = flags | RecvFlags::TRUNC;
            rustix::net::recv(&self.netlink, spare_capacity(&mut self.buffer), flags)
        })?;
        if len > room {
            self.consumed = room;
            return Err(MalformedReply::Datagram { len, room }.into());
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A channel, and the other end in place of the kernel.
    fn channel() -> (Channel, UnixDatagram) {
        let (kernel, netlink) = UnixDatagram::pair().expect("two descriptors");
        netlink.set_nonblocking(true).expect("a socket");
        (Channel::new(netlink.into()), kernel)
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn each_request_has_the_next_number() {
        let (mut channel, kernel) = channel();
        for (seq, flags) in [(1, 0), (2, 0x300)] {
            assert_eq!(channel.send(flags, &[7; 4]).expect("room for a request"), seq);
            let mut bytes = [0; 100];
            let len = kernel.recv(&mut bytes).expect("a request");
            let [low, high] = (flags | 1).to_le_bytes();
            let header = [20, 0, 0, 0, 20, 0, low, high, seq as u8, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(bytes[..len], [&header[..], &[7; 4]].concat());
        }
    }

    #[test]
    fn messages_come_one_by_one_from_one_datagram_after_another() {
        let (mut channel, kernel) = channel();
        let message = |seq| Message { kind: 20, flags: 0, seq, payload: &[7; 5] };
        let padding = [0; 3];
        let first = [&message(1).encode()[..], &padding, &message(2).encode()].concat();
        kernel.send(&first).expect("room for it");
        kernel.send(&message(3).encode()).expect("room for it");
        for seq in 1..=3 {
            assert_eq!(channel.message().expect("a whole message"), message(seq));
        }
        let silent = channel.message().expect_err("no more messages");
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
    }
}
