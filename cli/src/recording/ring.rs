//! Writes a recording that has a limit: what is oldest goes first.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Header;
use super::frame::Frame;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Age of the oldest sample.
    pub(crate) time: Duration,
}

/// A key frame and the differences that follow it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    len: u64,
    /// When it begins, since the recording started.
    at: Duration,
}

/// A recording that is written. The file is a whole one at any time.
#[derive(Debug)]
pub(crate) struct Ring {
    path: PathBuf,
    file: File,
    limits: Limits,
    header: Vec<u8>,
    segments: VecDeque<Segment>,
    /// Frames since the key frame, that included.
    since_key: usize,
    latest: Option<Frame>,
}

impl Ring {
    /// A key frame comes after so many others at the latest.
    const KEY_EVERY: usize = 60;
    /// A segment is no larger than this part of the limit, so that little goes at a time.
    const PARTS: u64 = 8;

    /// Begins a recording. The file must not exist, unless it may be replaced.
    pub(crate) fn create(path: &Path, limits: Limits, replace: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).create_new(!replace);
        let mut file = options.open(path)?;
        let header = Header::of_this_machine().encode();
        file.write_all(&header)?;
        let segments = VecDeque::new();
        let path = path.to_owned();
        Ok(Self { path, file, limits, header, segments, since_key: 0, latest: None })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.header.len() as u64 + self.segments.iter().map(|segment| segment.len).sum::<u64>()
    }

    /// Whether the next frame begins a segment, and so has to stand by itself.
    pub(crate) fn is_key_next(&self) -> bool {
        let full = |segment: &Segment| segment.len >= self.limits.size / Self::PARTS;
        self.since_key.is_multiple_of(Self::KEY_EVERY) || self.segments.back().is_some_and(full)
    }

    /// Appends a sample.
    pub(crate) fn append(&mut self, frame: Frame) -> io::Result<()> {
        if self.is_key_next() {
            self.latest = None;
            self.since_key = 0;
            self.make_room(frame.at)?;
            self.segments.push_back(Segment { len: 0, at: frame.at });
        }
        let bytes = frame.encode(self.latest.as_ref());
        self.file.write_all(&bytes)?;
        if let Some(segment) = self.segments.back_mut() {
            segment.len += bytes.len() as u64;
        }
        self.since_key += 1;
        self.latest = Some(frame);
        Ok(())
    }

    /// Drops the oldest segments when there is too much: at least half of the size, or a quarter of
    /// all, because what is kept is written once more.
    fn make_room(&mut self, now: Duration) -> io::Result<()> {
        let (mut dropped, mut bytes) = (0, 0);
        let all = self.len();
        let old = |at: usize| {
            // A segment is too old when the next one begins too early.
            let next = self.segments.get(at + 1);
            next.is_some_and(|next| next.at + self.limits.time < now)
        };
        while old(dropped) {
            bytes += self.segments[dropped].len;
            dropped += 1;
        }
        if bytes < all / 4 {
            (dropped, bytes) = (0, 0);
        }
        if all > self.limits.size {
            while all - bytes > self.limits.size / 2 && dropped < self.segments.len() {
                bytes += self.segments[dropped].len;
                dropped += 1;
            }
        }
        if dropped == 0 {
            return Ok(());
        }
        let mut aside = self.path.clone().into_os_string();
        aside.push(".new");
        let mut file = File::create(&aside)?;
        file.write_all(&self.header)?;
        let mut old = File::open(&self.path)?;
        old.seek(SeekFrom::Start(self.header.len() as u64 + bytes))?;
        io::copy(&mut old.take(all), &mut file)?;
        // Whoever opens the file sees the one or the other, and each is whole.
        fs::rename(&aside, &self.path)?;
        self.file = file;
        self.segments.drain(..dropped);
        Ok(())
    }
}
