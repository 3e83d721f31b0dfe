//! What a metric is called in Prometheus' formats: as the OpenTelemetry bridge names it. Pure.

use super::instrument::{InstrumentKind, Metric};

/// Units and what they are called behind a name.
const UNITS: [(&str, &str); 3] = [("s", "seconds"), ("By", "bytes"), ("By/s", "bytes_per_second")];

impl Metric {
    /// Its family without the suffix of a counter: `tcp_data_sent_bytes`. The metrics of one scope
    /// have distinct ones.
    pub(crate) fn family_name(&self) -> String {
        let mut name = self.name.replace('.', "_");
        if let Some(unit) = self.unit_suffix() {
            name.push('_');
            name.push_str(unit);
        }
        name
    }

    /// What its unit adds to the name. What is counted, such as `{segment}`, adds nothing.
    pub(crate) fn unit_suffix(&self) -> Option<&'static str> {
        UNITS.iter().find(|(unit, _)| *unit == self.unit).map(|(_, suffix)| *suffix)
    }

    /// Its type in Prometheus, where an up-down is a gauge.
    pub(crate) fn family_type(&self) -> &'static str {
        match self.instrument {
            InstrumentKind::Counter => "counter",
            InstrumentKind::UpDownCounter | InstrumentKind::Gauge => "gauge",
            InstrumentKind::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metric::metrics;

    /// Every name that the samples of a family have in one of the formats.
    fn sample_names(metric: &Metric) -> Vec<String> {
        let suffixes: &[&str] = match metric.instrument {
            InstrumentKind::Counter => &["", "_total", "_created"],
            InstrumentKind::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| metric.family_name() + suffix).collect()
    }

    #[test]
    fn no_name_is_in_two_families() {
        let mut seen = BTreeSet::new();
        for name in metrics().iter().flat_map(sample_names) {
            assert!(seen.insert(name.clone()), "{name}");
        }
    }

    #[test]
    fn every_unit_is_written_or_what_is_counted() {
        for metric in metrics() {
            let counted = metric.unit.starts_with('{') && metric.unit.ends_with('}');
            assert_ne!(metric.unit_suffix().is_some(), counted, "{}", metric.name);
        }
    }

    #[test]
    fn no_description_needs_an_escape() {
        for metric in metrics() {
            assert!(!metric.description.contains(['\\', '\n', '"']), "{}", metric.description);
        }
    }
}
