//! Replies of big-endian kernels, decoded on whatever machine this is.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// A kernel's struct and captured replies, as `integration/kernels.sh` saved them.
struct Captured {
    folder: PathBuf,
    is_big: bool,
    /// Each member's name, first byte and bits.
    members: Vec<(String, usize, Vec<u8>)>,
    /// Each case's name and its values, in the members' order.
    cases: Vec<(String, Vec<u64>)>,
}

impl Captured {
    fn read(folder: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(folder.join("truth.txt")).ok()?;
        let mut read = Self { folder, is_big: false, members: vec![], cases: vec![] };
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["endian", endian] => read.is_big = endian == "big",
                ["member", name, first, bits] => {
                    let first = first.parse().expect("a number");
                    read.members.push((name.to_owned(), first, bytes(bits)));
                }
                ["case", name, ref values @ ..] => {
                    let values = values.iter().map(|value| value.parse().expect("a number"));
                    read.cases.push((name.to_owned(), values.collect()));
                }
                _ => {}
            }
        }
        Some(read)
    }

    fn names(&self) -> Vec<&str> {
        self.members.iter().map(|(name, ..)| name.as_str()).collect()
    }

    fn reply(&self, case: &str) -> Vec<u8> {
        let file = self.folder.join(format!("{case}.hex"));
        bytes(&fs::read_to_string(file).expect("every case has its reply"))
    }

    /// A reply of this little-endian kernel with these values.
    fn reply_with(&self, values: &[u64], len: usize) -> Vec<u8> {
        let mut reply = vec![0; len];
        for ((_, first, bits), value) in self.members.iter().zip(values) {
            let bits = bits.iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
            let value = value << bits.trailing_zeros();
            assert_eq!(value & !bits, 0, "a value is as wide as its member");
            for (byte, part) in reply[*first..].iter_mut().zip(value.to_le_bytes()) {
                *byte |= part;
            }
        }
        reply
    }
}

/// Decodes hexadecimal digits, and skips everything else.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|letter| letter.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Whether this is the repository, which has more than the published package.
pub(crate) fn is_repository() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration").exists()
}

/// What a little-endian kernel's bytes say, tests in `integration/kernels/replay` compare with its
/// header; here the same values lie in the bytes of both.
#[test]
fn a_big_endian_reply_says_what_a_little_endian_one_with_the_same_values_does() {
    if !is_repository() {
        println!("SKIPPED: replies of other byte order: the package leaves them out");
        return;
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/data");
    let folders = fs::read_dir(data).expect("the data lie in the repository");
    let (big, little): (Vec<Captured>, Vec<Captured>) = folders
        .filter_map(|entry| Captured::read(entry.expect("the folder can be read").path()))
        .partition(|captured| captured.is_big);
    let mut compared = 0;
    for captured in &big {
        let twin = little.iter().find(|twin| twin.names() == captured.names());
        let twin = twin.expect("each struct was captured in both byte orders");
        let release = captured.folder.file_name().and_then(|name| name.to_str());
        let kernel = Kernel::from_release(release.expect("a release is text"));
        for (case, values) in &captured.cases {
            let reply = captured.reply(case);
            let same = twin.reply_with(values, reply.len());
            assert_ne!(reply, same, "{kernel} {case}");
            for len in 1..=reply.len() {
                let ours = TcpInfo::decode_as::<true>(&reply[..len], &kernel);
                assert_eq!(ours.expect("it is not empty").reply_len, len);
            }
            let ours = TcpInfo::decode_as::<true>(&reply, &kernel);
            assert_eq!(ours, TcpInfo::decode_as::<false>(&same, &kernel), "{kernel} {case}");
            compared += 1;
        }
    }
    assert!(compared >= 50, "{compared} replies");
}

#[test]
#[cfg(feature = "monitor")]
fn numbers_add_up_and_are_present_in_a_sum_if_they_were_in_any() {
    let numbers = |present, first, second| {
        let mut numbers = UpDownNumbers::NONE.with_present(present);
        (numbers.values[0], numbers.values[1]) = (first, second);
        numbers
    };
    let mut sum = numbers(0b01, 5, 0);
    sum.add(&numbers(0b10, 0, 7));
    assert_eq!(sum, numbers(0b11, 5, 7));
    assert_eq!(sum.since(&numbers(0b11, 2, 9)), numbers(0b11, 3, 0));
    assert_eq!(sum.with_zeros(0b10), numbers(0b11, 5, 0));
    let rows: Vec<_> = rows(FieldKind::UpDown).collect();
    assert_eq!(sum.get(rows[1]), Some(FieldValue::Integer(7)));
    assert_eq!(sum.get(rows[2]), None);
    assert_eq!(sum.get(FIELDS.iter().find(|it| it.kind == FieldKind::Counter).unwrap()), None);
}
