//! Conditions that the kernel checks for each socket of a dump. Pure.

use std::ops::{BitAnd, BitOr, Bound, Not, RangeBounds};
use std::{fmt, io};

use rustix::io::Errno;

use crate::kernel::KernelVersion;

use super::bytecode::{End, MAX_LEN, Program, Test};
use super::prefix::IpPrefix;
#[cfg(feature = "monitor")]
use super::socket::Socket;

/// A condition on sockets that the kernel checks: it sends only those that meet it.
///
/// Conditions combine by `&`, `|` and `!`. Every kernel knows conditions on ports and addresses; a
/// dump with a condition that the running kernel does not know is an error, see [`FilterError`].
///
/// The kernel still walks its whole table: a socket that does not meet the filter costs about 0.13
/// microseconds instead of 1, and each further condition that it runs 0.02.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tcpinfo::diag::{Filter, IpPrefix, Query};
///
/// // Connections of our web server, but not those from the private network.
/// let private: IpPrefix = "10.0.0.0/8".parse()?;
/// let web = Filter::local_port(80..=80) | Filter::local_port(443..=443);
/// for socket in Query::new().with_filter(web & !Filter::peer(private)).dump()? {
///     println!("{}", socket?.peer);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a filter selects nothing until a query has it"]
pub struct Filter(Program);

impl Filter {
    /// Sockets with a local port in this range.
    pub fn local_port(ports: impl RangeBounds<u16>) -> Self {
        Self::port(End::Local, ports)
    }

    /// Sockets with a port in this range on the other side. That of a listener is 0.
    pub fn peer_port(ports: impl RangeBounds<u16>) -> Self {
        Self::port(End::Peer, ports)
    }

    /// Sockets whose local address is this one or begins so.
    ///
    /// IPv4 counts in either notation, as in [`Socket::local`](super::Socket::local). A listener on
    /// any address has the unspecified one.
    pub fn local(prefix: impl Into<IpPrefix>) -> Self {
        Self::address(End::Local, prefix.into())
    }

    /// Sockets whose other side has this address, or one that begins so.
    ///
    /// The other side of a listener is the unspecified address; `::` for one on
    /// `::ffff:192.0.2.1`.
    pub fn peer(prefix: impl Into<IpPrefix>) -> Self {
        Self::address(End::Peer, prefix.into())
    }

    /// Sockets of this control group, see [`Socket::cgroup`](super::Socket::cgroup). Since Linux
    /// 5.8.
    ///
    /// Not those of groups inside it. Sockets in TIME_WAIT and unfinished handshakes have no group.
    pub fn cgroup(id: u64) -> Self {
        Self(Program::test(Test::Cgroup(id)))
    }

    /// Sockets that are bound to the interface with this index; 0 for those that are bound to none.
    /// Since Linux 4.8.
    pub fn interface(index: u32) -> Self {
        Self(Program::test(Test::Interface(index)))
    }

    /// Sockets whose `SO_MARK` has the value `mark` in the bits of `mask`.
    ///
    /// Since Linux 4.9, and only for callers with `CAP_NET_ADMIN`.
    pub fn mark(mark: u32, mask: u32) -> Self {
        // The kernel compares with the whole of `mark`.
        if mark & !mask != 0 {
            return Self(Program::never());
        }
        Self(Program::test(Test::Mark { mark, mask }))
    }

