//! What holds for any input: shared by the fuzz targets and by
//! `integration/sockets/fuzz_corpus.rs`, which replays what they found.

#[cfg(feature = "page")]
pub mod page;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::sync::LazyLock;

use tcpinfo::{Congestion, CongestionInfo, FIELDS, Kernel, KernelVersion, State, TcpInfo};

/// Every case that a kernel's release decides, and some that say nothing.
pub const RELEASES: &[&str] = &[
    "",
    "garbage",
    "2.4.37",
    "2.6.23",
    "2.6.24",
    "2.6.78-fc",
    "3.6.11",
    "3.10.0-1160.el7.x86_64",
    "4.4.0",
    "4.14.336",
    "4.15.18",
    "4.19.0-gvisor",
    "4.19.91-26.al7.x86_64",
    "5.4.279",
    "5.4.280",
    "5.10.223",
    "6.6.57",
    "6.7.12",
    "6.12.107",
    "6.15.11",
    "6.16.3",
    "6.18.44-fc-v669",
    "7.0-rc1",
    "7.3.4",
];

static KERNELS: LazyLock<Vec<Kernel>> =
    LazyLock::new(|| RELEASES.iter().map(|it| parsed(it)).collect());

fn parsed(release: &str) -> Kernel {
    let Ok(kernel) = release.parse();
    kernel
}

/// An input of [`decode`]: the reply, read as one of the kernel `RELEASES[release]`.
pub fn reply(release: usize, reply: &[u8]) -> Vec<u8> {
    let release = u8::try_from(release).expect("there are few");
    [&[release, reply.len().div_ceil(2) as u8], reply].concat()
}

/// A kernel's number, half the length of a prefix, and a reply.
pub fn decode(data: &[u8]) {
    let [number, half, reply @ ..] = data else { return };
    let kernel = &KERNELS[usize::from(*number) % KERNELS.len()];
    let info = match TcpInfo::decode(reply, kernel) {
        Ok(info) => info,
        Err(error) => {
            assert!(reply.is_empty());
            return assert_eq!(error.reply_len, 0);
        }
    };
    assert!(!reply.is_empty());
    assert_eq!(info.reply_len, reply.len());
    assert_eq!(info.state, State::from(reply[0]));
    let mut present = 0;
    let mut fields = info.fields();
    for field in FIELDS {
        let Some(value) = info.get(field) else { continue };
        present += 1;
        assert_eq!(fields.next(), Some((field, value)), "in the table's order");
        assert!(field.offset + field.size <= reply.len(), "{} of {}", field.name, reply.len());
        assert!(info.supports(field), "{} is present", field.name);
    }
    assert_eq!(fields.next(), None);
    a_prefix_says_the_same(&info, reply, usize::from(*half) * 2, kernel);
    // Text costs ten times what all the rest does: one input in sixteen, whatever it is like.
    if reply.iter().fold(0, |all, byte| all ^ byte) % 16 == 0 {
        says(&info, present);
    }
}

/// What `reply` without its end says is not something else.
fn a_prefix_says_the_same(whole: &TcpInfo, reply: &[u8], len: usize, kernel: &Kernel) {
    let Ok(prefix) = TcpInfo::decode(&reply[..len.min(reply.len())], kernel) else {
        return assert_eq!(len, 0);
    };
    // Before it named itself, gVisor was known by its reply's length. The length that shows what
    // situation the socket is in, by its segments, is 144.
    let same_situation = len >= 144 && kernel.version() != Some(KernelVersion::new(4, 4));
    for field in FIELDS {
        match (prefix.get(field), whole.get(field)) {
            // How many of its bits a kernel maintains shows in the length.
            (Some(_), Some(_)) if field.name == "options" => {}
            (Some(before), Some(value)) => assert_eq!(before, value, "{}", field.name),
            (None, Some(_)) if same_situation => assert!(!prefix.supports(field), "{}", field.name),
            (Some(_), None) if same_situation => assert!(!whole.supports(field), "{}", field.name),
            _ => {}
        }
    }
    if len >= 280 {
        assert_eq!(prefix.options, whole.options);
    }
}

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// How many lines end in what is written.
fn lines(text: fmt::Arguments<'_>) -> usize {
    TEXT.with_borrow_mut(|room| {
        room.clear();
        room.write_fmt(text).expect("a string has room");
        count(room, b"\n")
    })
}

fn count(text: &str, what: &[u8]) -> usize {
    text.as_bytes().windows(what.len()).filter(|window| *window == what).count()
}

/// Text and JSON have one line, or one entry, a field.
fn says(info: &TcpInfo, present: usize) {
    assert_eq!(lines(format_args!("{info}")), 0);
    assert_eq!(lines(format_args!("{info:#}")), present);
    assert_eq!(lines(format_args!("{info:?}")), 0);
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_string(info).expect("a map of plain values");
        assert_eq!(count(&json, b":n"), FIELDS.len() - present, "{json}");
        assert_eq!(count(&json, b"\":"), FIELDS.len(), "{json}");
    }
}

/// One release a line, of which the first two are compared.
pub fn kernel(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut versions = [None; 2];
    let parts = text.split('\n').chain([""]);
    for (version, release) in versions.iter_mut().zip(parts) {
        let kernel = parsed(release);
        assert_eq!(kernel.release(), release);
        assert_eq!(lines(format_args!("{kernel:?}")), 0);
        assert_eq!(kernel.to_string(), release);
        let named = named(release).filter(|named| !([2, 6, 40]..[2, 7, 0]).contains(named));
        *version = kernel.version();
        assert_eq!(version.map(numbers), named);
        if let Some(version) = version {
            let again: Kernel = version.to_string().parse().expect("any text is a kernel");
            assert_eq!(again.version(), Some(*version), "{version}");
        }
        for reply in [[1; 232].as_slice(), &[1; 280]] {
            TcpInfo::decode(reply, &kernel).expect("it is not empty");
        }
    }
    if let [Some(first), Some(second)] = versions {
        assert_eq!(first.cmp(&second), numbers(first).cmp(&numbers(second)));
        assert_eq!(first == second, first.cmp(&second) == Ordering::Equal);
    }
}

fn numbers(version: KernelVersion) -> [u16; 3] {
    [version.major, version.minor, version.patch]
}

/// The numbers that a release begins with: two, or three.
fn named(release: &str) -> Option<[u16; 3]> {
    let mut numbers = Vec::new();
    for part in release.split('.').take(3) {
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        if digits > 0 {
            numbers.push(part[..digits].parse().ok()?);
        }
        if digits < part.len() || digits == 0 {
            break;
        }
    }
    let [major, minor, patch @ ..] = &numbers[..] else { return None };
    Some([*major, *minor, patch.first().copied().unwrap_or(0)])
}

/// The algorithms with a structure of their own, and one without.
pub const ALGORITHMS: &[&str] = &["bbr", "bbr3", "dctcp", "dctcp-reno", "vegas", "nv", "cubic"];

/// The algorithm's name, a zero, and its report.
pub fn congestion(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let report = parts.next().unwrap_or_default();
    let congestion = Congestion::decode(&name, report);
    assert_eq!(congestion.algorithm, name);
    assert_eq!(congestion.info.is_none(), report.is_empty());
    if let Some(CongestionInfo::Other(raw)) = &congestion.info {
        assert_eq!(raw, report);
    }
    assert_eq!(lines(format_args!("{congestion:?}")), 0);
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_string(&congestion).expect("a map of plain values");
        assert!(json.starts_with("{\"algorithm\":"), "{json}");
    }
}
