//! What goes wrong around a monitor: non-TCP sockets, callbacks that panic, ends in any order.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use socket2::SockRef;
use tcpinfo::{Monitor, State};

use support::loopback::{Pair, until};
use support::reader::Reader;

#[test]
fn what_is_no_tcp_socket_is_reported_once_and_works_on() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&errors);
    let monitor = Monitor::builder()
        .on_error(move |attributes, error| {
            let text = format!("{attributes:?} {:?}", error.raw_os_error());
            seen.lock().expect("nobody panics while pushing").push(text);
            panic!("the program's own mistake");
        })
        .build();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let group = monitor.group([KeyValue::new("kind", "udp")]);
    let socket = group.watch(UdpSocket::bind("127.0.0.1:0").expect("loopback has ports"));
    let good = group.watch(Pair::connect().client);
    for _ in 0..3 {
        reader.collected();
    }
    // Not within a collection, whose lock is the SDK's.
    assert_eq!(*errors.lock().expect("whole"), [""; 0]);
    monitor.snapshot();
    // EOPNOTSUPP
    assert_eq!(*errors.lock().expect("whole"), [r#"{"kind": String(Static("udp"))} Some(95)"#]);
    let collected = reader.collected();
    assert_eq!(collected.counter("tcp.monitor.read.errors{error.type=EOPNOTSUPP}"), 1.0);
    assert_eq!(collected.level("tcp.monitor.watched{}"), 1.0);
    assert_eq!(socket.info().expect_err("it is no TCP socket").raw_os_error(), Some(95));
    drop(socket);
    drop(good);
    assert_eq!(reader.collected().level("tcp.monitor.watched{}"), 0.0);
}

/// What was thrown panics in turn when it is dropped.
#[test]
fn a_callback_whose_panic_panics_is_contained() {
    struct Thrown;
    impl Drop for Thrown {
        fn drop(&mut self) {
            panic!("the program's second mistake");
        }
    }
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let monitor = Monitor::builder()
        .on_error(move |_, _| {
            *counted.lock().expect("nobody panics while counting") += 1;
            std::panic::panic_any(Thrown);
        })
        .build();
    let group = monitor.group([]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    for calls_so_far in 1..=3 {
        drop(group.watch(&socket));
        assert_eq!(*calls.lock().expect("whole"), calls_so_far);
    }
    assert_eq!(monitor.snapshot().monitor.watched, 0);
}

#[test]
fn an_error_callback_may_use_the_monitor() {
    let place: Arc<Mutex<Option<Monitor>>> = Arc::default();
    let inner = Arc::clone(&place);
    let monitor = Monitor::builder()
        .on_error(move |_, _| {
            let monitor = inner.lock().expect("whole").clone().expect("put there below");
            let pair = Pair::connect();
            let _dropped = monitor.group([KeyValue::new("from", "callback")]).watch(pair.client);
            assert!(monitor.latest().is_some());
            monitor.snapshot();
        })
        .build();
    *place.lock().expect("whole") = Some(monitor.clone());
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let _socket = monitor.watch(UdpSocket::bind("127.0.0.1:0").expect("loopback has ports"), []);
    reader.collected();
    monitor.snapshot();
    let collected = reader.collected();
    assert_eq!(collected.counter("tcp.connection.closed{from=callback}"), 1.0);
    // The callback and its monitor hold each other.
    place.lock().expect("whole").take();
}

#[test]
fn the_end_of_the_monitor_silences_its_instruments() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let pair = Pair::connect();
    let group = monitor.group([]);
    let watched = group.watch(pair.client);
    drop(monitor);
    assert!(reader.collected().names().contains("tcp.data.sent"));
    drop(group);
    assert!(reader.collected().names().contains("tcp.data.sent"));
    drop(watched);
    // Histograms are the SDK's own memory.
    assert!(reader.collected().counters.is_empty());
}

#[test]
fn the_end_of_the_provider_leaves_the_monitor_at_work() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let (_reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    provider.shutdown().expect("nothing is to be flushed");
    let watched = group.watch(Pair::connect().client);
    drop(provider);
    drop(watched);
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    assert_eq!(reader.collected().counter("tcp.connection.closed{}"), 1.0);
}

#[test]
fn a_second_registration_on_one_provider_doubles_samples_and_nothing_else() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    monitor.instrument(&provider);
    let mut pair = Pair::connect();
    pair.client.write_all(&[1; 10]).expect("room for the bytes");
    let _watched = monitor.group([]).watch(pair.client);
    let collected = reader.collected();
    assert_eq!(collected.counter("tcp.data.sent{}"), 10.0);
    assert_eq!(collected.level("tcp.connection.count{network.connection.state=established}"), 1.0);
    assert_eq!(collected.histograms["tcp.rtt{}"], 2);
}

#[test]
fn a_leaked_socket_stays_watched_and_harms_nothing() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    std::mem::forget(group.watch(Pair::connect().client));
    for _ in 0..130 {
        let snapshot = monitor.snapshot();
        assert_eq!(snapshot.groups[0].live(), 1);
        assert_eq!(snapshot.monitor.read_errors, []);
    }
}

