//! The memory and the closed directions of a socket: two small attributes of a reply. Pure.

use crate::netlink::{MalformedReply, word};

use super::abi::{INET_DIAG_SHUTDOWN, INET_DIAG_SKMEMINFO};

/// Memory of a socket: `INET_DIAG_SKMEMINFO`, what `ss --memory` prints as `skmem`.
///
/// The fields have the kernel's names without `SK_MEMINFO_`. All but `drops` are bytes, and count
/// the kernel's overhead for each packet as well as its data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SocketMemory {
    /// Memory of received packets that the program has not read. `r` of `ss`.
    pub rmem_alloc: u32,
    /// Limit of `rmem_alloc`: `SO_RCVBUF`, or what the kernel made of it. `rb` of `ss`.
    pub rcvbuf: u32,
    /// Memory of packets on their way to the network device. `t` of `ss`.
    pub wmem_alloc: u32,
    /// Limit of `wmem_queued`: `SO_SNDBUF`, or what the kernel made of it. `tb` of `ss`.
    pub sndbuf: u32,
    /// Memory reserved for the socket and not in use. `f` of `ss`.
    ///
    /// Signed, because the kernel can borrow for a moment more than it has reserved.
    pub fwd_alloc: i32,
    /// Memory of written data that the peer has not acknowledged, sent or not. `w` of `ss`.
    pub wmem_queued: u32,
    /// Memory for options, filters and control messages. `o` of `ss`.
    pub optmem: u32,
    /// Memory of received packets that wait because the program uses the socket at this moment.
    /// `bl` of `ss`. Since Linux 3.6.
    pub backlog: Option<u32>,
    /// Packets that the kernel dropped at this socket since it was made: no memory, or a filter. In
    /// LISTEN: attempts to connect that it dropped, most often because the accept queue was full.
    /// `d` of `ss`. Since Linux 4.7.
    pub drops: Option<u32>,
}

impl SocketMemory {
    /// Decodes the attribute. Kernels append words, none has sent fewer than seven.
    pub(super) fn decode(content: &[u8]) -> Result<Self, MalformedReply> {
        if content.len() < 7 * 4 {
            return Err(MalformedReply::Content { kind: INET_DIAG_SKMEMINFO, len: content.len() });
        }
        let later =
            |index: usize| (content.len() >= (index + 1) * 4).then(|| word(content, index * 4));
        Ok(Self {
            rmem_alloc: word(content, 0),
            rcvbuf: word(content, 4),
            wmem_alloc: word(content, 8),
            sndbuf: word(content, 12),
            fwd_alloc: word(content, 16) as i32,
            wmem_queued: word(content, 20),
            optmem: word(content, 24),
            backlog: later(7),
            drops: later(8),
        })
    }
}

/// Which directions of a connection are closed: `INET_DIAG_SHUTDOWN`, the kernel's `sk_shutdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SocketShutdown {
    /// No more data will be received: the peer sent its FIN, or the program called `shutdown`.
    pub receive: bool,
    /// No more data can be written: the program called `shutdown` or closed the socket.
    pub send: bool,
}

impl SocketShutdown {
    /// Decodes the attribute.
    pub(super) fn decode(content: &[u8]) -> Result<Self, MalformedReply> {
        const RCV_SHUTDOWN: u8 = 1;
        const SEND_SHUTDOWN: u8 = 2;
        let Some(bits) = content.first() else {
            return Err(MalformedReply::Content { kind: INET_DIAG_SHUTDOWN, len: 0 });
        };
        Ok(Self { receive: bits & RCV_SHUTDOWN != 0, send: bits & SEND_SHUTDOWN != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: u32) -> Vec<u8> {
        (1..=count).flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn presence_follows_length() {
        let seven = SocketMemory {
            rmem_alloc: 1,
            rcvbuf: 2,
            wmem_alloc: 3,
            sndbuf: 4,
            fwd_alloc: 5,
            wmem_queued: 6,
            optmem: 7,
            backlog: None,
            drops: None,
        };
        assert_eq!(SocketMemory::decode(&words(7)), Ok(seven.clone()));
        let eight = SocketMemory { backlog: Some(8), ..seven };
        assert_eq!(SocketMemory::decode(&words(8)), Ok(eight.clone()));
        let nine = SocketMemory { drops: Some(9), ..eight.clone() };
        assert_eq!(SocketMemory::decode(&words(9)), Ok(nine.clone()));
        // A later kernel may append more, and a length need not be a number of words.
        assert_eq!(SocketMemory::decode(&words(12)), Ok(nine));
        assert_eq!(SocketMemory::decode(&words(9)[..35]), Ok(eight));
        for len in 0..28 {
            let error = MalformedReply::Content { kind: 7, len };
            assert_eq!(SocketMemory::decode(&words(7)[..len]), Err(error));
        }
    }

    #[test]
    fn borrowed_memory_is_negative() {
        let mut bytes = words(9);
        bytes[16..20].copy_from_slice(&(-4096_i32).to_ne_bytes());
        assert_eq!(SocketMemory::decode(&bytes).map(|memory| memory.fwd_alloc), Ok(-4096));
    }

    #[test]
    fn each_direction_has_its_bit() {
        for (bits, receive, send) in
            [(0, false, false), (1, true, false), (2, false, true), (0xff, true, true)]
        {
            assert_eq!(SocketShutdown::decode(&[bits]), Ok(SocketShutdown { receive, send }));
        }
        let error = MalformedReply::Content { kind: 8, len: 0 };
        assert_eq!(SocketShutdown::decode(&[]), Err(error));
    }
}
