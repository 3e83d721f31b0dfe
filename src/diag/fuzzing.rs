//! Checks that hold for any bytes in place of a datagram. A target of `fuzz/` runs them.

use crate::kernel::Kernel;
use crate::netlink::{Answer, Attributes, HEADER, MalformedReply, Message};

use super::abi::SOCK_DIAG_BY_FAMILY;
use super::events::Event;
use super::socket::Socket;

/// Decodes a datagram as a dump does, and panics if a check fails.
#[cfg_attr(not(fuzzing), allow(unreachable_pub))]
pub fn check_datagram(datagram: &[u8]) {
    let Ok(kernel) = "6.18.44".parse();
    let (sockets, end) = decode(datagram, &kernel);
    for socket in &sockets {
        assert!(!format!("{socket:?}").contains('\n'));
        let reply = socket.info.as_ref().map_or(0, |info| info.reply_len);
        assert!(reply < datagram.len(), "a reply of {reply} bytes");
    }
    if let Some(malformed) = end {
        assert!(!malformed.to_string().contains('\n'));
    }
    // Later bytes of a datagram do not change the sockets before them.
    let (before, _) = decode(&datagram[..datagram.len() / 2], &kernel);
    assert_eq!(before[..], sockets[..before.len()]);
}

/// The sockets before the first malformed message, and what is wrong with that message.
fn decode(datagram: &[u8], kernel: &Kernel) -> (Vec<Socket>, Option<MalformedReply>) {
    let (mut rest, mut sockets) = (datagram, Vec::new());
    while !rest.is_empty() {
        let (message, len) = match Message::first(rest) {
            Ok(first) => first,
            Err(malformed) => return (sockets, Some(malformed)),
        };
        assert!((HEADER..=rest.len()).contains(&len), "{len} of {}", rest.len());
        check_event(&message, kernel);
        match message.answer() {
            Ok(Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload }) => {
                assert!(payload.len() <= len - HEADER);
                check_attributes(payload);
                match Socket::decode(payload, kernel) {
                    Ok(socket) => sockets.push(socket),
                    Err(malformed) => return (sockets, Some(malformed)),
                }
            }
            Ok(Answer::Failed(errno)) => assert!(errno > 0, "error number {errno}"),
            Ok(Answer::Data { .. } | Answer::Done | Answer::Acknowledged) => {}
            Err(malformed) => return (sockets, Some(malformed)),
        }
        rest = &rest[len..];
    }
    (sockets, None)
}

/// As an event, a message is the same socket as in a dump, or the same error, or nothing.
fn check_event(message: &Message<'_>, kernel: &Kernel) {
    let event = Event::decode(message, kernel);
    match message.answer() {
        Ok(Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload }) => {
            let socket = Socket::decode(payload, kernel).map(|socket| Some(Event::Ended(socket)));
            assert_eq!(event, socket);
        }
        Ok(_) => assert_eq!(event, Ok(None)),
        Err(malformed) => assert_eq!(event, Err(malformed)),
    }
}

/// Attributes follow one another without overlap, and only the last one can be malformed.
fn check_attributes(payload: &[u8]) {
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

    use crate::info::tests::{bytes, is_repository};

    use super::*;

    /// Files in a folder of the repository and in its subfolders.
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
    fn captured_datagrams_and_the_fuzzers_finds_pass() {
        let captured = files("src/diag/captures");
        assert!(!captured.is_empty());
        for path in &captured {
            check_datagram(&bytes(&std::fs::read_to_string(path).expect("hexadecimal digits")));
        }
        if !is_repository() {
            println!("SKIPPED: finds of the fuzzer: the package leaves them out");
            return;
        }
        let found = files("fuzz/corpus/netlink");
        for path in &found {
            check_datagram(&std::fs::read(path).expect("it can be read"));
        }
        println!("{} captured datagrams, {} of the fuzzer", captured.len(), found.len());
    }
}
