//! A page and OpenTelemetry's bridge to Prometheus write the same of the same sockets.

use std::collections::BTreeSet;
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use proptest::prelude::*;
use tcpinfo::{
    FIELDS, Field, Group, Monitor, MonitorBuilder, Page, Snapshot, SocketAddresses, SocketIdentity,
    Worst,
};

use super::attributes::{any_attributes, config};
use support::exposition::parsed;
use support::loopback::{stall, until, used_pair};
use support::parsers::said_of;

/// A monitor that a page and a provider read, and what it watches.
struct Scene {
    monitor: Monitor,
    page: Page,
    registry: prometheus::Registry,
    _provider: SdkMeterProvider,
    held: Vec<Box<dyn std::any::Any>>,
}

/// What a snapshot says of sockets, without the clocks that run while they do nothing.
fn said(snapshot: &Snapshot) -> Vec<String> {
    let stands = |field: &&Field| field.stem.is_some_and(|stem| !stem.starts_with("since_"));
    let fields = || FIELDS.iter().filter(stands);
    let groups = snapshot.groups.iter().map(|group| {
        let values: Vec<_> = fields().map(|field| group.get(field)).collect();
        format!("{:?} {values:?} {:?}", group.attributes(), group.samples)
    });
    let sockets = snapshot.sockets.iter().map(|socket| {
        let values: Vec<_> = fields().map(|field| socket.get(field)).collect();
        format!("{:?} {values:?}", socket.attributes())
    });
    groups.chain(sockets).collect()
}

impl Scene {
    fn new(builder: MonitorBuilder) -> Self {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build();
        let exporter = exporter.expect("an empty registry takes an exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let monitor = builder.build();
        monitor.instrument(&provider);
        let page = monitor.page();
        Self { monitor, page, registry, _provider: provider, held: Vec::new() }
    }

    fn hold(&mut self, held: impl std::any::Any) {
        self.held.push(Box::new(held));
    }

    /// Watches an end of a used connection in a group.
    fn watch(&mut self, group: &Group) {
        let pair = used_pair();
        let watched = group.watch(pair.client);
        self.hold((watched, pair.server));
    }

    /// The same as a socket of its own.
    fn watch_alone(&mut self, attributes: &[KeyValue]) {
        let pair = used_pair();
        let watched = self.monitor.watch(pair.client, attributes.iter().cloned());
        self.hold((watched, pair.server));
    }

    fn bridged(&self) -> String {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather());
        text.expect("the families of one registry can be written")
    }

    fn written(&self) -> String {
        written(&self.page)
    }

    /// Both texts of sockets that did nothing between the two; `None` if they did something.
    fn both(&self) -> Option<(String, String)> {
        let mut last = (said(&self.monitor.snapshot()), Instant::now());
        // An acknowledgement may wait for 40 ms.
        let before = until("sockets that do nothing", || {
            let now = said(&self.monitor.snapshot());
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_millis(60)).then(|| last.0.clone())
        });
        let both = (self.bridged(), self.written());
        (said(&self.monitor.snapshot()) == before).then_some(both)
    }
}

fn written(page: &Page) -> String {
    let mut text = Vec::new();
    page.write(&mut text).expect("a vector takes all");
    String::from_utf8(text).expect("a page is text")
}

/// What differs from sweep to sweep in any case.
const MOVING: [&str; 2] = ["tcp_monitor_sweep_duration_seconds_", "tcp_socket_since_"];

/// The lines of a page, with those of one number that no two sweeps share without it, and with
/// times as the bridge would have them if its sums of floats were exact.
fn lines(page: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for line in page.lines() {
        if line.starts_with('#') {
            assert!(lines.insert(line.to_owned()), "twice: {line}");
            continue;
        }
        let (labels, number) = line.rsplit_once(' ').expect("a space before the number");
        let name = labels.split('{').next().expect("there is a first part");
        let line = if MOVING.iter().any(|moving| name.starts_with(moving)) {
            labels.to_owned()
        } else if name.ends_with("_seconds") || name.ends_with("_seconds_total") {
            let seconds: f64 = number.parse().expect("a number");
            format!("{labels} {:?}", Duration::from_micros((seconds * 1e6).round() as u64))
        } else {
            line.to_owned()
        };
        assert!(lines.insert(line), "twice: {labels}");
    }
    lines
}

