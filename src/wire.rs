//! Where one value lies in a reply, in either byte order, and its unit.

use std::time::Duration;

/// The bytes of a reply that the table knows. A shorter reply is filled up with zeros.
pub(crate) type Bytes = [u8; LEN];

/// Size of `struct tcp_info` in the newest kernel the table knows.
pub(crate) const LEN: usize = 280;

/// An unsigned integer type that C lays out in the struct.
pub(crate) trait Storage: Sized {
    const SIZE: usize = size_of::<Self>();
}

impl Storage for u8 {}
impl Storage for u16 {}
impl Storage for u32 {}
impl Storage for u64 {}

/// Where one value lies: a whole integer, or some bits of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// First byte of the integer.
    pub(crate) offset: usize,
    /// Bytes of the integer.
    pub(crate) size: usize,
    /// First bit, counted as C allocates bit-fields: from the least significant end on a
    /// little-endian machine, from the most significant end on a big-endian one.
    pub(crate) first_bit: u32,
    /// Number of bits.
    pub(crate) bits: u32,
}

impl Place {
    /// A whole integer of type `T`.
    pub(crate) const fn whole<T: Storage>(offset: usize) -> Self {
        Self { offset, size: T::SIZE, first_bit: 0, bits: 8 * T::SIZE as u32 }
    }

    /// The bits `first..end` of an integer of type `T`, in C's order of declaration.
    pub(crate) const fn bits<T: Storage>(offset: usize, first: u32, end: u32) -> Self {
        Self { offset, size: T::SIZE, first_bit: first, bits: end - first }
    }

    /// One past the last byte of the integer.
    pub(crate) const fn end(&self) -> usize {
        self.offset + self.size
    }

    /// The raw value. `BIG` says whether a big-endian machine wrote the reply.
    #[inline(always)]
    pub(crate) fn load<const BIG: bool>(&self, bytes: &Bytes) -> u64 {
        let at = &bytes[self.offset..self.offset + self.size];
        let integer = match (self.size, BIG) {
            (1, _) => at[0].into(),
            (2, false) => u16::from_le_bytes([at[0], at[1]]).into(),
            (2, true) => u16::from_be_bytes([at[0], at[1]]).into(),
            (4, false) => u32::from_le_bytes([at[0], at[1], at[2], at[3]]).into(),
            (4, true) => u32::from_be_bytes([at[0], at[1], at[2], at[3]]).into(),
            (_, false) => u64::from_le_bytes(at.try_into().expect("a place is 1, 2, 4 or 8 bytes")),
            (_, true) => u64::from_be_bytes(at.try_into().expect("a place is 1, 2, 4 or 8 bytes")),
        };
        let width = 8 * self.size as u32;
        if self.bits == width {
            return integer;
        }
        let shift = if BIG { width - self.first_bit - self.bits } else { self.first_bit };
        (integer >> shift) & ((1 << self.bits) - 1)
    }
}

/// A plain number, in the width of its field.
#[inline(always)]
pub(crate) fn number<T: TryFrom<u64>>(raw: u64) -> T {
    match T::try_from(raw) {
        Ok(value) => value,
        Err(_) => unreachable!("a field's type is as wide as its place"),
    }
}

/// An open enum or a set of flags. A number above 255, which no kernel writes, becomes 255.
#[inline(always)]
pub(crate) fn code<T: From<u8>>(raw: u64) -> T {
    T::from(raw.min(u8::MAX.into()) as u8)
}

/// One bit.
#[inline(always)]
pub(crate) fn flag(raw: u64) -> bool {
    raw != 0
}

/// Microseconds.
#[inline(always)]
pub(crate) fn micros(raw: u64) -> Duration {
    Duration::from_micros(raw)
}

/// Milliseconds.
#[inline(always)]
pub(crate) fn millis(raw: u64) -> Duration {
    Duration::from_millis(raw)
}

