//! Attributes as labels: names and order as the OpenTelemetry bridge to Prometheus has them.

use std::fmt::Write;

use opentelemetry::KeyValue;

use crate::metric::key;
use crate::monitor::{Attributes, LabelText, label};

/// The attributes of a group or a socket as labels.
pub(super) fn label_text(attributes: &Attributes) -> LabelText {
    let mut text = String::new();
    let mut places = key::MARKS.map(|_| None);
    for (name, value) in labels(attributes.as_slice()) {
        for (place, mark) in places.iter_mut().zip(key::MARKS) {
            if place.is_none() && name.chars().gt(label(mark)) {
                *place = Some(text.len() + usize::from(!text.is_empty()));
            }
        }
        push_label(&mut text, &name, &value);
    }
    // Text beyond 4 GiB does not come from a program that runs.
    let places = places.map(|place| place.unwrap_or(text.len()) as u32);
    LabelText { text: text.into(), places }
}

/// Names and values, in the order of the names. Of attributes whose names are equal as labels the
/// values are joined by `;`, in the order of the attributes' own names.
pub(super) fn labels(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let mut named: Vec<(String, &KeyValue)> =
        attributes.iter().map(|kv| (label(kv.key.as_str()).collect(), kv)).collect();
    named.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.key.as_str().cmp(y.key.as_str())));
    let mut labels: Vec<(String, String)> = Vec::with_capacity(named.len());
    for (name, kv) in named {
        match labels.last_mut() {
            Some((last, value)) if *last == name => {
                write!(value, ";{}", kv.value).expect("text takes all");
            }
            _ => labels.push((name, kv.value.to_string())),
        }
    }
    labels
}

/// Appends a label, after a comma unless it is the first.
pub(super) fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// The label of a mark, and its place in [`LabelText`].
#[derive(Debug)]
pub(super) struct MarkText {
    pub(super) text: String,
    pub(super) place: usize,
}

impl MarkText {
    pub(super) fn new(key: &str, value: &str) -> Self {
        let mut text = String::new();
        push_label(&mut text, &label(key).collect::<String>(), value);
        let place = key::MARKS.iter().position(|mark| *mark == key);
        Self { text, place: place.expect("MARKS has the key of every mark") }
    }
}
