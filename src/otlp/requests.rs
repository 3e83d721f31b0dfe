//! The requests of one sweep: as many points in each as its receiver takes.
//!
//! ```text
//! ExportMetricsServiceRequest
//!   1 ResourceMetrics         1 resource
//!     2 ScopeMetrics          1 scope
//!       2 Metric              1 name  2 description  3 unit
//!         5 Gauge             1 NumberDataPoint ..
//!         7 Sum               1 NumberDataPoint ..      2 temporality  3 is_monotonic
//!         9 Histogram         1 HistogramDataPoint ..   2 temporality
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::Value;

use super::attributes::{OF_NUMBER, encoded, push_attribute, push_for_histogram, push_framed};
use super::protobuf::{Open, bytes_tag, fixed_tag, push_fixed, push_packed};
use super::schema::{HistogramSchema, MetricSchema, Schema};
use crate::histogram::{GroupHistograms, Histogram};
use crate::info::FieldValue;
use crate::metric::key;
use crate::monitor::{Attributes, Labels, Snapshot};
use crate::report::Rows;

/// What lengths can add to a request that is closed, at most.
const CLOSING: usize = 64;

/// The metrics of one sweep, to be taken as one request after another: see
/// [`Otlp::requests`](super::Otlp::requests).
pub struct OtlpRequests {
    schema: Arc<Schema>,
    /// What is exported; `None` if the monitor is gone.
    shown: Option<Shown>,
    /// Bytes of the longest request.
    max: usize,
    /// The metric that comes next, and of it the row.
    next: (usize, usize),
}

/// What one sweep gave.
pub(super) struct Shown {
    pub(super) snapshot: Arc<Snapshot>,
    /// For the groups of the snapshot.
    pub(super) histograms: Vec<Arc<GroupHistograms>>,
    pub(super) sweeps: Histogram,
    /// Since when there are histograms.
    pub(super) since: SystemTime,
    /// Since when the monitor itself counts.
    pub(super) monitor_since: SystemTime,
}

impl OtlpRequests {
    pub(super) fn new(schema: Arc<Schema>, shown: Option<Shown>, max: usize) -> Self {
        Self { schema, shown, max, next: (0, 0) }
    }

    /// Writes the next request in place of what the buffer has. Returns whether there was one: at
    /// the end the buffer is empty.
    ///
    /// Keep the buffer: from then on a request allocates nothing for it.
    pub fn next_request(&mut self, body: &mut Vec<u8>) -> bool {
        body.clear();
        let Some(shown) = &self.shown else { return false };
        let limit = self.max.saturating_sub(CLOSING);
        let request = Open::begin(body, 1);
        body.extend_from_slice(&self.schema.resource);
        let scope = Open::begin(body, 2);
        body.extend_from_slice(&self.schema.scope);
        let empty = body.len();
        let time = nanos(shown.snapshot.ended());
        let (next, row) = &mut self.next;
        while let Some(metric) = self.schema.metrics.get(*next) {
            let before = body.len();
            let message = Open::begin(body, 2);
            body.extend_from_slice(&metric.head);
            let data = Open::begin(body, metric.data);
            let first = body.len();
            let points = Points {
                schema: &self.schema,
                metric,
                time,
                limit,
                first,
                is_first: before == empty,
            };
            let rest = points.write(body, shown, *row);
            if body.len() == first {
                body.truncate(before);
            } else {
                body.extend_from_slice(&metric.tail);
                data.end(body);
                message.end(body);
            }
            if let Some(rest) = rest {
                *row = rest;
                break;
            }
            (*next, *row) = (*next + 1, 0);
        }
        if body.len() == empty {
            body.clear();
            return false;
        }
        scope.end(body);
        request.end(body);
        true
    }
}

impl fmt::Debug for OtlpRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpRequests").field("max", &self.max).finish_non_exhaustive()
    }
}

/// The points of one metric in one request.
#[derive(Clone, Copy)]
struct Points<'r> {
    schema: &'r Schema,
    metric: &'r MetricSchema,
    /// When what is shown was so.
    time: u64,
    limit: usize,
    /// Where its points begin.
    first: usize,
    /// Whether the request has no metric before this one.
    is_first: bool,
}

