//! Netlink framing of `linux/netlink.h`: datagrams hold messages, messages hold attributes. Pure.

use std::{fmt, io};

use crate::info::DecodeError;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

pub(crate) const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;

/// An attribute's type without the bits `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
pub(crate) const NLA_TYPE_MASK: u16 = 0x3fff;

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'b> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    /// The number of the request; an answer has the same number.
    pub(crate) seq: u32,
    pub(crate) payload: &'b [u8],
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'b> {
    /// A message of the protocol in use. It defines the types and their payload.
    Data {
        /// The message's type.
        kind: u16,
        /// The bytes after the header.
        payload: &'b [u8],
    },
    /// The dump is complete.
    Done,
    /// The request succeeded.
    Acknowledged,
    /// The request failed with this error number.
    Failed(i32),
}

impl<'b> Message<'b> {
    /// Decodes the first message of a datagram, and returns how many bytes it takes there.
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

    /// The message's bytes, sent by port 0: the kernel knows the sender.
    pub(crate) fn encode(&self) -> Vec<u8> {
        const PORT: u32 = 0;
        let len = u32::try_from(HEADER + self.payload.len()).expect("requests are short");
        let [len, seq, port] = [len, self.seq, PORT].map(u32::to_ne_bytes);
        let [kind, flags] = [self.kind, self.flags].map(u16::to_ne_bytes);
        [&len[..], &kind, &flags, &seq, &port, self.payload].concat()
    }

    /// Whether the kernel says that its tables changed, so that the dump is inconsistent.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    pub(crate) fn answer(&self) -> Result<Answer<'b>, MalformedReply> {
        let Self { kind, payload, .. } = *self;
        if kind != NLMSG_ERROR && kind != NLMSG_DONE {
            return Ok(Answer::Data { kind, payload });
        }
        let Some((errno, _)) = payload.split_first_chunk() else {
            return Err(MalformedReply::Payload { kind, len: payload.len() });
        };
        // If the kernel cannot dump what was asked for, it sends "done" with an error number.
        Ok(match i32::from_ne_bytes(*errno) {
            errno @ ..0 => Answer::Failed(errno.saturating_neg()),
            _ if kind == NLMSG_DONE => Answer::Done,
            _ => Answer::Acknowledged,
        })
    }
}

/// The attributes after a message's fixed part: type and content of each.
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

/// Why bytes are not a valid message of `sock_diag`: the source of an [`io::Error`] of kind
/// [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedReply {
    /// A datagram is longer than the buffer; its end is lost.
    #[non_exhaustive]
    Datagram {
        /// Length of the datagram.
        len: usize,
        /// Size of the buffer.
        room: usize,
    },
    /// A message is shorter than its header or longer than the rest of the datagram.
    #[non_exhaustive]
    Message {
        /// The length in the header, or the bytes available if the header is cut off.
        len: usize,
        /// Bytes available.
        room: usize,
    },
    /// A message is shorter than the structure that its type requires.
    #[non_exhaustive]
    Payload {
        /// The message's type.
        kind: u16,
        /// Bytes after the header.
        len: usize,
    },
    /// An attribute is shorter than its header or longer than the rest of the message.
    #[non_exhaustive]
    Attribute {
        /// The length in the header, or the bytes available if the header is cut off.
        len: usize,
        /// Bytes available.
        room: usize,
    },
    /// The content of an attribute is shorter than its type requires.
    #[non_exhaustive]
    Content {
        /// The attribute's type. For one inside another, the type of the outer one.
        kind: u16,
        /// Bytes of its content.
        len: usize,
    },
    /// An address family is neither IPv4 nor IPv6.
    Family(u8),
    /// The attribute `INET_DIAG_INFO` is not a `TCP_INFO` reply.
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
            Self::Content { kind, len } => {
                write!(f, "netlink attribute of type {kind} with {len} bytes of content")
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

/// A 32-bit number at this offset. Panics if the bytes end before it.
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
        let data = |kind, payload| Ok(Answer::Data { kind, payload });
        assert_eq!((first.answer(), first.seq, len), (data(20, &[1]), 7, 20));
        assert!(first.is_interrupted());
        let (second, len) = Message::first(&datagram[20..]).expect("one whole message");
        assert_eq!((second.answer(), len), (data(1, &[]), 16));
        // The padding of the last message may be missing.
        assert_eq!(Message::first(&datagram[..17]).map(|(_, len)| len), Ok(17));
    }

    #[test]
    fn an_encoded_message_decodes_to_itself() {
        let bytes = message(19, 20, &[1, 2, 3]);
        let (decoded, len) = Message::first(&bytes).expect("a whole message");
        let expected = Message { kind: 20, flags: NLM_F_DUMP_INTR, seq: 7, payload: &[1, 2, 3] };
        assert_eq!((decoded, len), (expected, 19));
        assert_eq!(decoded.encode(), bytes);
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
            (NLMSG_ERROR, 0, Answer::Acknowledged),
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
