//! Pieces of PromQL, with the metrics' names from the list of metrics.

use std::collections::BTreeSet;

use support::exposition::series_names;
use tcpinfo::{ATTRIBUTES, metrics};

/// Labels that Prometheus and the exporters add.
pub const SERIES_LABELS: [&str; 6] =
    ["job", "instance", "le", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"];

/// Which series a dashboard is about.
const SELECTED: &str = r#"job=~"$job", instance=~"$instance""#;

/// The metrics that a text names, by the words in it that begin as ours do.
pub fn metric_names(text: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c == '_' || c == ':' || c.is_ascii_alphanumeric();
    let labels: Vec<String> = ATTRIBUTES.iter().map(|it| it.name.replace('.', "_")).collect();
    let words = text.split(|c| !is_word(c)).filter(|word| word.starts_with("tcp_"));
    words.filter(|word| labels.iter().all(|label| label != word)).collect()
}

/// The name of a metric, of which `end` says what if it has several: `_bucket`.
fn name(metric: &str, end: &str) -> String {
    let all = metrics();
    let found = all.iter().find(|it| it.name == metric);
    let names = series_names(found.unwrap_or_else(|| panic!("there is no metric {metric}")));
    let found = names.iter().find(|name| name.ends_with(end));
    found.unwrap_or_else(|| panic!("{metric} has no series that ends with {end:?}")).clone()
}

/// The series of a metric, and of these labels.
pub(crate) fn series(metric: &str, labels: &str) -> String {
    selected(&name(metric, ""), labels)
}

fn selected(name: &str, labels: &str) -> String {
    let comma = if labels.is_empty() { "" } else { ", " };
    format!("{name}{{{SELECTED}{comma}{labels}}}")
}

/// The sum by labels.
pub(crate) fn sum(by: &str, of: &str) -> String {
    format!("sum by ({by}) ({of})")
}

/// What a counter grows by each second.
pub(crate) fn rate(counter: &str, labels: &str) -> String {
    format!("rate({}[$__rate_interval])", series(counter, labels))
}

/// What a counter grows by each second, summed by labels.
pub(crate) fn sum_rate(by: &str, counter: &str) -> String {
    sum(by, &rate(counter, ""))
}

/// The quotient, where there is anything below.
pub(crate) fn share(above: &str, below: &str) -> String {
    format!("{above}\n/ ({below} > 0)")
}

/// The quotient of what two counters grow by.
pub(crate) fn ratio(by: &str, above: &str, below: &str) -> String {
    share(&sum_rate(by, above), &sum_rate(by, below))
}

/// A quantile of a histogram over all instances, classic buckets.
pub(crate) fn quantile(q: &str, by: &str, histogram: &str) -> String {
    let buckets = selected(&name(histogram, "_bucket"), "");
    let by = if by.is_empty() { "le".to_owned() } else { format!("{by}, le") };
    format!("histogram_quantile({q}, sum by ({by}) (rate({buckets}[$__rate_interval])))")
}

/// What the buckets of a histogram grew by, for a heat map.
pub(crate) fn heat(histogram: &str) -> String {
    let buckets = selected(&name(histogram, "_bucket"), "");
    format!("sum by (le) (increase({buckets}[$__rate_interval]))")
}

/// The greatest ones.
pub(crate) fn top(of: &str) -> String {
    format!("topk(10, {of})")
}
