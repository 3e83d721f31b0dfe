//! The numbers and structures of `linux/inet_diag.h` and `linux/sock_diag.h`. Pure.
//!
//! Structures have the kernel's names. Their members have them too, without `idiag_` and `sdiag_`.
//! Ports and addresses are in network byte order, all other numbers in the machine's.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{MalformedReply, word};

/// Type of requests, of their replies and of destroy events.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;

// Groups of `NETLINK_SOCK_DIAG` that the kernel tells of the end of TCP sockets.
pub(super) const SKNLGRP_INET_TCP_DESTROY: u32 = 1;
pub(super) const SKNLGRP_INET6_TCP_DESTROY: u32 = 3;

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

// Attribute of a request.
/// A program that selects sockets.
pub(super) const INET_DIAG_REQ_BYTECODE: u16 = 1;

// Attributes of a reply. Each comment says which bit of `idiag_ext` asks for it.
/// `struct tcp_info`. By its own bit.
pub(super) const INET_DIAG_INFO: u16 = 2;
/// `struct tcpvegas_info`. By its own bit, which asks for the report of any algorithm.
pub(super) const INET_DIAG_VEGASINFO: u16 = 3;
/// Name of the congestion control algorithm. By its own bit.
pub(super) const INET_DIAG_CONG: u16 = 4;
/// Memory, an array of `u32`. By its own bit.
pub(super) const INET_DIAG_SKMEMINFO: u16 = 7;
/// Closed directions, a `u8`. Unasked.
pub(super) const INET_DIAG_SHUTDOWN: u16 = 8;
/// `struct tcp_dctcp_info`. By the bit of `INET_DIAG_VEGASINFO`.
pub(super) const INET_DIAG_DCTCPINFO: u16 = 9;
/// `SO_MARK`, a `u32`. Unasked, to callers with `CAP_NET_ADMIN`.
pub(super) const INET_DIAG_MARK: u16 = 15;
/// `struct tcp_bbr_info`. By the bit of `INET_DIAG_VEGASINFO`.
pub(super) const INET_DIAG_BBRINFO: u16 = 16;
/// The upper layer protocol, a nest. By the bit of `INET_DIAG_INFO`.
pub(super) const INET_DIAG_ULP_INFO: u16 = 19;
/// Number of the control group, a `u64`. Unasked.
pub(super) const INET_DIAG_CGROUP_ID: u16 = 21;

/// The bit of `idiag_ext` that asks for an attribute. Only attributes 1 to 8 have one.
pub(super) const fn ext_bit(attribute: u16) -> u8 {
    1 << (attribute - 1)
}

/// `struct inet_diag_sockid`: the addresses and the number of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InetDiagSockId {
    pub(super) sport: u16,
    pub(super) dport: u16,
    /// See [`ip`].
    pub(super) src: [u8; 16],
    pub(super) dst: [u8; 16],
    /// `idiag_if`, an index. 0: none.
    pub(super) interface: u32,
    pub(super) cookie: u64,
}

impl InetDiagSockId {
    const LEN: usize = 48;

    /// Matches every socket.
    ///
    /// The cookie is `INET_DIAG_NOCOOKIE` twice. Any other cookie, 0 too, must be the socket's.
    pub(super) const ANY: Self =
        Self { sport: 0, dport: 0, src: [0; 16], dst: [0; 16], interface: 0, cookie: u64::MAX };

    fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let ip = |at: usize| bytes[at..at + 16].try_into().expect("a range of 16 bytes");
        Self {
            sport: port(0),
            dport: port(2),
            src: ip(4),
            dst: ip(20),
            interface: word(bytes, 36),
            cookie: u64::from(word(bytes, 44)) << 32 | u64::from(word(bytes, 40)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let cookie = [self.cookie as u32, (self.cookie >> 32) as u32].map(u32::to_ne_bytes);
        let ports = [self.sport, self.dport].map(u16::to_be_bytes);
        let interface = self.interface.to_ne_bytes();
        [ports.as_flattened(), &self.src, &self.dst, &interface, cookie.as_flattened()].concat()
    }
}

/// `struct inet_diag_req_v2` for TCP sockets. `NLM_F_DUMP` asks for every socket that matches,
/// else the request asks for the one socket with this `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InetDiagReqV2 {
    pub(super) family: u8,
    /// Attributes to send: a set of [`ext_bit`]s.
    pub(super) ext: u8,
    /// A set of `1 << state`. Only dumps use it.
    pub(super) states: u32,
    /// A dump uses the ports only.
    pub(super) id: InetDiagSockId,
}

