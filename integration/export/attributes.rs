//! Attributes of any kind: Prometheus reads the page, and equal ones are one group.

use std::io::Write;
use std::process::Command;

use opentelemetry::metrics::MeterProvider;
use opentelemetry::{Key, KeyValue, StringValue, Value};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use proptest::prelude::*;
use tcpinfo::{Group, Monitor};

use support::exposition::{Page, parsed};
use support::loopback::Pair;
use support::parsers::said_of;
use support::reader::Reader;

/// A provider that Prometheus' bridge collects from.
fn bridged() -> (SdkMeterProvider, prometheus::Registry) {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let exporter = exporter.expect("an empty registry takes an exporter");
    (SdkMeterProvider::builder().with_reader(exporter).build(), registry)
}

fn written(registry: &prometheus::Registry) -> String {
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    page.expect("the families of one registry can be written")
}

/// The page of two groups and a socket with these attributes, by a monitor.
fn page_of(attributes: &[KeyValue]) -> String {
    let monitor = Monitor::builder()
        .with_fields(|field| ["state", "bytes_sent", "busy_time", "rto"].contains(&field.name))
        .build();
    let (provider, registry) = bridged();
    monitor.instrument(&provider);
    let pairs = [(); 3].map(|()| Pair::connect());
    let of = |which: &'static str| {
        attributes.iter().cloned().chain([KeyValue::new("which", which)]).collect::<Vec<_>>()
    };
    let groups = ["one", "two"].map(|which| monitor.group(of(which)));
    let _watched = [groups[0].watch(&pairs[0].client), groups[1].watch(&pairs[1].client)];
    let _socket = monitor.watch(&pairs[2].client, of("socket"));
    written(&registry)
}

/// The page of a counter and a histogram with this attribute, by the SDK and the bridge alone.
fn page_without_us(key: &'static str) -> String {
    let (provider, registry) = bridged();
    let meter = provider.meter("tcpinfo");
    let attribute = [KeyValue::new(key, "mine")];
    meter.u64_counter("a").with_description("A.").build().add(1, &attribute);
    meter.f64_histogram("b").with_description("B.").build().record(1.0, &attribute);
    written(&registry)
}

/// Why Prometheus' own parser refuses a page.
fn refusal(page: &str) -> Option<String> {
    let output = said_of(Command::new("promtool").args(["check", "metrics"]), page);
    // 3 is a matter of style.
    let refused = !matches!(output.status.code(), Some(0 | 3));
    refused.then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Keys, the label each becomes, and whether Prometheus refuses the page with the key as it is.
const KEYS: &[(&str, &str, bool)] = &[
    ("le", "attribute_le", true),
    ("", "attribute", true),
    ("0a", "attribute_0a", true),
    ("9", "attribute_9", true),
    ("٣", "_", false),
    ("a:b", "attribute_a_b", true),
    ("a::b", "attribute_a__b", true),
    (":", "attribute__", true),
    ("__name__", "attribute___name__", true),
    ("..name--", "attribute___name__", true),
    // Prometheus takes these, and says that it keeps them for itself.
    ("__x", "attribute___x", false),
    ("ключ", "attribute_____", false),
    // The bridge puts its own value and the program's in one label.
    ("otel.scope.name", "attribute_otel_scope_name", false),
    ("otel_scope_tcp_monitor_instance", "attribute_otel_scope_tcp_monitor_instance", false),
    ("tcp_limited_by", "attribute_tcp_limited_by", false),
    ("network.connection_state", "attribute_network_connection_state", false),
    ("otel_metric_overflow", "attribute_otel_metric_overflow", false),
    // What looks as strange and needs nothing.
    ("_", "_", false),
    ("_x", "_x", false),
    ("é", "_", false),
    ("\0", "_", false),
    ("a b\n", "a_b_", false),
    ("a\u{7f}", "a_", false),
    ("quantile", "quantile", false),
    ("job", "job", false),
    ("instance", "instance", false),
    ("error.type", "error_type", false),
    ("tcp.socket", "tcp_socket", false),
];

/// Text that a format of lines, quotes and escapes could trip over.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a\nb",
    "\\n",
    "\\",
    "\"",
    "a\"}",
    "} 1",
    "{a=\"b\"} 1",
    "# HELP",
    "\0",
    "\r\n",
    "\u{1}\u{1f}\u{7f}",
    "\u{85}\u{2028}",
    "\u{feff}",
    "\u{ffff}",
    "\u{10ffff}",
    "é",
    ",",
    "=",
];

