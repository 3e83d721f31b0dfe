//! The demo of docker-compose.yml without containers: the same programs, commands, variables and
//! configuration files, at addresses of this test's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::compose::{command, environment, text};
use super::prometheus::Prometheus;
use super::receivers::{CONFIG, Collector, collector};
use super::{
    Scratch, Server, eventually, free_address, get, maybe, query, replaced, root, said, scalar,
};
use support::lateness::{Lateness, in_time};
use support::parsers::passes_promtool;
use support::running::program;

const PROMETHEUS: &str = "integration/demo/prometheus.yml";
const RULES: &str = "dashboards/rules.yml";
const RULES_TEST: &str = "dashboards/rules_test.yml";

fn promtool(arguments: &[&str], path: &Path) -> (String, Option<i32>) {
    said(Command::new("promtool").args(arguments).arg(path))
}

#[test]
#[ignore = "needs promtool: integration/test.sh"]
fn promtool_accepts_the_configuration_and_the_rules_do_what_they_say() {
    // Beside each other, as docker-compose.yml mounts them.
    let scratch = Scratch::new();
    scratch.write("rules.yml", &text(RULES));
    let config = scratch.write("prometheus.yml", &text(PROMETHEUS));
    for (arguments, path) in [
        (["check", "config"], config),
        (["check", "rules"], root().join(RULES)),
        (["test", "rules"], root().join(RULES_TEST)),
    ] {
        let (said, status) = promtool(&arguments, &path);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("SUCCESS"), "{said}");
    }
    // Every rule is tested.
    let (rules, tests) = (text(RULES), text(RULES_TEST));
    let name = |line: &str| {
        let rule = line.trim_start().strip_prefix("- ")?;
        let name = rule.strip_prefix("record: ").or(rule.strip_prefix("alert: "));
        name.map(String::from)
    };
    let names: Vec<String> = rules.lines().filter_map(name).collect();
    assert_eq!(names.len(), 27, "{names:?}");
    for name in names {
        assert!(tests.contains(&name), "{RULES_TEST} does not test {name}");
    }
}

#[test]
#[ignore = "needs the OpenTelemetry Collector: integration/test.sh"]
fn the_collector_accepts_its_configuration() {
    let Some(program) = collector() else { return };
    let config = format!("--config={}", root().join(CONFIG).display());
    let (said, status) = said(Command::new(&program).args(["validate", &config]));
    assert_eq!(status, Some(0), "{said}");
    let scratch = Scratch::new();
    let wrong = replaced(&text(CONFIG), "verbosity: normal", "verbosity: loud", 1);
    let wrong = format!("--config={}", scratch.write("wrong.yaml", &wrong).display());
    let (said, status) = super::said(Command::new(&program).args(["validate", &wrong]));
    assert_eq!(status, Some(1), "{said}");
}

/// The service of the demo, which serves and pushes where it is told.
fn service(listen: SocketAddr, collector: SocketAddr) -> Server {
    let words = command("demo");
    let named = words.iter().position(|word| word == "--bin").expect("it runs one");
    let ours = words.iter().position(|word| word == "--").expect("it has arguments");
    let arguments = words[ours + 1..].iter().map(|word| match word.strip_prefix("0.0.0.0:") {
        Some(_) => listen.to_string(),
        None => word.clone(),
    });
    let arguments: Vec<String> = arguments.collect();
    assert!(arguments.contains(&listen.to_string()), "{arguments:?}");
    let variables = environment("demo");
    let variables: Vec<(&str, String)> = variables
        .iter()
        .filter(|(name, _)| name.starts_with("OTEL_"))
        .map(|(name, value)| match name.as_str() {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                (name.as_str(), replaced(value, "collector:4318", &collector.to_string(), 1))
            }
            "OTEL_METRIC_EXPORT_INTERVAL" => (name.as_str(), replaced(value, "5000", "1000", 1)),
            _ => (name.as_str(), value.clone()),
        })
        .collect();
    let mut server =
        Server::start(program(&words[named + 1]), Scratch::new(), &arguments, &variables);
    server.ready(listen, "/metrics");
    server
}

