//! Metrics that several fields share, told apart by an attribute.

use super::key;
use crate::info::{FIELDS, Field, FieldValue};

/// A metric that several fields share.
pub(super) struct Shared {
    stem: &'static str,
    /// The attribute that tells the parts apart.
    pub(super) attribute: &'static [&'static str],
    pub(super) description: &'static str,
}

impl Shared {
    pub(super) fn of(stem: &str) -> Option<&'static Self> {
        SHARED.iter().find(|shared| shared.stem == stem)
    }
}

const SHARED: &[Shared] = &[
    Shared {
        stem: "busy.time",
        attribute: &[key::LIMITED_BY],
        description: "Time with data outstanding or waiting, by what limited the sender. \
                      A multiple of the kernel's tick.",
    },
    Shared {
        stem: "ecn.data.delivered",
        attribute: &[key::ECN_CODEPOINT],
        description: "Payload bytes of ours that arrived with an ECN codepoint, as the peer \
                      reports by AccECN.",
    },
    Shared {
        stem: "ecn.data.received",
        attribute: &[key::ECN_CODEPOINT],
        description: "Payload bytes received with an ECN codepoint.",
    },
];

/// How many fields are parts of shared metrics.
pub(crate) const PARTS: usize = {
    let (mut row, mut parts) = (0, 0);
    while row < FIELDS.len() {
        parts += FIELDS[row].part.is_some() as usize;
        row += 1;
    }
    parts
};

/// Fields that are parts of shared metrics.
fn part_fields() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(|field| field.part.is_some())
}

/// The attribute of every part, name and value, in the table's order.
pub(super) fn attributes() -> impl Iterator<Item = (&'static str, &'static str)> {
    part_fields()
        .filter_map(|field| Some((Shared::of(field.stem?)?.attribute[0], field.part?.value)))
}

/// The attribute of one part.
pub(crate) fn part_attribute(part: usize) -> (&'static str, &'static str) {
    attributes().nth(part).expect("every part of the table is of a shared metric")
}

/// The parts of one shared metric: bit `i` stands for the `i`th part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts(u32);

impl Parts {
    /// The chosen parts. Where one is the rest of the others, choosing one chooses all.
    pub(super) fn of(stem: &str, choose: &dyn Fn(&Field) -> bool) -> Self {
        let of_stem = || part_fields().enumerate().filter(|(_, field)| field.stem == Some(stem));
        let whole = of_stem().any(|(_, field)| field.part.is_some_and(|part| part.is_rest));
        let chosen = of_stem().filter(|(_, field)| whole || choose(field));
        Self(chosen.fold(0, |bits, (part, _)| bits | 1 << part))
    }

    /// The fields, each with its place among all parts.
    pub(super) fn fields(self) -> impl Iterator<Item = (usize, &'static Field)> {
        part_fields().enumerate().filter(move |(part, _)| self.0 >> part & 1 != 0)
    }

    /// Gives the value of each part that is present. The rest of a whole that is absent is absent.
    pub(crate) fn each(
        self,
        get: impl Fn(&Field) -> Option<FieldValue>,
        mut emit: impl FnMut(usize, FieldValue),
    ) {
        let mut rest = None;
        for (place, field) in self.fields() {
            let is_rest = field.part.is_some_and(|part| part.is_rest);
            match (get(field), &mut rest) {
                (Some(FieldValue::Duration(whole)), _) if is_rest => rest = Some((place, whole)),
                // Parts without their whole would not sum to it.
                (None, _) if is_rest => return,
                (Some(value), rest) => {
                    if let (FieldValue::Duration(part), Some((_, left))) = (value, rest) {
                        *left = left.saturating_sub(part);
                    }
                    emit(place, value);
                }
                (None, _) => {}
            }
        }
        if let Some((place, rest)) = rest {
            emit(place, FieldValue::Duration(rest));
        }
    }
}
