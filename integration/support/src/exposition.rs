//! Prometheus' text format, read more strictly than Prometheus does: what it would forgive fails.

use std::collections::{BTreeMap, BTreeSet};

use tcpinfo::{InstrumentKind, Metric};

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Debug)]
pub struct Page {
    /// By the name of the metric.
    pub families: BTreeMap<String, Family>,
}

/// What stands below one `# TYPE`.
#[derive(Debug)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Without escapes.
    pub help: String,
    /// In the order of the page.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// With the suffix of a histogram's part.
    pub name: String,
    /// A bucket's `le` among them.
    pub labels: Labels,
    /// Finite.
    pub value: f64,
}

/// A page that has to keep the rules.
pub fn parsed(text: &str) -> Page {
    Page::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

impl Page {
    /// Reads a page, and names the first line that breaks a rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(text) = text.strip_suffix('\n') else {
            return Err("no newline at the end".into());
        };
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let (mut helped, mut current) = (None, None::<String>);
        let mut seen = BTreeSet::new();
        for (number, line) in text.split('\n').enumerate() {
            let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').ok_or_else(|| wrong("empty help"))?;
                let help = unescaped(help, "\\n").ok_or_else(|| wrong("escape"))?;
                if helped.replace((name.to_owned(), help)).is_some() {
                    return Err(wrong("help without a type before it"));
                }
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
                let help = match helped.take() {
                    Some((helped, help)) if helped == name && is_name(name, true) => help,
                    _ => return Err(wrong("no help of this name before it")),
                };
                let counter = match kind {
                    "counter" => true,
                    "gauge" | "histogram" => false,
                    _ => return Err(wrong("type")),
                };
                if name.ends_with("_total") != counter {
                    return Err(wrong("counters end in _total, and nothing else does"));
                }
                let family = Family { kind: kind.into(), help, samples: Vec::new() };
                if families.insert(name.into(), family).is_some() {
                    return Err(wrong("a second type"));
                }
                current = Some(name.into());
            } else {
                let sample = Sample::parse(line).ok_or_else(|| wrong("syntax"))?;
                let family = current.as_ref().filter(|_| helped.is_none());
                let name = family.ok_or_else(|| wrong("sample without a type"))?;
                let family = families.get_mut(name).expect("it was inserted as it became current");
                let suffixes: &[&str] = match family.kind.as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                let rest = sample.name.strip_prefix(name.as_str());
                if !rest.is_some_and(|rest| suffixes.contains(&rest)) {
                    return Err(wrong("sample of another family"));
                }
                if sample.labels.contains_key("le") != (rest == Some("_bucket")) {
                    return Err(wrong("le belongs to buckets"));
                }
                if !sample.value.is_finite() || sample.value < 0.0 && family.kind == "counter" {
                    return Err(wrong("value"));
                }
                if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                    return Err(wrong("duplicate"));
                }
                family.samples.push(sample);
            }
        }
        for (name, family) in &families {
            if family.samples.is_empty() {
                return Err(format!("{name}: no samples"));
            }
            if family.kind == "histogram" {
                check_histogram(name, family)?;
            }
        }
        Ok(Self { families })
    }

    /// The samples of one name, of which there may be none.
    pub fn samples<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p Sample> {
        self.all().filter(move |sample| sample.name == name)
    }

    /// The samples of all metrics.
    pub fn all(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    /// The value of the one sample with this name whose labels include these.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| labels.iter().all(|(key, value)| sample.label(key) == *value);
        let found: Vec<_> = self.samples(name).filter(fits).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value
    }
}

impl Sample {
    /// The text of a label, empty where there is none: to Prometheus that is the same.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    /// `name{key="value",...} number`, with one space and without a timestamp.
    fn parse(line: &str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Labels::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (key, after) = rest.split_once("=\"")?;
                let end = closing_quote(after)?;
                let value = unescaped(&after[..end], "\\n\"")?;
                if !is_name(key, false) || labels.insert(key.into(), value).is_some() {
                    return None;
                }
                rest = &after[end + 1..];
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}')?;
        }
        let number = rest.strip_prefix(' ')?;
        let plain = |byte: u8| byte.is_ascii_digit() || b"+-.e".contains(&byte);
        let value = number.parse().ok().filter(|_| number.bytes().all(plain))?;
        is_name(name, true).then(|| Self { name: name.into(), labels, value })
    }
}

/// Metric names may have colons, label names may not and keep off what begins with `__`.
fn is_name(name: &str, metric: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || metric && c == ':';
    name.chars().all(fits)
        && name.starts_with(|c: char| !c.is_ascii_digit())
        && (metric || !name.starts_with("__"))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// Without backslashes, of which only those before one of `allowed` may be there.
fn unescaped(text: &str, allowed: &str) -> Option<String> {
    let (mut plain, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next().filter(|c| allowed.contains(*c))? {
                'n' => '\n',
                other => other,
            },
            other => other,
        });
    }
    Some(plain)
}

/// For each label set: buckets in order that only grow, the last of them infinite and the count.
fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut sets: BTreeMap<Labels, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        sets.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in sets {
        let wrong = |what: &str| Err(format!("{name} {labels:?}: {what}"));
        let [buckets @ .., sum, count] = &samples[..] else { return wrong("incomplete") };
        let ending = |sample: &Sample| sample.name[name.len()..].to_owned();
        if (ending(sum), ending(count)) != ("_sum".into(), "_count".into())
            || buckets.iter().any(|bucket| ending(bucket) != "_bucket")
        {
            return wrong("not buckets, sum, count");
        }
        let bounds: Vec<f64> =
            buckets.iter().filter_map(|bucket| bucket.label("le").parse().ok()).collect();
        if bounds.len() != buckets.len() || !bounds.is_sorted_by(|a, b| a < b) {
            return wrong("bounds not in order");
        }
        if buckets.last().is_none_or(|last| last.label("le") != "+Inf") {
            return wrong("no +Inf");
        }
        let counts = buckets.iter().map(|bucket| bucket.value).chain([count.value]);
        if !counts.is_sorted() || buckets.last().map(|last| last.value) != Some(count.value) {
            return wrong("not cumulative up to the count");
        }
    }
    Ok(())
}

/// Names of a metric's series in Prometheus, as the bridge makes them.
pub fn series_names(metric: &Metric) -> Vec<String> {
    let is_counter = metric.instrument == InstrumentKind::Counter;
    let name = name_of(&metric.name, metric.unit, is_counter);
    match metric.instrument {
        InstrumentKind::Histogram => {
            ["_bucket", "_sum", "_count"].map(|end| name.clone() + end).to_vec()
        }
        _ => vec![name],
    }
}

/// The name of a metric in Prometheus.
pub fn name_of(name: &str, unit: &str, is_counter: bool) -> String {
    let unit = match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        "By/s" => "_bytes_per_second",
        count => {
            assert!(count.starts_with('{') && count.ends_with('}'), "{count}");
            ""
        }
    };
    let total = if is_counter { "_total" } else { "" };
    format!("{}{unit}{total}", name.replace('.', "_"))
}
