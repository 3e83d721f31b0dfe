//! One metric: its name, its instrument, and what it reports.

use std::borrow::Cow;

use super::shared::Parts;
use crate::info::Field;

/// The OpenTelemetry instrument of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstrumentKind {
    /// A sum that never falls.
    Counter,
    /// A sum that rises and falls.
    UpDownCounter,
    /// A value of which sums mean nothing.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric that the crate can export.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its full name, such as `tcp.data.sent`.
    pub name: Cow<'static, str>,
    /// Its instrument.
    pub instrument: InstrumentKind,
    /// UCUM unit.
    pub unit: &'static str,
    /// What it is, in a sentence or two.
    pub description: &'static str,
    /// Names of the attributes it has beside those of the group or the socket.
    pub attributes: &'static [&'static str],
    /// The fields it is made of; none where the monitor itself counts.
    pub fields: Vec<&'static Field>,
    /// Upper bounds of a histogram's buckets.
    pub boundaries: &'static [f64],
    pub(crate) report: Report,
}

/// What a metric reports of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    /// A field of every group.
    Group(&'static Field),
    /// The parts of a shared metric, of every group.
    GroupParts(Parts),
    /// A field of every socket reported by itself.
    Socket(&'static Field),
    SocketParts(Parts),
    /// The samples of a field, of every group.
    Samples(&'static Field),
    /// The samples of round-trip time above its minimum.
    QueueingDelay,
    /// The age of connections that ended.
    Duration,
    /// Connections by state.
    States,
    /// Connections by what limits them.
    Verdicts,
    Opened,
    Closed,
    Watched,
    Discovered,
    EventOverruns,
    ReadErrors,
    Folded,
    SweepDuration,
}

impl Metric {
    /// Whether it is a histogram of samples of connections.
    pub(crate) fn is_of_samples(&self) -> bool {
        self.instrument == InstrumentKind::Histogram
            && !matches!(self.report, Report::SweepDuration)
    }

    /// Whether its values are times, in seconds as floating point.
    pub(crate) fn is_time(&self) -> bool {
        self.unit == "s"
    }
}
