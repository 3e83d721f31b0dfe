//! A page of its own in both formats beside the SDK's bridge: Prometheus computes the same from all
//! three.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get as route;
use opentelemetry::KeyValue;
use tcpinfo::{Monitor, PageFormat};
use tokio::runtime::Runtime;

use super::prometheus::{Endpoint, Prometheus};
use super::{Scratch, eventually, free_address, maybe, number_of, query};
use support::lateness::{Lateness, in_time};
use support::loopback::Pair;

/// From scrape to scrape: twice that in each further attempt.
const EVERY: Duration = Duration::from_millis(250);
const JOBS: [&str; 3] = ["bridge", "text", "openmetrics"];

/// Serves a page of the monitor until the test ends: at `/metrics` what is asked for, which of
/// Prometheus is OpenMetrics, at `/text` text.
fn serve(monitor: &Monitor) -> (SocketAddr, Runtime) {
    let runtime = Runtime::new().expect("threads");
    let text = Arc::new(monitor.page());
    let text = route(move || async move {
        let mut page = Vec::new();
        text.write(&mut page).expect("a vector takes all");
        ([(header::CONTENT_TYPE, PageFormat::Text.content_type())], page)
    });
    let app = Router::new().route("/text", text).route("/metrics", monitor.page().route());
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    runtime.spawn(axum::serve(listener, app).into_future());
    (address, runtime)
}

/// The value of an expression for each job.
fn by_job(prometheus: SocketAddr, expression: &str) -> BTreeMap<String, f64> {
    let found = query(prometheus, expression);
    let of = |series: &serde_json::Value| {
        let job = series["metric"]["job"].as_str().expect("it has a job").to_owned();
        (job, number_of(&series["value"][1]))
    };
    found.iter().map(of).collect()
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn prometheus_computes_the_same_from_a_page_as_from_the_bridge() {
    in_time(EVERY / 2, computes_the_same);
}

fn computes_the_same(lateness: &Lateness) -> Result<(), String> {
    let every = EVERY * (1 << lateness.attempt);
    let endpoint = Endpoint::new();
    let (page, _runtime) = serve(&endpoint.monitor);
    let group = endpoint.monitor.group([KeyValue::new("group", "a \"quoted\" \\ name")]);
    let pairs: Vec<Pair> = (0..10).map(|_| Pair::connect()).collect();
    let mut watched: Vec<_> = Vec::new();
    let mut peers = Vec::new();
    for pair in pairs {
        watched.push(group.watch(pair.client));
        peers.push(pair.server);
    }
    let alone = Pair::connect();
    let _alone = endpoint.monitor.watch(alone.client, [KeyValue::new("number", 1)]);

    let interval = every.as_millis();
    let mut config = format!(
        "global: {{scrape_interval: {interval}ms, scrape_timeout: {interval}ms}}\nscrape_configs:\n"
    );
    for (job, target, path) in [
        (JOBS[0], endpoint.address, "/metrics"),
        (JOBS[1], page, "/text"),
        (JOBS[2], page, "/metrics"),
    ] {
        let targets = format!("static_configs: [{{targets: ['{target}']}}]");
        config += &format!("  - {{job_name: {job}, metrics_path: {path}, {targets}}}\n");
    }
    let prometheus = Prometheus::start(Scratch::new(), &config, free_address());
    let address = prometheus.address;
    eventually("a first scrape of all", || maybe(address, "sum(up) == 3"));

    // What is sent now is a rise that all three have seen begin.
    for (number, stream) in watched.iter().enumerate() {
        { &**stream }.write_all(&vec![1; 1_000 * (number + 1)]).expect("room for it");
    }
    let sent = "min(min_over_time(tcp_data_sent_bytes_total[5m])) == 0 and \
                min(tcp_data_sent_bytes_total) == 55000";
    eventually("all three with all that was sent", || maybe(address, sent));
    prometheus.was_in_time(lateness, every)?;

    let equal = |expression: &str| {
        let values = by_job(address, expression);
        assert_eq!(values.len(), JOBS.len(), "{expression}: {values:?}");
        let first = values["bridge"];
        for (job, value) in values {
            assert!(
                (value - first).abs() <= 1e-9 * first.abs(),
                "{expression}: {job} {value}, bridge {first}"
            );
        }
        first
    };
    // Nothing happens any more, so every scrape has these values.
    let risen = "sum by (job) (max_over_time(tcp_data_sent_bytes_total[5m]) - \
                 min_over_time(tcp_data_sent_bytes_total[5m]))";
    assert_eq!(equal(risen), 55_000.0);
    assert_eq!(equal("count by (job) (tcp_socket_rto_seconds)"), 1.0);
    equal("count by (job) ({__name__=~'tcp_.*', __name__!~'.*_created'})");
    // Each scrape adds the same samples: their distribution is that of one.
    for quantile in ["0.5", "0.9", "0.99"] {
        let value = equal(&format!(
            "histogram_quantile({quantile}, sum by (job, le) (tcp_congestion_window_bucket))"
        ));
        assert!(value > 0.0);
    }
    let rates = by_job(address, "sum by (job) (rate(tcp_data_sent_bytes_total[5m])) > 0");
    assert_eq!(rates.len(), 3, "{rates:?}");
    Ok(())
}

/// What the route answers to a header `Accept`.
#[test]
fn the_route_answers_in_the_format_that_is_asked_for() {
    let monitor = Monitor::builder().with_max_sockets(300).build();
    let pairs: Vec<Pair> = (0..300).map(|_| Pair::connect()).collect();
    let _watched: Vec<_> = pairs.iter().map(|pair| monitor.watch(&pair.client, [])).collect();
    let (address, _runtime) = serve(&monitor);
    for (accept, format) in [
        ("", PageFormat::Text),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", PageFormat::OpenMetrics),
    ] {
        let (head, body) = ask(address, accept);
        assert!(head.contains(&format!("content-type: {}\r\n", format.content_type())), "{head}");
        let sockets = body.lines().filter(|line| line.starts_with("tcp_socket_rto_seconds{"));
        assert_eq!(sockets.count(), 300);
        assert_eq!(body.ends_with("\n# EOF\n"), format == PageFormat::OpenMetrics);
    }
}

/// Head and body of an answer.
fn ask(address: SocketAddr, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    // Without chunks: that is what this version of HTTP means.
    let request = format!("GET /metrics HTTP/1.0\r\naccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("room for it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (format!("{head}\r\n"), body.to_owned())
}
