//! Which sockets to ask the kernel for, and the request's bytes. Pure.

use std::net::IpAddr;

use crate::state::State;

use super::socket::{INET_DIAG_CONG, INET_DIAG_INFO, INET_DIAG_VEGASINFO, Socket};
use crate::netlink::{HEADER, NLM_F_DUMP, NLM_F_REQUEST, SOCK_DIAG_BY_FAMILY};

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// Bytes of a request: the header and `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;

/// Which IP addresses sockets use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpFamily {
    /// IPv4, dual-stack sockets with IPv4 addresses included.
    Ipv4,
    /// IPv6, dual-stack listeners on the unspecified address included.
    Ipv6,
}

/// Which sockets to dump, and what to ask about each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// A set of `1 << state`.
    pub(super) states: u32,
    pub(super) family: Option<IpFamily>,
    pub(super) local_port: u16,
    pub(super) peer_port: u16,
    pub(super) congestion: bool,
}

impl Query {
    /// The states that have a name. Bit 13, closed sockets that are bound, makes Linux 6.8 to 6.12
    /// ignore the port filters; bit 12 is the kernel's own business.
    const KNOWN_STATES: u32 = (1 << 12) - 1;

    /// Both families, any port, every state but TIME_WAIT: a busy server has tens of thousands of
    /// those, and no `info` about them.
    pub const fn new() -> Self {
        let states = Self::KNOWN_STATES & !(1 << State::TimeWait.number());
        Self { states, family: None, local_port: 0, peer_port: 0, congestion: false }
    }

    /// Only sockets in one of these states. The kernel filters.
    ///
    /// `SynRecv` includes handshakes under way; `FinWait2` those whose program is gone. `Close`
    /// and `Unknown` find nothing.
    pub fn with_states(self, states: impl IntoIterator<Item = State>) -> Self {
        let bits = states.into_iter().map(|state| 1_u32.checked_shl(state.number().into()));
        Self { states: bits.flatten().fold(0, |set, bit| set | bit) & Self::KNOWN_STATES, ..self }
    }

    /// Only sockets that use addresses of this family.
    ///
    /// `Ipv6` makes the kernel skip the others. `Ipv4` saves nothing: IPv4 connections of
    /// dual-stack sockets stand among the kernel's IPv6 sockets.
    pub const fn with_family(self, family: IpFamily) -> Self {
        Self { family: Some(family), ..self }
    }

    /// Only sockets with this local port, 0 for any. The kernel filters.
    pub const fn with_local_port(self, port: u16) -> Self {
        Self { local_port: port, ..self }
    }

    /// Only sockets with this port at the other side, hence no listeners; 0 for any. The kernel
    /// filters.
    pub const fn with_peer_port(self, port: u16) -> Self {
        Self { peer_port: port, ..self }
    }

    /// Also ask for [`Socket::congestion`].
    pub const fn with_congestion(self) -> Self {
        Self { congestion: true, ..self }
    }

    /// Whether the socket uses addresses of the family that was asked for.
    pub(super) fn includes(&self, socket: &Socket) -> bool {
        match self.family {
            None => true,
            Some(IpFamily::Ipv4) => socket.local.is_ipv4(),
            Some(IpFamily::Ipv6) => socket.local.is_ipv6(),
        }
    }
}

impl Default for Query {
    fn default() -> Self {
        Self::new()
    }
}

/// What to ask of the kernel.
pub(super) struct Request {
    pub(super) family: u8,
    /// Every socket that matches states and ports, or the one socket with these addresses.
    pub(super) dump: bool,
    /// A set of `1 << state`.
    pub(super) states: u32,
    pub(super) congestion: bool,
    pub(super) local: (IpAddr, u16),
    pub(super) peer: (IpAddr, u16),
    pub(super) interface: u32,
}

impl Request {
    /// The message: `struct nlmsghdr` and `struct inet_diag_req_v2`.
    pub(super) fn encode(&self, seq: u32) -> [u8; REQUEST] {
        let flags = NLM_F_REQUEST | if self.dump { NLM_F_DUMP } else { 0 };
        let mut asked = 1 << (INET_DIAG_INFO - 1);
        if self.congestion {
            // The kernel takes VEGASINFO for whatever the algorithm at work reports.
            asked |= 1 << (INET_DIAG_CONG - 1) | 1 << (INET_DIAG_VEGASINFO - 1);
        }
        let mut bytes = [0; REQUEST];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &(REQUEST as u32).to_ne_bytes());
        put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(6, &flags.to_ne_bytes());
        put(8, &seq.to_ne_bytes());
        put(16, &[self.family, IPPROTO_TCP, asked, 0]);
        put(20, &self.states.to_ne_bytes());
        put(24, &self.local.1.to_be_bytes());
        put(26, &self.peer.1.to_be_bytes());
        for (at, (ip, _)) in [(28, self.local), (44, self.peer)] {
            match ip {
                IpAddr::V4(ip) => put(at, &ip.octets()),
                IpAddr::V6(ip) => put(at, &ip.octets()),
            }
        }
        put(60, &self.interface.to_ne_bytes());
        // INET_DIAG_NOCOOKIE: any other number has to be the socket's.
        put(64, &[0xff; 8]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_a_set_of_bits_that_have_a_name() {
        let mask = |states: &[State]| Query::new().with_states(states.iter().copied()).states;
        assert_eq!(mask(&[State::Established, State::Listen]), 1 << 1 | 1 << 10);
        assert_eq!(mask(&[State::Unknown(12), State::Unknown(13), State::Unknown(255)]), 0);
        assert_eq!(mask(&(0..=u8::MAX).map(State::from).collect::<Vec<_>>()), 0xfff);
        assert_eq!(Query::new().states, 0xfff & !(1 << 6));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_request_byte_by_byte() {
        let request = Request {
            family: AF_INET,
            dump: false,
            states: 0x402,
            congestion: true,
            local: (IpAddr::from([127, 0, 0, 1]), 443),
            peer: (IpAddr::from([192, 0, 2, 7]), 0xee14),
            interface: 3,
        };
        let mut expected = vec![72, 0, 0, 0, 20, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([2, 6, 0b1110, 0, 2, 4, 0, 0, 1, 187, 0xee, 0x14, 127, 0, 0, 1]);
        expected.extend([0; 12]);
        expected.extend([192, 0, 2, 7]);
        expected.extend([0; 12]);
        expected.extend([3, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(request.encode(9), *expected);

        let dump = Request { dump: true, congestion: false, ..request }.encode(9);
        assert_eq!((&dump[4..8], dump[18]), (&[20, 0, 1, 3][..], 0b10));
    }
}
