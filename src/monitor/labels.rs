//! Attribute sets in all the forms in which metrics report them.

use std::sync::OnceLock;

use opentelemetry::KeyValue;

use super::attributes::Attributes;
use crate::metric::{PARTS, key, part_attribute};
use crate::state::State;

/// Room for every named state and one for all unknown ones.
pub(crate) const STATES: usize = 12;

/// The place of a state in per-state arrays.
pub(crate) fn state_rank(state: State) -> usize {
    match state {
        State::Unknown(_) => 0,
        known => usize::from(known.number()),
    }
}

/// An attribute set in all the forms in which metrics report it, each built once.
#[derive(Debug)]
pub(crate) struct Labels {
    pub(crate) plain: Attributes,
    parts: [OnceLock<Attributes>; PARTS],
    states: OnceLock<Vec<Attributes>>,
}

impl Labels {
    pub(crate) fn new(plain: Attributes) -> Self {
        Self { plain, parts: [const { OnceLock::new() }; PARTS], states: OnceLock::new() }
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
            let text = |rank| State::from(rank as u8).text().unwrap_or("unknown");
            let label = |rank| self.plain.with([KeyValue::new(key::CONNECTION_STATE, text(rank))]);
            (0..STATES).map(label).collect()
        });
        states[rank].as_slice()
    }
}
