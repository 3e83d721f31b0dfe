//! A page that is being written: one sweep, turned into text a chunk at a time.
//!
//! It holds no lock. What it holds is the snapshot, which nobody copies, and the numbers of the
//! groups' histograms.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::PageFormat;
use super::family::{Families, Family, HistogramNames};
use super::labels::push_label;
use super::number::{push_float, push_seconds, push_value};
use crate::histogram::{GroupHistograms, Histogram};
use crate::info::FieldValue;
use crate::metric::key;
use crate::monitor::{LabelText, Snapshot, label};
use crate::report::{Mark, Rows};

/// A chunk is full when it has so many bytes. It is larger by what one row has.
const CHUNK: usize = 64 * 1024;
/// Room for a chunk and for one row of common length.
const ROOM: usize = CHUNK + 4 * 1024;

/// One page on its way to a reader.
#[derive(Debug)]
pub(super) struct Writing {
    families: Arc<Families>,
    /// What is shown; `None` if the monitor is gone.
    shown: Option<Shown>,
    /// The family that comes next, and of it the row.
    next: (usize, usize),
    /// Whether the head of the family is written.
    headed: bool,
    is_done: bool,
    chunk: Vec<u8>,
}

/// What one sweep gave.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) snapshot: Arc<Snapshot>,
    /// For the groups of the snapshot.
    pub(super) groups: Vec<LabelText>,
    pub(super) histograms: Vec<Arc<GroupHistograms>>,
    /// For the sockets of the snapshot.
    pub(super) sockets: Vec<LabelText>,
    pub(super) sweeps: Histogram,
}

impl Writing {
    pub(super) fn new(families: Arc<Families>, shown: Option<Shown>) -> Self {
        Self {
            families,
            shown,
            next: (0, 0),
            headed: false,
            is_done: false,
            chunk: Vec::with_capacity(ROOM),
        }
    }

    /// The next chunk; `None` after the last.
    pub(super) fn next_chunk(&mut self) -> Option<&[u8]> {
        if self.is_done {
            return None;
        }
        self.chunk.clear();
        self.fill();
        (!self.chunk.is_empty()).then_some(&*self.chunk)
    }

    /// The same for the caller to keep.
    #[cfg(feature = "axum")]
    pub(super) fn take_chunk(&mut self) -> Option<Vec<u8>> {
        self.next_chunk()?;
        let room = if self.is_done { 0 } else { ROOM };
        Some(std::mem::replace(&mut self.chunk, Vec::with_capacity(room)))
    }

    fn fill(&mut self) {
        let Self { families, shown, next: (next, row), headed, is_done, chunk } = self;
        if let Some(shown) = shown {
            if (*next, *row) == (0, 0) {
                chunk.extend_from_slice(families.target.as_bytes());
            }
            while let Some(family) = families.all.get(*next) {
                let lines = Lines { families, family, headed, chunk };
                match lines.write(shown, *row) {
                    Some(rest) => {
                        *row = rest;
                        return;
                    }
                    None => {
                        (*next, *row, *headed) = (*next + 1, 0, false);
                    }
                }
            }
        }
        if families.format == PageFormat::OpenMetrics {
            chunk.extend_from_slice(b"# EOF\n");
        }
        *is_done = true;
    }
}

/// The lines of one family.
struct Lines<'w> {
    families: &'w Families,
    family: &'w Family,
    headed: &'w mut bool,
    chunk: &'w mut Vec<u8>,
}