/// How many of the kernel's units make one of ours. `unit` is the name of a function above.
#[cfg(feature = "monitor")]
pub(crate) const fn per_unit(unit: &str) -> u64 {
    match unit.as_bytes() {
        b"micros" => 1_000_000,
        b"millis" => 1_000,
        _ => 1,
    }
}

/// Values of a raw field that mean "nothing to report".
pub(crate) mod nothing {
    /// No estimate or sample yet.
    #[inline(always)]
    pub(crate) fn zero(raw: u64) -> bool {
        raw == 0
    }

    /// The kernel's "no sample" in a 32-bit field.
    #[inline(always)]
    pub(crate) fn max_u32(raw: u64) -> bool {
        raw == u32::MAX as u64
    }

    /// The kernel's "no limit" in a 64-bit field.
    #[inline(always)]
    pub(crate) fn max_u64(raw: u64) -> bool {
        raw == u64::MAX
    }

    /// `TCP_INFINITE_SSTHRESH` (0x7fffffff), or gVisor's larger one.
    #[inline(always)]
    pub(crate) fn infinite(raw: u64) -> bool {
        raw >= 0x7fff_ffff
    }

    /// Every value is a measurement.
    #[inline(always)]
    pub(crate) fn never(_: u64) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(at: usize, values: &[u8]) -> Bytes {
        let mut bytes = [0; LEN];
        bytes[at..at + values.len()].copy_from_slice(values);
        bytes
    }

    #[test]
    fn whole_integers_in_both_byte_orders() {
        let reply = bytes(68, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Place::whole::<u8>(68).load::<false>(&reply), 1);
        assert_eq!(Place::whole::<u16>(68).load::<false>(&reply), 0x0201);
        assert_eq!(Place::whole::<u16>(68).load::<true>(&reply), 0x0102);
        assert_eq!(Place::whole::<u32>(68).load::<false>(&reply), 0x0403_0201);
        assert_eq!(Place::whole::<u32>(68).load::<true>(&reply), 0x0102_0304);
        assert_eq!(Place::whole::<u64>(68).load::<false>(&reply), 0x0807_0605_0403_0201);
        assert_eq!(Place::whole::<u64>(68).load::<true>(&reply), 0x0102_0304_0506_0708);
    }

    #[test]
    fn bit_fields_start_at_the_other_end_on_big_endian() {
        // snd_wscale 6, rcv_wscale 7, as an s390x and an x86_64 kernel write them.
        assert_eq!(Place::bits::<u8>(6, 0, 4).load::<true>(&bytes(6, &[0x67])), 6);
        assert_eq!(Place::bits::<u8>(6, 4, 8).load::<true>(&bytes(6, &[0x67])), 7);
        assert_eq!(Place::bits::<u8>(6, 0, 4).load::<false>(&bytes(6, &[0x76])), 6);
        assert_eq!(Place::bits::<u8>(6, 4, 8).load::<false>(&bytes(6, &[0x76])), 7);
        // fastopen_client_fail 2 with delivery_rate_app_limited set.
        assert_eq!(Place::bits::<u8>(7, 1, 3).load::<true>(&bytes(7, &[0xc0])), 2);
        assert_eq!(Place::bits::<u8>(7, 1, 3).load::<false>(&bytes(7, &[0x05])), 2);
        // The 7.0 word: ecn_mode 2, accecn_opt_seen 1, accecn_fail_mode 9, options2 0xabcdef.
        let little = bytes(276, &(2 | 1 << 2 | 9 << 4 | 0xabcdef_u32 << 8).to_le_bytes());
        let big = bytes(276, &(2 << 30 | 1 << 28 | 9 << 24 | 0xabcdef_u32).to_be_bytes());
        for (first, end, value) in [(0, 2, 2), (2, 4, 1), (4, 8, 9), (8, 32, 0xabcdef)] {
            let place = Place::bits::<u32>(276, first, end);
            assert_eq!(place.load::<false>(&little), value);
            assert_eq!(place.load::<true>(&big), value);
        }
    }
}
