//! Files made from the list of metrics and the table of fields, and whether they are current.

use std::fmt::Write;
use std::fs;

use tcpinfo::{
    ATTRIBUTES, AttributeKind, FIELDS, FieldKind, InstrumentKind, Metric, MetricAttribute, metrics,
};

use super::source::root;

/// The command that writes them anew.
const REPAIR: &str = "TCPINFO_WRITE=1 cargo test --workspace generated_files";

const METRICS: &str = "docs/metrics.md";
const REGISTRY: [&str; 3] = [
    "semconv/registry/manifest.yaml",
    "semconv/registry/attributes.yaml",
    "semconv/registry/metrics.yaml",
];

#[test]
fn generated_files_are_current() {
    let [manifest, attributes, of_metrics] = REGISTRY;
    let files = [
        (METRICS, document()),
        (manifest, registry_manifest()),
        (attributes, registry_attributes()),
        (of_metrics, registry_metrics()),
    ];
    let mut old = Vec::new();
    for (path, text) in files {
        let place = root().join(path);
        if std::env::var_os("TCPINFO_WRITE").is_some() {
            fs::create_dir_all(place.parent().expect("it is in a folder")).expect("a folder");
            fs::write(&place, text).expect("the repository can be written");
            continue;
        }
        let now = fs::read_to_string(&place).unwrap_or_default();
        if now != text {
            let same = now.lines().zip(text.lines()).take_while(|(now, then)| now == then);
            old.push(format!("{path}:{}", same.count() + 1));
        }
    }
    assert!(old.is_empty(), "not what the tables say: {}; repair by\n  {REPAIR}", old.join(" "));
}

fn instrument(metric: &Metric) -> &'static str {
    match metric.instrument {
        InstrumentKind::Counter => "counter",
        InstrumentKind::UpDownCounter => "updowncounter",
        InstrumentKind::Gauge => "gauge",
        InstrumentKind::Histogram => "histogram",
        other => panic!("a word for {other:?}"),
    }
}

fn of_socket(metric: &Metric) -> bool {
    metric.name.starts_with("tcp.socket.")
}

/// The place of a metric's section in `docs/metrics.md`.
fn section_of(metric: &Metric) -> usize {
    if of_socket(metric) { 1 } else { 2 * usize::from(metric.name.starts_with("tcp.monitor.")) }
}

/// `docs/metrics.md`: every metric, every attribute, every field.
fn document() -> String {
    let mut text = format!(
        "# Metrics\n\nMade from `src/info.rs` and `src/metric/` by\n`{REPAIR}`.\n\n\
         A metric is there exactly when the kernel reported its field. Every metric of a group \
         has the group's\nattributes, and every metric of a socket the socket's.\n"
    );
    let sections = [
        ("Groups", "One series for each group: live and ended connections together."),
        (
            "Sockets",
            "One series for each socket that is watched by itself. The name is the group's with \
             `tcp.socket.` in\nplace of `tcp.`; what is a histogram of a group is a gauge here.",
        ),
        ("The monitor itself", ""),
    ];
    for (section, (title, about)) in sections.into_iter().enumerate() {
        write!(text, "\n## {title}\n").expect("a string takes any text");
        if !about.is_empty() {
            write!(text, "\n{about}\n").expect("a string takes any text");
        }
        text.push_str("\n| metric | instrument | unit | by | fields | what it is |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for metric in metrics().iter().filter(|metric| section_of(metric) == section) {
            let quoted = |name: &str| format!("`{name}`");
            let fields: Vec<_> = metric.fields.iter().map(|field| quoted(field.name)).collect();
            let by: Vec<_> = metric.attributes.iter().map(|name| quoted(name)).collect();
            writeln!(
                text,
                "| `{}` | {} | `{}` | {} | {} | {} |",
                metric.name,
                instrument(metric),
                metric.unit,
                by.join(" "),
                fields.join(" "),
                metric.description
            )
            .expect("a string takes any text");
        }
    }
    text.push_str("\n## Attributes\n\n| attribute | type | values | what it says |\n");
    text.push_str("| --- | --- | --- | --- |\n");
    for attribute in ATTRIBUTES {
        let MetricAttribute { name, description, .. } = attribute;
        let values: Vec<_> = attribute.values().iter().map(|value| format!("`{value}`")).collect();
        let kind = type_of(attribute);
        writeln!(text, "| `{name}` | {kind} | {} | {description} |", values.join(" "))
            .expect("a string takes any text");
    }
    text.push_str(
        "\n## Fields\n\nEvery member of the kernel's `struct tcp_info`, under its name there \
         without `tcpi_`.\n\n| field | since Linux | unit | kind | what it is |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for field in FIELDS {
        let unit = if field.unit.is_empty() { String::new() } else { format!("`{}`", field.unit) };
        let kind = match field.kind {
            FieldKind::Counter => "counter",
            FieldKind::UpDown => "up-down",
            FieldKind::Distribution => "distribution",
            FieldKind::Gauge => "gauge",
            FieldKind::Property => "property",
            other => panic!("a word for {other:?}"),
        };
        let (name, since, what) = (field.name, field.since, field.description);
        writeln!(text, "| `{name}` | {since} | {unit} | {kind} | {what} |")
            .expect("a string takes any text");
    }
    text
}