impl Lines<'_> {
    /// Writes rows from this one on, until the chunk is full. Returns the row that comes next, or
    /// `None` after the last.
    fn write(mut self, shown: &Shown, row: usize) -> Option<usize> {
        let Shown { snapshot, groups, histograms, sockets, sweeps } = shown;
        let report = self.family.report;
        match (report.rows(), &self.family.histogram) {
            (Rows::Sockets, _) => self.rows(row, sockets.len(), |lines, row| {
                report.of_socket(&snapshot.sockets[row], |value, mark| {
                    lines.sample(&sockets[row], mark, value);
                });
            }),
            (Rows::Groups, _) => self.rows(row, groups.len(), |lines, row| {
                let group = &snapshot.groups[row];
                report.of_group(group, |value, mark| {
                    lines.sample(&groups[row], mark, value);
                    lines.created(&groups[row], mark, group.since);
                });
            }),
            (Rows::Samples, Some(names)) => self.rows(row, groups.len(), |lines, row| {
                let histograms = &histograms[row];
                if let Some(histogram) = &histograms.all[names.place] {
                    lines.histogram(&groups[row].text, names, histogram);
                    lines.created(&groups[row], Mark::None, histograms.since);
                }
            }),
            (Rows::Sweeps, Some(names)) => {
                self.histogram("", names, sweeps);
                None
            }
            (Rows::Monitor, _) => {
                if let Some(value) = report.of_monitor(&snapshot.monitor) {
                    self.line(&self.family.name, "", "", value);
                }
                None
            }
            (Rows::Errors, _) => {
                for (kind, count) in &snapshot.monitor.read_errors {
                    let mut text = String::new();
                    push_label(&mut text, &label(key::ERROR_TYPE).collect::<String>(), kind);
                    self.line(&self.family.name, &text, "", FieldValue::Integer(*count));
                }
                None
            }
            (Rows::Samples | Rows::Sweeps, None) => None,
        }
    }

    #[inline]
    fn rows(
        &mut self,
        from: usize,
        to: usize,
        mut write: impl FnMut(&mut Self, usize),
    ) -> Option<usize> {
        for row in from..to {
            if self.chunk.len() >= CHUNK {
                return Some(row);
            }
            write(self, row);
        }
        None
    }

    /// Writes the head before the family's first sample: a family without samples has none.
    #[inline]
    fn begin(&mut self) {
        if !*self.headed {
            *self.headed = true;
            self.chunk.extend_from_slice(self.family.head.as_bytes());
        }
    }

    /// A sample of a group or a socket.
    #[inline]
    fn sample(&mut self, labels: &LabelText, mark: Mark, value: FieldValue) {
        self.begin();
        let name = &self.family.name;
        let scope = &self.families.scope;
        if mark == Mark::None && !labels.text.is_empty() && !scope.is_empty() {
            // Nearly all lines of a large page are these.
            let chunk = &mut *self.chunk;
            chunk.extend_from_slice(name.as_bytes());
            chunk.push(b'{');
            chunk.extend_from_slice(labels.text.as_bytes());
            chunk.push(b',');
            chunk.extend_from_slice(scope.as_bytes());
            chunk.extend_from_slice(b"} ");
            push_value(chunk, value);
            chunk.push(b'\n');
        } else {
            self.marked(name, labels, mark, |chunk| push_value(chunk, value));
        }
    }

    /// When the series began, where the format says it.
    fn created(&mut self, labels: &LabelText, mark: Mark, since: SystemTime) {
        if let Some(name) = &self.family.created {
            // A clock before 1970 says nothing.
            let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
            self.marked(name, labels, mark, |chunk| push_seconds(chunk, since));
        }
    }

    fn marked(
        &mut self,
        name: &str,
        labels: &LabelText,
        mark: Mark,
        number: impl FnOnce(&mut Vec<u8>),
    ) {
        let text = &*labels.text;
        let mark = self.families.marks.get(mark);
        let place = mark.map_or(text.len(), |mark| labels.places[mark.place] as usize);
        let (before, after) = text.split_at(place);
        let mark = mark.map_or("", |mark| &mark.text);
        self.open(name, [before.strip_suffix(',').unwrap_or(before), mark, after, ""]);
        number(self.chunk);
        self.chunk.push(b'\n');
    }

    /// A sample with these labels, of which the last stands behind those of the scope.
    fn line(&mut self, name: &str, labels: &str, last: &str, value: FieldValue) {
        self.begin();
        self.open(name, [labels, "", "", last]);
        push_value(self.chunk, value);
        self.chunk.push(b'\n');
    }

    fn histogram(&mut self, labels: &str, names: &HistogramNames, histogram: &Histogram) {
        let mut count = 0;
        for (bucket, bound) in histogram.buckets.iter().zip(&names.bounds) {
            count += bucket;
            self.line(&names.bucket, labels, bound, FieldValue::Integer(count));
        }
        self.open(&names.sum, [labels, "", "", ""]);
        push_float(self.chunk, histogram.sum);
        self.chunk.push(b'\n');
        self.line(&names.count, labels, "", FieldValue::Integer(count));
    }

    /// Everything of a line before its number: the name and labels, with those of the scope before
    /// the last.
    #[inline]
    fn open(&mut self, name: &str, labels: [&str; 4]) {
        let chunk = &mut *self.chunk;
        chunk.extend_from_slice(name.as_bytes());
        let mut separator = b'{';
        let [first, mark, after, last] = labels;
        for label in [first, mark, after, &self.families.scope, last] {
            if !label.is_empty() {
                chunk.push(separator);
                chunk.extend_from_slice(label.as_bytes());
                separator = b',';
            }
        }
        if separator == b',' {
            chunk.push(b'}');
        }
        chunk.push(b' ');
    }
}
