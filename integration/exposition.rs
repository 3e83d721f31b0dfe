//! Prometheus' text format, read more strictly than Prometheus does: what it would forgive fails.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) families: BTreeMap<String, Family>,
}

/// What stands below one `# TYPE`.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

impl Page {
    /// Reads a page, and names the first line that breaks a rule.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
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
    pub(crate) fn samples<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p Sample> {
        self.all().filter(move |sample| sample.name == name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    /// The value of the one sample with this name whose labels include these.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| labels.iter().all(|(key, value)| sample.label(key) == *value);
        let found: Vec<_> = self.samples(name).filter(fits).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value
    }
}

impl Sample {
    /// The text of a label, empty where there is none: to Prometheus that is the same.
    pub(crate) fn label(&self, key: &str) -> &str {
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

#[test]
fn a_page_that_keeps_the_rules_is_read() {
    let page = Page::parse(concat!(
        "# HELP a_total Help with \\\\ and\\nnew line.\n# TYPE a_total counter\n",
        "a_total{x=\"1\",y=\"a\\\"b\\\\\"} 1.5e3\na_total{x=\"}, \"} 0\n",
        "# HELP g Help.\n# TYPE g gauge\ng -2\n",
        "# HELP h Help.\n# TYPE h histogram\n",
        "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n",
    ));
    let page = page.expect("it keeps the rules");
    assert_eq!(page.families["a_total"].help, "Help with \\ and\nnew line.");
    assert_eq!(page.value("a_total", &[("y", "a\"b\\")]), 1500.0);
    assert_eq!(page.value("a_total", &[("x", "}, ")]), 0.0);
    assert_eq!(page.value("g", &[]), -2.0);
    assert_eq!(page.value("h_bucket", &[("le", "+Inf")]), 3.0);
    assert_eq!(page.all().count(), 7);
}

#[test]
fn each_broken_rule_is_noticed() {
    let gauge = "# HELP g Help.\n# TYPE g gauge\n";
    let histogram = "# HELP h Help.\n# TYPE h histogram\n";
    let broken = [
        ("", "no newline"),
        ("# HELP g Help.\n# TYPE g gauge\ng 1", "no newline"),
        ("g 1\n", "without a type"),
        ("# TYPE g gauge\ng 1\n", "no help"),
        ("# HELP g \n# HELP g Help.\n", "without a type before it"),
        ("# HELP g\n# TYPE g gauge\ng 1\n", "empty help"),
        ("# HELP g a\\tb\n", "escape"),
        ("# HELP g Help.\ng 1\n", "without a type"),
        ("# HELP g Help.\n# TYPE f gauge\n", "no help of this name"),
        ("# HELP g Help.\n# TYPE g thing\n", "type"),
        ("# HELP g_total Help.\n# TYPE g_total gauge\n", "end in _total"),
        ("# HELP g Help.\n# TYPE g counter\n", "end in _total"),
        ("# HELP g_total Help.\n# TYPE g_total counter\ng_total -1\n", "value"),
        (&format!("{gauge}g 1\n{gauge}g 2\n"), "a second type"),
        (&format!("{gauge}f 1\n"), "another family"),
        (&format!("{gauge}g 1\n\n"), "syntax"),
        (&format!("{gauge}g 1\ng 1\n"), "duplicate"),
        (&format!("{gauge}g{{a=\"1\",b=\"2\"}} 1\ng{{b=\"2\",a=\"1\"}} 1\n"), "duplicate"),
        (&format!("{gauge}g{{a=\"1\",a=\"2\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{1a=\"1\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a.b=\"1\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{__a=\"1\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"\\t\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"1\"}}1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"1\",}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"1}} 1\n"), "syntax"),
        (&format!("{gauge}g 1 1700000000000\n"), "syntax"),
        (&format!("{gauge}g NaN\n"), "syntax"),
        (&format!("{gauge}g 1e999\n"), "value"),
        (&format!("{gauge}g{{le=\"1\"}} 1\n"), "le belongs"),
        (gauge, "no samples"),
        (&format!("{histogram}h_sum 0\nh_count 0\n"), "no +Inf"),
        (&format!("{histogram}h_bucket{{le=\"1\"}} 0\nh_sum 0\nh_count 0\n"), "no +Inf"),
        (&format!("{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_sum 0\nh_count 2\n"), "cumulative"),
        (&format!("{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_count 1\n"), "buckets, sum, count"),
        (
            &format!(
                "{histogram}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 0\nh_count 1\n"
            ),
            "cumulative",
        ),
        (
            &format!(
                "{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_bucket{{le=\"1\"}} 1\nh_sum 0\nh_count 1\n"
            ),
            "not in order",
        ),
    ];
    for (page, rule) in broken {
        let error = Page::parse(page).expect_err(page);
        assert!(error.contains(rule), "{page:?} should break {rule:?}: {error}");
    }
}
