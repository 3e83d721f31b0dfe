//! Several monitors on one provider: each has a scope, and so series, of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use tcpinfo::{Group, Monitor, Watched};

use support::exposition::Page;
use support::loopback::Pair;
use support::parsers::passes_python;
use support::reader::{Collected, Reader};

fn provider(temporality: Temporality) -> (Reader, SdkMeterProvider) {
    let reader = Reader::new(temporality);
    let provider = SdkMeterProvider::builder().with_reader(reader.clone()).build();
    (reader, provider)
}

/// A connection of the group that has sent so much.
fn sent(group: &Group, bytes: usize) -> Watched<TcpStream> {
    let watched = group.watch(Pair::connect().client);
    (&*watched).write_all(&vec![1; bytes]).expect("room for the bytes");
    watched
}

const SENT: &str = "tcp.data.sent{group=a}";

fn group(monitor: &Monitor) -> Group {
    monitor.group([KeyValue::new("group", "a")])
}

/// What each scope says was sent, in any order.
fn sums(collected: &BTreeMap<String, Collected>) -> Vec<f64> {
    let sums = collected.values().filter_map(|scope| scope.counters.get(SENT).copied());
    let mut sums: Vec<f64> = sums.collect();
    sums.sort_by(f64::total_cmp);
    sums
}

#[test]
fn two_monitors_on_one_provider_are_reported_apart() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let (reader, provider) = provider(temporality);
        let monitors = [Monitor::new(), Monitor::new()];
        let groups = monitors.each_ref().map(|monitor| {
            monitor.instrument(&provider);
            group(monitor)
        });
        let _watched = [sent(&groups[0], 1_000), sent(&groups[1], 50)];
        let collected = reader.collected_by_scope();
        assert_eq!(sums(&collected), [50.0, 1_000.0], "{temporality:?}");
        for scope in collected.values() {
            assert_eq!(scope.histograms["tcp.rto{group=a}"], 1);
            assert_eq!(scope.level("tcp.monitor.watched{}"), 1.0);
        }
        let _more = sent(&groups[0], 7);
        let expected = match temporality {
            Temporality::Delta => [0.0, 7.0],
            _ => [50.0, 1_007.0],
        };
        assert_eq!(sums(&reader.collected_by_scope()), expected, "{temporality:?}");
    }
}

#[test]
fn a_monitor_made_anew_begins_anew() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let (reader, provider) = provider(temporality);
        let mut seen = Vec::new();
        // More and less than before, with and without a collection of silence in between.
        for (bytes, silences) in [(1_000, 0), (10, 0), (300, 1), (20, 0)] {
            let monitor = Monitor::new();
            monitor.instrument(&provider);
            let watched = sent(&group(&monitor), bytes);
            seen.extend([(); 2].map(|()| reader.collected_by_scope()));
            drop((watched, monitor));
            seen.extend((0..silences).map(|_| reader.collected_by_scope()));
        }
        let mut last: BTreeMap<(String, String), f64> = BTreeMap::new();
        let (mut sent, mut scopes) = (0.0, BTreeSet::new());
        for export in seen {
            let mut now = BTreeMap::new();
            for (scope, collected) in export {
                for (series, value) in collected.counters {
                    assert!((0.0..1e9).contains(&value), "{series} by {value}");
                    let name = (scope.clone(), series.clone());
                    let before = match temporality {
                        Temporality::Delta => 0.0,
                        // A series that was not there begins at zero.
                        _ => last.get(&name).copied().unwrap_or_default(),
                    };
                    assert!(before <= value, "{series} fell from {before} to {value}");
                    if series == SENT {
                        sent += value - before;
                        scopes.insert(scope.clone());
                    }
                    now.insert(name, value);
                }
            }
            last = now;
        }
        assert_eq!(sent, 1_330.0, "{temporality:?}");
        // Those that everybody had missed are used again.
        assert!(scopes.len() < 4, "{scopes:?}");
    }
}

#[test]
fn names_tell_monitors_apart_and_numbers_those_of_one_name() {
    let (reader, provider) = provider(Temporality::Cumulative);
    let named = |name: &'static str| Monitor::builder().with_name(name).build();
    let instrumented = |monitor: Monitor| {
        monitor.instrument(&provider);
        monitor
    };
    let scopes = || -> Vec<String> { reader.collected_by_scope().into_keys().collect() };
    let one = instrumented(named("scopes one"));
    let _other = instrumented(named("scopes other"));
    let second = instrumented(named("scopes one"));
    let [name, other] = ["one", "other"].map(|name| format!("tcp.monitor.name=scopes {name}"));
    let numbered = |number: u64| format!("tcp.monitor.instance={number},{name}");
    assert_eq!(scopes(), [numbered(2), name.clone(), other.clone()]);

    // A number is the monitor's for all its providers, and nobody's until they have missed it.
    second.instrument(&provider);
    assert_eq!(scopes(), [numbered(2), name.clone(), other.clone()]);
    drop((one, second));
    let _third = instrumented(named("scopes one"));
    // Their histograms of sweeps stay with the SDK.
    assert_eq!(scopes(), [numbered(2), numbered(3), name.clone(), other.clone()]);
    let (other_reader, other_provider) = Reader::with_provider();
    let fourth = instrumented(named("scopes one"));
    fourth.instrument(&other_provider);
    let scopes_there: Vec<String> = other_reader.collected_by_scope().into_keys().collect();
    assert_eq!(scopes_there.join(" "), name);
    // Only one of its two providers has collected without it.
    drop(fourth);
    assert_eq!(scopes(), [numbered(2), numbered(3), name.clone(), other]);
    let fifth = instrumented(named("scopes one"));
    fifth.instrument(&other_provider);
    let scopes_there: BTreeSet<String> = other_reader.collected_by_scope().into_keys().collect();
    assert!(scopes_there.contains(&numbered(2)), "{scopes_there:?}");
}

