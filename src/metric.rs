//! The metrics: what each is called, made from the table and from a second small one. Pure.

mod attribute;
#[cfg(feature = "page")]
mod exposition;
mod instrument;
pub(crate) mod key;
mod own;
mod shared;

use crate::info::{FIELDS, Field, FieldKind};

pub use attribute::{ATTRIBUTES, AttributeKind, MetricAttribute};
pub(crate) use instrument::Report;
pub use instrument::{InstrumentKind, Metric};
use own::{OWN_OF_GROUPS, OWN_OF_MONITOR, RATES, SEGMENTS, TIMES, own};

#[cfg(all(feature = "monitor", any(target_os = "linux", target_os = "android")))]
pub(crate) use shared::{PARTS, part_attribute};
use shared::{Parts, Shared};

/// Namespace of the metrics of groups.
const GROUPS: &str = "tcp";
/// Namespace of the metrics of single sockets.
const SOCKETS: &str = "tcp.socket";

impl Metric {
    fn of_field(field: &'static Field, namespace: &str, stem: &str) -> Self {
        let of_group = namespace == GROUPS;
        let (instrument, report) = match field.kind {
            FieldKind::Distribution if of_group => {
                (InstrumentKind::Histogram, Report::Samples(field))
            }
            kind => {
                let instrument = match kind {
                    FieldKind::Counter => InstrumentKind::Counter,
                    FieldKind::UpDown => InstrumentKind::UpDownCounter,
                    _ => InstrumentKind::Gauge,
                };
                (instrument, if of_group { Report::Group(field) } else { Report::Socket(field) })
            }
        };
        Self {
            name: format!("{namespace}.{stem}").into(),
            instrument,
            unit: field.unit,
            description: field.description,
            attributes: &[],
            fields: vec![field],
            boundaries: match (instrument, field.unit) {
                (InstrumentKind::Histogram, "s") => &TIMES,
                (InstrumentKind::Histogram, "By/s") => &RATES,
                (InstrumentKind::Histogram, _) => &SEGMENTS,
                _ => &[],
            },
            report,
        }
    }
}

/// Every metric the crate can export.
///
/// Those of groups come first, then those of single sockets, then the monitor's own.
///
/// ```
/// let sent = tcpinfo::metrics().into_iter().find(|metric| metric.name == "tcp.data.sent");
/// assert_eq!(sent.map(|metric| metric.unit), Some("By"));
/// ```
pub fn metrics() -> Vec<Metric> {
    chosen_metrics(&|_| true, true)
}

/// The metrics of these fields, and those that need no field. `judges` says whether there are
/// verdicts.
pub(crate) fn chosen_metrics(choose: &dyn Fn(&Field) -> bool, judges: bool) -> Vec<Metric> {
    let of_groups = FIELDS.iter().filter(|field| !matches!(field.kind, FieldKind::Gauge));
    let mut metrics = own(OWN_OF_GROUPS, choose);
    metrics.retain(|metric| judges || !matches!(metric.report, Report::Verdicts));
    metrics.extend(of_fields(GROUPS, of_groups, choose));
    metrics.extend(of_fields(SOCKETS, FIELDS.iter(), choose));
    metrics.extend(own(OWN_OF_MONITOR, choose));
    metrics
}

/// The metrics in a namespace that fields give, a shared one at the place of its first part.
fn of_fields(
    namespace: &'static str,
    fields: impl Iterator<Item = &'static Field>,
    choose: &dyn Fn(&Field) -> bool,
) -> impl Iterator<Item = Metric> {
    let mut last = None;
    fields.filter(|field| choose(field)).filter_map(move |field| {
        let stem = field.stem?;
        let mut metric = Metric::of_field(field, namespace, stem);
        if field.part.is_none() {
            return Some(metric);
        }
        if last.replace(stem) == Some(stem) {
            return None;
        }
        let shared = Shared::of(stem)?;
        let parts = Parts::of(stem, choose);
        metric.description = shared.description;
        metric.attributes = shared.attribute;
        metric.fields = parts.fields().map(|(_, field)| field).collect();
        metric.report = match namespace {
            GROUPS => Report::GroupParts(parts),
            _ => Report::SocketParts(parts),
        };
        Some(metric)
    })
}
