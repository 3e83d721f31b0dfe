//! Which sockets to ask the kernel for, and what to ask about each. Pure.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::state::State;

use super::abi::{
    AF_INET, AF_INET6, INET_DIAG_CONG, INET_DIAG_INFO, INET_DIAG_REQ_BYTECODE, INET_DIAG_SKMEMINFO,
    INET_DIAG_VEGASINFO, InetDiagReqV2, InetDiagSockId, ext_bit,
};
use super::filter::{Filter, FilterError};
use super::namespace::Namespace;
use super::socket::Socket;

/// The IP version of the addresses that a socket uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpFamily {
    /// IPv4, including dual-stack sockets with IPv4 addresses.
    Ipv4,
    /// IPv6, including dual-stack listeners on the unspecified address.
    Ipv6,
}

/// Which sockets to dump, and what to ask about each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// A set of `1 << state`.
    states: u32,
    family: Option<IpFamily>,
    local_port: u16,
    peer_port: u16,
    congestion: bool,
    memory: bool,
    filter: Option<Filter>,
    namespace: Option<Namespace>,
}

impl IpFamily {
    pub(super) fn includes(self, local: SocketAddr) -> bool {
        match self {
            Self::Ipv4 => local.is_ipv4(),
            Self::Ipv6 => local.is_ipv6(),
        }
    }
}

impl Query {
    /// The states that have a name. The kernel uses bit 12 only internally. Bit 13 means closed
    /// sockets that are bound; with it, Linux 6.8 to 6.12 ignores the port filters.
    const KNOWN_STATES: u32 = (1 << 12) - 1;

    /// Both families, any port, every state except TIME_WAIT: a busy server has tens of thousands
    /// of sockets in that state, all without `info`.
    pub const fn new() -> Self {
        let states = Self::KNOWN_STATES & !(1 << State::TimeWait.number());
        Self {
            states,
            family: None,
            local_port: 0,
            peer_port: 0,
            congestion: false,
            memory: false,
            filter: None,
            namespace: None,
        }
    }

    /// Only sockets in one of these states. The kernel filters.
    ///
    /// `SynRecv` includes unfinished handshakes. `FinWait2` includes connections whose program is
    /// gone. `Close` and `Unknown` match nothing.
    pub fn with_states(self, states: impl IntoIterator<Item = State>) -> Self {
        let bits = states.into_iter().map(|state| 1_u32.checked_shl(state.number().into()));
        Self { states: bits.flatten().fold(0, |set, bit| set | bit) & Self::KNOWN_STATES, ..self }
    }

    /// Only sockets that use addresses of this family.
    ///
    /// With `Ipv6`, the kernel skips its IPv4 sockets. `Ipv4` saves nothing: the kernel keeps IPv4
    /// connections of dual-stack sockets among its IPv6 sockets.
    pub const fn with_family(mut self, family: IpFamily) -> Self {
        self.family = Some(family);
        self
    }

    /// Only sockets with this local port, 0 for any. The kernel filters.
    pub const fn with_local_port(mut self, port: u16) -> Self {
        self.local_port = port;
        self
    }

    /// Only sockets with this port on the other side, so no listeners; 0 for any. The kernel
    /// filters.
    pub const fn with_peer_port(mut self, port: u16) -> Self {
        self.peer_port = port;
        self
    }

    /// Also ask for [`Socket::congestion`].
    pub const fn with_congestion(mut self) -> Self {
        self.congestion = true;
        self
    }

    /// Also ask for [`Socket::memory`]: 40 bytes more for each socket, and a twentieth more time.
    pub const fn with_memory(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Only sockets that meet this condition too; the last filter counts. The kernel filters.
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { filter: Some(filter), ..self }
    }

