//! Protobuf as far as OTLP needs it: five forms of a field, each with its number.

/// Appends an integer of variable length.
#[inline]
pub(super) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes an integer of variable length takes.
#[inline]
pub(super) const fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// The one byte before a field with a length. No field of OTLP has a number above 15.
pub(super) const fn bytes_tag(field: u8) -> u8 {
    field << 3 | 2
}

/// The one byte before a field of eight bytes.
pub(super) const fn fixed_tag(field: u8) -> u8 {
    field << 3 | 1
}

pub(super) fn push_integer(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    push_varint(out, number);
}

#[inline]
pub(super) fn push_fixed(out: &mut Vec<u8>, field: u8, bits: u64) {
    out.push(fixed_tag(field));
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Appends text, bytes or a message.
pub(super) fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(bytes_tag(field));
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends many numbers of eight bytes as one field.
pub(super) fn push_packed(out: &mut Vec<u8>, field: u8, all: impl ExactSizeIterator<Item = u64>) {
    out.push(bytes_tag(field));
    push_varint(out, 8 * all.len() as u64);
    all.for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()));
}

/// A message within another that is being written: its length, which comes first, is not known yet.
#[must_use]
pub(super) struct Open {
    /// Where the length begins.
    at: usize,
}

/// The room that is kept for a length: right from 16 KiB to 2 MiB. Where another one is needed, the
/// message is moved by a byte or two.
const ROOM: usize = 3;

impl Open {
    pub(super) fn begin(out: &mut Vec<u8>, field: u8) -> Self {
        out.push(bytes_tag(field));
        let at = out.len();
        out.extend_from_slice(&[0; ROOM]);
        Self { at }
    }

    pub(super) fn end(self, out: &mut Vec<u8>) {
        let begin = self.at + ROOM;
        let length = out.len() - begin;
        let needed = varint_len(length as u64);
        if needed > ROOM {
            out.resize(out.len() + needed - ROOM, 0);
        }
        if needed != ROOM {
            out.copy_within(begin..begin + length, self.at + needed);
            out.truncate(self.at + needed + length);
        }
        let mut left = length;
        for (place, byte) in out[self.at..self.at + needed].iter_mut().enumerate() {
            let more = if place + 1 < needed { 0x80 } else { 0 };
            *byte = (left & 0x7f) as u8 | more;
            left >>= 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_the_specification_has_them() {
        for (number, bytes) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (150, &[0x96, 1]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            push_varint(&mut out, number);
            assert_eq!((&*out, varint_len(number)), (bytes, bytes.len()), "{number}");
        }
    }

    #[test]
    fn a_message_of_any_length_is_what_it_would_be_with_the_length_known() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 3_000_000] {
            let content: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (mut known, mut open) = (vec![7], vec![7]);
            push_bytes(&mut known, 2, &content);
            let message = Open::begin(&mut open, 2);
            open.extend_from_slice(&content);
            message.end(&mut open);
            assert!(known == open, "{length}");
        }
    }

    #[test]
    fn messages_within_messages_keep_their_lengths() {
        let mut out = Vec::new();
        let outer = Open::begin(&mut out, 1);
        let inner = Open::begin(&mut out, 2);
        push_bytes(&mut out, 3, b"ab");
        inner.end(&mut out);
        push_integer(&mut out, 4, 300);
        push_fixed(&mut out, 5, 1);
        push_packed(&mut out, 6, [2, 3].into_iter());
        outer.end(&mut out);
        let expected = [
            &[0x0a, 36][..],
            &[0x12, 4, 0x1a, 2, b'a', b'b'],
            &[0x20, 0xac, 2],
            &[0x29, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x32, 16, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(out, expected.concat());
    }
}
