//! What a metric reports of a snapshot, one row at a time: for the instruments and for the page.

use opentelemetry::KeyValue;

use crate::info::FieldValue;
use crate::metric::{PARTS, Report, key, part_attribute};
use crate::monitor::{GroupSnapshot, Labels, MonitorSnapshot, STATES, SocketSnapshot, state_text};
use crate::verdict::Cause;

/// What tells the values of one row apart, beside the row's own attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: there is one value.
    None,
    /// A part of a shared metric, by its place among all parts.
    Part(usize),
    /// A state, by its rank.
    State(usize),
    /// A cause.
    Cause(Cause),
}

impl Mark {
    /// The attributes of the row with those of the mark.
    pub(crate) fn attributes(self, labels: &Labels) -> &[KeyValue] {
        match self {
            Self::None => labels.plain.as_slice(),
            Self::Part(part) => labels.part(part),
            Self::State(rank) => labels.state(rank),
            Self::Cause(cause) => labels.cause(cause),
        }
    }
}

/// The attribute of each mark, in the form of one exporter.
#[derive(Clone, Debug)]
pub(crate) struct Marks<T> {
    parts: Vec<T>,
    states: Vec<T>,
    causes: Vec<T>,
}

impl<T> Marks<T> {
    /// Makes the form of each from key and value.
    pub(crate) fn new(make: impl Fn(&'static str, &'static str) -> T) -> Self {
        let part = |part| {
            let (key, value) = part_attribute(part);
            make(key, value)
        };
        let state = |rank| make(key::CONNECTION_STATE, state_text(rank));
        let cause = |cause: Cause| make(key::VERDICT, cause.text());
        Self {
            parts: (0..PARTS).map(part).collect(),
            states: (0..STATES).map(state).collect(),
            causes: Cause::ALL.map(cause).into(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, mark: Mark) -> Option<&T> {
        match mark {
            Mark::None => None,
            Mark::Part(part) => Some(&self.parts[part]),
            Mark::State(rank) => Some(&self.states[rank]),
            Mark::Cause(cause) => Some(&self.causes[cause as usize]),
        }
    }
}

/// What a metric has its rows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Groups,
    Sockets,
    /// The monitor itself, without attributes.
    Monitor,
    /// The monitor's failed reads, by error.
    Errors,
    /// The samples of groups: histograms.
    Samples,
    /// The sweeps: one histogram.
    Sweeps,
}

impl Report {
    pub(crate) fn rows(self) -> Rows {
        match self {
            Self::Group(_)
            | Self::GroupParts(_)
            | Self::States
            | Self::Verdicts
            | Self::Opened
            | Self::Closed => Rows::Groups,
            Self::Socket(_) | Self::SocketParts(_) => Rows::Sockets,
            Self::Watched | Self::Discovered | Self::EventOverruns | Self::Folded => Rows::Monitor,
            Self::ReadErrors => Rows::Errors,
            Self::Samples(_) | Self::QueueingDelay | Self::Duration => Rows::Samples,
            Self::SweepDuration => Rows::Sweeps,
        }
    }

    /// Gives the values of a group.
    pub(crate) fn of_group(self, group: &GroupSnapshot, mut emit: impl FnMut(FieldValue, Mark)) {
        match self {
            Self::Group(field) => {
                if let Some(value) = group.get(field) {
                    emit(value, Mark::None);
                }
            }
            Self::GroupParts(parts) => {
                parts.each(|field| group.get(field), |part, value| emit(value, Mark::Part(part)));
            }
            Self::States => {
                for (rank, count) in group.state_ranks() {
                    emit(FieldValue::Integer(count), Mark::State(rank));
                }
            }
            Self::Verdicts => {
                for (cause, count) in group.verdicts() {
                    emit(FieldValue::Integer(count), Mark::Cause(cause));
                }
            }
            Self::Opened => emit(FieldValue::Integer(group.opened), Mark::None),
            Self::Closed => emit(FieldValue::Integer(group.closed), Mark::None),
            _ => {}
        }
    }

    /// Gives the values of a socket.
    #[inline]
    pub(crate) fn of_socket(self, socket: &SocketSnapshot, mut emit: impl FnMut(FieldValue, Mark)) {
        match self {
            Self::Socket(field) => {
                if let Some(value) = socket.get(field) {
                    emit(value, Mark::None);
                }
            }
            Self::SocketParts(parts) => {
                parts.each(|field| socket.get(field), |part, value| emit(value, Mark::Part(part)));
            }
            _ => {}
        }
    }

    /// The one value of the monitor.
    pub(crate) fn of_monitor(self, monitor: &MonitorSnapshot) -> Option<FieldValue> {
        let count = match self {
            Self::Watched => monitor.watched,
            // Absent where nothing was ever discovered.
            Self::Discovered | Self::EventOverruns if !monitor.was_discovered => return None,
            Self::Discovered => monitor.discovered,
            Self::EventOverruns => monitor.event_overruns,
            Self::Folded => monitor.folded,
            _ => return None,
        };
        Some(FieldValue::Integer(count))
    }
}
