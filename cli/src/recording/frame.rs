//! One sample as bytes. Pure.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

/// What stands before each frame, all numbers little-endian:
///
/// | bytes | what |
/// | --- | --- |
/// | 4 | the mark |
/// | 1 | 1 for a key frame |
/// | 3 | zero |
/// | 8 | nanoseconds since 1970 |
/// | 8 | nanoseconds since the recording started, by a clock that nobody sets |
/// | 4 | microseconds that the dump took |
/// | 4 | length of what follows the head |
/// | 4 | length of that without compression |
/// | 4 | CRC-32 of the bytes 4 to 36 and of what follows the head |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_key: bool,
    pub(super) wall: Duration,
    pub(super) at: Duration,
    pub(super) took: Duration,
    pub(super) packed: usize,
    plain: usize,
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// The bytes end before the frame does.
    CutOff,
    /// The bytes are something else.
    Damaged,
}

impl Head {
    pub(super) const MARK: [u8; 4] = [0xf5, b'T', b'C', b'P'];
    pub(super) const LEN: usize = 40;
    /// No sample is larger: half a million sockets.
    const MOST: usize = 256 << 20;

    /// The head of the frame that the bytes begin with, if all of it is there and undamaged.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let Some((head, rest)) = bytes.split_first_chunk::<{ Self::LEN }>() else {
            return Err(HeadError::CutOff);
        };
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let time =
            |at: usize| Duration::from_nanos(u64::from(word(at)) | u64::from(word(at + 4)) << 32);
        let [packed, plain] = [word(28), word(32)].map(|len| len as usize);
        if head[..4] != Self::MARK || plain > Self::MOST {
            return Err(HeadError::Damaged);
        }
        let body = rest.get(..packed).ok_or(HeadError::CutOff)?;
        if checksum(&head[4..36], body) != word(36) {
            return Err(HeadError::Damaged);
        }
        let took = Duration::from_micros(word(24).into());
        Ok(Self { is_key: head[4] == 1, wall: time(8), at: time(16), took, packed, plain })
    }

    fn encode(&self, body: &[u8]) -> Vec<u8> {
        let mut head = Vec::with_capacity(Self::LEN + body.len());
        head.extend(Self::MARK);
        head.extend([u8::from(self.is_key), 0, 0, 0]);
        for time in [self.wall, self.at] {
            head.extend((time.as_nanos() as u64).to_le_bytes());
        }
        head.extend((self.took.as_micros() as u32).to_le_bytes());
        head.extend((self.packed as u32).to_le_bytes());
        head.extend((self.plain as u32).to_le_bytes());
        let sum = checksum(&head[4..], body);
        head.extend(sum.to_le_bytes());
        head.extend(body);
        head
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(head);
    crc.update(body);
    crc.sum()
}

/// What is known about the sockets of a sample beside the replies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    /// Inode, process and its name, of sockets that are new in this sample; in a key frame of all.
    pub(crate) processes: Vec<(u32, u32, String)>,
    /// Control group and its name, likewise.
    pub(crate) units: Vec<(u64, String)>,
    /// How many processes could not be seen.
    pub(crate) hidden: usize,
    /// Ports that a program listens on, if the listeners are not among the replies.
    pub(crate) listening: Vec<u16>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Since 1970.
    pub(crate) wall: Duration,
    /// Since the recording started.
    pub(crate) at: Duration,
    /// How long the dump took.
    pub(crate) took: Duration,
    pub(crate) tables: Tables,
    /// As the kernel sent them.
    pub(crate) replies: Vec<Vec<u8>>,
}

/// Where the cookie lies in `struct inet_diag_msg`.
const COOKIE: std::ops::Range<usize> = 44..52;
/// In place of the distance to an earlier reply: there is none.
const NEW: i32 = i32::MIN;

impl Frame {
    /// The frame as bytes, with its head: the difference to an earlier one, or by itself.
    pub(crate) fn encode(&self, earlier: Option<&Self>) -> Vec<u8> {
        let Tables { processes, units, hidden, listening } = &self.tables;
        let tables = (processes, units, hidden, listening);
        let tables = serde_json::to_vec(&tables).expect("plain values");
        let mut plain = (tables.len() as u32).to_le_bytes().to_vec();
        plain.extend(&tables);
        plain.extend((self.replies.len() as u32).to_le_bytes());
        let by_cookie: HashMap<&[u8], usize> = earlier
            .iter()
            .flat_map(|earlier| earlier.replies.iter().enumerate())
            .filter_map(|(at, reply)| Some((reply.get(COOKIE)?, at)))
            .collect();
        // The kernel's order seldom changes, so that nearly all distances are zero.
        let mut expected = 0_usize;
        for reply in &self.replies {
            let found = reply.get(COOKIE).and_then(|cookie| by_cookie.get(cookie)).copied();
            let distance = found.map(|at| at as i32 - expected as i32);
            plain.extend(distance.unwrap_or(NEW).to_le_bytes());
            plain.extend((reply.len() as u16).to_le_bytes());
            let before = found.zip(earlier).map(|(at, earlier)| &earlier.replies[at][..]);
            plain.extend(difference(reply, before.unwrap_or_default()));
            expected = found.map_or(expected, |at| at + 1);
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).expect("memory takes all");
        let body = encoder.finish().expect("memory takes all");
        let head = Head {
            is_key: earlier.is_none(),
            wall: self.wall,
            at: self.at,
            took: self.took,
            packed: body.len(),
            plain: plain.len(),
        };
        head.encode(&body)
    }

    /// The frame of a head and of what follows it.
    pub(super) fn decode(head: &Head, body: &[u8], earlier: Option<&Self>) -> Result<Self, String> {
        let mut plain = Vec::new();
        let limit = head.plain as u64;
        let unpacked = ZlibDecoder::new(body).take(limit).read_to_end(&mut plain);
        if unpacked.ok() != Some(head.plain) {
            return Err("a sample cannot be unpacked".into());
        }
        let earlier = if head.is_key { None } else { Some(earlier.ok_or("no key frame")?) };
        let frame = Self::parse(head, &plain, earlier);
        frame.ok_or_else(|| "a sample is shorter than it says".into())
    }

    pub(super) fn parse(head: &Head, mut plain: &[u8], earlier: Option<&Self>) -> Option<Self> {
        let len = u32::from_le_bytes(take(&mut plain)?) as usize;
        let tables = plain.split_off(..len)?;
        let (processes, units, hidden, listening) = serde_json::from_slice(tables).ok()?;
        let count = u32::from_le_bytes(take(&mut plain)?) as usize;
        let mut replies = Vec::with_capacity(count.min(plain.len() / 6));
        let mut expected = 0_i64;
        for _ in 0..count {
            let distance = i32::from_le_bytes(take(&mut plain)?);
            let len = usize::from(u16::from_le_bytes(take(&mut plain)?));
            let bytes = plain.split_off(..len)?;
            if distance == NEW {
                replies.push(bytes.to_vec());
                continue;
            }
            let at = expected + i64::from(distance);
            let before = earlier?.replies.get(usize::try_from(at).ok()?)?;
            replies.push(difference(bytes, before).collect());
            expected = at + 1;
        }
        let tables = Tables { processes, units, hidden, listening };
        Some(Self { wall: head.wall, at: head.at, took: head.took, tables, replies })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// What has to be added to one to get the other, either way: where one ends, the other goes on.
fn difference<'b>(bytes: &'b [u8], before: &'b [u8]) -> impl Iterator<Item = u8> + 'b {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    bytes.iter().zip(before).map(|(byte, before)| byte ^ before)
}
