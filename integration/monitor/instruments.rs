//! The monitor and its instruments over real sockets: what is counted, when, and under which name.

use std::io::{Read, Write};
use std::thread;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream, Temporality};
use tcpinfo::{FIELDS, Field, FieldValue, Monitor};

use support::loopback::{Pair, until};
use support::reader::Reader;

fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).expect("a row of the table")
}

fn reads(monitor: &Monitor) -> u64 {
    monitor.latest().map(|snapshot| snapshot.monitor.reads).unwrap_or_default()
}

/// Ten watched connections in two groups, and what keeps them open.
fn ten(monitor: &Monitor) -> (Vec<Pair>, Vec<tcpinfo::Watched<std::net::TcpStream>>) {
    let groups = [1, 2].map(|number| monitor.group([KeyValue::new("group", number)]));
    let pairs: Vec<Pair> = (0..10).map(|_| Pair::connect()).collect();
    // Clones, so that the pairs stay whole: the monitor does not mind.
    let watched = pairs.iter().enumerate().map(|(number, pair)| {
        groups[number % 2].watch(pair.client.try_clone().expect("a descriptor is free"))
    });
    let watched = watched.collect();
    (pairs, watched)
}

#[test]
fn each_collection_reads_each_socket_once() {
    let monitor = Monitor::new();
    let (_pairs, _watched) = ten(&monitor);
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    for collections in 1..=5 {
        reader.collected();
        assert_eq!(reads(&monitor), 10 * collections);
    }
}

#[test]
fn three_readers_at_once_read_each_socket_once_each() {
    let monitor = Monitor::new();
    let (_pairs, _watched) = ten(&monitor);
    thread::scope(|scope| {
        for _ in 0..3 {
            let (reader, provider) = Reader::with_provider();
            monitor.instrument(&provider);
            scope.spawn(move || {
                for _ in 0..100 {
                    reader.collected();
                }
                drop(provider);
            });
        }
    });
    monitor.snapshot();
    assert_eq!(reads(&monitor), 10 * (3 * 100 + 1));
}

#[test]
fn views_that_drop_instruments_change_nothing_about_the_reads() {
    let names = {
        let monitor = Monitor::new();
        let (_pairs, _watched) = ten(&monitor);
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let collected = reader.collected();
        collected.names().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (first, last) = ("tcp.connection.count", "tcp.monitor.folded");
    assert!(names.iter().any(|name| name == first) && names.iter().any(|name| name == last));
    type Keep = fn(&str) -> bool;
    let keeps: [(&str, Keep); 3] = [
        ("all but the first", |name| name != "tcp.connection.count"),
        ("all but the last", |name| name != "tcp.monitor.folded"),
        ("one alone", |name| name == "tcp.data.sent"),
    ];
    for (what, keep) in keeps {
        let monitor = Monitor::new();
        let (_pairs, _watched) = ten(&monitor);
        let reader = Reader::new(Temporality::Cumulative);
        let view = move |instrument: &Instrument| {
            let dropped = Stream::builder().with_aggregation(Aggregation::Drop);
            (!keep(instrument.name())).then(|| dropped.build().expect("a valid stream"))
        };
        let provider =
            SdkMeterProvider::builder().with_reader(reader.clone()).with_view(view).build();
        monitor.instrument(&provider);
        for collections in 1..=3 {
            let collected = reader.collected();
            assert_eq!(reads(&monitor), 10 * collections, "{what}");
            assert!(collected.names().iter().all(|name| keep(name)), "{what}");
            assert!(collected.names().contains("tcp.data.sent"), "{what}");
        }
    }
}

#[test]
fn equal_attributes_in_any_order_are_one_group() {
    let monitor = Monitor::new();
    let (a, b) = (KeyValue::new("a", 1), KeyValue::new("b", 2));
    let one = monitor.group([a.clone(), b.clone()]);
    let two = monitor.group([KeyValue::new("b", "overwritten"), b, a]);
    let (pair, other) = (Pair::connect(), Pair::connect());
    let _watched = (one.watch(pair.client), two.watch(other.client));
    let snapshot = monitor.snapshot();
    assert_eq!(snapshot.groups.len(), 1);
    assert_eq!(snapshot.groups[0].live(), 2);
}

#[test]
fn totals_survive_the_socket_and_its_last_bytes_count() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("of", "test")]);
    let Pair { client, mut server, listener: _listener } = Pair::connect();
    let mut client = group.watch(client);
    client.write_all(&[7; 1_000]).expect("room for the bytes");
    let before = reader.collected();
    assert_eq!(before.counter("tcp.data.sent{of=test}"), 1_000.0);
    assert_eq!(
        before.level("tcp.connection.count{network.connection.state=established,of=test}"),
        1.0
    );
    // Nobody collects between these bytes and the end of the socket.
    client.write_all(&[7; 234]).expect("room for the bytes");
    drop(client);
    let mut received = Vec::new();
    server.read_to_end(&mut received).expect("the client's bytes and its end");
    let after = reader.collected();
    assert_eq!(after.counter("tcp.data.sent{of=test}"), received.len() as f64);
    assert_eq!(after.counter("tcp.connection.opened{of=test}"), 1.0);
    assert_eq!(after.counter("tcp.connection.closed{of=test}"), 1.0);
    assert_eq!(
        after.level("tcp.connection.count{network.connection.state=established,of=test}"),
        0.0
    );
    assert_eq!(after.histograms["tcp.connection.duration{of=test}"], 1);
    // One live sample, one at the end.
    assert_eq!(after.histograms["tcp.rtt{of=test}"], 2);
    // Still there without a handle or a socket.
    drop(group);
    assert_eq!(reader.collected().counter("tcp.data.sent{of=test}"), 1_234.0);
}

