//! What requests of the crate's own have beside their points: lengths, times, memory.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tcpinfo::{Monitor, Otlp, SocketIdentity};

use super::make_room;
use super::own::{Scene, decoded, metrics_of, points_of, same, still};
use super::points;
use support::allocator::allocations;
use support::loopback::{Pair, until};

/// The requests of one sweep, and how long each is.
fn requests(otlp: &Otlp) -> Vec<(usize, ExportMetricsServiceRequest)> {
    let (mut all, mut body) = (Vec::new(), Vec::new());
    let mut requests = otlp.requests();
    while requests.next_request(&mut body) {
        all.push((body.len(), Message::decode(&*body).expect("it is OTLP")));
    }
    assert!(body.is_empty(), "the last buffer has {} bytes", body.len());
    assert!(!requests.next_request(&mut body), "there is another one after the last");
    all
}

#[test]
fn requests_of_any_length_have_every_point_once() {
    for max in [0, 1, 700, 5_000, 20_000, 1_000_000, usize::MAX] {
        let scene = || {
            let mut scene = Scene::with_max_request(Monitor::builder(), max);
            for number in 0..4 {
                let group = scene.monitor.group([KeyValue::new("listener", number)]);
                scene.watch(&group);
                scene.watch_alone(&[KeyValue::new("text", "v".repeat(50))]);
            }
            scene
        };
        let (pushed, ours) =
            (0..20).find_map(|_| scene().both(requests)).expect("sockets that do nothing");
        let without_resource = |lines: Vec<String>| {
            let points = lines.into_iter().filter(|line| !line.starts_with("resource "));
            points.collect::<Vec<_>>()
        };
        let theirs = without_resource(still(pushed));
        let points = ours.iter().flat_map(|(_, it)| without_resource(still(it.clone())));
        same(&theirs, &points.collect::<Vec<_>>());
        // Rows are never split: one alone may be longer.
        let longest = ours.iter().map(|(length, _)| *length).max().expect("there are requests");
        match max {
            0 | 1 => assert!(ours.len() > 100, "{max}: {} requests", ours.len()),
            usize::MAX | 1_000_000 => assert_eq!(ours.len(), 1),
            700 => assert!(longest < 1_500, "{max}: {longest}"),
            _ => assert!(longest <= max && ours.len() > 1, "{max}: {longest}"),
        }
        if (5_000..1_000_000).contains(&max) {
            let all: usize = ours.iter().map(|(length, _)| *length).sum();
            let least = all.div_ceil(max);
            assert!(ours.len() <= least + 1 + least / 4, "{} requests of {all} bytes", ours.len());
        }
    }
}

/// Start and time of every series, by metric and attributes.
fn times(otlp: &Otlp) -> BTreeMap<String, (u64, u64)> {
    let mut request = decoded(otlp);
    let mut all = BTreeMap::new();
    for metric in metrics_of(&mut request) {
        let name = metric.name.clone();
        let series = |attributes: &[_]| {
            let mut all: Vec<_> = attributes.iter().map(points::plain_attribute).collect();
            all.sort();
            format!("{name}{{{}}}", all.join(","))
        };
        let (numbers, histograms) = points_of(metric);
        for point in numbers {
            let times = (point.start_time_unix_nano, point.time_unix_nano);
            assert_eq!(all.insert(series(&point.attributes), times), None);
        }
        for point in histograms {
            let times = (point.start_time_unix_nano, point.time_unix_nano);
            assert_eq!(all.insert(series(&point.attributes), times), None);
        }
    }
    all
}

/// Reading two clocks takes a moment, and they do not run alike. What the test tells apart is ten
/// times as far apart.
const TOLERANCE: u64 = 1_000_000;

fn pause() {
    let begun = nanos();
    until("a moment", || (nanos() > begun + 10 * TOLERANCE).then_some(()));
}

fn nanos() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
    now.as_nanos() as u64
}

