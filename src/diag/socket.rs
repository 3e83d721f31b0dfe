//! One TCP socket, decoded from a reply of `sock_diag`. Pure: bytes in, values out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::congestion::Congestion;
use crate::info::{DecodeError, TcpInfo};
use crate::kernel::Kernel;
use crate::netlink::{Attributes, MalformedReply};
use crate::state::State;

use super::abi::{
    INET_DIAG_BBRINFO, INET_DIAG_CGROUP_ID, INET_DIAG_CONG, INET_DIAG_DCTCPINFO, INET_DIAG_INFO,
    INET_DIAG_MARK, INET_DIAG_SHUTDOWN, INET_DIAG_SKMEMINFO, INET_DIAG_ULP_INFO,
    INET_DIAG_VEGASINFO, InetDiagMsg, c_string, ip,
};
use super::foreign::to_native;
use super::memory::{SocketMemory, SocketShutdown};
use super::ulp::UpperLayer;

/// One TCP socket as `sock_diag` describes it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Socket {
    /// State of the connection.
    ///
    /// `FinWait2` without `info` is a connection whose program is gone: the kernel keeps it like
    /// one in `TimeWait`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "text"))]
    pub state: State,
    /// Address and port of this side; the unspecified address if a listener accepts any.
    ///
    /// IPv4 if a dual-stack socket uses IPv4 (the kernel says `::ffff:192.0.2.1`). A link-local
    /// address has its scope id if the socket is bound to the interface.
    pub local: SocketAddr,
    /// Address and port of the other side, both unspecified in LISTEN.
    pub peer: SocketAddr,
    /// Index of the network interface that the socket is bound to. Absent if it is bound to none.
    pub interface: Option<u32>,
    /// The socket's cookie, the same number that [`socket_cookie`](crate::socket_cookie) returns.
    /// A connection keeps it in TIME_WAIT.
    pub cookie: u64,
    /// User that created the socket, as the caller's user namespace numbers it.
    ///
    /// Absent if the kernel says 0, which is root, and no program holds the socket: then it says 0
    /// whoever the user was.
    pub uid: Option<u32>,
    /// Inode in `sockfs`: `socket:[inode]` in `/proc/*/fd` leads to the program.
    ///
    /// Absent if no program holds the socket: in TIME_WAIT, for orphans, and for connections that
    /// wait to be accepted.
    pub inode: Option<u32>,
    /// Bytes received in order that the program has not read; a received FIN counts as one byte.
    ///
    /// In LISTEN: connections that wait to be accepted. Always 0 if `info` is absent.
    pub receive_queue: u32,
    /// Bytes written that the peer has not acknowledged, sent or not; our SYN and our FIN count as
    /// one byte each.
    ///
    /// In LISTEN: the backlog; the accept queue may hold one connection more. Always 0 if `info` is
    /// absent.
    pub send_queue: u32,
    /// What `TCP_INFO` says, by the same kernel function and decoder as [`read`](crate::read).
    ///
    /// Absent if the kernel keeps too little of the connection: in TIME_WAIT, in FIN_WAIT2 without
    /// a program, and in SYN_RECV until the handshake is complete.
    pub info: Option<TcpInfo>,
    /// Congestion control. Absent if it was not asked for, and if `info` is absent.
    pub congestion: Option<Congestion>,
    /// Number of the control group (version 2) in which a program made the socket: see
    /// [`cgroup_path`](super::cgroup_path). Since Linux 5.8.
    ///
    /// An accepted connection has the group of its listener. A program that moves to another group
    /// does not take its sockets along.
    ///
    /// Absent if `info` is absent, in destroy events, and if the kernel was built without
    /// `CONFIG_SOCK_CGROUP_DATA`. Asked for or not, it is always sent.
    #[doc(alias = "INET_DIAG_CGROUP_ID")]
    pub cgroup: Option<u64>,
    /// Memory in use and its limits, and dropped packets. Since Linux 3.3.
    ///
    /// Absent if it was not asked for, see [`Query::with_memory`](super::Query::with_memory), and
    /// if `info` is absent.
    #[doc(alias = "INET_DIAG_SKMEMINFO")]
    pub memory: Option<SocketMemory>,
    /// Which directions are closed. Since Linux 3.8.
    ///
    /// Absent if `info` is absent, and in destroy events. Asked for or not, it is always sent.
    #[doc(alias = "INET_DIAG_SHUTDOWN")]
    pub shutdown: Option<SocketShutdown>,
    /// Protocol of the kernel that uses the socket: TLS, Multipath TCP. Since Linux 5.4.
    ///
    /// Absent if there is none, which is usual; in destroy events; and to a caller without
    /// `CAP_NET_ADMIN` before Linux 6.15. It comes with `info` and costs nothing if it is absent.
    #[doc(alias = "INET_DIAG_ULP_INFO")]
    pub upper_layer: Option<UpperLayer>,
    /// `SO_MARK`, 0 if the program set none. Since Linux 4.9.
    ///
    /// Absent to a caller without `CAP_NET_ADMIN`, and in destroy events. Asked for or not, it is
    /// always sent to others.
    #[doc(alias = "INET_DIAG_MARK")]
    pub mark: Option<u32>,
}

