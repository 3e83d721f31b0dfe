//! Replies as bytes: captured ones, and one made up so that only its length and kernel decide.

use std::path::{Path, PathBuf};

use tcpinfo::{FIELDS, Field, Kernel, TcpInfo};

/// The directory of the captured replies.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("data")
}

/// The bytes that a file of hexadecimal digits holds.
pub fn bytes_of(file: &str) -> Vec<u8> {
    bytes_in(&data().join(file))
}

/// The bytes that the file at a path holds.
pub fn bytes_in(path: &Path) -> Vec<u8> {
    let file = path.display();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let digits: Vec<char> = text.split_whitespace().flat_map(str::chars).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let text: String = pair.iter().collect();
            u8::from_str_radix(&text, 16).unwrap_or_else(|error| panic!("{file}: {text}: {error}"))
        })
        .collect()
}

/// An established connection with every option on and no field at a value that means "nothing".
pub fn plausible(len: usize) -> Vec<u8> {
    let mut reply = vec![1; len.max(8)];
    reply[5] = 0xff;
    reply.truncate(len);
    reply
}

/// `reply` with `bytes` at `offset`.
pub fn with(mut reply: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    reply[offset..offset + bytes.len()].copy_from_slice(bytes);
    reply
}

/// A kernel of this release.
pub fn kernel(release: &str) -> Kernel {
    let Ok(kernel) = release.parse();
    kernel
}

/// What a kernel of this release says with these bytes.
pub fn decode(reply: &[u8], release: &str) -> TcpInfo {
    TcpInfo::decode(reply, &kernel(release)).expect("the reply is not empty")
}

/// The row of this name.
pub fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("no field {name}"))
}
