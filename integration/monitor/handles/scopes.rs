//! Two monitors that report to one provider.

use std::net::TcpStream;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use tcpinfo::{Monitor, Watched};

use super::{connected, send};
use support::reader::Reader;

fn named(name: &'static str) -> Monitor {
    Monitor::builder().with_name(name).build()
}

fn watched(monitor: &Monitor, bytes: usize) -> (Watched<TcpStream>, TcpStream) {
    let (client, server) = connected();
    let client = monitor.group([KeyValue::new("group", "a")]).watch(client);
    send(&client, &server, bytes);
    (client, server)
}

#[test]
fn monitors_on_one_provider_are_told_apart_by_their_names() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let reader = Reader::new(temporality);
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
        let (one, two) = (named("one"), named("two"));
        one.instrument(&provider);
        two.instrument(&provider);
        let _held = (watched(&one, 100), watched(&two, 20), watched(&two, 3));
        let all = reader.collected_by_monitor();
        let of = |name: &str, metric: &str| {
            let all = all.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", all.keys()));
            all.counter(&format!("{metric}{{group=a}}"))
        };
        let sent = |name| of(name, "tcp.data.sent") - of(name, "tcp.data.retransmitted");
        assert_eq!(["one", "two"].map(sent), [100.0, 23.0]);
        assert_eq!(["one", "two"].map(|name| of(name, "tcp.connection.opened")), [1.0, 2.0]);
    }
}

/// Without names: by a number that only the first of a process does not have.
#[test]
fn monitors_without_names_are_told_apart_on_one_provider() {
    use opentelemetry_sdk::metrics::data::ResourceMetrics;
    use opentelemetry_sdk::metrics::reader::MetricReader;
    let reader = Reader::new(Temporality::Cumulative);
    let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
    let monitors = [(); 3].map(|()| Monitor::new());
    monitors.iter().for_each(|monitor| monitor.instrument(&provider));
    let _held = monitors.each_ref().map(|monitor| watched(monitor, 10));
    let mut metrics = ResourceMetrics::default();
    reader.collect(&mut metrics).expect("the provider is not shut down");
    let mut instances: Vec<Option<String>> = metrics
        .scope_metrics()
        .map(|scope| {
            let mut attributes = scope.scope().attributes();
            let number = attributes.find(|it| it.key.as_str() == "tcp.monitor.instance");
            number.map(|number| number.value.to_string())
        })
        .collect();
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 3, "{instances:?}");
    // Whether one of these is the first of this process is up to the other tests.
    let numbers = instances.iter().flatten().map(|it| it.parse::<u64>().expect("a number"));
    assert!(numbers.clone().all(|number| number >= 2), "{instances:?}");
    assert!(numbers.count() >= 2, "{instances:?}");
}
