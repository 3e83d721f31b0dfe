//! Asks the kernel for many sockets, and returns them as an iterator.

use std::iter::FusedIterator;
use std::{fmt, io};

use crate::kernel::Kernel;
use crate::netlink::{Answer, MalformedReply, NLM_F_DUMP};

use super::abi::SOCK_DIAG_BY_FAMILY;
use super::channel::Channel;
use super::query::{IpFamily, Query};
use super::socket::Socket;

impl Query {
    /// Starts the dump.
    ///
    /// # Errors
    ///
    /// The kernel's own: `EPROTONOSUPPORT` without `NETLINK_SOCK_DIAG` (gVisor), `EACCES` or
    /// `EPERM` if a policy forbids it, `EMFILE`. A kernel without `inet_diag` is an error of the
    /// iterator: `ENOENT`.
    ///
    /// Those of `setns(2)` with a namespace: `EPERM`, `EINVAL` if it is none.
    ///
    /// A [`FilterError`](super::FilterError) if the filter is too long; as an error of the iterator
    /// if the kernel does not know a condition of the filter, or forbids it.
    pub fn dump(&self) -> io::Result<Sockets> {
        Sockets::start(Channel::open(self.namespace())?, self.clone())
    }
}

/// Fails as a dump does where there is no `inet_diag`; loads it where it is a module.
pub(super) fn check() -> io::Result<()> {
    let nothing = Query::new().with_states([]).with_family(IpFamily::Ipv4);
    nothing.dump()?.next().transpose().map(drop)
}

/// A running dump: returns each socket as it is received, 32 KiB at a time.
///
/// # Errors
///
/// The kernel's own errors. `EAGAIN` if the kernel sends nothing for five seconds. An error of kind
/// [`InvalidData`](io::ErrorKind::InvalidData), with a [`MalformedReply`] inside, if the bytes are
/// not a message of `sock_diag`.
///
/// If only one socket cannot be decoded, the iterator returns the error and then the next sockets.
/// Any other error ends the dump.
///
/// [`MalformedReply`]: super::MalformedReply
pub struct Sockets {
    channel: Channel,
    pub(super) query: Query,
    /// Address families that are still to be asked for.
    families: &'static [u8],
    /// Number of the current request.
    seq: u32,
    interrupted: bool,
    pub(super) finished: bool,
}

impl Sockets {
    /// Sends the query over a channel.
    fn start(channel: Channel, query: Query) -> io::Result<Self> {
        let mut sockets = Self::idle(channel, query);
        sockets.restart()?;
        Ok(sockets)
    }

    /// A dump that has not begun.
    pub(super) fn idle(channel: Channel, query: Query) -> Self {
        Self { channel, query, families: &[], seq: 0, interrupted: false, finished: true }
    }

    /// Sends the query, again if there was a dump before.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        // The kernel refuses a dump while another one waits to be received.
        if self.seq != 0 {
            while self.channel.try_message()?.is_some() {}
        }
        (self.families, self.interrupted, self.finished) = (self.query.families(), false, false);
        self.request()
    }

    /// Whether the kernel has said so far that its tables changed, so that the dump is
    /// inconsistent.
    ///
    /// No known kernel says so about TCP sockets. A dump can miss or repeat sockets without it.
    #[doc(alias = "NLM_F_DUMP_INTR")]
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Asks for the next family. Finishes the dump if there is none.
    fn request(&mut self) -> io::Result<()> {
        let Some((family, later)) = self.families.split_first() else {
            self.finished = true;
            return Ok(());
        };
        self.families = later;
        self.seq = self.channel.send(NLM_F_DUMP, &self.query.payload(*family)?)?;
        Ok(())
    }

    /// The replies as the kernel sends them, to keep and [decode](Socket::decode) later, or on
    /// another machine.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use tcpinfo::Kernel;
    /// use tcpinfo::diag::{Query, Socket};
    ///
    /// # let _listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// for reply in Query::new().dump()?.into_replies() {
    ///     let socket = Socket::decode(&reply?, Kernel::running())?;
    ///     println!("{}", socket.local);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_replies(self) -> Replies {
        Replies(self)
    }

    /// The next socket that is wanted, decoded or not. `None` at the end of the dump.
    fn next_with<T>(
        &mut self,
        take: impl Fn(&[u8]) -> Result<T, MalformedReply>,
        is_wanted: impl Fn(&Query, &T) -> bool,
    ) -> Option<io::Result<T>> {
        while !self.finished {
            match self.step(&take) {
                Ok(Some(Ok(taken))) if is_wanted(&self.query, &taken) => return Some(Ok(taken)),
                Ok(Some(Err(malformed))) => return Some(Err(malformed.into())),
                Ok(_) => {}
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Consumes one message and returns its socket, if it has one. An error ends the dump.
    pub(super) fn step<T>(&mut self, decode: impl FnOnce(&[u8]) -> T) -> io::Result<Option<T>> {
        let message = self.channel.message()?;
        if message.seq != self.seq {
            return Ok(None);
        }
        self.interrupted |= message.is_interrupted();
        match message.answer()? {
            Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload } => {
                return Ok(Some(decode(payload)));
            }
            Answer::Done => self.request()?,
            Answer::Failed(errno) => {
                let known = self.query.filter().and_then(|filter| filter.error(errno));
                return Err(known.map_or_else(|| io::Error::from_raw_os_error(errno), Into::into));
            }
            Answer::Data { .. } | Answer::Acknowledged => {}
        }
        Ok(None)
    }
}

impl Iterator for Sockets {
    type Item = io::Result<Socket>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|reply| Socket::decode(reply, Kernel::running()), Query::includes)
    }
}