    /// Sockets that meet all of these conditions; every socket if there are none.
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        let programs: Vec<_> = filters.into_iter().map(|filter| filter.0).collect();
        Self(Program::all(&programs))
    }

    /// Sockets that meet one of these conditions; no socket if there are none.
    pub fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        let programs: Vec<_> = filters.into_iter().map(|filter| filter.0).collect();
        Self(Program::any(&programs))
    }

    // Not S_EQ and D_EQ for a single port, which Linux before 4.16 does not know.
    fn port(end: End, ports: impl RangeBounds<u16>) -> Self {
        let first = match ports.start_bound() {
            Bound::Unbounded => Some(0),
            Bound::Included(port) => Some(*port),
            Bound::Excluded(port) => port.checked_add(1),
        };
        let last = match ports.end_bound() {
            Bound::Unbounded => Some(u16::MAX),
            Bound::Included(port) => Some(*port),
            Bound::Excluded(port) => port.checked_sub(1),
        };
        let Some((first, last)) = first.zip(last).filter(|(first, last)| first <= last) else {
            return Self(Program::never());
        };
        let tests = [
            (first > 0).then_some(Test::PortAtLeast(end, first)),
            (last < u16::MAX).then_some(Test::PortAtMost(end, last)),
        ];
        Self::all(tests.into_iter().flatten().map(|test| Self(Program::test(test))))
    }

    fn address(end: End, prefix: IpPrefix) -> Self {
        let within = Self(Program::test(Test::Address(end, prefix)));
        if prefix.covers_mapped() {
            // The kernel's IPv6 sockets with IPv4 addresses, which are IPv4 here.
            let mapped = IpPrefix::new([0, 0, 0, 0].into(), 0).expect("0 is at most 32");
            return within & !Self(Program::test(Test::Address(end, mapped)));
        }
        within
    }

    /// Whether this socket meets the filter; `None` if the socket does not tell.
    #[cfg(feature = "monitor")]
    pub(super) fn selects(&self, socket: &Socket) -> Option<bool> {
        let port = |end| match end {
            End::Local => socket.local.port(),
            End::Peer => socket.peer.port(),
        };
        let ip = |end| match end {
            End::Local => socket.local.ip(),
            End::Peer => socket.peer.ip(),
        };
        self.0.run(|test| match test {
            Test::PortAtLeast(end, least) => Some(port(end) >= least),
            Test::PortAtMost(end, most) => Some(port(end) <= most),
            Test::Address(end, prefix) => Some(prefix.contains(ip(end))),
            Test::Interface(index) => Some(socket.interface.unwrap_or(0) == index),
            Test::Mark { mark, mask } => socket.mark.map(|has| has & mask == mark),
            Test::Cgroup(id) => socket.cgroup.map(|has| has == id),
        })
    }

    /// The bytes for the kernel. `None` if every socket is selected: the kernel takes no empty
    /// program.
    pub(super) fn bytecode(&self) -> Result<Option<Vec<u8>>, FilterError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let too_long = || FilterError::TooLong { len: self.0.len(), room: MAX_LEN };
        self.0.encode().ok_or_else(too_long).map(Some)
    }

    /// What an error number of the kernel says of this filter.
    pub(super) fn error(&self, errno: i32) -> Option<FilterError> {
        let newest = self.0.tests().filter_map(|test| match test {
            Test::Interface(_) => Some((KernelVersion::new(4, 8), "interface")),
            Test::Mark { .. } => Some((KernelVersion::new(4, 9), "mark")),
            Test::Cgroup(_) => Some((KernelVersion::new(5, 8), "cgroup")),
            Test::PortAtLeast(..) | Test::PortAtMost(..) | Test::Address(..) => None,
        });
        let has_mark = || self.0.tests().any(|test| matches!(test, Test::Mark { .. }));
        match Errno::from_raw_os_error(errno) {
            Errno::INVAL => {
                newest.max().map(|(since, condition)| FilterError::Unknown { condition, since })
            }
            Errno::PERM if has_mark() => Some(FilterError::Forbidden { condition: "mark" }),
            _ => None,
        }
    }
}

impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self::all([self, other])
    }
}

impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self::any([self, other])
    }
}

impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self(self.0.not())
    }
}

/// Why a dump with a [`Filter`] fails: the source of an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// The compiled filter is too long for the kernel: more than about two thousand conditions. The
    /// error has the kind [`InvalidInput`](io::ErrorKind::InvalidInput).
    #[non_exhaustive]
    TooLong {
        /// Bytes of the compiled filter.
        len: usize,
        /// Bytes that the kernel takes.
        room: usize,
    },
    /// The kernel does not know a condition: it is older, or was built without the feature. The
    /// error has the kind [`Unsupported`](io::ErrorKind::Unsupported).
    #[non_exhaustive]
    Unknown {
        /// The newest condition of the filter, by the name of its function.
        condition: &'static str,
        /// The first kernel that knows it.
        since: KernelVersion,
    },
    /// A condition needs `CAP_NET_ADMIN`. The error has the kind
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
    #[non_exhaustive]
    Forbidden {
        /// The condition, by the name of its function.
        condition: &'static str,
    },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, room } => {
                write!(f, "filter of {len} bytes, the kernel takes {room}")
            }
            Self::Unknown { condition, since } => {
                write!(f, "this kernel cannot filter by {condition}, linux {since} can")
            }
            Self::Forbidden { condition } => {
                write!(f, "to filter by {condition} needs CAP_NET_ADMIN")
            }
        }
    }
}

impl std::error::Error for FilterError {}

impl From<FilterError> for io::Error {
    fn from(error: FilterError) -> Self {
        let kind = match error {
            FilterError::TooLong { .. } => io::ErrorKind::InvalidInput,
            FilterError::Unknown { .. } => io::ErrorKind::Unsupported,
            FilterError::Forbidden { .. } => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
