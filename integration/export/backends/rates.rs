//! What Prometheus computes over time is the same from a page in either format as from the bridge:
//! each sample of the three has the same time, so rates and quantiles are equal to the last bit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use tcpinfo::{Group, Monitor, Page, PageFormat, Watched};

use super::prometheus::Prometheus;
use super::{Scratch, eventually, free_address, maybe, number_of, query};
use support::loopback::{Pair, until};

const JOBS: [&str; 3] = ["bridge", "text", "openmetrics"];
/// How many samples each series has, and the seconds between two.
const STEPS: usize = 12;
const EVERY: u64 = 15;

/// A monitor that a provider and two pages read, each as often as the others.
struct Scene {
    monitor: Monitor,
    group: Group,
    sockets: Vec<(Watched<std::net::TcpStream>, std::net::TcpStream)>,
    registry: Registry,
    _provider: SdkMeterProvider,
    pages: [(PageFormat, Page); 2],
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
        let exporter = exporter.expect("an empty registry takes an exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let monitor = Monitor::new();
        monitor.instrument(&provider);
        let pages =
            [PageFormat::Text, PageFormat::OpenMetrics].map(|format| (format, monitor.page()));
        let group = monitor.group([KeyValue::new("listener", "a \"quoted\" \\ name")]);
        let sockets = (0..5).map(|_| {
            let pair = Pair::connect();
            (group.watch(pair.client), pair.server)
        });
        let sockets = sockets.collect();
        Self { monitor, group, sockets, registry, _provider: provider, pages }
    }

    /// What a snapshot says of the group.
    fn said(&self) -> String {
        let snapshot = self.monitor.snapshot();
        let group = &snapshot.groups[0];
        let values: Vec<_> = tcpinfo::FIELDS.iter().map(|field| group.get(field)).collect();
        format!("{values:?} {:?}", group.samples)
    }

    /// Sends something, and some connections end.
    fn go_on(&mut self, step: usize) {
        for (number, (client, server)) in self.sockets.iter_mut().enumerate() {
            let bytes = vec![7; 1_000 * (number + 1) * (step * step + 1)];
            let received = thread::scope(|scope| {
                let reader = scope.spawn(|| server.read_exact(&mut vec![0; bytes.len()]));
                { &**client }.write_all(&bytes).expect("the server reads");
                reader.join().expect("no panic")
            });
            received.expect("the bytes");
        }
        (0..step).for_each(|_| drop(self.group.watch(Pair::connect().client)));
    }

    /// What each of the three says of the same numbers; `None` if they moved meanwhile.
    fn texts(&self) -> Option<[String; 3]> {
        let mut last = (self.said(), Instant::now());
        // An acknowledgement may wait for 40 ms.
        let before = until("sockets that do nothing", || {
            let now = self.said();
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_millis(60)).then(|| last.0.clone())
        });
        let bridge = TextEncoder::new().encode_to_string(&self.registry.gather());
        let [text, open] = self.pages.each_ref().map(|(format, page)| {
            let mut text = Vec::new();
            page.write_as(*format, &mut text).expect("a vector takes all");
            String::from_utf8(text).expect("a page is text")
        });
        let texts = [bridge.expect("the families of one registry can be written"), text, open];
        (self.said() == before).then_some(texts)
    }
}

/// A page whose samples are of this time, in seconds since 1970.
fn stamped(page: &str, at: u64, format: PageFormat) -> String {
    let time = match format {
        PageFormat::OpenMetrics => at.to_string(),
        _ => (1_000 * at).to_string(),
    };
    let mut stamped = String::new();
    for line in page.lines() {
        stamped += line;
        if !line.starts_with('#') {
            stamped += " ";
            stamped += &time;
        }
        stamped += "\n";
    }
    stamped
}

/// Answers each job with one of its pages after another, and with the last from then on.
fn serve(pages: [Vec<String>; 3]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    // It ends with the tests.
    thread::spawn(move || {
        let next = JOBS.map(|_| AtomicUsize::new(0));
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let Some(asked) = lines.next() else { continue };
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let Some(job) = JOBS.iter().position(|job| asked.contains(&format!("/{job} "))) else {
                panic!("{asked} {head:?}")
            };
            let step = next[job].fetch_add(1, Ordering::Relaxed).min(STEPS - 1);
            let format = if job == 2 { PageFormat::OpenMetrics } else { PageFormat::Text };
            let (kind, page) = (format.content_type(), &pages[job][step]);
            let _ = write!(&stream, "HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n{page}");
        }
    });
    address
}

