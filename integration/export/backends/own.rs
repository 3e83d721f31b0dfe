//! Requests of the crate's own, sent to the OpenTelemetry Collector: it takes and hands on every
//! point of them, and they are those of the SDK's push.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tcpinfo::{Monitor, Otlp, Worst};

use super::receivers::{Collector, collector, handing_on_to};
use crate::export::otlp::own::{Scene, same, still};
use crate::export::otlp::points;
use crate::export::otlp::receiver::Receiver;
use support::lateness::PATIENCE;
use support::loopback::{stall, used_pair};

/// The requests of one sweep.
fn bodies(otlp: &Otlp) -> Vec<Vec<u8>> {
    let (mut all, mut body) = (Vec::new(), Vec::new());
    let mut requests = otlp.requests();
    while requests.next_request(&mut body) {
        all.push(body.clone());
    }
    all
}

/// Sends a body, and is told that it was taken.
fn post(collector: SocketAddr, body: &[u8]) {
    let mut stream = TcpStream::connect(collector).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nHost: {collector}\r\nConnection: close\r\n\
         Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
        Otlp::CONTENT_TYPE,
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    stream.write_all(body).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

fn decoded(body: &[u8]) -> ExportMetricsServiceRequest {
    Message::decode(body).expect("it is OTLP")
}

fn scene(max: usize) -> Scene {
    let builder = Monitor::builder().with_name("own").with_max_groups(3).with_max_sockets(8);
    let mut scene = Scene::with_max_request(builder, max);
    for number in 0..5 {
        let group = scene.monitor.group([KeyValue::new("listener", number)]);
        scene.watch(&group);
        scene.watch_alone(&[KeyValue::new("text", "a \"quoted\" \\ text\n")]);
    }
    let group = scene.monitor.group([KeyValue::new("listener", 0)]);
    group.show_worst(Worst::Stalled, 1);
    let mut pair = used_pair();
    stall(&mut pair);
    scene.hold((group.watch(pair.client), pair.server));
    drop(group.watch(used_pair().client));
    scene
}

#[test]
#[ignore = "needs the OpenTelemetry Collector: integration/test.sh"]
fn requests_of_our_own_arrive_through_the_collector_as_the_sdks_do() {
    let Some(program) = collector() else { return };
    let sink = Receiver::http();
    let collector = Collector::start(&program, &handing_on_to(&sink));
    for max in [20_000, usize::MAX] {
        let both = (0..20).find_map(|_| scene(max).both(bodies));
        let (pushed, ours) = both.expect("sockets that do nothing");
        post(collector.http, &pushed.encode_to_vec());
        let theirs = still(sink.next().request);
        let mut all = Vec::new();
        for body in &ours {
            post(collector.http, body);
            let arrived = sink.next().request;
            assert_eq!(points::arrived(&arrived), points::arrived(&decoded(body)));
            // Each has the resource.
            all.retain(|line: &String| !line.starts_with("resource "));
            all.extend(still(arrived));
        }
        assert_eq!(ours.len() > 1, max == 20_000, "{}", ours.len());
        same(&theirs, &all);
    }
}

#[test]
#[ignore = "needs the OpenTelemetry Collector: integration/test.sh"]
fn more_sockets_than_the_sdk_has_series_arrive_through_the_collector() {
    const SOCKETS: usize = 2_100;
    let Some(program) = collector() else { return };
    let sink = Receiver::http();
    let collector = Collector::start(&program, &handing_on_to(&sink));
    let builder = Monitor::builder().with_max_sockets(SOCKETS);
    let monitor = builder.with_fields(|field| ["bytes_sent", "rto"].contains(&field.name)).build();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    crate::export::otlp::make_room(2 * SOCKETS as u64 + 4_000);
    let connect = |number: usize| {
        let mut client = TcpStream::connect(address).expect("it listens");
        let server = listener.accept().expect("the client connected").0;
        client.write_all(&vec![1; number + 1]).expect("room for it");
        (monitor.watch(client, [KeyValue::new("number", number as i64)]), server)
    };
    let _held: Vec<_> = (0..SOCKETS).map(connect).collect();
    let mut sent = 0.0;
    let mut series = 0;
    for body in bodies(&monitor.otlp().with_max_request(100_000)) {
        post(collector.http, &body);
        for (name, bytes) in points::collected(&sink.next().request).counters {
            if let Some(rest) = name.strip_prefix("tcp.socket.data.sent{number=") {
                let number = rest.split(',').next().and_then(|it| it.parse::<f64>().ok());
                assert_eq!(number.map(|number| number + 1.0), Some(bytes), "{name}");
                (sent, series) = (sent + bytes, series + 1);
            }
        }
    }
    assert_eq!((series, sent), (SOCKETS, (SOCKETS * (SOCKETS + 1) / 2) as f64));
}
