//! Which series there are: names, units, identity, caps, the choice of fields, the worst few.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use tcpinfo::{FIELDS, Field, FieldKind, Monitor, SocketAddresses, SocketIdentity, Worst};

use support::loopback::{Pair, until};
use support::reader::Reader;

#[test]
fn beyond_the_caps_sockets_are_summed_under_overflow() {
    let monitor = Monitor::builder().with_max_groups(2).with_max_sockets(3).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let pairs: Vec<Pair> = (0..10).map(|_| Pair::connect()).collect();
    let mut watched = Vec::new();
    let groups: Vec<_> = (0..5).map(|n| monitor.group([KeyValue::new("group", n)])).collect();
    for (number, pair) in pairs.iter().enumerate() {
        (&pair.client).write_all(&[1; 100]).expect("room for the bytes");
        let [one, two] = [(); 2].map(|()| pair.client.try_clone().expect("a free descriptor"));
        watched.push(groups[number % 5].watch(one));
        watched.push(monitor.watch(two, [KeyValue::new("number", number as i64)]));
    }
    let collected = reader.collected();
    let sent: Vec<(&str, f64)> = collected
        .counters
        .iter()
        .filter(|(name, _)| name.starts_with("tcp.data.sent{"))
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let overflow = "otel.metric.overflow=true";
    assert_eq!(
        sent,
        [
            ("tcp.data.sent{group=0}", 200.0),
            ("tcp.data.sent{group=1}", 200.0),
            (&*format!("tcp.data.sent{{{overflow}}}"), 600.0),
        ]
    );
    assert_eq!(collected.counter(&format!("tcp.socket.data.sent{{{overflow}}}")), 700.0);
    let own =
        collected.counters.keys().filter(|name| name.starts_with("tcp.socket.data.sent{number"));
    assert_eq!(own.count(), 3);
    // Gauges of several sockets would mean nothing.
    assert!(!collected.levels.contains_key(&format!("tcp.socket.rtt{{{overflow}}}")));
    assert_eq!(collected.counter("tcp.monitor.folded{}"), 6.0 + 7.0);
    // The overflow keeps its counters when its sockets go.
    drop(watched);
    let collected = reader.collected();
    assert_eq!(collected.counter(&format!("tcp.socket.data.sent{{{overflow}}}")), 700.0);
}

#[test]
fn every_exported_field_has_a_series_for_one_socket() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let mut pair = Pair::connect();
    pair.client.write_all(b"question").expect("room for the bytes");
    pair.server.read_exact(&mut [0; 8]).expect("the question");
    let watched = monitor.watch(pair.client, [KeyValue::new("id", 7)]);
    let collected = reader.collected();
    let info = watched.info().expect("it is open");
    let exported: BTreeSet<&str> =
        collected.names().into_iter().filter_map(|name| name.strip_prefix("tcp.socket.")).collect();
    let present = info.fields().filter_map(|(field, _)| field.stem);
    assert_eq!(exported, present.collect());
    let cookie = tcpinfo::socket_cookie(&watched).expect("this kernel has cookies");
    let one = |name: &str| format!("tcp.socket.{name}{{id=7,tcp.socket.cookie={cookie}}}");
    assert_eq!(collected.counter(&one("data.sent")), 8.0);
    assert_eq!(collected.level(&one("rtt")), info.rtt.expect("a sample").as_secs_f64());
    drop(watched);
    let left = reader.collected();
    assert!(!left.names().iter().any(|name| name.starts_with("tcp.socket.")));
}

#[test]
fn identity_is_what_the_program_chose() {
    let series = |identity, label: &[KeyValue]| {
        let monitor = Monitor::builder().with_identity(identity).build();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let pair = Pair::connect();
        let peer = pair.client.peer_addr().expect("it is connected");
        let local = pair.client.local_addr().expect("it is connected");
        let cookie = tcpinfo::socket_cookie(&pair.client).expect("this kernel has cookies");
        let _watched = monitor.watch(pair.client, label.iter().cloned());
        let collected = reader.collected();
        let sent = collected.counters.keys().find(|name| name.starts_with("tcp.socket.data.sent{"));
        let sent = sent.expect("one socket is watched").clone();
        sent.replace(&format!("cookie={cookie}"), "cookie=C")
            .replace(&format!("peer.port={}", peer.port()), "peer.port=P")
            .replace(&format!("local.port={}", local.port()), "local.port=L")
    };
    let id = [KeyValue::new("id", 7)];
    assert_eq!(series(SocketIdentity::None, &id), "tcp.socket.data.sent{id=7}");
    assert_eq!(
        series(SocketIdentity::Cookie, &id),
        "tcp.socket.data.sent{id=7,tcp.socket.cookie=C}"
    );
    assert_eq!(
        series(SocketIdentity::Addresses(SocketAddresses::peer()), &[]),
        "tcp.socket.data.sent{network.peer.address=127.0.0.1,network.peer.port=P,\
         tcp.socket.cookie=C}"
    );
    assert_eq!(
        series(
            SocketIdentity::Addresses(SocketAddresses::peer().with_prefix(8, 48).with_local()),
            &[]
        ),
        "tcp.socket.data.sent{network.local.address=127.0.0.1,network.local.port=L,\
         network.peer.address=127.0.0.0/8,tcp.socket.cookie=C}"
    );
}

