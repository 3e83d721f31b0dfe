//! What holds for the attributes of a group on a page, whatever they are: read back, they are what
//! they were.

use std::collections::BTreeMap;

use tcpinfo::opentelemetry::{KeyValue, Value};
use tcpinfo::{Monitor, PageFormat};

/// Keys and values, each up to a byte that no UTF-8 has: `0xff`. A value that begins with `#` and
/// is a number is one.
pub fn page(data: &[u8]) {
    let texts = data.split(|byte| *byte == 0xff).map(|text| String::from_utf8_lossy(text));
    let texts: Vec<String> = texts.map(|text| text.into_owned()).collect();
    let attributes = texts.chunks(2).map(|pair| {
        let text = pair.get(1).cloned().unwrap_or_default();
        let number = text.strip_prefix('#').and_then(|number| number.parse::<f64>().ok());
        KeyValue::new(pair[0].clone(), number.map_or(Value::from(text), Value::from))
    });
    let monitor = Monitor::builder().with_fields(|field| field.name == "state").build();
    let group = monitor.group(attributes);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kv in group.attributes().as_slice() {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let label = kv.key.as_str().chars().map(plain).collect();
        expected.entry(label).or_default().push(kv.value.to_string());
    }
    let expected = expected.into_iter().map(|(label, values)| (label, values.join(";")));
    let expected: Vec<(String, String)> = expected.collect();
    let page = monitor.page();
    for format in [PageFormat::Text, PageFormat::OpenMetrics] {
        let mut text = Vec::new();
        page.write_as(format, &mut text).expect("a vector takes all");
        let text = String::from_utf8(text).expect("a page is text");
        let mut opened = text.split('\n').filter_map(|line| {
            let labels = line.strip_prefix("tcp_connection_opened_total{")?;
            Some(labels.strip_suffix("} 0").expect("nothing was opened"))
        });
        let labels = opened.next().expect("the group has a line");
        assert_eq!(opened.next(), None);
        let labels = read(labels);
        // Those of the scope come last, and no attribute's begins as they do.
        let is_own = |(name, _): &&(String, String)| !name.starts_with("otel_scope_");
        let own = labels.iter().take_while(is_own).count();
        assert_eq!(&labels[..own], expected);
        assert!(!labels[own..].iter().any(|label| is_own(&label)), "{labels:?}");
    }
}

/// `a="1",b="2"`, strictly.
fn read(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"").expect("a name");
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        assert!(name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit()));
        assert!(!name.is_empty() && !name.starts_with("__"), "{name:?}");
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("escape {c:?}"),
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        match rest[end + 1..].strip_prefix(',') {
            Some(more) => text = more,
            None => {
                assert_eq!(&rest[end + 1..], "");
                return labels;
            }
        }
    }
}
