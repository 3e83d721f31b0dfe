//! A page as it is written: to readers that fail or stop, by several threads, for long.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tcpinfo::{Monitor, Page, PageFormat, Watched};

use support::allocator::{allocations, live};
use support::exposition::parsed;
use support::loopback::{Pair, until};
use support::parsers::{passes_openmetrics, passes_promtool, passes_python};

fn text(page: &Page, format: PageFormat) -> String {
    let mut text = Vec::new();
    page.write_as(format, &mut text).expect("a vector takes all");
    String::from_utf8(text).expect("a page is text")
}

/// A monitor with so many sockets of their own, and one group with one.
fn crowd(sockets: usize) -> (Monitor, Vec<(Watched<std::net::TcpStream>, std::net::TcpStream)>) {
    let monitor = Monitor::builder().with_max_sockets(sockets).build();
    let group = monitor.group([KeyValue::new("listener", "public")]);
    let alone = (0..sockets).map(|_| {
        let pair = Pair::connect();
        (monitor.watch(pair.client, []), pair.server)
    });
    let mut all: Vec<_> = alone.collect();
    let pair = Pair::connect();
    all.push((group.watch(pair.client), pair.server));
    (monitor, all)
}

/// Takes so many bytes, and then fails.
struct Failing(usize);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::from_raw_os_error(28));
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writers_error_passes_through_and_the_next_page_is_whole() {
    let (monitor, _watched) = crowd(40);
    let page = monitor.page();
    let whole = text(&page, PageFormat::Text).len();
    assert!(whole > 3 * 64 * 1024, "{whole}");
    for room in [0, 1, 100, 64 * 1024, 64 * 1024 + 1, 150_000, 200_000] {
        let error = page.write(&mut Failing(room)).expect_err("it takes too little");
        assert_eq!(error.raw_os_error(), Some(28), "{room}");
        let next = parsed(&text(&page, PageFormat::Text));
        assert_eq!(next.samples("tcp_socket_rto_seconds").count(), 40);
        assert_eq!(next.samples("tcp_rto_seconds_count").count(), 1);
    }
}

#[test]
fn pages_that_are_written_at_once_are_whole_each() {
    let (monitor, _watched) = crowd(40);
    let page = monitor.page();
    thread::scope(|scope| {
        for format in [PageFormat::Text, PageFormat::OpenMetrics, PageFormat::Text] {
            let page = &page;
            scope.spawn(move || {
                let mut opened = 0.0;
                for _ in 0..20 {
                    let text = text(page, format);
                    if format == PageFormat::Text {
                        let text = parsed(&text);
                        assert_eq!(text.samples("tcp_socket_rto_seconds").count(), 40);
                        let count = text.value("tcp_rto_seconds_count", &[]);
                        assert!(count > opened, "{count} after {opened}");
                        opened = count;
                    } else {
                        assert!(text.ends_with("\n# EOF\n"));
                    }
                }
            });
        }
    });
    // A sample for each sweep: none was lost or counted twice.
    let text = parsed(&text(&page, PageFormat::Text));
    assert_eq!(text.value("tcp_rto_seconds_count", &[]), 61.0);
}

