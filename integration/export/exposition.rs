//! Prometheus' page of a monitor, sample by sample against the sockets it shows.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tcpinfo::{FIELDS, Field, FieldKind, FieldValue, Monitor, TcpInfo, read, socket_cookie};

use support::exposition::{Page, Sample, name_of, parsed};
use support::loopback::{Pair, stall, until, used_pair};
use support::replies::field;

/// A monitor, and Prometheus' page of it.
struct Watching {
    monitor: Monitor,
    registry: prometheus::Registry,
    _provider: SdkMeterProvider,
}

impl Watching {
    fn new() -> Self {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
        let exporter = exporter.expect("an empty registry takes an exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let monitor = Monitor::new();
        monitor.instrument(&provider);
        Self { monitor, registry, _provider: provider }
    }

    fn page(&self) -> Page {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather());
        parsed(&text.expect("the families of one registry can be written"))
    }
}

fn info(socket: impl AsFd) -> TcpInfo {
    read(socket).expect("a TCP socket has a TCP_INFO")
}

/// The name that the bridge makes of a field's metric.
fn exported_name(family: &str, field: &Field, stem: &str) -> String {
    name_of(&format!("{family}.{stem}"), field.unit, field.kind == FieldKind::Counter)
}

/// What the page should have of one socket: name, part and value.
fn expected(info: &TcpInfo) -> BTreeSet<(String, String, u64)> {
    let mut expected = BTreeSet::new();
    let busy = ["busy_time", "rwnd_limited", "sndbuf_limited"].map(|name| info.get(field(name)));
    for field in FIELDS {
        let (Some(stem), Some(value)) = (field.stem, info.get(field)) else { continue };
        let value = match (field.part.is_some_and(|part| part.is_rest), busy) {
            (true, [Some(FieldValue::Duration(all)), window, buffer]) => {
                let stalled = [window, buffer].map(|part| match part {
                    Some(FieldValue::Duration(part)) => part,
                    _ => Duration::ZERO,
                });
                FieldValue::Duration(all - stalled[0] - stalled[1])
            }
            _ => value,
        };
        let number = value.as_f64().expect("what is exported is a number");
        let name = exported_name("tcp_socket", field, stem);
        expected.insert((name, field.part.map_or("", |part| part.value).into(), number.to_bits()));
    }
    expected
}

/// What passes by itself.
const CLOCKS: [&str; 3] = ["last_data_sent", "last_data_recv", "last_ack_recv"];

#[test]
fn every_exported_value_is_what_the_socket_says() {
    let watching = Watching::new();
    let mut pair = used_pair();
    stall(&mut pair);
    let Pair { client, server, listener } = pair;
    let client = watching.monitor.watch(client, [KeyValue::new("side", "client")]);
    let server = watching.monitor.watch(server, [KeyValue::new("side", "server")]);
    let listener = watching.monitor.watch(listener, [KeyValue::new("side", "listener")]);
    let sockets = [client.as_fd(), server.as_fd(), listener.as_fd()];

    // Sockets at rest: the readings before and after a page differ in nothing but clocks.
    let still = |before: &TcpInfo, after: &TcpInfo| {
        let differs = |field: &&Field| before.get(field) != after.get(field);
        FIELDS.iter().filter(differs).all(|field| CLOCKS.contains(&field.name))
    };
    let (before, page, after) = until("three sockets at rest", || {
        let before = sockets.map(info);
        let page = watching.page();
        let after = sockets.map(info);
        let rest = before.iter().zip(&after).all(|(before, after)| still(before, after));
        (rest && before[0].unacked == Some(0)).then_some((before, page, after))
    });
    assert!(before[0].rwnd_limited > Some(Duration::ZERO), "{}", before[0]);

    let clocks = CLOCKS.map(|name| {
        let stem = field(name).stem.expect("clocks are exported");
        exported_name("tcp_socket", field(name), stem)
    });
    let mut compared = 0;
    for (index, side) in ["client", "server", "listener"].into_iter().enumerate() {
        let cookie = socket_cookie(sockets[index]).expect("this kernel has cookies").to_string();
        let of_side = |sample: &&Sample| {
            sample.name.starts_with("tcp_socket_") && sample.label("side") == side
        };
        let shown: Vec<&Sample> = page.all().filter(of_side).collect();
        assert!(shown.iter().all(|sample| sample.label("tcp_socket_cookie") == cookie), "{side}");
        let entry = |sample: &&Sample| {
            let part =
                ["tcp_limited_by", "tcp_ecn_codepoint"].map(|name| sample.label(name)).concat();
            (sample.name.clone(), part, sample.value.to_bits())
        };
        let is_clock = |name: &String| clocks.contains(name);
        let mut exact: BTreeSet<_> = shown.iter().map(entry).collect();
        exact.retain(|(name, _, _)| !is_clock(name));
        let mut wanted = expected(&before[index]);
        wanted.retain(|(name, _, _)| !is_clock(name));
        assert_eq!(exact, wanted, "{side}");
        compared += exact.len();
        for (name, metric) in CLOCKS.into_iter().zip(&clocks) {
            let [from, to] = [&before[index], &after[index]].map(|info| info.get(field(name)));
            let value = shown.iter().find(|sample| sample.name == *metric);
            let value = value.map(|sample| sample.value);
            let [from, to] = [from, to].map(|value| value.and_then(FieldValue::as_f64));
            assert!(from <= value && value <= to, "{side} {name}: {from:?} {value:?} {to:?}");
        }
    }
    // Two connections and what little a listener has; nothing else is there by itself.
    let all = page.all().filter(|sample| sample.name.starts_with("tcp_socket_")).count();
    let clocks = page.all().filter(|sample| clocks.contains(&sample.name)).count();
    assert_eq!(all, compared + clocks);
    assert_eq!(clocks, 6);
    let listening = expected(&before[2]);
    let names = listening.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>();
    assert!(names.contains(&"tcp_socket_listener_backlog"), "{names:?}");
    assert!(!names.contains(&"tcp_socket_segment_unacked"), "{names:?}");
}

