//! Prometheus scrapes a monitor whose groups make room for each other: what it stores adds up to
//! what happened.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use serde_json::Value;
use tcpinfo::{Monitor, MonitorBuilder};

use super::prometheus::{Endpoint, JOB, Prometheus};
use super::{eventually, number_of, query, scalar};
use support::hosts::Hosts;
use support::lateness::{Lateness, in_time};

const OFTEN: Duration = Duration::from_millis(500);
const HOSTS: usize = 1_000;
/// What is scraped at zero first, and visited all the time.
const LEGIT: &str = "api.legit";

/// Rises of a series by Prometheus' own rule: a sample below the one before began at zero. And so
/// did the first one, which that rule cannot know.
fn rises(samples: &Value) -> f64 {
    let samples = samples.as_array().expect("a window of samples");
    let mut before = 0.0;
    let mut rises = 0.0;
    for sample in samples {
        let now = number_of(&sample[1]);
        rises += if now < before { now } else { now - before };
        before = now;
    }
    rises
}

/// The rises of every series of a metric.
fn all_rises(prometheus: &Prometheus, metric: &str) -> f64 {
    let series = query(prometheus.address, &format!("{metric}[1h]"));
    series.iter().map(|series| rises(&series["values"])).sum()
}

/// Ends when as many scrapes came after now.
fn scrapes(prometheus: &Prometheus, more: f64) {
    let count = || scalar(prometheus.address, &format!("count_over_time(up{{job='{JOB}'}}[1h])"));
    let before = count();
    eventually("some scrapes", || (count() >= before + more).then_some(()));
}

/// A thousand hosts in five seconds, each attempt taking twice as long as the one before, and one
/// host that is visited all along.
fn flood(monitor: Monitor, lateness: &Lateness) -> Result<(), String> {
    let tempo = 1 << lateness.attempt;
    let often = OFTEN * tempo;
    let endpoint = Endpoint::of(monitor);
    let monitor = endpoint.monitor.clone();
    let by_host = move |host: &str, socket: TcpStream| {
        monitor.group([KeyValue::new("host", host.to_owned())]).watch(socket)
    };
    let mut hosts = Hosts::new(Ipv4Addr::new(127, 0, 3, 4), by_host);
    let legit = endpoint.monitor.group([opentelemetry::KeyValue::new("host", LEGIT)]);
    let prometheus = Prometheus::scraping(endpoint.address, often);
    scrapes(&prometheus, 5.0);
    let began = Instant::now();
    for number in 0..HOSTS {
        if number % 25 == 0 {
            hosts.visit(LEGIT, 10);
        }
        // Every third is one of a few that come back.
        let host = if number % 3 == 0 { number % 8 } else { number };
        hosts.visit(&format!("host-{host}"), number % 70);
        let due = Duration::from_millis(5) * tempo * number as u32;
        while began.elapsed() < due {
            thread::park_timeout(due.saturating_sub(began.elapsed()));
        }
    }
    // What took a place last is at zero first.
    scrapes(&prometheus, 5.0);
    // A beginning at zero may have been on a page that was too late.
    prometheus.was_in_time(lateness, often)?;
    let opened = all_rises(&prometheus, "tcp_connection_opened_total");
    assert_eq!(opened, hosts.opened(), "connections opened");
    let closed = all_rises(&prometheus, "tcp_connection_closed_total");
    assert_eq!(closed, hosts.opened(), "connections closed");
    let [sent, again] = ["data_sent", "data_retransmitted"]
        .map(|it| all_rises(&prometheus, &format!("tcp_{it}_bytes_total")));
    assert_eq!(sent - again, hosts.sent(), "bytes sent once");

    // What a dashboard asks, of a series that Prometheus saw at zero: `increase` stretches what it
    // saw to the window's ends, at most by 1.1 times what lies between two samples at each.
    let visits = (HOSTS / 25) as f64;
    let window = format!("tcp_connection_opened_total{{host='{LEGIT}'}}[1h]");
    let series = query(prometheus.address, &window);
    let [series] = &series[..] else { panic!("one series: {series:?}") };
    assert_eq!(rises(&series["values"]), visits);
    let samples = series["values"].as_array().expect("a window of samples");
    assert_eq!(number_of(&samples[0][1]), 0.0);
    let time = |sample: &Value| sample[0].as_f64().expect("a time");
    let (first, last) = (time(&samples[0]), time(&samples[samples.len() - 1]));
    let apart = (last - first) / (samples.len() - 1) as f64;
    let stretch = 1.0 + 2.0 * 1.1 * apart / (last - first);
    let increase = scalar(prometheus.address, &format!("increase({window})"));
    assert!((visits..=visits * stretch).contains(&increase), "{increase} of {visits}");
    assert_eq!(scalar(prometheus.address, &format!("resets({window})")), 0.0);

    // Series that began again, or were seen at once above zero, are why the sum of all increases is
    // no more than what happened, with the stretch.
    let by_host = query(prometheus.address, "increase(tcp_connection_opened_total[1h])");
    let by_host: BTreeMap<_, _> = by_host
        .iter()
        .map(|series| (series["metric"]["host"].to_string(), number_of(&series["value"][1])))
        .collect();
    let sum: f64 = by_host.values().sum();
    println!("{} series, whose increases are {sum} of {opened}", by_host.len());
    drop(legit);
    Ok(())
}

/// What is compared, and no more: a page of a thousand hosts' histograms takes its time.
fn builder() -> MonitorBuilder {
    Monitor::builder().with_fields(|field| ["bytes_sent", "bytes_retrans"].contains(&field.name))
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn a_flood_of_hosts_adds_up_in_prometheus() {
    in_time(OFTEN / 2, |lateness| flood(builder().build(), lateness));
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn a_flood_of_hosts_that_make_room_for_each_other_adds_up_in_prometheus() {
    in_time(OFTEN / 2, |lateness| {
        let builder = builder().with_max_groups(20).with_group_retention(Duration::ZERO);
        flood(builder.build(), lateness)
    });
}
