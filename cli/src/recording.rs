//! The file of the flight recorder: a header and frames, each of which holds one sample.
//!
//! ```text
//! tcpinfo recording 1\n
//! {"kernel":"6.18.44","byte_order":"little","booted":1795500000,"started":1795531921}\n
//! frame frame frame ...
//! ```
//!
//! The header is text, so that `head -2` says what the file is. A frame has its own length and
//! checksum; it is a key frame, or the difference to the frame before. So a file that is cut off or
//! damaged is readable up to there, and again from the next key frame.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tcpinfo::Kernel;

use crate::failure::Failure;

mod frame;
mod ring;

pub(crate) use frame::{Frame, Tables};
pub(crate) use ring::{Limits, Ring};

use frame::{Head, HeadError};

const FIRST_LINE: &str = "tcpinfo recording 1";

/// What the second line says.
#[derive(Clone, Debug, PartialEq)]
struct Header {
    /// `uname -r` of the kernel that was asked.
    kernel: String,
    byte_order: String,
    /// When that machine started, in seconds since 1970. Absent if it does not say.
    booted: Option<u64>,
    /// When the recording started, in seconds since 1970.
    started: u64,
}

const BYTE_ORDER: &str = if cfg!(target_endian = "big") { "big" } else { "little" };

impl Header {
    /// That of a recording that starts now on this machine.
    fn of_this_machine() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            kernel: Kernel::running().release().to_owned(),
            byte_order: BYTE_ORDER.to_owned(),
            booted,
            started: now.as_secs(),
        }
    }

    /// Both lines.
    fn encode(&self) -> Vec<u8> {
        let Self { kernel, byte_order, booted, started } = self;
        let line = json!({
            "kernel": kernel, "byte_order": byte_order, "booted": booted, "started": started,
        });
        format!("{FIRST_LINE}\n{line}\n").into_bytes()
    }

    /// The header, and its length.
    fn decode(bytes: &[u8]) -> Result<(Self, usize), String> {
        let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
        let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if first != FIRST_LINE.as_bytes() {
            let is_other = first.starts_with(b"tcpinfo recording ") && first.len() < 40;
            return Err(match is_other {
                true => "it was recorded by a later version of tcpinfo".into(),
                false => "it is no recording of tcpinfo".into(),
            });
        }
        let value: Value = serde_json::from_slice(second).map_err(|_| "its header is damaged")?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let header = Self {
            kernel: text("kernel").ok_or("its header is damaged")?,
            byte_order: text("byte_order").ok_or("its header is damaged")?,
            booted: value["booted"].as_u64(),
            started: value["started"].as_u64().ok_or("its header is damaged")?,
        };
        Ok((header, first.len() + second.len() + 2))
    }
}

/// Where a frame lies in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: usize,
    head: Head,
}

/// A recording that is read.
#[derive(Debug)]
pub(crate) struct Recording {
    /// The one that was asked.
    pub(crate) kernel: Kernel,
    /// Whether it was written by a machine with the other byte order.
    pub(crate) is_foreign: bool,
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Where bytes are that are no frame, and how many.
    damages: Vec<(usize, usize)>,
    /// The frame that was decoded last.
    latest: Option<(usize, Frame)>,
}

impl Recording {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::impossible(format!("{}: {why}", path.display()));
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|error: io::Error| failed(error.to_string()))?;
        Self::new(bytes).map_err(failed)
    }

    fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let (header, begin) = Header::decode(&bytes)?;
        if !["big", "little"].contains(&header.byte_order.as_str()) {
            return Err("its header is damaged".into());
        }
        let is_foreign = header.byte_order != BYTE_ORDER;
        let kernel = Kernel::from_release(&header.kernel);
        let (places, damages) = index(&bytes, begin);
        if places.is_empty() {
            return Err("it has no sample that is whole".into());
        }
        Ok(Self { kernel, is_foreign, bytes, places, damages, latest: None })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// When a sample was taken, since 1970.
    pub(crate) fn wall(&self, at: usize) -> Duration {
        self.places[at].head.wall
    }

    /// Says in a sentence where it is damaged.
    pub(crate) fn damage(&self) -> Option<String> {
        let (offset, len) = self.damages.first()?;
        let whole = self.places.iter().take_while(|place| place.offset < *offset).count();
        let samples = self.len();
        if offset + len == self.bytes.len() {
            return Some(format!(
                "it ends within a sample, at byte {offset}, after {whole} samples"
            ));
        }
        Some(format!(
            "it is damaged at byte {offset}, after {whole} samples; {samples} can be read in all"
        ))
    }

    /// Decodes a sample. Those in a row cost one step each, a step back those since its key frame.
    pub(crate) fn frame(&mut self, at: usize) -> Result<&Frame, String> {
        let key = (0..=at).rev().find(|at| self.places[*at].head.is_key).unwrap_or(0);
        let latest = self.latest.take().filter(|(latest, _)| (key..=at).contains(latest));
        let (mut reached, mut frame) = match latest {
            Some((latest, frame)) => (latest + 1, Some(frame)),
            None => (key, None),
        };
        while reached <= at {
            let Place { offset, head } = self.places[reached];
            let body = &self.bytes[offset + Head::LEN..][..head.packed];
            frame = Some(Frame::decode(&head, body, frame.as_ref())?);
            reached += 1;
        }
        let (_, frame) = self.latest.insert((at, frame.ok_or("no key frame")?));
        Ok(frame)
    }
}

/// Every frame that can be decoded, and every range that holds none.
fn index(bytes: &[u8], begin: usize) -> (Vec<Place>, Vec<(usize, usize)>) {
    let (mut places, mut damages) = (Vec::new(), Vec::new());
    let mut at = begin;
    // After damage, differences have nothing to be added to.
    let mut needs_key = true;
    while at < bytes.len() {
        match Head::decode(&bytes[at..]) {
            Ok(head) if head.is_key || !needs_key => {
                places.push(Place { offset: at, head });
                needs_key = false;
                at += Head::LEN + head.packed;
            }
            found => {
                needs_key = true;
                let next = next_key(bytes, at + 1);
                damages.push((at, next - at));
                // A file that was cut off has no later frame.
                at = if matches!(found, Err(HeadError::CutOff)) { next.max(at + 1) } else { next };
            }
        }
    }
    (places, damages)
}

/// Where the next key frame begins that is whole; the end of the file if there is none.
fn next_key(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == Head::MARK) {
        if Head::decode(&bytes[at + found..]).is_ok_and(|head| head.is_key) {
            return at + found;
        }
        at += found + 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
