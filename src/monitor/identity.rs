//! What tells the series of one socket from those of others: its cookie, its addresses.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use opentelemetry::KeyValue;

use crate::metric::key;
use crate::read;
use crate::state::State;

/// Where the addresses of a socket come from.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    /// Asked through a descriptor.
    Of(RawFd),
    /// Known: this side and the other one.
    #[cfg(feature = "diag")]
    Known([SocketAddr; 2]),
}

impl Ends {
    fn local(self) -> Option<SocketAddr> {
        match self {
            Self::Of(fd) => read::local_of(fd),
            #[cfg(feature = "diag")]
            Self::Known([local, _]) => Some(local),
        }
    }

    fn peer(self) -> Option<SocketAddr> {
        match self {
            Self::Of(fd) => read::peer_of(fd),
            #[cfg(feature = "diag")]
            Self::Known([_, peer]) => Some(peer).filter(|peer| peer.port() != 0),
        }
    }
}

/// What tells one `tcp.socket.*` series from another, beside the program's own attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketIdentity {
    /// Nothing. Sockets with equal attributes share a series: counters are summed, and gauges are
    /// left out if there is more than one socket.
    None,
    /// The socket's cookie, `tcp.socket.cookie`: a number no other socket of this boot has.
    #[default]
    Cookie,
    /// The cookie, and the chosen addresses. Addresses of people are personal data. A socket that
    /// is still connecting is shown only when its peer is known.
    Addresses(SocketAddresses),
}

impl SocketIdentity {
    /// The attributes of one socket; `None` while its peer is not known yet.
    pub(crate) fn attributes(
        self,
        ends: Ends,
        cookie: Option<u64>,
        state: State,
    ) -> Option<Vec<KeyValue>> {
        match self {
            Self::None => Some(Vec::new()),
            Self::Cookie => Some(cookie_attribute(cookie)),
            Self::Addresses(addresses) => {
                let mut attributes = cookie_attribute(cookie);
                match ends.peer() {
                    Some(peer) => attributes.extend(addresses.peer_attributes(peer)),
                    // It will never have a peer, so it is complete without.
                    None if state == State::Listen => {}
                    None => return None,
                }
                if addresses.local {
                    let local = ends.local();
                    attributes.extend(local.into_iter().flat_map(local_attributes));
                }
                Some(attributes)
            }
        }
    }

    /// Whether the peer is a part of it.
    pub(crate) fn names_peers(self) -> bool {
        matches!(self, Self::Addresses(_))
    }

    /// The same with the cookie in any case.
    pub(crate) fn always(self, ends: Ends, cookie: u64, state: State) -> Option<Vec<KeyValue>> {
        let identity = if self == Self::None { Self::Cookie } else { self };
        identity.attributes(ends, Some(cookie), state)
    }
}

fn cookie_attribute(cookie: Option<u64>) -> Vec<KeyValue> {
    let cookie = cookie.and_then(|cookie| i64::try_from(cookie).ok());
    cookie.into_iter().map(|cookie| KeyValue::new(key::COOKIE, cookie)).collect()
}

fn local_attributes(local: SocketAddr) -> Vec<KeyValue> {
    address(key::LOCAL_ADDRESS, key::LOCAL_PORT, local)
}

/// Which addresses identify a socket, and how much of them.
///
/// ```
/// use tcpinfo::{SocketAddresses, SocketIdentity};
///
/// let full = SocketIdentity::Addresses(SocketAddresses::peer());
/// let network = SocketIdentity::Addresses(SocketAddresses::peer().with_prefix(24, 48));
/// # assert_ne!(full, network);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAddresses {
    local: bool,
    /// Leading bits kept of an IPv4 and an IPv6 address.
    prefix: Option<(u8, u8)>,
}

impl SocketAddresses {
    /// `network.peer.address` and `network.peer.port`, whole.
    pub const fn peer() -> Self {
        Self { local: false, prefix: None }
    }

    /// Adds `network.local.address` and `network.local.port`.
    pub const fn with_local(self) -> Self {
        Self { local: true, ..self }
    }

    /// Keeps the leading bits of the peer's address, as `192.0.2.0/24`, and leaves out its port.
    pub const fn with_prefix(self, ipv4: u8, ipv6: u8) -> Self {
        Self { prefix: Some((ipv4, ipv6)), ..self }
    }

    pub(crate) fn peer_attributes(&self, peer: SocketAddr) -> Vec<KeyValue> {
        match self.prefix {
            None => address(key::PEER_ADDRESS, key::PEER_PORT, peer),
            Some((ipv4, ipv6)) => {
                let network = network(peer.ip().to_canonical(), ipv4, ipv6);
                vec![KeyValue::new(key::PEER_ADDRESS, network)]
            }
        }
    }
}

fn address(name: &'static str, port: &'static str, address: SocketAddr) -> Vec<KeyValue> {
    let ip: Arc<str> = address.ip().to_canonical().to_string().into();
    vec![KeyValue::new(name, ip), KeyValue::new(port, i64::from(address.port()))]
}

fn network(address: IpAddr, ipv4: u8, ipv6: u8) -> Arc<str> {
    let text = match address {
        IpAddr::V4(v4) => {
            let bits = ipv4.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            format!("{}/{bits}", std::net::Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let bits = ipv6.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            format!("{}/{bits}", std::net::Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_can_be_cut_to_a_prefix() {
        let prefix = |ipv4, ipv6, peer: &str| {
            let peer = peer.parse().expect("an address");
            SocketAddresses::peer().with_prefix(ipv4, ipv6).peer_attributes(peer)
        };
        let expected = |text: &'static str| vec![KeyValue::new(key::PEER_ADDRESS, text)];
        assert_eq!(prefix(24, 48, "192.0.2.77:5000"), expected("192.0.2.0/24"));
        assert_eq!(prefix(24, 48, "[::ffff:192.0.2.77]:5000"), expected("192.0.2.0/24"));
        assert_eq!(prefix(24, 48, "[2001:db8:1:2::9]:5000"), expected("2001:db8:1::/48"));
        assert_eq!(prefix(0, 0, "192.0.2.77:5000"), expected("0.0.0.0/0"));
        assert_eq!(prefix(99, 0, "192.0.2.77:5000"), expected("192.0.2.77/32"));
        assert_eq!(prefix(0, 0, "[2001:db8::1]:5000"), expected("::/0"));
    }
}
