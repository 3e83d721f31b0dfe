//! The names of all that can be exported obey OpenTelemetry's rules and ours.

use std::collections::{BTreeMap, BTreeSet};

use tcpinfo::{InstrumentKind, metrics};

use super::rules::none;

/// Every metric and every attribute the crate can export.
fn names() -> (Vec<String>, BTreeSet<&'static str>) {
    let metrics = metrics();
    let attributes = metrics.iter().flat_map(|metric| metric.attributes.iter().copied());
    let attributes = attributes.chain(tcpinfo::ATTRIBUTES.iter().map(|attribute| attribute.name));
    let attributes = attributes.collect();
    (metrics.into_iter().map(|metric| metric.name.into_owned()).collect(), attributes)
}

/// The namespaces a name is in: `tcp` and `tcp.data` for `tcp.data.sent`.
fn namespaces(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[..at])
}

#[test]
fn no_name_is_the_namespace_of_another() {
    let (metrics, attributes) = names();
    let all: BTreeSet<&str> = metrics.iter().map(String::as_str).chain(attributes).collect();
    let nested = all.iter().flat_map(|name| namespaces(name).map(move |space| (space, name)));
    let nested = nested.filter(|(space, _)| all.contains(space));
    none(
        "No name is a namespace.",
        nested.map(|(space, name)| format!("{space} has {name} in it")),
    );
}

#[test]
fn no_name_is_used_twice() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for metric in metrics() {
        *count.entry(metric.name.into_owned()).or_default() += 1;
    }
    let twice = count.into_iter().filter(|(_, count)| *count > 1);
    none("Each metric has a name of its own.", twice.map(|(name, _)| name));
}

#[test]
fn namespaces_are_singular() {
    let (metrics, attributes) = names();
    let all: Vec<&str> = metrics.iter().map(String::as_str).chain(attributes).collect();
    let words = |space: &str| -> Vec<String> {
        space.split(['.', '_']).filter(|word| word.ends_with('s')).map(str::to_owned).collect()
    };
    let spaces = all.iter().flat_map(|name| namespaces(name)).collect::<BTreeSet<_>>();
    let plural = spaces.into_iter().filter(|space| !words(space).is_empty());
    none("A namespace is singular.", plural.map(str::to_owned));
}

#[test]
fn names_are_words_joined_by_dots_and_underscores() {
    let (metrics, attributes) = names();
    let wrong = |name: &&str| {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
        !name.bytes().all(letter)
            || name.split(['.', '_']).any(str::is_empty)
            || !name.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let all = metrics.iter().map(String::as_str).chain(attributes);
    none("Lower case; dots nest, underscores join.", all.filter(wrong).map(str::to_owned));
}

#[test]
fn no_name_says_a_unit_or_total() {
    const UNITS: [&str; 16] = [
        "byte", "bytes", "bit", "bits", "second", "seconds", "ms", "us", "ns", "millis", "micros",
        "total", "percent", "ratio", "bps", "kb",
    ];
    let (metrics, attributes) = names();
    let all = metrics.iter().map(String::as_str).chain(attributes);
    let wrong = all.filter(|name| name.split(['.', '_']).any(|word| UNITS.contains(&word)));
    none("The unit and `total` are the exporter's to say.", wrong.map(str::to_owned));
}

#[test]
fn units_are_of_ucum() {
    let known = |unit: &str| {
        let braces = unit.strip_prefix('{').and_then(|unit| unit.strip_suffix('}'));
        ["s", "By", "By/s"].contains(&unit)
            || braces.is_some_and(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
    };
    let wrong = metrics().into_iter().filter(|metric| !known(metric.unit));
    none("Units are UCUM.", wrong.map(|metric| format!("{}: {}", metric.name, metric.unit)));
}

#[test]
fn both_families_use_the_same_stems() {
    let metrics = metrics();
    let all: BTreeMap<&str, _> = metrics.iter().map(|metric| (&*metric.name, metric)).collect();
    let mut findings = Vec::new();
    for (name, metric) in &all {
        let Some(stem) = name.strip_prefix("tcp.socket.") else { continue };
        let Some(group) = all.get(&*format!("tcp.{stem}")) else {
            if metric.instrument != InstrumentKind::Gauge {
                findings.push(format!("{name} has no tcp.{stem}"));
            }
            continue;
        };
        let kind = match group.instrument {
            InstrumentKind::Histogram => InstrumentKind::Gauge,
            other => other,
        };
        if (kind, group.unit, group.description, group.attributes)
            != (metric.instrument, metric.unit, metric.description, metric.attributes)
        {
            findings.push(format!("{name} and tcp.{stem} differ"));
        }
    }
    none("A socket's metric is what its group's is.", findings);
}

#[test]
fn a_description_is_a_sentence() {
    let wrong = metrics().into_iter().filter(|metric| {
        !metric.description.ends_with('.') || !metric.description.starts_with(char::is_uppercase)
    });
    none("Descriptions are sentences.", wrong.map(|metric| metric.name.into_owned()));
}
