//! Looks up one socket by its two addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;

use crate::kernel::Kernel;
use crate::netlink::Answer;
use crate::state::State;

use super::abi::{AF_INET, AF_INET6, InetDiagReqV2, InetDiagSockId, SOCK_DIAG_BY_FAMILY, ip_bytes};
use super::channel::Channel;
use super::dump;
use super::query::Query;
use super::socket::Socket;

/// The one socket with these addresses, whoever owns it: one lookup in the kernel's hash table.
///
/// `None` if there is none. A listener that would accept such a connection is not returned, a
/// connection in TIME_WAIT is. The result includes congestion control and memory.
///
/// Pass addresses as [`TcpStream::local_addr`](std::net::TcpStream::local_addr) returns them;
/// `::ffff:192.0.2.1` is the same as `192.0.2.1`. The scope ids of IPv6 addresses count. This
/// function does not find a socket that `SO_BINDTODEVICE` bound to an interface: use [`Query`] with
/// its ports.
///
/// Costs about ten microseconds, most of them to open a netlink socket.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if one address is IPv4 and the other IPv6;
/// otherwise the errors of [`Query::dump`] and of its iterator.
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
    let request = request(local, peer)?;
    let mut channel = Channel::open(None)?;
    let seq = channel.send(0, &request.encode())?;
    loop {
        let message = channel.message()?;
        if message.seq != seq {
            continue;
        }
        match message.answer()? {
            Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload } => {
                let socket = Socket::decode(payload, Kernel::running())?;
                // Without an exact match, the kernel answers with the listener.
                let same = is_same(socket.local, local) && is_same(socket.peer, peer);
                return Ok(Some(socket).filter(|socket| same && socket.state != State::Listen));
            }
            Answer::Failed(errno) if errno == Errno::NOENT.raw_os_error() => {
                // ENOENT also means a kernel without inet_diag. Then a dump fails as well.
                return dump::check().map(|()| None);
            }
            Answer::Failed(errno) => return Err(io::Error::from_raw_os_error(errno)),
            Answer::Data { .. } | Answer::Done | Answer::Acknowledged => {}
        }
    }
}

fn request(local: SocketAddr, peer: SocketAddr) -> io::Result<InetDiagReqV2> {
    let ips = [local, peer].map(|address| address.ip().to_canonical());
    let family = match ips {
        [IpAddr::V4(_), IpAddr::V4(_)] => AF_INET,
        [IpAddr::V6(_), IpAddr::V6(_)] => AF_INET6,
        _ => {
            let mixed = format!("no connection from {local} to {peer}: one is IPv4, one IPv6");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, mixed));
        }
    };
    let [src, dst] = ips.map(ip_bytes);
    let scopes = [local, peer].map(|address| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    });
    let interface = scopes.into_iter().find(|id| *id != 0).unwrap_or(0);
    let (sport, dport) = (local.port(), peer.port());
    let id = InetDiagSockId { sport, dport, src, dst, interface, ..InetDiagSockId::ANY };
    let ext = Query::new().with_congestion().with_memory().ext();
    Ok(InetDiagReqV2 { family, ext, states: 0, id })
}

/// Whether the address of a socket is the given one: scope ids aside, IPv4 in either notation.
fn is_same(socket: SocketAddr, asked: SocketAddr) -> bool {
    (socket.ip(), socket.port()) == (asked.ip().to_canonical(), asked.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn mapped_addresses_ask_for_ipv4() {
        let mapped = request(address("[::ffff:192.0.2.1]:80"), address("198.51.100.2:443"));
        let plain = request(address("192.0.2.1:80"), address("198.51.100.2:443"));
        let plain = plain.expect("both are IPv4");
        assert_eq!((plain.family, plain.ext, plain.id.interface), (AF_INET, 0b100_1110, 0));
        assert_eq!((plain.id.sport, plain.id.dport), (80, 443));
        assert_eq!(plain.id.cookie, InetDiagSockId::ANY.cookie);
        assert_eq!(mapped.expect("both are IPv4"), plain);
    }

    #[test]
    fn the_first_scope_id_is_the_interface() {
        for (local, peer) in [("[fe80::1%3]:1", "[fe80::2%4]:2"), ("[::1]:1", "[fe80::2%3]:2")] {
            let request = request(address(local), address(peer)).expect("both are IPv6");
            assert_eq!((request.family, request.id.interface), (AF_INET6, 3));
        }
    }
}
