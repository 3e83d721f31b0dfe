//! The running kernel's own description of `struct tcp_info`: its BTF, where it is built in.

use std::fmt;
use std::fs;
use std::io;

/// One member as the compiler of this kernel saw it.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    /// Of its type, in bytes.
    size: usize,
    /// From the beginning of the struct, in bits.
    offset: u32,
    /// Of a bit-field, else 0.
    bits: u32,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.name, self.size, self.offset, self.bits)
    }
}

/// The size of the struct and its members.
pub(crate) fn tcp_info() -> io::Result<(usize, Vec<Member>)> {
    let types = Types { bytes: fs::read("/sys/kernel/btf/vmlinux")? };
    Ok(types.find("tcp_info").expect("its code is built in"))
}

/// A section of types, in this machine's byte order.
struct Types {
    bytes: Vec<u8>,
}

/// Kinds of `linux/btf.h`.
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;

impl Types {
    fn word(&self, at: usize) -> usize {
        let bytes = self.bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_ne_bytes(bytes) as usize
    }

    fn name(&self, offset: usize) -> &str {
        let start = self.word(4) + self.word(16) + offset;
        let len = self.bytes[start..].iter().position(|byte| *byte == 0).expect("names end");
        std::str::from_utf8(&self.bytes[start..start + len]).expect("names are ASCII")
    }

    /// Where each type's description begins; number 0 is void and has none.
    fn starts(&self) -> Vec<usize> {
        let (header, begin, len) = (self.word(4), self.word(8), self.word(12));
        let (mut starts, mut at) = (vec![0], header + begin);
        while at < header + begin + len {
            starts.push(at);
            let (kind, count) = self.kind(at);
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    STRUCT | 5 | 15 | 19 => 12 * count,
                    6 | 13 => 8 * count,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => panic!("type kind {kind}: see linux/btf.h for its length"),
                };
        }
        starts
    }

    fn kind(&self, at: usize) -> (u32, usize) {
        let info = self.word(at + 4);
        ((info >> 24 & 0x1f) as u32, info & 0xffff)
    }

    fn find(&self, name: &str) -> Option<(usize, Vec<Member>)> {
        let starts = self.starts();
        let at = *starts
            .iter()
            .skip(1)
            .find(|at| self.kind(**at).0 == STRUCT && self.name(self.word(**at)) == name)?;
        let has_bit_fields = self.word(at + 4) >> 31 == 1;
        let members = (0..self.kind(at).1).map(|member| {
            let at = at + 12 + 12 * member;
            let place = self.word(at + 8) as u32;
            let (bits, offset) =
                if has_bit_fields { (place >> 24, place & 0xff_ffff) } else { (0, place) };
            let mut of = starts[self.word(at + 4)];
            while self.kind(of).0 == TYPEDEF {
                of = starts[self.word(of + 8)];
            }
            let name = self.name(self.word(at)).to_owned();
            Member { name, size: self.word(of + 8), offset, bits }
        });
        Some((self.word(at + 8), members.collect()))
    }
}