/// Values of a query, by the label that tells them apart.
fn by(label: &str, address: SocketAddr, text: &str) -> Vec<(String, f64)> {
    let mut all: Vec<_> = query(address, text)
        .iter()
        .map(|series| {
            let name = series["metric"][label].as_str().unwrap_or_default().to_owned();
            (name, super::number_of(&series["value"][1]))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
#[ignore = "needs prometheus and the OpenTelemetry Collector: integration/test.sh"]
fn the_demo_runs_as_it_is_composed() {
    let Some(program) = collector() else { return };
    in_time(EVERY / 2, |lateness| the_demo_runs(&program, lateness));
}

/// From scrape to scrape here, which is as long as one may take.
const EVERY: Duration = Duration::from_secs(1);

fn the_demo_runs(program: &Path, lateness: &Lateness) -> Result<(), String> {
    let every = EVERY * (1 << lateness.attempt);
    let collector = Collector::start(program, "");
    let (listen, address) = (free_address(), free_address());
    let _service = service(listen, collector.http);
    let scratch = Scratch::new();
    scratch.write("rules.yml", &text(RULES));
    let config = replaced(&text(PROMETHEUS), "demo:9464", &listen.to_string(), 1);
    let config = replaced(&config, "collector:8888", &collector.metrics.to_string(), 1);
    let config = replaced(&config, "localhost:9090", &address.to_string(), 1);
    let config = replaced(&config, "interval: 5s", &format!("interval: {}s", every.as_secs()), 2);
    let prometheus = Prometheus::start(scratch, &config, address);

    let wanted = [("collector", 1.0), ("demo", 1.0), ("prometheus", 1.0)]
        .map(|(job, up)| (job.to_owned(), up));
    eventually("every target scraped", || (by("job", address, "up") == wanted).then_some(()));
    passes_promtool(&get(listen, "/metrics"));

    // What it records needs two scrapes with something between.
    for (record, services) in [
        ("job:tcp_data_retransmitted_bytes:ratio_rate5m", &["api", "downloads", "uploads"][..]),
        ("job:tcp_connection_verdict:sum", &["api", "downloads", "uploads"]),
        ("job:tcp_connection_count:sum", &["api", "downloads", "uploads"]),
        ("job:tcp_data_sent_bytes:rate5m", &["api", "downloads", "uploads"]),
        ("job:tcp_data_received_bytes:rate5m", &["api", "downloads", "uploads"]),
        ("job:tcp_timeouts:rate5m", &["api", "downloads", "uploads"]),
        ("job:tcp_rtt_seconds:p50_5m", &["api", "downloads", "uploads"]),
        ("job:tcp_rtt_seconds:p99_5m", &["api", "downloads", "uploads"]),
        ("job:tcp_queueing_delay_seconds:p99_5m", &["api", "downloads", "uploads"]),
        ("job:tcp_receive_window_limited:ratio_rate5m", &["downloads"]),
    ] {
        eventually(record, || {
            let recorded = by("service", address, &format!("{record} >= 0"));
            let names: Vec<_> = recorded.iter().map(|(name, _)| name.as_str()).collect();
            services.iter().all(|service| names.contains(service)).then_some(())
        });
    }
    // Its slow readers are felt, and nothing of it is an emergency yet.
    eventually("a slow reader", || {
        maybe(address, "job:tcp_receive_window_limited:ratio_rate5m{service='downloads'} > 0.01")
    });
    let rules: Value = serde_json::from_str(&get(address, "/api/v1/rules")).expect("JSON");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let rules: Vec<_> =
        groups.iter().flat_map(|group| group["rules"].as_array()).flatten().collect();
    prometheus.was_in_time(lateness, every)?;
    assert_eq!(rules.len(), 27);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }

    // Every panel asks what Prometheus understands, and the overview has something to show.
    let mut empty = Vec::new();
    for it in dashboards::queries() {
        let found = query(address, &it.plain("demo", "service", "5m"));
        if it.dashboard == "tcpinfo-groups" && found.is_empty() {
            empty.push(it.panel);
        }
    }
    // It has no socket that cannot be read, and nothing to complain of for long.
    const QUIET: [&str; 3] =
        ["Complaints, by group", "Sockets that cannot be read", "Accept queues"];
    empty.retain(|panel| !QUIET.contains(panel));
    assert_eq!(empty, [""; 0]);

    // The Collector took every point that came, and printed each on a line.
    let accepted = eventually("pushed points", || {
        maybe(address, "otelcol_receiver_accepted_metric_points_total > 0")
            .or(maybe(address, "otelcol_receiver_accepted_metric_points > 0"))
    });
    assert!(accepted > 0.0);
    for trouble in
        ["otelcol_receiver_refused_metric_points", "otelcol_exporter_send_failed_metric_points"]
    {
        let sum = format!("sum({{__name__=~'{trouble}(_total)?'}}) or vector(0)");
        assert_eq!(scalar(address, &sum), 0.0, "{trouble}");
    }
    eventually("points in the Collector's output", || {
        let log = collector.server.log();
        ["tcp.data.sent{service=api}", "tcp.rtt{service=downloads}"]
            .iter()
            .all(|point| log.contains(point))
            .then_some(())
    });
    prometheus.was_in_time(lateness, every)
}
