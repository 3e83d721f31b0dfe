//! Netlink framing, `linux/netlink.h`: a datagram into messages, a message into attributes. Pure.

use std::{fmt, io};

use crate::info::DecodeError;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
pub(crate) const SOCK_DIAG_BY_FAMILY: u16 = 20;

pub(crate) const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;

/// What is left of an attribute's type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'b> {
    kind: u16,
    flags: u16,
    /// The number given to the request.
    pub(crate) seq: u32,
    payload: &'b [u8],
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'b> {
    /// A socket, to be decoded.
    Socket(&'b [u8]),
    /// The dump is complete.
    Done,
    /// The request failed with this error number.
    Failed(i32),
    /// Nothing that was asked for.
    Other,
}

impl<'b> Message<'b> {
    /// The first message of a datagram, and the bytes it takes there.
    pub(crate) fn first(datagram: &'b [u8]) -> Result<(Self, usize), MalformedReply> {
        let room = datagram.len();
        let Some((header, _)) = datagram.split_first_chunk::<HEADER>() else {
            return Err(MalformedReply::Message { len: room, room });
        };
        let len = word(header, 0) as usize;
        let Some(payload) = datagram.get(HEADER..len) else {
            return Err(MalformedReply::Message { len, room });
        };
        let message =
            Self { kind: half(header, 4), flags: half(header, 6), seq: word(header, 8), payload };
        // `len` is at most `room` here, so the sum cannot overflow.
        Ok((message, len.next_multiple_of(4).min(room)))
    }

    /// Whether the kernel found that its tables changed so that the dump is not consistent.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    pub(crate) fn answer(&self) -> Result<Answer<'b>, MalformedReply> {
        match self.kind {
            SOCK_DIAG_BY_FAMILY => Ok(Answer::Socket(self.payload)),
            NLMSG_ERROR | NLMSG_DONE => {
                let Some((errno, _)) = self.payload.split_first_chunk() else {
                    return Err(MalformedReply::Payload {
                        kind: self.kind,
                        len: self.payload.len(),
                    });
                };
                // A dump of what the kernel cannot dump is "done" with an error, not an error.
                Ok(match i32::from_ne_bytes(*errno) {
                    errno @ ..0 => Answer::Failed(errno.saturating_neg()),
                    _ if self.kind == NLMSG_DONE => Answer::Done,
                    _ => Answer::Other,
                })
            }
            _ => Ok(Answer::Other),
        }
    }
}

/// The attributes behind a message's fixed part: type and content.
pub(crate) struct Attributes<'b>(pub(crate) &'b [u8]);

impl<'b> Iterator for Attributes<'b> {
    type Item = Result<(u16, &'b [u8]), MalformedReply>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        let room = rest.len();
        let Some((header, _)) = rest.split_first_chunk::<4>() else {
            return (room > 0).then_some(Err(MalformedReply::Attribute { len: room, room }));
        };
        let len = usize::from(half(header, 0));
        let Some(content) = rest.get(header.len()..len) else {
            return Some(Err(MalformedReply::Attribute { len, room }));
        };
        self.0 = &rest[len.next_multiple_of(4).min(room)..];
        Some(Ok((half(header, 2) & NLA_TYPE_MASK, content)))
    }
}

/// Bytes that are no message of `sock_diag`: the source of an [`io::Error`] of kind
/// [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedReply {
    /// A datagram longer than the buffer; its end is lost.
    #[non_exhaustive]
    Datagram {
        /// Bytes the kernel had.
        len: usize,
        /// Bytes of the buffer.
        room: usize,
    },
    /// A message shorter than its header or longer than what is left of the datagram.
    #[non_exhaustive]
    Message {
        /// Bytes the message claims, or where they are too few for that, has.
        len: usize,
        /// Bytes left.
        room: usize,
    },
    /// A message shorter than the structure its type promises.
    #[non_exhaustive]
    Payload {
        /// The message's type.
        kind: u16,
        /// Bytes behind its header.
        len: usize,
    },
    /// An attribute shorter than its header or longer than what is left of the message.
    #[non_exhaustive]
    Attribute {
        /// Bytes the attribute claims, or where they are too few for that, has.
        len: usize,
        /// Bytes left.
        room: usize,
    },
    /// An address family that is neither IPv4 nor IPv6.
    Family(u8),
    /// What came as `INET_DIAG_INFO` is no `TCP_INFO`.
    Info(DecodeError),
}