fn type_of(attribute: &MetricAttribute) -> &'static str {
    match attribute.kind {
        AttributeKind::Text => "string",
        AttributeKind::Integer => "int",
        AttributeKind::Flag => "boolean",
        other => panic!("a word for {other:?}"),
    }
}

const HEAD: &str = "# Made from src/metric/: see integration/house/generated.rs.\n";

fn registry_manifest() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{HEAD}description: What tcpinfo reports of TCP connections.\n\
         # A registry has to have one. Nothing is published there, so no scope carries it.\n\
         schema_url: https://tcpinfo.example/schemas/{version}\nstability: development\n"
    )
}

/// Two groups of attributes: our own, and copies of those that OpenTelemetry defines, so that the
/// registry can be checked without a network.
fn registry_attributes() -> String {
    let mut text = format!("{HEAD}groups:\n");
    let groups = [
        ("registry.tcp", "TCP", "Attributes of TCP connections.", false),
        (
            "registry.upstream",
            "OpenTelemetry",
            "Copies of what OpenTelemetry's semantic conventions define and the metrics use.",
            true,
        ),
    ];
    for (id, title, brief, is_upstream) in groups {
        writeln!(
            text,
            "  - id: {id}\n    type: attribute_group\n    display_name: {title} attributes\n    \
             brief: {brief}\n    attributes:"
        )
        .expect("a string takes any text");
        for attribute in ATTRIBUTES.iter().filter(|one| one.is_upstream == is_upstream) {
            let MetricAttribute { name, description, .. } = attribute;
            writeln!(
                text,
                "      - id: {name}\n        brief: {description:?}\n        stability: development"
            )
            .expect("a string takes any text");
            let values = attribute.values();
            if !values.is_empty() {
                text.push_str("        type:\n          members:\n");
                for value in values {
                    writeln!(
                        text,
                        "            - id: {value}\n              value: {value}\n              \
                         stability: development"
                    )
                    .expect("a string takes any text");
                }
                continue;
            }
            let example = match attribute.kind {
                AttributeKind::Integer => "[4096]",
                AttributeKind::Flag => "[true]",
                _ => "[\"example\"]",
            };
            writeln!(text, "        type: {}", type_of(attribute)).expect("a string");
            if attribute.kind != AttributeKind::Flag {
                writeln!(text, "        examples: {example}").expect("a string takes any text");
            }
        }
    }
    text
}

fn registry_metrics() -> String {
    let mut text = format!("{HEAD}groups:\n");
    for metric in metrics() {
        let Metric { name, unit, description, .. } = &metric;
        let level = if of_socket(&metric) { "opt_in" } else { "recommended" };
        writeln!(
            text,
            "  - id: metric.{name}\n    type: metric\n    metric_name: {name}\n    \
             brief: {description:?}\n    instrument: {}\n    unit: \"{unit}\"\n    \
             stability: development\n    requirement_level: {level}",
            instrument(&metric)
        )
        .expect("a string takes any text");
        let mut attributes: Vec<_> =
            metric.attributes.iter().map(|name| (*name, "required")).collect();
        if of_socket(&metric) {
            let identity = |one: &&MetricAttribute| {
                one.name == "tcp.socket.cookie"
                    || one.name.starts_with("network.peer.")
                    || one.name.starts_with("network.local.")
            };
            let identity = ATTRIBUTES.iter().filter(identity);
            attributes.extend(identity.map(|one| (one.name, "opt_in")));
        }
        if !name.starts_with("tcp.monitor.") {
            attributes.push(("otel.metric.overflow", "opt_in"));
        }
        if !attributes.is_empty() {
            text.push_str("    attributes:\n");
        }
        for (name, level) in attributes {
            writeln!(text, "      - ref: {name}\n        requirement_level: {level}")
                .expect("a string takes any text");
        }
    }
    text
}