#[test]
fn strange_attributes_are_only_attributes() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let huge = "x".repeat(1 << 20);
    let attributes = [
        KeyValue::new("huge", huge.clone()),
        KeyValue::new("twice", 1),
        KeyValue::new("twice", 2),
        KeyValue::new("network.connection.state", "mine"),
        KeyValue::new("tcp.limited_by", "me"),
        KeyValue::new("otel.metric.overflow", true),
        KeyValue::new("tcp.socket.cookie", "not a cookie"),
    ];
    let pair = Pair::connect();
    let _watched = monitor.group(attributes.clone()).watch(pair.client);
    let collected = reader.collected();
    let plain = format!("huge={huge},tcp.socket.cookie=not a cookie,twice=2");
    assert_eq!(collected.counter(&format!("tcp.connection.opened{{{plain}}}")), 1.0);
    let mut parts = format!("huge={huge},tcp.limited_by=network,");
    parts.push_str("tcp.socket.cookie=not a cookie,twice=2");
    assert_eq!(collected.counter(&format!("tcp.busy.time{{{parts}}}")), 0.0);
    // A socket's own identity wins over the program's attribute.
    let pair = Pair::connect();
    let cookie = tcpinfo::socket_cookie(&pair.client).expect("this kernel has cookies");
    let _alone = monitor.watch(pair.client, attributes);
    let plain = format!("huge={huge},tcp.socket.cookie={cookie},twice=2");
    assert_eq!(reader.collected().counter(&format!("tcp.socket.data.sent{{{plain}}}")), 0.0);
}

#[test]
fn a_leaked_loan_reads_no_other_socket() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let lender = Pair::connect();
    let watch = group.watch_borrowed(&lender.client);
    assert_eq!(monitor.snapshot().groups[0].live(), 1);
    std::mem::forget(watch);
    drop(lender.client);
    // Somebody else takes the number, and does more than the first ever did.
    let mut other = Pair::connect();
    other.client.write_all(&[1; 1_000]).expect("room for the bytes");
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].live(), snapshot.groups[0].closed), (0, 1));
    // Another test may have taken the number, with a file that is no socket.
    let errors = |snapshot: &tcpinfo::Snapshot| -> u64 {
        snapshot.monitor.read_errors.iter().map(|(_, count)| count).sum()
    };
    assert_eq!(errors(&snapshot), 1);
    let sent = tcpinfo::FIELDS.iter().find(|field| field.name == "bytes_sent").expect("a row");
    assert_eq!(snapshot.groups[0].get(sent), Some(tcpinfo::FieldValue::Integer(0)));
    assert_eq!(errors(&monitor.snapshot()), 1);
}

#[test]
fn a_probe_outlives_its_socket_and_meets_no_other() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let (one, other) = (Pair::connect(), Pair::connect());
    let watched = group.watch(one.client);
    let probe = watched.probe();
    let info = probe.info().expect("it is watched");
    assert_eq!(info.bytes_sent, Some(0));
    // The slot is used again.
    drop(watched);
    let _other = group.watch(other.client);
    let error = probe.info().expect_err("that socket is gone");
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    drop((group, monitor));
}

#[test]
fn a_socket_taken_back_and_watched_again_counts_once() {
    let monitor = Monitor::new();
    let (one, other) =
        (monitor.group([KeyValue::new("n", 1)]), monitor.group([KeyValue::new("n", 2)]));
    let Pair { client, server: _server, listener: _listener } = Pair::connect();
    let mut client = one.watch(client);
    client.write_all(&[1; 100]).expect("room for the bytes");
    let mut client = client.into_inner();
    client.write_all(&[1; 20]).expect("room for the bytes");
    let mut client = other.watch(client);
    client.write_all(&[1; 3]).expect("room for the bytes");
    let snapshot = monitor.snapshot();
    let sent = tcpinfo::FIELDS.iter().find(|field| field.name == "bytes_sent").expect("a row");
    let totals: Vec<_> = snapshot.groups.iter().map(|group| group.get(sent)).collect();
    // What was sent between the two watches is nobody's.
    assert_eq!(totals, [100, 3].map(|sent| Some(tcpinfo::FieldValue::Integer(sent))));
    drop(client);
    assert_eq!(monitor.snapshot().groups[1].get(sent), totals[1]);
}

#[test]
fn a_reset_stops_the_clocks_that_the_kernel_lets_run() {
    let Pair { client, server, .. } = Pair::connect();
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let client = monitor.group([]).watch(client);
    client.set_nonblocking(true).expect("it is open");
    until("a full send buffer", || (&*client).write(&[0; 1 << 16]).err());
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("it is open");
    drop(server);
    until("the reset", || (client.info().expect("it is open").state == State::Close).then_some(()));

    let stalled = "tcp.busy.time{tcp.limited_by=receive_window}";
    let seen = reader.collected().counter(stalled);
    let start = Instant::now();
    until("fifty milliseconds", || (start.elapsed() > Duration::from_millis(50)).then_some(()));
    assert_eq!(reader.collected().counter(stalled), seen);
    drop(client);
    assert_eq!(reader.collected().counter(stalled), seen);
}
