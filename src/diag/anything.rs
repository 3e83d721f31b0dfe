//! What holds for any bytes in place of a datagram of `sock_diag`: `fuzz/` tries.

use crate::kernel::Kernel;
use crate::netlink::{Answer, Attributes, HEADER, MalformedReply, Message};

use super::socket::Socket;

/// Takes a datagram apart as a dump does; panics where something does not hold.
#[cfg_attr(not(fuzzing), allow(unreachable_pub))]
pub fn hold_for_any_datagram(datagram: &[u8]) {
    let Ok(kernel) = "6.18.44".parse();
    let (sockets, end) = taken_apart(datagram, &kernel);
    for socket in &sockets {
        assert!(!format!("{socket:?}").contains('\n'));
        let reply = socket.info.as_ref().map_or(0, |info| info.reply_len);
        assert!(reply < datagram.len(), "a reply of {reply} bytes");
    }
    if let Some(malformed) = end {
        assert!(!malformed.to_string().contains('\n'));
    }
    // What comes later in a datagram changes nothing of what came before.
    let (before, _) = taken_apart(&datagram[..datagram.len() / 2], &kernel);
    assert_eq!(before[..], sockets[..before.len()]);
}

/// The sockets in front of the first message that is none, and what is wrong with that.
fn taken_apart(datagram: &[u8], kernel: &Kernel) -> (Vec<Socket>, Option<MalformedReply>) {
    let (mut rest, mut sockets) = (datagram, Vec::new());
    while !rest.is_empty() {
        let (message, len) = match Message::first(rest) {
            Ok(first) => first,
            Err(malformed) => return (sockets, Some(malformed)),
        };
        assert!((HEADER..=rest.len()).contains(&len), "{len} of {}", rest.len());
        match message.answer() {
            Ok(Answer::Socket(payload)) => {
                assert!(payload.len() <= len - HEADER);
                every_attribute_lies_within(payload);
                match Socket::decode(payload, kernel) {
                    Ok(socket) => sockets.push(socket),
                    Err(malformed) => return (sockets, Some(malformed)),
                }
            }
            Ok(Answer::Failed(errno)) => assert!(errno > 0, "error number {errno}"),
            Ok(Answer::Done | Answer::Other) => {}
            Err(malformed) => return (sockets, Some(malformed)),
        }
        rest = &rest[len..];
    }
    (sockets, None)
}

/// Attributes lie one behind the other, and at most the last one is malformed.
fn every_attribute_lies_within(payload: &[u8]) {
    let mut attributes = Attributes(payload);
    let mut left = payload.len();
    while let Some(attribute) = attributes.next() {
        match attribute {
            Ok((_, content)) => assert!(content.len() + 4 <= left - attributes.0.len()),
            Err(_) => assert_eq!(attributes.next(), None),
        }
        left = attributes.0.len();
    }
    assert_eq!(left, 0);
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// Files in a folder of the repository, and in those below it.
    fn files(folder: &str) -> Vec<PathBuf> {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().expect("it is in the repository") {
                let path = entry.expect("it can be read").path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    #[test]
    fn what_kernels_said_and_fuzzing_found_still_holds() {
        let found = files("fuzz/corpus/netlink");
        for path in &found {
            hold_for_any_datagram(&std::fs::read(path).expect("it can be read"));
        }
        let mut said = files("integration/data");
        said.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nl_"))
        });
        for path in &said {
            let hex = std::fs::read_to_string(path).expect("hexadecimal digits");
            let byte = |pair| u8::from_str_radix(pair, 16).expect("two digits");
            let hex: String = hex.split_whitespace().collect();
            let bytes: Vec<u8> =
                (0..hex.len()).step_by(2).map(|at| byte(&hex[at..at + 2])).collect();
            hold_for_any_datagram(&bytes);
        }
        println!("{} datagrams of kernels, {} of the fuzzer", said.len(), found.len());
    }
}