impl InetDiagReqV2 {
    pub(super) fn encode(&self) -> Vec<u8> {
        const PAD: u8 = 0;
        let head = [self.family, IPPROTO_TCP, self.ext, PAD];
        [&head[..], &self.states.to_ne_bytes(), &self.id.encode()].concat()
    }
}

/// `struct inet_diag_msg`: the fixed part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InetDiagMsg {
    pub(super) family: u8,
    pub(super) state: u8,
    pub(super) id: InetDiagSockId,
    pub(super) rqueue: u32,
    pub(super) wqueue: u32,
    pub(super) uid: u32,
    pub(super) inode: u32,
}

impl InetDiagMsg {
    pub(super) const LEN: usize = 72;

    /// Splits the payload of a reply into the fixed part and the attributes after it.
    pub(super) fn split(payload: &[u8]) -> Result<(Self, &[u8]), MalformedReply> {
        let Some((bytes, attributes)) = payload.split_first_chunk::<{ Self::LEN }>() else {
            return Err(MalformedReply::Payload { kind: SOCK_DIAG_BY_FAMILY, len: payload.len() });
        };
        let id = bytes[4..].first_chunk().expect("68 bytes hold an id");
        let msg = Self {
            family: bytes[0],
            state: bytes[1],
            id: InetDiagSockId::decode(id),
            rqueue: word(bytes, 56),
            wqueue: word(bytes, 60),
            uid: word(bytes, 64),
            inode: word(bytes, 68),
        };
        Ok((msg, attributes))
    }
}

/// Decodes `idiag_src` or `idiag_dst`: IPv4 uses the first 4 of the 16 bytes.
pub(super) fn ip(family: u8, bytes: [u8; 16]) -> Result<IpAddr, MalformedReply> {
    match family {
        AF_INET => Ok(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        AF_INET6 => Ok(Ipv6Addr::from(bytes).into()),
        family => Err(MalformedReply::Family(family)),
    }
}

/// Encodes `idiag_src` or `idiag_dst`.
pub(super) fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The text before the first NUL.
pub(super) fn c_string(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> InetDiagSockId {
        InetDiagSockId {
            sport: 443,
            dport: 0xee14,
            src: ip_bytes([127, 0, 0, 1].into()),
            dst: ip_bytes([192, 0, 2, 7].into()),
            interface: 3,
            cookie: 0x0102_0304_0506_0708,
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_request_byte_by_byte() {
        let request = InetDiagReqV2 {
            family: AF_INET,
            ext: ext_bit(INET_DIAG_INFO) | ext_bit(INET_DIAG_CONG),
            states: 0x402,
            id: id(),
        };
        let mut expected = vec![2, 6, 0b1010, 0, 2, 4, 0, 0, 1, 187, 0xee, 0x14, 127, 0, 0, 1];
        expected.extend([0; 12]);
        expected.extend([192, 0, 2, 7]);
        expected.extend([0; 12]);
        expected.extend([3, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(request.encode(), expected);
    }

    #[test]
    fn any_id_has_no_address_and_no_cookie() {
        assert_eq!(InetDiagSockId::ANY.encode(), [[0; 40].as_slice(), &[0xff; 8]].concat());
    }

    #[test]
    fn an_encoded_id_decodes_to_itself() {
        for id in [id(), InetDiagSockId::ANY] {
            let bytes: [u8; 48] = id.encode().try_into().expect("an id has 48 bytes");
            assert_eq!(InetDiagSockId::decode(&bytes), id);
        }
    }

    #[test]
    fn a_reply_is_its_fixed_part_and_attributes() {
        let numbers = [5_u32, 6, 7, 1000, 8].map(u32::to_ne_bytes);
        let attributes = [4, 0, 2, 0];
        let head = [10, 1, 0xaa, 0xaa];
        let payload = [&head, &id().encode()[..], numbers.as_flattened(), &attributes].concat();
        let (msg, rest) = InetDiagMsg::split(&payload).expect("a whole reply");
        let expected = InetDiagMsg {
            family: 10,
            state: 1,
            id: id(),
            rqueue: 6,
            wqueue: 7,
            uid: 1000,
            inode: 8,
        };
        assert_eq!((msg, rest), (expected, &attributes[..]));
    }

    #[test]
    fn an_encoded_address_decodes_to_itself() {
        for (family, text) in [(AF_INET, "192.0.2.1"), (AF_INET6, "2001:db8::2")] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(ip(family, ip_bytes(address)), Ok(address));
        }
        assert_eq!(ip(1, [0; 16]), Err(MalformedReply::Family(1)));
    }
}