/// Plays a scene until its sockets did nothing between the two texts, and compares these.
#[track_caller]
fn agree(scene: impl Fn() -> Scene) -> String {
    for _ in 0..20 {
        let scene = scene();
        if let Some((bridged, written)) = scene.both() {
            let (theirs, ours) = (lines(&bridged), lines(&written));
            let missing: Vec<_> = theirs.difference(&ours).collect();
            let more: Vec<_> = ours.difference(&theirs).collect();
            assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}\nmore {more:#?}");
            return written;
        }
    }
    panic!("in none of 20 scenes did the sockets do nothing");
}

#[test]
fn groups_are_written_as_the_bridge_writes_them() {
    let page = agree(|| {
        let mut scene = Scene::new(Monitor::builder());
        let named = scene.monitor.group([
            KeyValue::new("listener", "public"),
            KeyValue::new("weight", 1.5),
            KeyValue::new("port", 443),
        ]);
        let plain = scene.monitor.group([]);
        let _unused = scene.monitor.group([KeyValue::new("listener", "unused")]);
        for group in [&named, &plain] {
            scene.watch(group);
            scene.watch(group);
            // One that ended, one that listens, and one whose peer has nothing more to say.
            drop(group.watch(used_pair().client));
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
            scene.hold(group.watch(listener));
            let pair = used_pair();
            pair.server.shutdown(Shutdown::Write).expect("it is connected");
            scene.hold((group.watch(pair.client), pair.server));
        }
        scene
    });
    let page = parsed(&page);
    for (name, labels, value) in [
        ("tcp_connection_opened_total", [("listener", "public"), ("port", "443")], 4.0),
        ("tcp_connection_closed_total", [("listener", "public"), ("weight", "1.5")], 1.0),
        ("tcp_connection_count", [("listener", ""), ("network_connection_state", "listen")], 1.0),
        ("tcp_rtt_seconds_count", [("listener", "public"), ("port", "443")], 4.0),
    ] {
        assert_eq!(page.value(name, &labels), value, "{name}");
    }
}

#[test]
fn each_identity_is_written_as_the_bridge_writes_it() {
    let peer = SocketAddresses::peer();
    for identity in [
        SocketIdentity::None,
        SocketIdentity::Cookie,
        SocketIdentity::Addresses(peer),
        SocketIdentity::Addresses(peer.with_local()),
        SocketIdentity::Addresses(peer.with_prefix(24, 48)),
    ] {
        let page = agree(|| {
            let mut scene = Scene::new(Monitor::builder().with_identity(identity));
            scene.watch_alone(&[]);
            scene.watch_alone(&[]);
            scene.watch_alone(&[KeyValue::new("driver", "sql")]);
            let group = scene.monitor.group([KeyValue::new("listener", "public")]);
            group.show_worst(Worst::Stalled, 2);
            for _ in 0..2 {
                let mut pair = used_pair();
                stall(&mut pair);
                scene.hold((group.watch(pair.client), pair.server));
            }
            scene.watch(&group);
            scene
        });
        let series = parsed(&page).samples("tcp_socket_data_sent_bytes_total").count();
        // Two sockets without a name share a series where nothing tells them apart.
        let own = if identity == SocketIdentity::None { 2 } else { 3 };
        assert_eq!(series, own + 2, "{identity:?}");
    }
}