#[test]
fn sockets_without_identity_share_a_series_that_adds_up() {
    let monitor = Monitor::builder().with_identity(SocketIdentity::None).build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let pairs = [Pair::connect(), Pair::connect()];
    let [one, two] = pairs.map(|pair| {
        (&pair.client).write_all(&[1; 50]).expect("room for the bytes");
        (monitor.watch(pair.client, []), pair.server)
    });
    let both = reader.collected();
    assert_eq!(both.counter("tcp.socket.data.sent{}"), 100.0);
    assert!(!both.levels.contains_key("tcp.socket.rtt{}"));
    drop(two);
    let alone = reader.collected();
    assert_eq!(alone.counter("tcp.socket.data.sent{}"), 100.0);
    assert!(alone.levels.contains_key("tcp.socket.rtt{}"));
    drop(one);
}

#[test]
fn fields_are_chosen_by_the_program() {
    let monitor = Monitor::builder().with_fields(|field| field.name == "bytes_sent").build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let (pair, other) = (Pair::connect(), Pair::connect());
    let _watched = (monitor.group([]).watch(pair.client), monitor.watch(other.client, []));
    let collected = reader.collected();
    let always = |name: &&str| !name.starts_with("tcp.monitor.") && !name.contains(".connection.");
    let chosen: Vec<&str> = collected.names().into_iter().filter(always).collect();
    assert_eq!(chosen, ["tcp.data.sent", "tcp.socket.data.sent"]);
}

#[test]
fn the_worst_connections_of_a_group_are_shown_by_themselves() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("of", "test")]);
    let pairs: Vec<Pair> = (0..5).map(|_| Pair::connect()).collect();
    let stalled = &pairs[3];
    stalled.client.set_nonblocking(true).expect("a socket can be non-blocking");
    while (&stalled.client).write(&[0; 65_536]).is_ok() {}
    let cookie = tcpinfo::socket_cookie(&stalled.client).expect("this kernel has cookies");
    until("a stall by the receive window", || {
        let info = tcpinfo::read(&stalled.client).expect("it is open");
        info.rwnd_limited.filter(|stalled| !stalled.is_zero())
    });
    let watched: Vec<_> = pairs
        .iter()
        .map(|pair| group.watch(pair.client.try_clone().expect("a free descriptor")))
        .collect();
    assert!(!reader.collected().names().contains("tcp.socket.rtt"));
    group.show_worst(Worst::Stalled, 2);
    let shown = |collected: &support::reader::Collected| -> Vec<String> {
        let names = collected.counters.keys();
        names.filter(|name| name.starts_with("tcp.socket.data.sent{")).cloned().collect()
    };
    let name = format!("tcp.socket.data.sent{{of=test,tcp.socket.cookie={cookie}}}");
    let first = reader.collected();
    assert_eq!(shown(&first), [name.as_str()]);
    // Its counters start when it is chosen: an old total would look like a sudden increase.
    assert_eq!(first.counter(&name), 0.0);
    group.show_worst(Worst::Stalled, 0);
    assert_eq!(shown(&reader.collected()), Vec::<String>::new());
    drop(watched);
}

#[test]
fn every_exported_metric_has_the_unit_and_description_of_its_row() {
    use opentelemetry_sdk::metrics::data::ResourceMetrics;
    use opentelemetry_sdk::metrics::reader::MetricReader;
    let monitor = Monitor::new();
    let reader = Reader::new(Temporality::Cumulative);
    let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
    monitor.instrument(&provider);
    let (pair, other) = (Pair::connect(), Pair::connect());
    let _watched = (monitor.group([]).watch(pair.client), monitor.watch(other.client, []));
    let mut metrics = ResourceMetrics::default();
    reader.collect(&mut metrics).expect("the provider is not shut down");
    let known = tcpinfo::metrics();
    let mut rows = 0;
    for scope in metrics.scope_metrics() {
        assert_eq!(scope.scope().name(), "tcpinfo");
        assert_eq!(scope.scope().version(), Some(env!("CARGO_PKG_VERSION")));
        for metric in scope.metrics() {
            assert!(metric.description().ends_with('.'), "{}", metric.name());
            assert!(!metric.unit().is_empty(), "{}", metric.name());
            let row = known.iter().find(|row| row.name == metric.name());
            let row = row.unwrap_or_else(|| panic!("{} is not in the list", metric.name()));
            assert_eq!((metric.unit(), metric.description()), (row.unit, row.description));
            rows += usize::from(!row.fields.is_empty());
        }
    }
    let grouped = |field: &&Field| !matches!(field.kind, FieldKind::Gauge | FieldKind::Property);
    assert!(rows > FIELDS.iter().filter(grouped).count());
}