#[test]
fn what_nobody_watches_has_no_series() {
    let watching = Watching::new();
    let pair = used_pair();
    let socket = |page: &Page| page.all().filter(|s| s.name.starts_with("tcp_socket_")).count();
    assert_eq!(socket(&watching.page()), 0);
    let client = watching.monitor.watch(pair.client, []);
    assert!(socket(&watching.page()) > 30);
    let client = client.into_inner();
    assert_eq!(socket(&watching.page()), 0);
    drop(client);
}

#[test]
fn a_group_is_the_sum_of_its_sockets_and_outlives_them() {
    let watching = Watching::new();
    let group = watching.monitor.group([KeyValue::new("service", "test")]);
    let mut pairs = [used_pair(), used_pair()];
    let clients = pairs.each_ref().map(|pair| &pair.client);
    let rest = |page: &Page, counters: &[(String, f64)]| {
        counters.iter().all(|(name, sum)| page.value(name, &[]) == *sum)
    };
    let sums = || -> Vec<(String, f64)> {
        let counters = FIELDS.iter().filter(|field| field.kind == FieldKind::Counter);
        let counters = counters.filter(|field| field.part.is_none());
        let sums = counters.filter_map(|field| {
            let each = clients.iter().filter_map(|client| info(client).get(field)?.as_f64());
            let each: Vec<f64> = each.collect();
            let name = exported_name("tcp", field, field.stem?);
            (!each.is_empty()).then(|| (name, each.iter().sum()))
        });
        sums.collect()
    };
    let watched = clients.map(|client| group.watch(client));
    let counters = until("a page of the very sums", || {
        let counters = sums();
        rest(&watching.page(), &counters).then_some(counters)
    });
    assert!(counters.contains(&("tcp_data_sent_bytes_total".into(), 80_000.0)), "{counters:?}");
    assert!(counters.contains(&("tcp_data_received_bytes_total".into(), 14.0)), "{counters:?}");
    drop(watched);
    let page = watching.page();
    assert!(rest(&page, &counters), "{counters:?}");
    // Not watched any more, and still open.
    assert_eq!(page.value("tcp_connection_closed_total", &[]), 0.0);
    for pair in &mut pairs {
        pair.client = used_pair().client;
    }
    let page = watching.page();
    assert!(rest(&page, &counters), "{counters:?}");
    assert_eq!(page.value("tcp_connection_closed_total", &[]), 2.0);
    assert_eq!(page.value("tcp_connection_duration_seconds_count", &[]), 2.0);
    assert_eq!(page.samples("tcp_data_unsent_bytes").map(|sample| sample.value).sum::<f64>(), 0.0);
}