#[test]
fn each_series_says_when_it_began() {
    let begun = nanos();
    let monitor = Monitor::builder().with_identity(SocketIdentity::None).build();
    let otlp = monitor.otlp();
    let made = nanos();
    pause();
    let [first, second, third, fourth] = [(); 4].map(|()| Pair::connect());
    let group = |name: &'static str| monitor.group([KeyValue::new("group", name)]);
    let _one =
        (group("one").watch(&first.client), monitor.watch(&first.server, [KeyValue::new("a", 1)]));
    pause();
    let first_sweep = (nanos(), times(&otlp), nanos());
    pause();
    let _two = (
        group("two").watch(&second.client),
        monitor.watch(&second.server, [KeyValue::new("a", 2)]),
    );
    let after_two = nanos();
    pause();
    let second_sweep = (nanos(), times(&otlp), nanos());

    let starts = |series: &str, sweep: &BTreeMap<String, (u64, u64)>| {
        sweep.get(series).unwrap_or_else(|| panic!("no {series} in {sweep:#?}")).0
    };
    let within = |series: &str, from: u64, to: u64| {
        let start = starts(series, &second_sweep.1);
        assert!(
            (from - TOLERANCE..=to + TOLERANCE).contains(&start),
            "{series}: {start} not in {from}..={to}"
        );
    };
    within("tcp.connection.opened{group=one}", made, first_sweep.0);
    within("tcp.rto{group=one}", made, first_sweep.0);
    within("tcp.socket.data.sent{a=1}", made, first_sweep.0);
    within("tcp.connection.opened{group=two}", first_sweep.2, after_two);
    within("tcp.rto{group=two}", first_sweep.2, after_two);
    within("tcp.socket.data.sent{a=2}", first_sweep.2, after_two);
    within("tcp.monitor.watched{}", begun, made);
    within("tcp.monitor.sweep.duration{}", begun, made);
    // What is no sum has none, and what goes on keeps its own.
    assert_eq!(starts("tcp.socket.rto{a=1}", &second_sweep.1), 0);
    for (series, (start, _)) in &first_sweep.1 {
        assert_eq!(starts(series, &second_sweep.1), *start, "{series}");
    }
    for (before, sweep, after) in [&first_sweep, &second_sweep] {
        for (series, (start, time)) in sweep {
            assert!(
                start <= time && (*before..=*after + TOLERANCE).contains(time),
                "{series}: {time}"
            );
        }
    }

    // A series that ends and comes back begins after its end, also where the socket is older.
    pause();
    let late = monitor.watch(&third.client, [KeyValue::new("a", 3)]);
    let ended = times(&otlp)["tcp.socket.data.sent{a=3}"].1;
    let other = monitor.watch(&fourth.client, [KeyValue::new("b", 4)]);
    drop(late);
    pause();
    let without = times(&otlp);
    assert!(!without.contains_key("tcp.socket.data.sent{a=3}"));
    let again = monitor.watch(&third.client, [KeyValue::new("a", 3)]);
    let start = times(&otlp)["tcp.socket.data.sent{a=3}"].0;
    assert!(start > ended && start >= without["tcp.monitor.watched{}"].1, "{start} and {ended}");
    drop((again, other));
}

#[test]
fn requests_have_more_sockets_than_the_sdk_has_series() {
    const SOCKETS: usize = 2_500;
    make_room(10_000);
    let monitor = Monitor::builder().with_max_sockets(SOCKETS).build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let mut held = Vec::new();
    for _ in 0..SOCKETS {
        let client = std::net::TcpStream::connect(address).expect("it listens");
        let server = listener.accept().expect("the client connected").0;
        held.push((monitor.watch(client, []), server));
    }
    let otlp = monitor.otlp();
    let requests = requests(&otlp);
    assert!(requests.len() > 1 && requests.iter().all(|(length, _)| *length <= 4 << 20));
    let mut seen = BTreeMap::new();
    for (_, mut request) in requests {
        for metric in metrics_of(&mut request).filter(|it| it.name == "tcp.socket.rto") {
            for point in points_of(metric).0 {
                let series: Vec<_> = point.attributes.iter().map(points::plain_attribute).collect();
                *seen.entry(series).or_insert(0) += 1;
            }
        }
    }
    assert_eq!((seen.len(), seen.values().max()), (SOCKETS, Some(&1)));
}

#[test]
fn a_request_allocates_nothing_for_each_socket() {
    let asked = |sockets: usize| {
        let monitor = Monitor::builder().with_max_sockets(sockets).build();
        let group = monitor.group([KeyValue::new("listener", "public")]);
        let pairs: Vec<Pair> = (0..sockets).map(|_| Pair::connect()).collect();
        let watched: Vec<_> = pairs.iter().map(|pair| monitor.watch(&pair.client, [])).collect();
        let _one = group.watch(&pairs[0].server);
        let otlp = monitor.otlp();
        let mut body = Vec::new();
        // The first make what later ones have: labels, and what was told of each series.
        (0..2).for_each(|_| otlp.encode(&mut body));
        let asked = allocations(|| otlp.encode(&mut body));
        drop(watched);
        asked
    };
    assert_eq!(asked(2), asked(250));
}

#[test]
fn there_are_no_requests_when_the_monitor_is_gone() {
    let monitor = Monitor::new();
    let otlp = monitor.otlp();
    let mut body = vec![1];
    drop(monitor);
    otlp.encode(&mut body);
    assert!(body.is_empty());
    assert!(!otlp.requests().next_request(&mut body));
}

#[test]
fn requests_that_are_asked_for_at_once_are_whole_each() {
    let monitor = Monitor::new();
    let group = monitor.group([KeyValue::new("listener", "public")]);
    let pairs: Vec<Pair> = (0..40).map(|_| Pair::connect()).collect();
    let _watched: Vec<_> = pairs.iter().map(|pair| monitor.watch(&pair.client, [])).collect();
    let _one = group.watch(&pairs[0].server);
    let otlp = monitor.otlp().with_max_request(20_000);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut samples = 0;
                for _ in 0..20 {
                    let mut sockets = 0;
                    for (_, mut request) in requests(&otlp) {
                        for metric in metrics_of(&mut request) {
                            match &*metric.name {
                                "tcp.socket.rto" => sockets += points_of(metric).0.len(),
                                "tcp.rto" => {
                                    let count = points_of(metric).1[0].count;
                                    assert!(count > samples, "{count} after {samples}");
                                    samples = count;
                                }
                                _ => {}
                            }
                        }
                    }
                    assert_eq!(sockets, 40);
                }
            });
        }
    });
    // A sample for each sweep: none was lost or counted twice.
    let mut last = decoded(&otlp);
    let of_rto = metrics_of(&mut last).find(|metric| metric.name == "tcp.rto");
    assert_eq!(points_of(of_rto.expect("there is a group")).1[0].count, 61);
}