fn values() -> Vec<Value> {
    let mut values: Vec<Value> = TEXTS.iter().map(|text| Value::from(*text)).collect();
    for number in [f64::NAN, -f64::NAN, -0.0, f64::INFINITY, f64::MIN_POSITIVE, f64::MAX] {
        values.push(number.into());
        values.push(Value::Array(vec![1.0, number].into()));
    }
    values.extend([i64::MIN, i64::MAX].map(Value::from));
    values.push(Value::Array(Vec::<i64>::new().into()));
    let texts: Vec<StringValue> = TEXTS.iter().map(|text| (*text).into()).collect();
    values.push(Value::Array(texts.into()));
    values
}

#[test]
fn each_strange_key_has_a_label_of_its_own() {
    for (key, label, _) in KEYS {
        let page = parsed(&page_of(&[KeyValue::new(*key, "mine")]));
        for (name, which) in [
            ("tcp_data_sent_bytes_total", "one"),
            ("tcp_data_sent_bytes_total", "two"),
            ("tcp_rto_seconds_count", "one"),
            ("tcp_connection_count", "one"),
            ("tcp_socket_data_sent_bytes_total", "socket"),
        ] {
            page.value(name, &[("which", which), (label, "mine")]);
        }
        for part in ["network", "send_buffer"] {
            let labels = [("which", "two"), ("tcp_limited_by", part), (label, "mine")];
            assert_eq!(page.value("tcp_busy_time_seconds_total", &labels), 0.0, "{key:?}");
        }
    }
}

#[test]
#[ignore = "needs promtool: integration/test.sh"]
fn prometheus_reads_each_strange_key_and_value() {
    for (key, _, refused) in KEYS {
        let alone = refusal(&page_without_us(key));
        assert_eq!(alone.is_some(), *refused, "{key:?}: {alone:?}");
        assert_eq!(refusal(&page_of(&[KeyValue::new(*key, "mine")])), None, "{key:?}");
    }
    for value in values() {
        assert_eq!(refusal(&page_of(&[KeyValue::new("key", value.clone())])), None, "{value:?}");
    }
}

#[test]
fn values_are_written_as_they_are() {
    for value in values() {
        let page = parsed(&page_of(&[KeyValue::new("key", value.clone())]));
        let text = match value {
            Value::F64(0.0) => "0".to_owned(),
            Value::Array(array) => Value::Array(array).to_string().replace("-0", "0"),
            other => other.to_string(),
        };
        page.value("tcp_data_sent_bytes_total", &[("which", "one"), ("key", &text)]);
    }
}

/// Writes bytes on a connection of the group.
fn send(group: &Group, bytes: usize) {
    let pair = Pair::connect();
    let watched = group.watch(pair.client);
    (&*watched).write_all(&vec![1; bytes]).expect("room for the bytes");
}

#[test]
fn groups_with_equal_numbers_are_one_group() {
    let monitor = Monitor::builder().with_max_groups(4).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let array = |number: f64| Value::Array(vec![number, 2.0].into());
    for round in 1..=3 {
        for (key, values) in [
            ("nan", [f64::NAN, f64::from_bits(f64::NAN.to_bits() + 1)].map(Value::from)),
            ("nans", [array(f64::NAN), array(f64::from_bits(f64::NAN.to_bits() + 1))]),
            ("zero", [0.0, -0.0].map(Value::from)),
            ("zeros", [array(0.0), array(-0.0)]),
        ] {
            for value in values {
                send(&monitor.group([KeyValue::new(key, value)]), 10);
            }
        }
        let collected = reader.collected();
        for series in ["nan=NaN", "nans=[NaN,2]", "zero=0", "zeros=[0,2]"] {
            let (sent, opened) = (round as f64 * 20.0, round as f64 * 2.0);
            assert_eq!(collected.counter(&format!("tcp.data.sent{{{series}}}")), sent);
            assert_eq!(collected.counter(&format!("tcp.connection.opened{{{series}}}")), opened);
        }
        assert_eq!(collected.counter("tcp.monitor.folded{}"), 0.0);
    }
}

