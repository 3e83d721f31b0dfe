//! What a page has of each metric whatever the sockets do: head, names, bounds.

use std::fmt::Write;

use opentelemetry::{InstrumentationScope, KeyValue};

use super::PageFormat;
use super::labels::{MarkText, labels, push_label};
use super::number::canonical;
use crate::metric::{InstrumentKind, Metric, Report};
use crate::monitor::label;
use crate::report::Marks;

/// One metric in one format.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) report: Report,
    /// `# HELP` and `# TYPE`, and `# UNIT` in OpenMetrics.
    pub(super) head: String,
    /// The names of its samples; a histogram has those of `Parts`.
    pub(super) name: String,
    /// Where the format has it and the metric begins at a known time.
    pub(super) created: Option<String>,
    pub(super) histogram: Option<HistogramNames>,
}

/// The names of the samples of a histogram.
#[derive(Debug)]
pub(super) struct HistogramNames {
    /// Its place in the list of histograms.
    pub(super) place: usize,
    pub(super) bucket: String,
    pub(super) sum: String,
    pub(super) count: String,
    /// `le="0.5"` of each bucket, and of the last `le="+Inf"`.
    pub(super) bounds: Vec<String>,
}

/// All that a page has whatever the sockets do, in one format.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) format: PageFormat,
    /// What is written first: `target_info`, or nothing.
    pub(super) target: String,
    pub(super) all: Vec<Family>,
    pub(super) marks: Marks<MarkText>,
    /// The labels of the instrumentation scope, which stand behind the others. May be empty.
    pub(super) scope: String,
}

/// What a page was told to write beside the metrics.
#[derive(Clone, Debug)]
pub(super) struct PageOptions {
    /// The scope, if its labels are written.
    pub(super) scope: Option<InstrumentationScope>,
    /// Of the program, for `target_info`.
    pub(super) resource: Vec<KeyValue>,
}

impl Families {
    pub(super) fn new(format: PageFormat, metrics: &[Metric], options: &PageOptions) -> Self {
        let mut places = 0;
        let mut all: Vec<Family> = metrics
            .iter()
            .map(|metric| {
                let place = places;
                places += usize::from(metric.is_of_samples());
                Family::new(format, metric, place)
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            format,
            target: target(format, &options.resource),
            all,
            marks: Marks::new(MarkText::new),
            scope: options.scope.as_ref().map(scope_labels).unwrap_or_default(),
        }
    }
}

impl Family {
    fn new(format: PageFormat, metric: &Metric, place: usize) -> Self {
        let is_open = format == PageFormat::OpenMetrics;
        let is_counter = metric.instrument == InstrumentKind::Counter;
        let family = metric.family_name();
        let name = if is_counter { format!("{family}_total") } else { family.clone() };
        let head = head(
            // Only OpenMetrics tells a counter's family from its samples.
            if is_open { &family } else { &name },
            metric.family_type(),
            metric.description,
            metric.unit_suffix().filter(|_| is_open),
        );
        let histogram = (metric.instrument == InstrumentKind::Histogram).then(|| {
            let bound = |bound: &f64| if is_open { canonical(*bound) } else { bound.to_string() };
            let bounds = metric.boundaries.iter().map(bound).chain(["+Inf".into()]);
            HistogramNames {
                place,
                bucket: format!("{name}_bucket"),
                sum: format!("{name}_sum"),
                count: format!("{name}_count"),
                bounds: bounds.map(|bound| format!("le=\"{bound}\"")).collect(),
            }
        });
        let created =
            (is_open && (is_counter || histogram.is_some())).then(|| format!("{family}_created"));
        Self { report: metric.report, head, name, created, histogram }
    }
}

fn head(name: &str, kind: &str, help: &str, unit: Option<&str>) -> String {
    let mut head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    if let Some(unit) = unit {
        writeln!(head, "# UNIT {name} {unit}").expect("text takes all");
    }
    head
}

/// The resource, as the bridge writes it; nothing if it is empty.
fn target(format: PageFormat, resource: &[KeyValue]) -> String {
    if resource.is_empty() {
        return String::new();
    }
    let (name, kind) = match format {
        PageFormat::Text => ("target_info", "gauge"),
        PageFormat::OpenMetrics => ("target", "info"),
    };
    let mut text = String::new();
    for (name, value) in labels(resource) {
        push_label(&mut text, &name, &value);
    }
    let head = head(name, kind, "Target metadata", None);
    format!("{head}target_info{{{text}}} 1\n")
}

/// Name, version and attributes of the scope as labels.
fn scope_labels(scope: &InstrumentationScope) -> String {
    let mut text = String::new();
    push_label(&mut text, "otel_scope_name", scope.name());
    if let Some(version) = scope.version() {
        push_label(&mut text, "otel_scope_version", version);
    }
    let mut attributes: Vec<(String, String)> = scope
        .attributes()
        .map(|kv| {
            let name = label(kv.key.as_str()).collect::<String>();
            (format!("otel_scope_{name}"), kv.value.to_string())
        })
        .collect();
    attributes.sort();
    for (name, value) in attributes {
        push_label(&mut text, &name, &value);
    }
    text
}