/// The texts of every step, with their times, and the last of these.
fn recorded() -> ([Vec<String>; 3], u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let begin = now.as_secs() - EVERY * STEPS as u64;
    let scene = || {
        let (mut scene, mut pages) = (Scene::new(), [const { Vec::new() }; 3]);
        for step in 0..STEPS {
            scene.go_on(step);
            let texts = scene.texts()?;
            for ((pages, text), job) in pages.iter_mut().zip(texts).zip(JOBS) {
                let is_open = job == "openmetrics";
                let format = if is_open { PageFormat::OpenMetrics } else { PageFormat::Text };
                pages.push(stamped(&text, begin + EVERY * step as u64, format));
            }
        }
        Some(pages)
    };
    let pages = (0..20).find_map(|_| scene()).expect("sockets that do nothing between steps");
    (pages, begin + EVERY * (STEPS as u64 - 1))
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn rates_and_quantiles_from_a_page_are_those_from_the_bridge() {
    let (pages, end) = recorded();
    let target = serve(pages);
    let mut config =
        "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_configs:\n".to_owned();
    for job in JOBS {
        let targets = format!("static_configs: [{{targets: ['{target}']}}]");
        config += &format!("  - {{job_name: {job}, metrics_path: /{job}, {targets}}}\n");
    }
    let running = Prometheus::start(Scratch::new(), &config, free_address());
    let prometheus = running.address;
    let all = format!(
        "min(count_over_time(tcp_connection_opened_total[10m] @ {end})) == {STEPS} and \
         count(tcp_connection_opened_total @ {end}) == 3"
    );
    eventually("every sample of all", || maybe(prometheus, &all));

    // Two sweeps do not take the same time.
    let names = format!(
        "count by (__name__) ({{__name__=~'tcp_.*_(total|sum|count)', \
         __name__!~'tcp_monitor_sweep_.*'}} @ {end})"
    );
    let names = query(prometheus, &names);
    let name = |series: &serde_json::Value| {
        series["metric"]["__name__"].as_str().expect("a name").to_owned()
    };
    let names: Vec<String> = names.iter().map(name).collect();
    assert!(names.len() > 30, "{names:?}");
    let mut compared = 0;
    let mut equal = |expression: &str| {
        let mut by_job: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for series in query(prometheus, expression) {
            let metric = series["metric"].as_object().expect("labels").iter();
            let labels = metric.filter(|(name, _)| *name != "job" && *name != "instance");
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
            let job = series["metric"]["job"].as_str().expect("a job").to_owned();
            let value = number_of(&series["value"][1]);
            by_job.entry(job).or_default().insert(labels.join(","), value);
        }
        assert_eq!(by_job.len(), JOBS.len(), "{expression}: {by_job:?}");
        let bridge = &by_job["bridge"];
        for (job, values) in &by_job {
            assert_eq!(values, bridge, "{expression}: {job}");
        }
        compared += bridge.len();
        bridge.values().copied().fold(0.0, f64::max)
    };
    for range in ["1m", "150s"] {
        for name in &names {
            equal(&format!("rate({name}[{range}] @ {end})"));
        }
        let sent = format!("sum by (job) (rate(tcp_data_sent_bytes_total[{range}] @ {end}))");
        assert!(equal(&sent) > 1_000.0);
        for name in ["tcp_rtt_seconds", "tcp_congestion_window", "tcp_connection_duration_seconds"]
        {
            for quantile in ["0.5", "0.9", "0.99"] {
                let value = equal(&format!(
                    "histogram_quantile({quantile}, \
                     sum by (job, le) (rate({name}_bucket[{range}] @ {end})))"
                ));
                assert!(value > 0.0, "{name} {quantile}");
            }
        }
    }
    println!("measured: {compared} rates and quantiles are equal in all three");
    assert!(compared > 100, "{compared}");
}