impl Points<'_> {
    /// Writes rows from this one on, until the request is full. Returns the row that comes next, or
    /// `None` after the last.
    fn write(&self, body: &mut Vec<u8>, shown: &Shown, row: usize) -> Option<usize> {
        let Shown { snapshot, histograms, sweeps, since, monitor_since } = shown;
        let (groups, sockets) = (&snapshot.groups, &snapshot.sockets);
        let report = self.metric.report;
        match (report.rows(), &self.metric.histogram) {
            (Rows::Sockets, _) => self.rows(body, row, sockets.len(), |body, row| {
                let socket = &sockets[row];
                report.of_socket(socket, |value, mark| {
                    let mark = self.schema.marks.get(mark).map_or(&[][..], |mark| mark);
                    self.number(body, socket.since, value, [of(&socket.labels), mark]);
                });
            }),
            (Rows::Groups, _) => self.rows(body, row, groups.len(), |body, row| {
                let group = &groups[row];
                report.of_group(group, |value, mark| {
                    let mark = self.schema.marks.get(mark).map_or(&[][..], |mark| mark);
                    self.number(body, group.since, value, [of(&group.labels), mark]);
                });
            }),
            (Rows::Samples, Some(schema)) => self.rows(body, row, groups.len(), |body, row| {
                let histograms = &histograms[row];
                if let Some(histogram) = &histograms.all[schema.place] {
                    let attributes = of(&groups[row].labels);
                    self.histogram(body, histograms.since, schema, histogram, attributes);
                }
            }),
            (Rows::Sweeps, Some(schema)) => self.rows(body, row, 1, |body, _| {
                self.histogram(body, *since, schema, sweeps, &[]);
            }),
            (Rows::Monitor, _) => self.rows(body, row, 1, |body, _| {
                if let Some(value) = report.of_monitor(&snapshot.monitor) {
                    self.number(body, *monitor_since, value, [&[], &[]]);
                }
            }),
            (Rows::Errors, _) => {
                let errors = &snapshot.monitor.read_errors;
                self.rows(body, row, errors.len(), |body, row| {
                    let (kind, count) = errors[row];
                    let mut attribute = Vec::new();
                    push_attribute(&mut attribute, OF_NUMBER, key::ERROR_TYPE, &Value::from(kind));
                    let count = FieldValue::Integer(count);
                    self.number(body, *monitor_since, count, [&attribute, &[]]);
                })
            }
            (Rows::Samples | Rows::Sweeps, None) => None,
        }
    }

    /// Writes one row after another. One that makes the request too long is taken back, unless the
    /// request has nothing else.
    #[inline]
    fn rows(
        &self,
        body: &mut Vec<u8>,
        from: usize,
        to: usize,
        mut write: impl FnMut(&mut Vec<u8>, usize),
    ) -> Option<usize> {
        for row in from..to {
            let before = body.len();
            write(body, row);
            let is_alone = before == self.first && self.is_first;
            if body.len() > self.limit && !is_alone {
                body.truncate(before);
                return Some(row);
            }
        }
        None
    }

    /// A point of a gauge or a sum.
    #[inline]
    fn number(
        &self,
        body: &mut Vec<u8>,
        since: SystemTime,
        value: FieldValue,
        [attributes, mark]: [&[u8]; 2],
    ) {
        let mut room = [0; 27];
        let numbers = match self.metric.has_start {
            true => {
                room[0] = fixed_tag(2);
                room[1..9].copy_from_slice(&self.start(since).to_le_bytes());
                &mut room[..]
            }
            false => &mut room[9..],
        };
        let at = numbers.len() - 18;
        let (tag, bits) = bits(value);
        numbers[at] = fixed_tag(3);
        numbers[at + 1..at + 9].copy_from_slice(&self.time.to_le_bytes());
        numbers[at + 9] = tag;
        numbers[at + 10..].copy_from_slice(&bits.to_le_bytes());
        body.push(bytes_tag(1));
        push_framed(body, [numbers, attributes, mark]);
    }

    fn histogram(
        &self,
        body: &mut Vec<u8>,
        since: SystemTime,
        schema: &HistogramSchema,
        histogram: &Histogram,
        attributes: &[u8],
    ) {
        let point = Open::begin(body, 1);
        push_fixed(body, 2, self.start(since));
        push_fixed(body, 3, self.time);
        push_fixed(body, 4, histogram.buckets.iter().sum());
        push_fixed(body, 5, histogram.sum.to_bits());
        push_packed(body, 6, histogram.buckets.iter().copied());
        body.extend_from_slice(&schema.bounds);
        push_fixed(body, 11, histogram.min.to_bits());
        push_fixed(body, 12, histogram.max.to_bits());
        push_for_histogram(body, attributes);
        point.end(body);
    }

    /// Since when a series counts. A clock that was put back meanwhile does not make that later
    /// than the point.
    fn start(&self, since: SystemTime) -> u64 {
        nanos(since).min(self.time)
    }
}

/// The attributes of a group or a socket.
#[inline]
fn of(labels: &Labels) -> &[u8] {
    labels.encoded(|attributes: &Attributes| encoded(OF_NUMBER, attributes.as_slice()).into())
}

/// A value as the field `as_int` or `as_double`: tag and bits.
#[inline]
fn bits(value: FieldValue) -> (u8, u64) {
    const AS_DOUBLE: u8 = fixed_tag(4);
    const AS_INT: u8 = fixed_tag(6);
    match value {
        FieldValue::Integer(integer) if integer <= i64::MAX as u64 => (AS_INT, integer),
        other => (AS_DOUBLE, other.as_f64().unwrap_or(f64::NAN).to_bits()),
    }
}

/// Nanoseconds since 1970; a clock before that says nothing.
fn nanos(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