#[test]
fn an_empty_name_is_none() {
    let (reader, provider) = provider(Temporality::Cumulative);
    let monitor = Monitor::builder().with_name("").build();
    monitor.instrument(&provider);
    let scopes = reader.collected_by_scope().into_keys();
    let named = scopes.filter(|scope| scope.contains("tcp.monitor.name"));
    assert_eq!(named.collect::<Vec<_>>(), Vec::<String>::new());
}

/// The page of two monitors on one provider, of which the second is called `second`.
fn page(with_scopes: bool) -> String {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
    let exporter = exporter.scope_info_enabled(with_scopes).build();
    let exporter = exporter.expect("an empty registry takes an exporter");
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    let monitors = [
        Monitor::builder().with_name("scopes \"page\"").build(),
        Monitor::builder().with_name("scopes \"page\"").build(),
    ];
    let _watched = [(&monitors[0], 1_000), (&monitors[1], 50)].map(|(monitor, bytes)| {
        monitor.instrument(&provider);
        sent(&group(monitor), bytes)
    });
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    page.expect("the families of one registry can be written")
}

#[test]
fn prometheus_shows_the_monitors_as_labels_of_the_scope() {
    let page = Page::parse(&page(true)).expect("it keeps the rules");
    let mut found = BTreeMap::new();
    for sample in page.samples("tcp_data_sent_bytes_total") {
        assert_eq!(sample.label("otel_scope_name"), "tcpinfo");
        assert_eq!(sample.label("otel_scope_tcp_monitor_name"), "scopes \"page\"");
        let number = sample.label("otel_scope_tcp_monitor_instance").to_owned();
        found.insert(sample.value.to_string(), number);
    }
    // Other tests may make such a page as well.
    let numbers: BTreeSet<&String> = found.values().collect();
    assert_eq!((found.len(), numbers.len()), (2, 2), "{found:?}");
    assert!(found.keys().eq(["1000", "50"]), "{found:?}");
}

#[test]
#[ignore = "needs python3-prometheus-client: integration/test.sh"]
fn the_python_client_reads_the_page_of_two_monitors() {
    passes_python(&page(true));
}

/// Why an exporter without the labels of scopes has room for one monitor only.
#[test]
fn without_the_labels_of_scopes_the_monitors_are_one_series_twice() {
    let broken = Page::parse(&page(false)).err();
    assert!(broken.is_some_and(|rule| rule.contains("duplicate")));
}

#[test]
fn the_first_monitor_is_not_numbered_and_what_ended_ones_leave_is_bounded() {
    let program = std::env::current_exe().expect("procfs");
    let mut alone = Command::new(program);
    alone.args([
        "--exact",
        "export::scopes::a_process_of_many_monitors",
        "--ignored",
        "--nocapture",
    ]);
    let output = alone.env("TCPINFO_MONITORS", "100").output().expect("this very program");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().find_map(|line| line.split_once("monitors: "));
    println!("{}", said.map_or("nothing said", |(_, said)| said));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_some(), "{text}\n{errors}");
}

/// Memory in RAM, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.and_then(|number| number.parse().ok()).expect("a number of kB")
}

#[test]
#[ignore = "the part of the_first_monitor_is_not_numbered_and_what_ended_ones_leave_is_bounded"]
fn a_process_of_many_monitors() {
    let Ok(number) = std::env::var("TCPINFO_MONITORS") else { return };
    let number: u32 = number.parse().expect("a number of monitors");
    let (reader, provider) = provider(Temporality::Cumulative);
    let collect = || {
        let began = Instant::now();
        let scopes: Vec<String> = reader.collected_by_scope().into_keys().collect();
        (scopes, began.elapsed())
    };
    let fastest = || (0..20).map(|_| collect().1).min().expect("there are twenty");
    let first = Monitor::new();
    first.instrument(&provider);
    assert_eq!(collect().0, [""]);

    let (alone, heap, ram) = (fastest(), support::allocator::live(), resident());
    for _ in 0..number {
        Monitor::new().instrument(&provider);
    }
    let time = fastest().saturating_sub(alone) / number;
    let heap = (support::allocator::live() - heap) / 1_024 / number as usize;
    let ram = resident().saturating_sub(ram) / number as usize;
    println!("monitors: each that ended leaves {heap} KiB, {ram} in RAM, {time:?} a collection");
    assert_eq!(collect().0, [""]);
    assert!(heap < 10_000 && ram < 2_500);

    // One after the other, each missed by a collection.
    let (alone, heap, ram) = (fastest(), support::allocator::live(), resident());
    for _ in 0..number {
        Monitor::new().instrument(&provider);
        assert_eq!(collect().0, [""]);
    }
    let time = fastest().saturating_sub(alone) / number;
    let heap = (support::allocator::live() - heap) / 1_024 / number as usize;
    let ram = resident().saturating_sub(ram) / number as usize;
    println!("one by one: each leaves {heap} KiB, {ram} in RAM, {time:?} a collection");
    assert!(heap < 100 && ram < 100);

    let last = Monitor::new();
    last.instrument(&provider);
    assert_eq!(collect().0, ["", "tcp.monitor.instance=2"]);
    drop(first);
}
