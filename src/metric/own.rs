//! The second table: metrics that no single field gives, and the bounds of histograms.

use super::instrument::{InstrumentKind, Metric, Report};
use super::key;
use crate::info::{Field, Row};

/// A metric that no single field gives.
pub(super) struct Own {
    name: &'static str,
    instrument: InstrumentKind,
    unit: &'static str,
    attributes: &'static [&'static str],
    /// Exported only if all of these are.
    needs: &'static [Row],
    boundaries: &'static [f64],
    report: Report,
    description: &'static str,
}

pub(super) fn own(rows: &'static [Own], choose: &dyn Fn(&Field) -> bool) -> Vec<Metric> {
    let chosen = rows.iter().filter(|own| own.needs.iter().all(|row| choose(row.field())));
    let metric = |own: &Own| Metric {
        name: own.name.into(),
        instrument: own.instrument,
        unit: own.unit,
        description: own.description,
        attributes: own.attributes,
        fields: own.needs.iter().map(|row| row.field()).collect(),
        boundaries: own.boundaries,
        report: own.report,
    };
    chosen.map(metric).collect()
}

/// A row of the second table, most of whose columns are empty most of the time.
const EMPTY: Own = Own {
    name: "",
    instrument: InstrumentKind::Counter,
    unit: "{connection}",
    attributes: &[],
    needs: &[],
    boundaries: &[],
    report: Report::Opened,
    description: "",
};

pub(super) const OWN_OF_GROUPS: &[Own] = &[
    Own {
        name: "tcp.connection.count",
        instrument: InstrumentKind::UpDownCounter,
        attributes: &[key::CONNECTION_STATE],
        needs: &[Row::state],
        report: Report::States,
        description: "Connections by state, listeners included.",
        ..EMPTY
    },
    Own {
        name: "tcp.connection.verdict",
        instrument: InstrumentKind::UpDownCounter,
        attributes: &[key::VERDICT],
        report: Report::Verdicts,
        description: "Connections by what limits them since the last sweep, listeners included.",
        ..EMPTY
    },
    Own {
        name: "tcp.connection.opened",
        report: Report::Opened,
        description: "Connections seen.",
        ..EMPTY
    },
    Own {
        name: "tcp.connection.closed",
        report: Report::Closed,
        description: "Connections seen that have ended.",
        ..EMPTY
    },
    Own {
        name: "tcp.connection.duration",
        instrument: InstrumentKind::Histogram,
        unit: "s",
        boundaries: &LIVES,
        report: Report::Duration,
        description: "Age of connections when they ended, a fair choice where many ended at once.",
        ..EMPTY
    },
    Own {
        name: "tcp.queueing_delay",
        instrument: InstrumentKind::Histogram,
        unit: "s",
        needs: &[Row::rtt, Row::min_rtt],
        boundaries: &TIMES,
        report: Report::QueueingDelay,
        description: "Round-trip time above its recent minimum: what queues add.",
        ..EMPTY
    },
];

pub(super) const OWN_OF_MONITOR: &[Own] = &[
    Own {
        name: "tcp.monitor.watched",
        instrument: InstrumentKind::UpDownCounter,
        unit: "{socket}",
        report: Report::Watched,
        description: "Sockets watched.",
        ..EMPTY
    },
    Own {
        name: "tcp.monitor.discovered",
        instrument: InstrumentKind::UpDownCounter,
        unit: "{socket}",
        report: Report::Discovered,
        description: "Sockets that the monitor found by itself, without those watched.",
        ..EMPTY
    },
    Own {
        name: "tcp.monitor.event.overruns",
        unit: "{overrun}",
        report: Report::EventOverruns,
        description: "How often the kernel dropped events of ended sockets, because the receive \
                      buffer was full.",
        ..EMPTY
    },
    Own {
        name: "tcp.monitor.read.errors",
        unit: "{error}",
        attributes: &[key::ERROR_TYPE],
        report: Report::ReadErrors,
        description: "Failed reads of watched sockets.",
        ..EMPTY
    },
    Own {
        name: "tcp.monitor.folded",
        unit: "{socket}",
        report: Report::Folded,
        description: "Sockets folded into an overflow set by a cap.",
        ..EMPTY
    },
    Own {
        name: "tcp.monitor.sweep.duration",
        instrument: InstrumentKind::Histogram,
        unit: "s",
        boundaries: &TIMES,
        report: Report::SweepDuration,
        description: "Time to read all watched sockets.",
        ..EMPTY
    },
];

/// Round trips, from a rack to the other side of a sleeping phone.
pub(super) const TIMES: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
/// From 80 kbit/s to 80 Gbit/s.
pub(super) const RATES: [f64; 13] =
    [1e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2.5e7, 1e8, 2.5e8, 1e9, 1e10];
pub(super) const SEGMENTS: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 10.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
/// From one request to a day.
const LIVES: [f64; 12] =
    [0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];