#[test]
fn busy_time_is_a_partition() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let Pair { client, server, listener: _listener } = Pair::connect();
    let group = monitor.group([]);
    let client = group.watch(client);
    // The peer does not read: its window fills up.
    client.set_nonblocking(true).expect("a socket can be non-blocking");
    while (&client).write(&[0; 65_536]).is_ok() {}
    until("a stall by the receive window", || {
        client.info().expect("it is open").rwnd_limited.filter(|stalled| !stalled.is_zero())
    });
    let collected = reader.collected();
    let part = |cause: &str| collected.counter(&format!("tcp.busy.time{{tcp.limited_by={cause}}}"));
    let latest = monitor.latest().expect("a collection swept");
    let Some(FieldValue::Duration(busy)) = latest.groups[0].get(field("busy_time")) else {
        panic!("this kernel reports busy time")
    };
    assert!(part("receive_window") > 0.0);
    let sum = part("receive_window") + part("send_buffer") + part("network");
    assert!((sum - busy.as_secs_f64()).abs() < 1e-9, "{sum} is not {busy:?}");
    drop(server);
}

#[test]
fn listeners_show_their_queue_and_are_no_connection() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let group = monitor.group([]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let listener = group.watch(listener);
    let _waiting = [(); 2].map(|()| std::net::TcpStream::connect(address).expect("it listens"));
    let collected = until("two connections in the queue", || {
        Some(reader.collected()).filter(|all| all.level("tcp.listener.accept_queue{}") == 2.0)
    });
    assert_eq!(collected.level("tcp.listener.backlog{}"), 128.0);
    assert_eq!(collected.level("tcp.connection.count{network.connection.state=listen}"), 1.0);
    assert_eq!(collected.counter("tcp.connection.opened{}"), 0.0);
    drop(listener);
    assert_eq!(reader.collected().counter("tcp.connection.closed{}"), 0.0);
}

#[test]
#[cfg(feature = "serde")]
fn a_snapshot_is_plain_data() {
    let monitor = Monitor::new();
    let mut pair = Pair::connect();
    pair.client.write_all(&[1; 10]).expect("room for the bytes");
    let _watched = monitor.group([KeyValue::new("of", "test")]).watch(pair.client);
    let other = Pair::connect();
    let _alone = monitor.watch(other.client, [KeyValue::new("id", 7)]);
    let json = serde_json::to_value(&*monitor.snapshot()).expect("a snapshot serializes");
    let group = &json["groups"][0];
    assert_eq!(group["attributes"], serde_json::json!({ "of": "test" }));
    assert_eq!(group["states"], serde_json::json!({ "established": 1 }));
    assert_eq!((&group["opened"], &group["closed"]), (&1.into(), &0.into()));
    assert_eq!(group["fields"]["bytes_sent"], 10);
    assert_eq!(group["samples"].as_array().map(Vec::len), Some(1));
    assert!(group["samples"][0]["rtt"].as_f64().is_some_and(|rtt| rtt > 0.0));
    assert_eq!(json["sockets"][0]["attributes"]["id"], 7);
    assert_eq!(json["sockets"][0]["fields"]["state"], "established");
    assert_eq!(json["monitor"]["watched"], 2);
}