impl Socket {
    /// A socket of which only a descriptor is known.
    #[cfg(feature = "monitor")]
    pub(crate) fn of_descriptor(
        cookie: u64,
        addresses: [SocketAddr; 2],
        inode: Option<u32>,
        info: TcpInfo,
    ) -> Self {
        let [local, peer] = addresses.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()));
        Self {
            state: info.state,
            local,
            peer,
            interface: None,
            cookie,
            uid: None,
            inode,
            receive_queue: 0,
            send_queue: 0,
            info: Some(info),
            congestion: None,
            cgroup: None,
            memory: None,
            shutdown: None,
            upper_layer: None,
            mark: None,
        }
    }

    /// Decodes a reply that was kept: see [`Sockets::into_replies`](super::Sockets::into_replies).
    ///
    /// Bytes are in the byte order of this machine; `kernel` is the one that sent them.
    ///
    /// # Errors
    ///
    /// The bytes are no reply of `sock_diag`.
    pub fn decode(reply: &[u8], kernel: &Kernel) -> Result<Self, MalformedReply> {
        Self::decode_by(reply, |info| TcpInfo::decode(info, kernel))
    }

    /// Decodes a reply that a machine with the other byte order kept. It is copied once more than
    /// by [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// The bytes are no reply of `sock_diag`.
    pub fn decode_foreign(reply: &[u8], kernel: &Kernel) -> Result<Self, MalformedReply> {
        Self::decode_by(&to_native(reply), |info| TcpInfo::decode_foreign(info, kernel))
    }

    #[inline]
    fn decode_by(
        reply: &[u8],
        decode_info: impl FnOnce(&[u8]) -> Result<TcpInfo, DecodeError> + Copy,
    ) -> Result<Self, MalformedReply> {
        let (msg, attributes) = InetDiagMsg::split(reply)?;
        let interface = Some(msg.id.interface).filter(|index| *index != 0);
        let [local, peer] = addresses(&msg, interface)?;

        let mut info = None;
        let mut algorithm = None;
        let mut report = None;
        let mut cgroup = None;
        let mut memory = None;
        let mut shutdown = None;
        let mut upper_layer = None;
        let mut mark = None;
        for attribute in Attributes(attributes) {
            let (kind, content) = attribute?;
            match kind {
                INET_DIAG_INFO => {
                    info = Some(decode_info(content).map_err(MalformedReply::Info)?);
                }
                INET_DIAG_CONG => algorithm = Some(c_string(content)),
                INET_DIAG_VEGASINFO | INET_DIAG_DCTCPINFO | INET_DIAG_BBRINFO => {
                    report = Some((kind, content));
                }
                INET_DIAG_CGROUP_ID => {
                    cgroup = Some(u64::from_ne_bytes(first(kind, content)?));
                }
                INET_DIAG_SKMEMINFO => memory = Some(SocketMemory::decode(content)?),
                INET_DIAG_SHUTDOWN => shutdown = Some(SocketShutdown::decode(content)?),
                INET_DIAG_ULP_INFO => upper_layer = UpperLayer::decode(content)?,
                INET_DIAG_MARK => mark = Some(u32::from_ne_bytes(first(kind, content)?)),
                _ => {}
            }
        }
        Ok(Self {
            state: State::from(msg.state),
            local,
            peer,
            interface,
            cookie: msg.id.cookie,
            uid: (msg.uid != 0 || msg.inode != 0).then_some(msg.uid),
            inode: (msg.inode != 0).then_some(msg.inode),
            receive_queue: msg.rqueue,
            send_queue: msg.wqueue,
            info,
            congestion: algorithm.map(|algorithm| {
                let report = report.filter(|(kind, _)| belongs(*kind, &algorithm));
                Congestion::decode(&algorithm, report.map_or(&[], |(_, content)| content))
            }),
            cgroup,
            memory,
            shutdown,
            upper_layer,
            mark,
        })
    }
}

/// The first bytes of an attribute.
fn first<const N: usize>(kind: u16, content: &[u8]) -> Result<[u8; N], MalformedReply> {
    content.first_chunk().copied().ok_or(MalformedReply::Content { kind, len: content.len() })
}

/// Whether a report can come from the named algorithm.
///
/// The kernel writes first the name, then the report, and the algorithm can change in between.
/// Reports of vegas and dctcp have the same length, so the length does not tell them apart.
fn belongs(report: u16, algorithm: &str) -> bool {
    match report {
        // After a fallback, the algorithm is called dctcp-reno.
        INET_DIAG_DCTCPINFO => algorithm.starts_with("dctcp"),
        INET_DIAG_BBRINFO => !algorithm.starts_with("dctcp"),
        _ => !algorithm.starts_with("dctcp") && !algorithm.starts_with("bbr"),
    }
}

/// The local and the peer address.
fn addresses(msg: &InetDiagMsg, interface: Option<u32>) -> Result<[SocketAddr; 2], MalformedReply> {
    let ip = |bytes| ip(msg.family, bytes).map(|ip| ip.to_canonical());
    let [local, mut peer] = [ip(msg.id.src)?, ip(msg.id.dst)?];
    // A listener bound to ::ffff:192.0.2.1 has the peer ::, which is not a mapped IPv4 address.
    if local.is_ipv4() && peer == Ipv6Addr::UNSPECIFIED {
        peer = Ipv4Addr::UNSPECIFIED.into();
    }
    let address = |ip, port| match (ip, interface) {
        (IpAddr::V6(ip), Some(scope)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, scope).into()
        }
        _ => SocketAddr::new(ip, port),
    };
    Ok([address(local, msg.id.sport), address(peer, msg.id.dport)])
}

#[cfg(feature = "serde")]
fn text<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(state)
}

#[cfg(all(test, target_endian = "little"))]
mod tests;
