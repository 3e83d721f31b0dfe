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
    /// Only what is so long before and after a moment that [`Ring::keep`] names; `None` for all.
    pub(crate) around: Option<Duration>,
    /// A key frame comes after so many others at the latest.
    pub(crate) key_every: usize,
}

/// A key frame and the differences that follow it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    len: u64,
    /// When it begins, since the recording started.
    at: Duration,
    /// It stays until it is too old, or there is too much.
    is_kept: bool,
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
    /// Until when everything is kept.
    keep_until: Option<Duration>,
}

impl Ring {
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
        let (since_key, latest, keep_until) = (0, None, None);
        Ok(Self { path, file, limits, header, segments, since_key, latest, keep_until })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.header.len() as u64 + self.segments.iter().map(|segment| segment.len).sum::<u64>()
    }

    /// Whether the next frame begins a segment, and so has to stand by itself.
    pub(crate) fn is_key_next(&self) -> bool {
        let full = |segment: &Segment| segment.len >= self.limits.size / Self::PARTS;
        self.since_key.is_multiple_of(self.limits.key_every.max(1))
            || self.segments.back().is_some_and(full)
    }

    /// Appends a sample.
    pub(crate) fn append(&mut self, frame: Frame) -> io::Result<()> {
        if self.is_key_next() {
            self.latest = None;
            self.since_key = 0;
            self.make_room(frame.at)?;
            let is_kept = self.limits.around.is_none()
                || self.keep_until.is_some_and(|until| frame.at <= until);
            self.segments.push_back(Segment { len: 0, at: frame.at, is_kept });
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

    /// Something happened at this moment: what is around it stays.
    pub(crate) fn keep(&mut self, now: Duration) {
        let Some(around) = self.limits.around else { return };
        let from = now.saturating_sub(around);
        self.keep_until = Some(now + around);
        for at in 0..self.segments.len() {
            let end = self.segments.get(at + 1).map_or(now, |next| next.at);
            self.segments[at].is_kept |= end > from;
        }
    }

    /// Ends the recording: nothing is left but what is kept.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let dropped: Vec<bool> = self.segments.iter().map(|segment| !segment.is_kept).collect();
        self.drop_segments(&dropped)
    }

    /// Drops the oldest segments when there is too much: at least half of the size, or a quarter of
    /// all, because what is kept is written once more.
    fn make_room(&mut self, now: Duration) -> io::Result<()> {
        let all = self.len();
        // A segment is too old when the next one begins too early.
        let is_before = |at: usize, age: Duration| {
            self.segments.get(at + 1).is_some_and(|next| next.at + age < now)
        };
        let useless = |at: usize| {
            let around = self.limits.around.unwrap_or(self.limits.time);
            let age = if self.segments[at].is_kept { self.limits.time } else { around };
            is_before(at, age)
        };
        let mut dropped: Vec<bool> = (0..self.segments.len()).map(useless).collect();
        let len = |dropped: &[bool]| -> u64 {
            let each = self.segments.iter().zip(dropped);
            each.filter(|(_, is_dropped)| **is_dropped).map(|(segment, _)| segment.len).sum()
        };
        if len(&dropped) < all / 4 {
            dropped.fill(false);
        }
        if all > self.limits.size {
            for at in 0..dropped.len() {
                dropped[at] |= all - len(&dropped) > self.limits.size / 2;
            }
        }
        self.drop_segments(&dropped)
    }

    /// Writes the file once more, without these segments.
    fn drop_segments(&mut self, dropped: &[bool]) -> io::Result<()> {
        if !dropped.contains(&true) {
            return Ok(());
        }
        let mut aside = self.path.clone().into_os_string();
        aside.push(".new");
        let mut file = File::create(&aside)?;
        file.write_all(&self.header)?;
        let mut old = File::open(&self.path)?;
        let mut offset = self.header.len() as u64;
        for (segment, is_dropped) in self.segments.iter().zip(dropped) {
            if !is_dropped {
                old.seek(SeekFrom::Start(offset))?;
                io::copy(&mut (&mut old).take(segment.len), &mut file)?;
            }
            offset += segment.len;
        }
        // Whoever opens the file sees the one or the other, and each is whole.
        fs::rename(&aside, &self.path)?;
        self.file = file;
        let mut stays = dropped.iter().map(|is_dropped| !is_dropped);
        self.segments.retain(|_| stays.next().unwrap_or(true));
        Ok(())
    }
}