    /// Dumps the sockets of another network namespace, such as the file `/run/netns/name` or
    /// `/proc/pid/ns/net`. Needs `CAP_SYS_ADMIN` for it.
    ///
    /// The calling thread stays where it is: each dump has a thread of its own for a moment, which
    /// costs tens of microseconds. [`Socket::interface`] is a number of that namespace.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use tcpinfo::diag::Query;
    ///
    /// let namespace = std::fs::File::open("/proc/self/ns/net")?;
    /// match Query::new().with_namespace(namespace).dump() {
    ///     Ok(sockets) => println!("{} sockets", sockets.count()),
    ///     Err(error) => println!("not allowed: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_namespace(self, namespace: impl Into<OwnedFd>) -> Self {
        Self { namespace: Some(Namespace::new(namespace.into())), ..self }
    }

    /// The same namespace, and nothing else of the query.
    #[cfg(feature = "monitor")]
    pub(crate) fn of_namespace(&self) -> Self {
        Self { namespace: self.namespace.clone(), ..Self::new() }
    }

    /// Whether its dump has every listener, each before the connections that it accepted: so the
    /// kernel walks its tables.
    #[cfg(feature = "monitor")]
    pub(crate) fn shows_listeners(&self) -> bool {
        let is_any = (self.local_port, self.peer_port, &self.family, &self.filter);
        self.states >> State::Listen.number() & 1 != 0 && is_any == (0, 0, &None, &None)
    }

    /// Whether its dump has connections in every state that can have `TCP_INFO`.
    #[cfg(feature = "monitor")]
    pub(crate) fn shows_every_state(&self) -> bool {
        let every = Self::new().states & !(1 << State::Listen.number());
        self.states & every == every
    }

    /// Whether both ask in the same namespace.
    #[cfg(feature = "monitor")]
    pub(crate) fn shares_namespace(&self, other: &Self) -> bool {
        self.namespace == other.namespace
    }

    pub(crate) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(Namespace::as_fd)
    }

    /// The filter, if there is one.
    pub(super) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The address families to ask the kernel for, one request each.
    pub(super) fn families(&self) -> &'static [u8] {
        match self.family {
            Some(IpFamily::Ipv6) => &[AF_INET6],
            Some(IpFamily::Ipv4) | None => &[AF_INET, AF_INET6],
        }
    }

    #[cfg(feature = "monitor")]
    pub(super) fn family(&self) -> Option<IpFamily> {
        self.family
    }

    /// Whether only sockets of one family are wanted.
    pub(super) fn has_family(&self) -> bool {
        self.family.is_some()
    }

    /// Whether the socket uses addresses of the wanted family: the kernel cannot filter that.
    pub(super) fn includes(&self, socket: &Socket) -> bool {
        self.family.is_none_or(|family| family.includes(socket.local))
    }

    /// Whether a dump would have had this connection while it lived, as far as the socket says:
    /// what the kernel does not tell of it meets no condition. States do not matter, except that a
    /// query without established connections has none at all.
    #[cfg(feature = "monitor")]
    pub(crate) fn selects(&self, socket: &Socket) -> bool {
        let port = |wanted: u16, has: u16| wanted == 0 || wanted == has;
        self.states >> State::Established.number() & 1 != 0
            && self.includes(socket)
            && port(self.local_port, socket.local.port())
            && port(self.peer_port, socket.peer.port())
            && self.filter().is_none_or(|filter| filter.selects(socket) == Some(true))
    }

    /// The attributes to ask for, as `idiag_ext`.
    pub(super) fn ext(&self) -> u8 {
        const INFO: u8 = ext_bit(INET_DIAG_INFO);
        const CONGESTION: u8 = ext_bit(INET_DIAG_CONG) | ext_bit(INET_DIAG_VEGASINFO);
        const MEMORY: u8 = ext_bit(INET_DIAG_SKMEMINFO);
        let chosen = [(self.congestion, CONGESTION), (self.memory, MEMORY)];
        chosen.into_iter().filter(|(asked, _)| *asked).fold(INFO, |ext, (_, bits)| ext | bits)
    }

    /// The request for a dump of one address family, `AF_INET` or `AF_INET6`.
    pub(super) fn request(&self, family: u8) -> InetDiagReqV2 {
        let (sport, dport) = (self.local_port, self.peer_port);
        let id = InetDiagSockId { sport, dport, ..InetDiagSockId::ANY };
        InetDiagReqV2 { family, ext: self.ext(), states: self.states, id }
    }

    /// The payload of that request: with the filter behind it.
    pub(super) fn payload(&self, family: u8) -> Result<Vec<u8>, FilterError> {
        let mut payload = self.request(family).encode();
        if let Some(program) = self.filter().map(Filter::bytecode).transpose()?.flatten() {
            payload.extend(attribute(INET_DIAG_REQ_BYTECODE, &program));
        }
        Ok(payload)
    }
}

impl Default for Query {
    fn default() -> Self {
        Self::new()
    }
}

/// An attribute whose content needs no padding.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + content.len()).expect("filters are limited");
    [&len.to_ne_bytes(), &kind.to_ne_bytes(), content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_an_attribute_after_the_request() {
        let query = Query::new();
        let plain = query.payload(AF_INET).expect("no filter");
        assert_eq!(plain, query.request(AF_INET).encode());
        let every = query.clone().with_filter(Filter::all([]));
        assert_eq!(every.payload(AF_INET).as_ref(), Ok(&plain));
        let none = query.with_filter(Filter::any([])).payload(AF_INET).expect("a short filter");
        let jump = [8_u16, 1, 1 | 4 << 8, 8].map(|half| half.to_le_bytes());
        if cfg!(target_endian = "little") {
            assert_eq!(none, [&plain[..], jump.as_flattened()].concat());
        }
    }

    #[test]
    fn states_are_a_set_of_bits_that_have_a_name() {
        let mask = |states: &[State]| Query::new().with_states(states.iter().copied()).states;
        assert_eq!(mask(&[State::Established, State::Listen]), 1 << 1 | 1 << 10);
        assert_eq!(mask(&[State::Unknown(12), State::Unknown(13), State::Unknown(255)]), 0);
        assert_eq!(mask(&(0..=u8::MAX).map(State::from).collect::<Vec<_>>()), 0xfff);
        assert_eq!(Query::new().states, 0xfff & !(1 << 6));
    }

    #[test]
    fn a_request_asks_for_states_ports_and_attributes() {
        let query = Query::new().with_states([State::Listen]).with_local_port(443);
        let id = InetDiagSockId { sport: 443, dport: 80, ..InetDiagSockId::ANY };
        let expected = InetDiagReqV2 { family: AF_INET6, ext: 0b10, states: 0x400, id };
        assert_eq!(query.clone().with_peer_port(80).request(AF_INET6), expected);
        assert_eq!(query.clone().with_congestion().request(AF_INET6).ext, 0b1110);
        assert_eq!(query.with_memory().request(AF_INET6).ext, 0b100_0010);
    }
}