#[test]
fn a_reader_that_stops_in_the_middle_delays_nobody() {
    let (monitor, mut watched) = crowd(250);
    let page = monitor.page();
    let (mut reader, mut writer) = UnixStream::pair().expect("sockets within the process");
    let group = monitor.group([KeyValue::new("listener", "public")]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (page, done) = (&page, &done);
        let stuck = scope.spawn(move || {
            let result = page.write(&mut writer);
            done.store(true, Ordering::Release);
            result
        });
        let mut begun = [0; 1_000];
        reader.read_exact(&mut begun).expect("the page begins");
        // Everything goes on: watching, dropping, sweeping, and the same page for another reader.
        drop(watched.split_off(125));
        let pair = Pair::connect();
        let more = group.watch(pair.client);
        assert_eq!(monitor.snapshot().sockets.len(), 125);
        let other = parsed(&text(page, PageFormat::Text));
        assert_eq!(other.samples("tcp_socket_rto_seconds").count(), 125);
        assert_eq!(other.value("tcp_connection_opened_total", &[("listener", "public")]), 2.0);
        drop(more);
        assert!(!done.load(Ordering::Acquire), "the page fits into the socket's buffer");
        // Who reads on gets the page as it was when it began.
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("the end");
        stuck.join().expect("no panic").expect("the reader takes all");
        let whole = [&begun[..], &rest].concat();
        let whole = parsed(&String::from_utf8(whole).expect("a page is text"));
        assert_eq!(whole.samples("tcp_socket_rto_seconds").count(), 250);
        assert_eq!(whole.value("tcp_connection_opened_total", &[("listener", "public")]), 1.0);
    });
    // And who leaves ends the write.
    let (mut reader, mut writer) = UnixStream::pair().expect("sockets within the process");
    drop(watched);
    let (monitor, _watched) = crowd(250);
    let page = monitor.page();
    thread::scope(|scope| {
        let stuck = scope.spawn(|| page.write(&mut writer));
        reader.read_exact(&mut [0; 1_000]).expect("the page begins");
        drop(reader);
        let error = stuck.join().expect("no panic").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_write_allocates_nothing_for_each_socket() {
    let asked = |sockets: usize| {
        let (monitor, _watched) = crowd(sockets);
        let page = monitor.page();
        // The first writes make what later ones have: labels, and what was told of each series.
        for _ in 0..2 {
            page.write(&mut io::sink()).expect("a sink takes all");
        }
        allocations(|| page.write(&mut io::sink()).expect("a sink takes all"))
    };
    assert_eq!(asked(2), asked(250));
}

#[test]
fn series_that_are_one_to_prometheus_are_one_line_with_the_sum() {
    let monitor = Monitor::builder().with_identity(tcpinfo::SocketIdentity::None).build();
    let page = monitor.page();
    let mut held = Vec::new();
    for port in [Value::from(80), Value::from("80"), Value::from("81")] {
        let attributes = [KeyValue::new("port", port)];
        let group = monitor.group(attributes.clone());
        for _ in 0..2 {
            let [one, other] = [(); 2].map(|()| Pair::connect());
            (&one.client).write_all(&[1; 10]).expect("it is connected");
            (&other.client).write_all(&[1; 10]).expect("it is connected");
            held.push((group.watch(one.client), one.server));
            held.push((monitor.watch(other.client, attributes.clone()), other.server));
        }
    }
    // The strict parser refuses a line that is there twice.
    let page = parsed(&text(&page, PageFormat::Text));
    for (name, sums) in [
        ("tcp_connection_opened_total", [4.0, 2.0]),
        ("tcp_data_sent_bytes_total", [40.0, 20.0]),
        ("tcp_socket_data_sent_bytes_total", [40.0, 20.0]),
        ("tcp_rto_seconds_count", [4.0, 2.0]),
    ] {
        assert_eq!(["80", "81"].map(|port| page.value(name, &[("port", port)])), sums, "{name}");
    }
    let states = [("port", "80"), ("network_connection_state", "established")];
    assert_eq!(page.value("tcp_connection_count", &states), 4.0);
}

#[test]
fn a_page_is_empty_when_the_monitor_is_gone() {
    let (monitor, watched) = crowd(1);
    let page = monitor.page();
    drop((monitor, watched));
    assert_eq!(text(&page, PageFormat::Text), "");
    assert_eq!(text(&page, PageFormat::OpenMetrics), "# EOF\n");
}

#[test]
fn the_resource_is_written_as_the_bridge_writes_it() {
    let attributes = [
        KeyValue::new("service.name", "shop \"north\""),
        KeyValue::new("service_name", "twice"),
        KeyValue::new("host.id", 7),
    ];
    let monitor = Monitor::new();
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let exporter = exporter.expect("an empty registry takes an exporter");
    let resource = Resource::builder_empty().with_attributes(attributes.clone()).build();
    let provider =
        SdkMeterProvider::builder().with_reader(exporter).with_resource(resource).build();
    monitor.instrument(&provider);
    let theirs = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    let theirs = theirs.expect("the families of one registry can be written");
    let page = monitor.page().with_resource(attributes).without_scope();
    let ours = text(&page, PageFormat::Text);
    let target = |page: &str| page.lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(target(&ours), target(&theirs));
    assert!(target(&ours)[2].starts_with("target_info{host_id=\"7\","), "{ours}");
    // Without a scope and without attributes a line has no braces.
    assert!(ours.contains("\ntcp_monitor_watched 0\n"), "{ours}");
    let open = text(&page, PageFormat::OpenMetrics);
    assert!(open.starts_with("# HELP target Target metadata\n# TYPE target info\ntarget_info{"));
}

/// The samples of a page in OpenMetrics as the text format has them.
fn as_text(open: &str) -> String {
    let mut text = String::new();
    let mut counter = None;
    for line in open.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        if let Some(head) = line.strip_prefix("# HELP ") {
            let (name, help) = head.split_once(' ').expect("a name and a help");
            let is_counter = open.contains(&format!("\n# TYPE {name} counter\n"));
            counter = Some(if is_counter { format!("{name}_total") } else { name.to_owned() });
            let name = counter.as_deref().expect("it was set");
            text += &format!("# HELP {name} {help}\n");
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            let (_, kind) = head.split_once(' ').expect("a name and a type");
            let name = counter.as_deref().expect("help comes first");
            text += &format!("# TYPE {name} {kind}\n");
        } else if !line.split(['{', ' ']).next().is_some_and(|name| name.ends_with("_created")) {
            text += &match line.split_once("le=\"") {
                Some((before, after)) => {
                    let (bound, after) = after.split_once('"').expect("a closing quote");
                    let bound = match bound.parse::<f64>() {
                        Ok(bound) if bound.is_finite() => bound.to_string(),
                        _ => bound.to_owned(),
                    };
                    format!("{before}le=\"{bound}\"{after}\n")
                }
                None => format!("{line}\n"),
            };
        }
    }
    text
}

#[test]
fn openmetrics_has_the_same_samples_and_units_and_beginnings() {
    let (monitor, _watched) = crowd(3);
    let page = monitor.page();
    let moving = |line: &&str| !line.contains("_since_") && !line.contains("sweep_duration");
    // Nothing happens on these sockets but one acknowledgement that was late.
    until("two equal pages", || {
        let [open, written] =
            [PageFormat::OpenMetrics, PageFormat::Text].map(|format| text(&page, format));
        let samples = |text: &str| {
            let lines = text.lines().filter(moving);
            // Each page adds samples of its sweep to histograms.
            lines
                .filter(|line| !line.contains("_bucket") && !line.contains("_count{"))
                .filter(|line| !line.contains("_sum{"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        (samples(&as_text(&open)) == samples(&written)).then_some(())
    });
    let open = text(&page, PageFormat::OpenMetrics);
    for line in [
        "# TYPE tcp_data_sent_bytes counter",
        "# UNIT tcp_data_sent_bytes bytes",
        "# UNIT tcp_rtt_seconds seconds",
        "# UNIT tcp_socket_path_mtu_bytes bytes",
        "# EOF",
    ] {
        assert_eq!(open.lines().filter(|other| *other == line).count(), 1, "{line}");
    }
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
    for name in ["tcp_data_sent_bytes_created", "tcp_rto_seconds_created"] {
        let start = format!("{name}{{listener=\"public\",");
        let line = open.lines().find(|line| line.starts_with(&start)).expect(name);
        let created: f64 = line.rsplit_once(' ').expect("a number").1.parse().expect("seconds");
        let age = now.as_secs_f64() - created;
        assert!((0.0..support::lateness::PATIENCE.as_secs_f64()).contains(&age), "{line}");
    }
    assert!(!open.contains("\ntcp_socket_data_sent_bytes_created"));
    parsed(&as_text(&open));
}

#[test]
#[ignore = "needs promtool and Python's prometheus_client: integration/test.sh"]
fn parsers_of_others_read_both_formats() {
    let (monitor, _watched) = crowd(3);
    let page = monitor.page().with_resource([KeyValue::new("service.name", "a\n\"b\"\\")]);
    let with_target = text(&page, PageFormat::Text);
    passes_python(&with_target);
    passes_promtool(&with_target);
    passes_openmetrics(&text(&page, PageFormat::OpenMetrics));
}

/// In a process of its own, because it is about what a process holds. integration/soak.sh says
/// another number of pages.
#[test]
fn nothing_grows_while_pages_are_written() {
    let writes = std::env::var("TCPINFO_PAGES").unwrap_or_else(|_| "2000".to_owned());
    let mut alone = Command::new(std::env::current_exe().expect("procfs"));
    alone.args(["--exact", "export::page_writes::the_pages", "--ignored", "--nocapture"]);
    let output = alone.env("TCPINFO_PAGES_ALONE", writes).output().expect("this very program");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().find(|line| line.starts_with("pages: "));
    println!("{}", said.unwrap_or("no pages"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_some(), "{text}\n{errors}");
}

/// 32 parts, from 512 places of 25 bytes to 1,024.
const DOUBLED: usize = 32 * 512 * 25;

#[test]
#[ignore = "the part of nothing_grows_while_pages_are_written with a process of its own"]
fn the_pages() {
    let Ok(writes) = std::env::var("TCPINFO_PAGES_ALONE") else { return };
    let writes: usize = writes.parse().expect("a number");
    let (monitor, mut watched) = crowd(20);
    let group = monitor.group([KeyValue::new("listener", "churn")]);
    let page = monitor.page();
    let mut churn = |write: usize| {
        if write % 10 == 0 {
            drop(group.watch(Pair::connect().client));
            let pair = Pair::connect();
            watched[write / 10 % 20] = (monitor.watch(pair.client, []), pair.server);
        }
        let format = if write % 2 == 0 { PageFormat::Text } else { PageFormat::OpenMetrics };
        page.write_as(format, &mut io::sink()).expect("a sink takes all");
    };
    // The monitor remembers the last 4,096 connections of either family that ended.
    let settled = (writes / 2).min(50_000);
    (0..settled).for_each(&mut churn);
    let mut held = vec![live()];
    let mut done = settled;
    for tenth in 1..=10 {
        let next = settled + (writes - settled) * tenth / 10;
        (done..next).for_each(&mut churn);
        done = next;
        held.push(live());
    }
    println!("pages: bytes held after {settled}, and so on to {writes}: {held:?}");
    // Of what ended meanwhile, the monitor may have remembered more, of both families. Nothing else
    // grows.
    let ended = 4_096_usize.saturating_sub(settled / 10).min((writes - settled) / 10);
    let remembered = 2 * 128 * ended;
    // But the index of cookies, whose parts double once after some 100,000 connections.
    let doubled = if writes > 100_000 { DOUBLED } else { 0 };
    let within = |from: usize, more: usize| held[10] <= held[from] + more + 16 * 1_024;
    assert!(within(0, remembered + doubled), "{held:?}");
    // After seven tenths of a million there were 140,000 connections, and all parts have doubled.
    assert!(writes < 1_000_000 || within(7, 0), "{held:?}");
}