#[test]
fn what_a_cap_folds_is_written_as_the_bridge_writes_it() {
    let page = agree(|| {
        let mut scene =
            Scene::new(Monitor::builder().with_name("caps").with_max_groups(2).with_max_sockets(1));
        for listener in 0..4 {
            let group = scene.monitor.group([KeyValue::new("listener", listener)]);
            scene.watch(&group);
            scene.watch_alone(&[KeyValue::new("number", listener)]);
        }
        scene
    });
    let page = parsed(&page);
    let folded = [("otel_metric_overflow", "true"), ("otel_scope_tcp_monitor_name", "caps")];
    assert_eq!(page.value("tcp_connection_opened_total", &folded), 2.0);
    assert_eq!(page.value("tcp_socket_data_sent_bytes_total", &folded), 120_000.0);
    assert_eq!(page.value("tcp_monitor_folded_total", &[]), 5.0);
}

#[test]
fn failed_reads_are_written_as_the_bridge_writes_them() {
    let page = agree(|| {
        let mut scene = Scene::new(Monitor::builder());
        let file = std::fs::File::open("/dev/null").expect("it is there");
        scene.hold(scene.monitor.group([]).watch(file));
        scene.monitor.snapshot();
        scene
    });
    assert_eq!(
        parsed(&page).value("tcp_monitor_read_errors_total", &[("error_type", "ENOTSOCK")]),
        1.0
    );
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn any_attributes_are_written_as_the_bridge_writes_them(attributes in any_attributes()) {
        let page = agree(|| {
            let fields = ["state", "bytes_sent", "busy_time", "rto", "unacked"];
            let chosen = move |field: &Field| fields.contains(&field.name);
            let mut scene = Scene::new(Monitor::builder().with_fields(chosen));
            let group = scene.monitor.group(attributes.iter().cloned());
            scene.watch(&group);
            scene.watch_alone(&attributes);
            scene
        });
        // And read, they are what they were.
        let page = parsed(&page);
        let group = Monitor::new().group(attributes.iter().cloned());
        let given = group.attributes().as_slice();
        let label = |kv: &KeyValue| {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            kv.key.as_str().chars().map(plain).collect::<String>()
        };
        for kv in given {
            let equal: Vec<_> =
                given.iter().filter(|other| label(other) == label(kv)).collect();
            let values: Vec<_> = equal.iter().map(|kv| kv.value.to_string()).collect();
            let labels = [(&*label(kv), &*values.join(";"))];
            prop_assert_eq!(page.value("tcp_data_sent_bytes_total", &labels), 40_000.0);
        }
    }
}

/// What Prometheus' libraries for Go read of a page, as lines like those of a page.
fn read_by_go(program: &Path, page: &str) -> String {
    let output = said_of(&mut Command::new(program), page);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
#[ignore = "needs a program that integration/servers.sh gets: integration/test.sh"]
fn go_reads_the_same_from_a_page_as_from_the_bridge() {
    let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/otelcol/expfmt"));
    if !program.exists() {
        println!("SKIPPED: no target/otelcol/expfmt, which integration/otelcol.sh builds");
        return;
    }
    let scene = || {
        let mut scene = Scene::new(Monitor::builder().with_max_groups(3));
        for text in ["public", "a \"quoted\" \\ name\n", "é", "folded"] {
            let group = scene.monitor.group([KeyValue::new("listener.name", text)]);
            scene.watch(&group);
            scene.watch_alone(&[KeyValue::new("text", text), KeyValue::new("weight", 1.5)]);
        }
        scene
    };
    let (bridged, written) = (0..20).find_map(|_| scene().both()).expect("sockets that do nothing");
    let (theirs, ours) = (read_by_go(program, &bridged), read_by_go(program, &written));
    assert_eq!(lines(&ours), lines(&theirs));
    // It has left out nothing.
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&ours), samples(&written));
    let sent = "tcp_data_sent_bytes_total{\"listener_name\":\"a \\\"quoted\\\" \\\\ name\\n\",";
    let line = ours.lines().find(|line| line.starts_with(sent));
    assert!(line.is_some_and(|line| line.ends_with(" 40000")), "{line:?} in {ours}");
}
