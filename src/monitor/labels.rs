//! Attribute sets in all the forms in which metrics report them.

#[cfg(feature = "page")]
use std::sync::Arc;
use std::sync::OnceLock;

use opentelemetry::KeyValue;

use super::attributes::Attributes;
use crate::metric::{PARTS, key, part_attribute};
use crate::state::State;
use crate::verdict::Cause;

/// Room for every named state and one for all unknown ones.
pub(crate) const STATES: usize = 12;

/// The place of a state in per-state arrays.
pub(crate) fn state_rank(state: State) -> usize {
    match state {
        State::Unknown(_) => 0,
        known => usize::from(known.number()),
    }
}

/// What a state is called in attributes, by its rank.
pub(crate) fn state_text(rank: usize) -> &'static str {
    State::from(rank as u8).text().unwrap_or("unknown")
}

/// An attribute set as labels of a page for Prometheus.
#[cfg(feature = "page")]
#[derive(Clone, Debug)]
pub(crate) struct LabelText {
    /// `a="1",b="2"`, in the order of the names.
    pub(crate) text: Arc<str>,
    /// The byte before which each of [`MARKS`](key::MARKS) goes.
    pub(crate) places: [u32; key::MARKS.len()],
}

/// An attribute set in all the forms in which metrics report it, each built once.
#[derive(Debug)]
pub(crate) struct Labels {
    pub(crate) plain: Attributes,
    parts: [OnceLock<Attributes>; PARTS],
    states: OnceLock<Vec<Attributes>>,
    causes: OnceLock<Vec<Attributes>>,
    #[cfg(feature = "page")]
    text: OnceLock<LabelText>,
    #[cfg(feature = "otlp")]
    encoded: OnceLock<Box<[u8]>>,
}

impl Labels {
    pub(crate) fn new(plain: Attributes) -> Self {
        Self {
            plain,
            parts: [const { OnceLock::new() }; PARTS],
            states: OnceLock::new(),
            causes: OnceLock::new(),
            #[cfg(feature = "page")]
            text: OnceLock::new(),
            #[cfg(feature = "otlp")]
            encoded: OnceLock::new(),
        }
    }

    /// The set in the form of OTLP, which `encode` makes at the first use.
    #[cfg(feature = "otlp")]
    #[inline]
    pub(crate) fn encoded(&self, encode: impl FnOnce(&Attributes) -> Box<[u8]>) -> &[u8] {
        self.encoded.get_or_init(|| encode(&self.plain))
    }

    /// The set as text, which `write` makes at the first use.
    #[cfg(feature = "page")]
    pub(crate) fn text(&self, write: impl FnOnce(&Attributes) -> LabelText) -> &LabelText {
        self.text.get_or_init(|| write(&self.plain))
    }

    /// The set with the attribute of a part of a shared metric.
    pub(crate) fn part(&self, part: usize) -> &[KeyValue] {
        let labels = self.parts[part].get_or_init(|| {
            let (key, value) = part_attribute(part);
            self.plain.with([KeyValue::new(key, value)])
        });
        labels.as_slice()
    }

    /// The set with a state, by the state's rank.
    pub(crate) fn state(&self, rank: usize) -> &[KeyValue] {
        let states = self.states.get_or_init(|| {
            let label =
                |rank| self.plain.with([KeyValue::new(key::CONNECTION_STATE, state_text(rank))]);
            (0..STATES).map(label).collect()
        });
        states[rank].as_slice()
    }

    /// The set with a cause.
    pub(crate) fn cause(&self, cause: Cause) -> &[KeyValue] {
        let causes = self.causes.get_or_init(|| {
            let label = |cause: Cause| self.plain.with([KeyValue::new(key::VERDICT, cause.text())]);
            Cause::ALL.map(label).into()
        });
        causes[cause as usize].as_slice()
    }
}