/// Keys: some of the strange ones, near misses, anything.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(KEYS).prop_map(|(key, _, _)| key.to_owned()),
        1 => "(attribute\\.)?(le|a_b|0a|__x)?",
        2 => "[a-z_.:0-9]{0,4}",
        1 => "\\PC{0,6}",
        1 => any::<String>(),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let odd = [f64::NAN, -0.0, 0.0, f64::INFINITY];
    let number = prop_oneof![any::<f64>(), prop::sample::select(odd.to_vec())];
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        number.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(TEXTS).prop_map(Value::from),
        prop::collection::vec(number, 0..3).prop_map(|all| Value::Array(all.into())),
        prop::collection::vec(any::<String>(), 0..3).prop_map(|all| {
            Value::Array(all.into_iter().map(StringValue::from).collect::<Vec<_>>().into())
        }),
    ]
}

pub(super) fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let one = (any_key(), any_value()).prop_map(|(key, value)| KeyValue::new(key, value));
    prop::collection::vec(one, 0..6)
}

/// Without a key given twice, of which the last value counts: order matters to these alone.
fn distinct(attributes: &[KeyValue]) -> Vec<KeyValue> {
    let mut distinct: Vec<KeyValue> = Vec::new();
    for kv in attributes {
        distinct.retain(|other| other.key != kv.key);
        distinct.push(kv.clone());
    }
    distinct
}

const RESERVED: [&str; 3] = ["network.connection.state", "tcp.limited_by", "otel.metric.overflow"];

pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn any_attributes_make_a_page(attributes in any_attributes()) {
        let page = page_of(&attributes);
        let page = Page::parse(&page).map_err(TestCaseError::fail)?;
        prop_assert_eq!(page.samples("tcp_data_sent_bytes_total").count(), 2);
        prop_assert_eq!(page.samples("tcp_rto_seconds_count").count(), 2);
        prop_assert_eq!(page.samples("tcp_socket_data_sent_bytes_total").count(), 1);
    }

    #[test]
    fn equal_attributes_are_one_group(attributes in any_attributes()) {
        let monitor = Monitor::new();
        let group = monitor.group(attributes.iter().cloned());
        let canonical = group.attributes().clone();
        let reordered: Vec<_> = distinct(&attributes).into_iter().rev().collect();
        // What a set became is what it stays.
        let same = [attributes.clone(), reordered, canonical.as_slice().to_vec()];
        for same in same {
            let same = monitor.group(same);
            prop_assert_eq!(same.attributes(), &canonical);
            send(&same, 10);
        }
        let snapshot = monitor.snapshot();
        prop_assert_eq!(snapshot.groups.len(), 1);
        prop_assert_eq!(snapshot.groups[0].opened, 3);
        // Nothing is lost but what the metrics set.
        let mut keys: Vec<&Key> = attributes.iter().map(|kv| &kv.key).collect();
        keys.retain(|key| !RESERVED.contains(&key.as_str()));
        keys.sort();
        keys.dedup();
        prop_assert_eq!(canonical.as_slice().len(), keys.len());
        prop_assert!(canonical.as_slice().is_sorted_by(|a, b| a.key < b.key));
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    #[ignore = "needs promtool: integration/test.sh"]
    fn prometheus_reads_the_page_of_any_attributes(attributes in any_attributes()) {
        prop_assert_eq!(refusal(&page_of(&attributes)), None);
    }
}
