//! Every TCP socket of the network namespace, whoever owns it, over `NETLINK_SOCK_DIAG`.
//!
//! The kernel walks its tables and describes each socket: addresses, state, queues, owner, and the
//! same `TCP_INFO` that [`read`](crate::read) returns. The namespace is that of the calling thread;
//! [`Query::with_namespace`] chooses another. Only that needs a privilege, but Android forbids all
//! of this to apps.
//!
//! To observe the sockets of this program, [`read`](crate::read) each of them: that is cheaper. For
//! a whole host, a dump costs about a microsecond per socket and one system call per 80 sockets.
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
//! A dump does not show one moment. Each socket's `info` is consistent in itself, but connections
//! come and go while the kernel walks its tables. In rare cases a dump misses a connection that
//! exists all the time, or returns it twice (compare [`Socket::cookie`]).
//!
//! Sockets that were never connected and do not listen are in none of the kernel's tables, so no
//! dump returns them. Of Multipath TCP, a dump returns the subflows, which are TCP connections.

use std::io;

use rustix::io::Errno;

// A file uses only files below its own line:
//
//     raw    wait        dumps and events as the monitor takes them
//     find   events      looks up one socket; tells the end of every socket
//     dump               asks for many sockets
//     query              which sockets, and what to ask about each
//     filter   owners    conditions that the kernel checks; which program holds a socket
//     bytecode socket    those as a program; what the kernel says of a socket
//     channel            the netlink socket
//     prefix   namespace memory   ulp   cgroup
//     abi    descriptors the kernel's numbers and structures; which descriptors are open
mod abi;
mod bytecode;
mod cgroup;
mod channel;
#[cfg(feature = "monitor")]
mod descriptors;
mod dump;
mod events;
mod filter;
mod find;
mod foreign;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod memory;
mod namespace;
mod owners;
mod prefix;
mod query;
#[cfg(feature = "monitor")]
mod raw;
mod socket;
mod ulp;
#[cfg(feature = "monitor")]
mod wait;

pub use crate::netlink::MalformedReply;
pub use cgroup::cgroup_path;
#[cfg(feature = "monitor")]
pub(crate) use descriptors::{each_descriptor, inode_of};
pub use dump::{Replies, Sockets};
pub use events::{Event, Events};
pub use filter::{Filter, FilterError};
pub use find::find;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use fuzzing::check_datagram;
pub use memory::{SocketMemory, SocketShutdown};
pub use owners::{Owner, Owners, owners};
pub use prefix::{InvalidPrefix, IpPrefix};
pub use query::{IpFamily, Query};
#[cfg(feature = "monitor")]
pub(crate) use raw::{RawEvent, RawSocket, RepeatedDump};
pub use socket::Socket;
pub use ulp::{KernelTls, MptcpSubflow, UpperLayer};
#[cfg(feature = "monitor")]
pub(crate) use wait::Waker;

/// Every TCP socket of the network namespace except those in TIME_WAIT.
///
/// [`Query`] selects sockets, and returns them one by one.
///
/// # Errors
///
/// The errors of [`Query::dump`] and of its iterator; `EINTR` if the kernel says that its dump is
/// inconsistent, see [`Sockets::was_interrupted`].
pub fn sockets() -> io::Result<Vec<Socket>> {
    let mut dump = Query::new().dump()?;
    let sockets = dump.by_ref().collect::<io::Result<_>>()?;
    if dump.was_interrupted() {
        return Err(Errno::INTR.into());
    }
    Ok(sockets)
}
