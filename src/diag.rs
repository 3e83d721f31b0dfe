//! Every TCP socket of the network namespace, whoever owns it, over `NETLINK_SOCK_DIAG`.
//!
//! The kernel walks its tables and describes each socket: addresses, state, queues, owner, and the
//! same `TCP_INFO` that [`read`](crate::read) gets of one's own. No privilege is needed for what
//! this module reports; Android forbids it to apps. It is the namespace of the calling thread.
//!
//! Sockets of one's own are cheaper to [`read`](crate::read) one by one; for a whole host a dump
//! costs about a microsecond per socket and a system call per 80.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use std::net::{TcpListener, TcpStream};
//! use tcpinfo::diag::Query;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let port = listener.local_addr()?.port();
//! let stream = TcpStream::connect(listener.local_addr()?)?;
//!
//! for socket in Query::new().with_peer_port(port).dump()? {
//!     let socket = socket?;
//!     println!("{} {} {:?}", socket.local, socket.peer, socket.info.and_then(|info| info.rtt));
//!     assert_eq!(socket.local, stream.local_addr()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What a dump does not promise
//!
//! It is no moment's picture. Each socket's `info` is consistent in itself, but connections come
//! and go while the kernel walks: one that lives through the dump may, rarely, be missed or appear
//! twice (compare [`Socket::cookie`]).
//!
//! Sockets that were never connected and do not listen are in none of the kernel's tables and hence
//! in no dump. Of Multipath TCP a dump has the subflows, which are TCP connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::kernel::Kernel;
use crate::netlink::{Answer, Message};
use crate::state::State;

#[cfg(any(test, fuzzing))]
mod anything;
mod dump;
mod query;
mod socket;

pub use crate::netlink::MalformedReply;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use anything::hold_for_any_datagram;
pub use dump::Sockets;
pub use query::{IpFamily, Query};
pub use socket::Socket;

use query::{AF_INET, AF_INET6, Request};

/// The kernel never makes a dump's datagrams longer. Nor may the buffer shrink between two of them:
/// the kernel prepares the next while it hands out one, as long as the longest buffer it has seen.
const BUFFER: usize = 32 * 1024;

/// Every TCP socket of the network namespace except those in TIME_WAIT.
///
/// [`Query`] streams them, and chooses.
///
/// # Errors
///
/// Those of [`Query::dump`] and of its iterator; `EINTR` where the kernel found its own dump
/// inconsistent, see [`Sockets::was_interrupted`].
pub fn sockets() -> io::Result<Vec<Socket>> {
    let mut dump = Query::new().dump()?;
    let sockets = dump.by_ref().collect::<io::Result<_>>()?;
    if dump.was_interrupted() {
        return Err(Errno::INTR.into());
    }
    Ok(sockets)
}

/// The one socket with these addresses, whoever owns it: one lookup in the kernel's hash table.
///
/// `None` where there is none: a listener that would accept such a connection is not an answer.
/// A connection in TIME_WAIT is one. Congestion control is asked for.
///
/// Addresses are as [`TcpStream::local_addr`](std::net::TcpStream::local_addr) has them;
/// `::ffff:192.0.2.1` is the same as `192.0.2.1`. The scope ids of IPv6 addresses count. A socket
/// bound to an interface, by `SO_BINDTODEVICE`, is not found this way: use [`Query`] with its
/// ports.
///
/// Costs about ten microseconds, most of them for a netlink socket of its own.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for an IPv4 and an IPv6 address; otherwise those
/// of [`Query::dump`] and of its iterator.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
///
/// let theirs = tcpinfo::diag::find(peer, local)?.expect("the other end lives in this program");
/// assert_eq!(theirs.info.map(|info| info.state), Some(tcpinfo::State::Established));
/// # Ok(())
/// # }
/// ```
pub fn find(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Socket>> {
    const SEQ: u32 = 1;
    let [from, to] = [local, peer].map(|address| (address.ip().to_canonical(), address.port()));
    let family = match (from.0, to.0) {
        (IpAddr::V4(_), IpAddr::V4(_)) => AF_INET,
        (IpAddr::V6(_), IpAddr::V6(_)) => AF_INET6,
        _ => {
            let mixed = format!("no connection from {local} to {peer}: one is IPv4, one IPv6");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, mixed));
        }
    };
    let scope = |address| if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
    let request = Request {
        family,
        dump: false,
        states: 0,
        congestion: true,
        local: from,
        peer: to,
        interface: [scope(local), scope(peer)].into_iter().find(|id| *id != 0).unwrap_or(0),
    };
    let netlink = open()?;
    send(&netlink, &request, SEQ)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        receive(&netlink, &mut buffer)?;
        let (message, _) = Message::first(&buffer)?;
        match message.answer()? {
            _ if message.seq != SEQ => {}
            Answer::Socket(payload) => {
                let socket = Socket::decode(payload, Kernel::running())?;
                let is = |address: SocketAddr, asked| (address.ip(), address.port()) == asked;
                let same = is(socket.local, from) && is(socket.peer, to);
                return Ok(Some(socket).filter(|socket| same && socket.state != State::Listen));
            }
            Answer::Failed(errno) if errno == Errno::NOENT.raw_os_error() => {
                // A kernel without inet_diag has the same word for it. An empty dump tells.
                let nothing = Query { states: 0, family: Some(IpFamily::Ipv4), ..Query::new() };
                return nothing.dump()?.next().transpose();
            }
            Answer::Failed(errno) => return Err(io::Error::from_raw_os_error(errno)),
            Answer::Done | Answer::Other => {}
        }
    }
}

impl Query {
    /// Starts the dump.
    ///
    /// # Errors
    ///
    /// The kernel's own: `EPROTONOSUPPORT` without `NETLINK_SOCK_DIAG` (gVisor), `EACCES` or
    /// `EPERM` where a policy forbids it, `EMFILE`. `ENOENT`, without `inet_diag`, shows at the
    /// iterator.
    pub fn dump(&self) -> io::Result<Sockets> {
        Sockets::start(open()?, self.clone())
    }
}

/// A netlink socket that hears the kernel alone.
fn open() -> io::Result<OwnedFd> {
    // The kernel has its answer ready when asked; better an error than to hang, should it not.
    const PATIENCE: Duration = Duration::from_secs(5);
    let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
    let netlink = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    // Connected to port 0, which is the kernel: what other programs send is refused.
    rustix::net::connect(&netlink, &SocketAddrNetlink::new(0, 0))?;
    set_socket_timeout(&netlink, Timeout::Recv, Some(PATIENCE))?;
    Ok(netlink)
}

fn send(netlink: &OwnedFd, request: &Request, seq: u32) -> io::Result<()> {
    let message = request.encode(seq);
    retry_on_intr(|| rustix::net::send(netlink, &message, SendFlags::empty()))?;
    Ok(())
}

/// Replaces what is in the buffer by one datagram.
fn receive(netlink: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let room = buffer.capacity();
    // With TRUNC the kernel tells a datagram's length also where the buffer is too short for it.
    let (_, len) =
        retry_on_intr(|| rustix::net::recv(netlink, spare_capacity(buffer), RecvFlags::TRUNC))?;
    if len > room {
        return Err(MalformedReply::Datagram { len, room }.into());
    }
    Ok(())
}