impl fmt::Display for MalformedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { len, room } => {
                write!(f, "netlink datagram of {len} bytes in a buffer of {room}")
            }
            Self::Message { len, room } => write!(f, "netlink message of {len} bytes in {room}"),
            Self::Payload { kind, len } => {
                write!(f, "netlink message of type {kind} with {len} bytes of payload")
            }
            Self::Attribute { len, room } => {
                write!(f, "netlink attribute of {len} bytes in {room}")
            }
            Self::Family(family) => write!(f, "socket of address family {family}"),
            Self::Info(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MalformedReply {}

impl From<MalformedReply> for io::Error {
    fn from(malformed: MalformedReply) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// A number of 32 bits; the caller knows the length.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend([kind, NLM_F_DUMP_INTR].map(u16::to_ne_bytes).concat());
        bytes.extend([7_u32, 0].map(u32::to_ne_bytes).concat());
        bytes.extend(payload);
        bytes
    }

    fn attribute(len: u16, kind: u16, content: &[u8]) -> Vec<u8> {
        [&len.to_ne_bytes(), &kind.to_ne_bytes(), content].concat()
    }

    #[test]
    fn a_datagram_is_taken_apart_message_by_message() {
        let datagram = [message(17, 20, &[1, 0, 0, 0]), message(16, 1, &[])].concat();
        let (first, len) = Message::first(&datagram).expect("two whole messages");
        assert_eq!((first.answer(), first.seq, len), (Ok(Answer::Socket(&[1])), 7, 20));
        assert!(first.is_interrupted());
        let (second, len) = Message::first(&datagram[20..]).expect("one whole message");
        assert_eq!((second.answer(), len), (Ok(Answer::Other), 16));
        // The padding of the last message may be missing.
        assert_eq!(Message::first(&datagram[..17]).map(|(_, len)| len), Ok(17));
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error_with_its_number() {
        for len in [0, 1, 15, 21, u32::MAX] {
            let error = Message::first(&message(len, 20, &[0; 4])).map(|_| ());
            assert_eq!(error, Err(MalformedReply::Message { len: len as usize, room: 20 }));
        }
        assert_eq!(
            Message::first(&[16; 15]).map(|_| ()),
            Err(MalformedReply::Message { len: 15, room: 15 })
        );
        for len in [0, 1, 3, 9, u16::MAX] {
            let bytes = attribute(len, 2, &[0; 4]);
            let all: Vec<_> = Attributes(&bytes).collect();
            let error = MalformedReply::Attribute { len: len.into(), room: 8 };
            assert_eq!(all, [Err(error)]);
            assert_eq!(error.to_string(), format!("netlink attribute of {len} bytes in 8"));
        }
        let rest = Attributes(&[4, 0, 2]).collect::<Vec<_>>();
        assert_eq!(rest, [Err(MalformedReply::Attribute { len: 3, room: 3 })]);
    }

    #[test]
    fn attributes_lose_flags_and_padding() {
        let bytes = [attribute(5, 0x8013, &[9, 0, 0, 0]), attribute(4, 14, &[])].concat();
        let all: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(all, [Ok((0x13, &[9][..])), Ok((14, &[][..]))]);
        assert_eq!(Attributes(&bytes[..5]).collect::<Vec<_>>(), [Ok((0x13, &[9][..]))]);
        assert_eq!(Attributes(&[]).next(), None);
    }

    #[test]
    fn done_and_error_carry_an_error_number() {
        for (kind, errno, expected) in [
            (NLMSG_DONE, 0, Answer::Done),
            (NLMSG_DONE, 408, Answer::Done),
            (NLMSG_DONE, -2, Answer::Failed(2)),
            (NLMSG_ERROR, -1, Answer::Failed(1)),
            (NLMSG_ERROR, i32::MIN, Answer::Failed(i32::MAX)),
            (NLMSG_ERROR, 0, Answer::Other),
        ] {
            let bytes = message(20, kind, &errno.to_ne_bytes());
            let (message, _) = Message::first(&bytes).expect("a whole message");
            assert_eq!(message.answer(), Ok(expected));
        }
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let bytes = message(19, kind, &[0; 3]);
            let (message, _) = Message::first(&bytes).expect("a whole message");
            assert_eq!(message.answer(), Err(MalformedReply::Payload { kind, len: 3 }));
        }
    }
}