impl FusedIterator for Sockets {}

/// The replies of a running dump, one for each socket: see [`Sockets::into_replies`].
///
/// A reply is a `struct inet_diag_msg` and its attributes, in the byte order of this machine.
///
/// # Errors
///
/// Those of [`Sockets`], except that a reply that cannot be decoded is an error of
/// [`Socket::decode`].
#[derive(Debug)]
pub struct Replies(Sockets);

impl Iterator for Replies {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Only a query for one family has to look into the reply.
        let is_wanted = |query: &Query, reply: &Vec<u8>| {
            let socket = || Socket::decode(reply, Kernel::running());
            !query.has_family() || socket().map_or(true, |socket| query.includes(&socket))
        };
        self.0.next_with(|reply| Ok(reply.to_vec()), is_wanted)
    }
}

impl FusedIterator for Replies {}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("query", &self.query)
            .field("interrupted", &self.interrupted)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::super::abi::{AF_INET, AF_INET6};
    use super::super::channel::BUFFER;
    use super::*;
    use crate::netlink::Message;

    const SOCKET: u16 = SOCK_DIAG_BY_FAMILY;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;

    fn message(kind: u16, flags: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
        Message { kind, flags, seq, payload }.encode()
    }

    /// An established IPv4 socket with this cookie and zeros for the rest.
    fn socket(cookie: u8) -> Vec<u8> {
        let mut payload = vec![0; 72];
        payload[..2].copy_from_slice(&[AF_INET, 1]);
        payload[44..48].copy_from_slice(&u32::from(cookie).to_ne_bytes());
        payload
    }

    /// A dump that will ask for these families, and in place of the kernel the other end of its
    /// channel, which has already sent these datagrams.
    fn dump(families: &'static [u8], datagrams: &[Vec<u8>]) -> (Sockets, UnixDatagram) {
        let (kernel, netlink) = UnixDatagram::pair().expect("two descriptors");
        netlink.set_nonblocking(true).expect("a socket");
        for datagram in datagrams {
            kernel.send(datagram).expect("room for it");
        }
        let channel = Channel::new(netlink.into());
        let mut sockets = Sockets::start(channel, Query::new()).expect("room for a request");
        assert_eq!(sockets.families, [AF_INET6]);
        sockets.families = families;
        (sockets, kernel)
    }

    fn cookies(sockets: Sockets) -> Vec<u64> {
        sockets.map(|socket| socket.expect("well-formed").cookie).collect()
    }

    fn error(sockets: &mut Sockets) -> io::Error {
        sockets.next().expect("something more").expect_err("an error")
    }

    #[test]
    fn both_families_are_asked_for_one_after_the_other() {
        let done = |seq| message(DONE, 2, seq, &[0; 4]);
        let first = [message(SOCKET, 2, 1, &socket(1)), message(SOCKET, 2, 1, &socket(2))].concat();
        let second = [message(SOCKET, 2, 2, &socket(3)), done(2)].concat();
        let (sockets, kernel) = dump(&[AF_INET6], &[first, done(1), second]);
        assert_eq!(cookies(sockets), [1, 2, 3]);
        for family in [AF_INET, AF_INET6] {
            let mut request = [0; 100];
            assert_eq!(kernel.recv(&mut request).expect("a request"), 72);
            assert_eq!(request[16], family);
        }
    }

    #[test]
    fn answers_to_other_requests_are_skipped() {
        let stale = message(DONE, 2, 9, &[0; 4]);
        let all = [stale, message(SOCKET, 2, 1, &socket(4)), message(DONE, 2, 1, &[0; 4])].concat();
        let (sockets, _kernel) = dump(&[], &[all]);
        assert_eq!(cookies(sockets), [4]);
    }

    #[test]
    fn an_inconsistent_dump_says_so() {
        let all = [message(SOCKET, 2, 1, &socket(5)), message(DONE, 0x12, 1, &[0; 4])].concat();
        let (mut sockets, _kernel) = dump(&[], &[all]);
        assert!(sockets.next().is_some() && !sockets.was_interrupted());
        assert!(sockets.next().is_none() && sockets.was_interrupted());
    }

    #[test]
    fn an_error_ends_the_dump_in_either_kind_of_message() {
        for kind in [ERROR, DONE] {
            let failed = message(kind, 2, 1, &(-2_i32).to_ne_bytes());
            let (mut sockets, _kernel) = dump(&[], &[failed]);
            assert_eq!(error(&mut sockets).raw_os_error(), Some(2));
            assert!(sockets.next().is_none());
        }
        let (mut silent, _kernel) = dump(&[], &[]);
        assert_eq!(error(&mut silent).kind(), io::ErrorKind::WouldBlock);
        assert!(silent.next().is_none());
    }

    #[test]
    fn replies_are_what_the_kernel_sent() {
        let odd = [socket(6), vec![3, 0, 2, 0]].concat();
        let payloads = [socket(5), odd.clone(), socket(7)];
        let mut all: Vec<u8> =
            payloads.iter().flat_map(|payload| message(SOCKET, 2, 1, payload)).collect();
        all.extend(message(DONE, 2, 1, &[0; 4]));
        let (sockets, _kernel) = dump(&[], std::slice::from_ref(&all));
        let replies: io::Result<Vec<_>> = sockets.into_replies().collect();
        assert_eq!(replies.expect("no error"), payloads);
        let error = Socket::decode(&odd, Kernel::running()).expect_err("its attribute is odd");
        assert_eq!(error.to_string(), "netlink attribute of 3 bytes in 4");
        let (mut sockets, _kernel) = dump(&[], &[all]);
        sockets.query = sockets.query.with_family(IpFamily::Ipv6);
        let replies: io::Result<Vec<_>> = sockets.into_replies().collect();
        assert_eq!(replies.expect("no error"), [odd], "its family cannot be told");
    }

    #[test]
    fn a_socket_that_cannot_be_decoded_does_not_hide_the_next() {
        let odd = [socket(6), vec![3, 0, 2, 0]].concat();
        let all = [
            message(SOCKET, 2, 1, &odd),
            message(SOCKET, 2, 1, &socket(7)),
            message(DONE, 2, 1, &[0; 4]),
        ];
        let (mut sockets, _kernel) = dump(&[], &[all.concat()]);
        let odd = error(&mut sockets);
        assert_eq!(odd.kind(), io::ErrorKind::InvalidData);
        assert_eq!(odd.to_string(), "netlink attribute of 3 bytes in 4");
        assert_eq!(cookies(sockets), [7]);
    }

    #[test]
    fn a_broken_frame_or_a_truncated_datagram_ends_the_dump() {
        let mut broken = message(SOCKET, 2, 1, &socket(8));
        broken[0] = 90;
        let long = message(SOCKET, 2, 1, &vec![0; BUFFER]);
        for (datagram, text) in [
            (broken, "netlink message of 90 bytes in 88"),
            (vec![], "netlink message of 0 bytes in 0"),
            (long, "netlink datagram of 32784 bytes in a buffer of 32768"),
        ] {
            let (mut sockets, _kernel) = dump(&[], &[datagram]);
            assert_eq!(error(&mut sockets).to_string(), text);
            assert!(sockets.next().is_none());
        }
    }

    #[test]
    fn the_family_is_chosen_by_the_address() {
        let all = [message(SOCKET, 2, 1, &socket(9)), message(DONE, 2, 1, &[0; 4])].concat();
        let (mut sockets, _kernel) = dump(&[], std::slice::from_ref(&all));
        sockets.query = sockets.query.with_family(IpFamily::Ipv6);
        assert_eq!(cookies(sockets), []);
        let (mut sockets, _kernel) = dump(&[], &[all]);
        sockets.query = sockets.query.with_family(IpFamily::Ipv4);
        assert_eq!(cookies(sockets), [9]);
    }
}
