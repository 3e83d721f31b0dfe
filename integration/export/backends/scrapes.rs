//! Prometheus scrapes a monitor: what it stores and computes is what the endpoints of the
//! connections know.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use serde_json::Value;

use super::prometheus::{Endpoint, JOB, Prometheus};
use super::{eventually, free_address, get, maybe, number_of, query, scalar};
use crate::export::otlp::{ANSWERED, ASKED, converse};
use support::exposition::parsed;
use support::lateness::{Lateness, in_time};
use support::loopback::{Pair, until};

/// From scrape to scrape, which is as long as one may take: twice that in each further attempt.
const OFTEN: Duration = Duration::from_millis(200);
const RARELY: Duration = Duration::from_secs(1);

/// A pair whose sides have spoken, `bytes` one way and one byte back.
fn spoken(bytes: usize) -> Pair {
    let mut pair = Pair::connect();
    pair.client.write_all(&vec![1; bytes]).expect("the server reads");
    pair.server.read_exact(&mut vec![0; bytes]).expect("the client wrote");
    pair.server.write_all(&[1]).expect("room for a byte");
    pair.client.read_exact(&mut [0]).expect("the server wrote");
    until("all acknowledged", || {
        let info = [&pair.client, &pair.server].map(|side| tcpinfo::read(side).expect("open"));
        info.iter().all(|info| info.unacked == Some(0)).then_some(())
    });
    pair
}

/// What of a series names it, without what Prometheus adds.
fn labels(series: &Value) -> BTreeMap<String, String> {
    let labels = series["metric"].as_object().expect("a series has labels");
    let own = labels.iter().filter(|(name, _)| *name != "job" && *name != "instance");
    let text = |value: &Value| value.as_str().expect("labels are text").to_owned();
    own.map(|(name, value)| (name.clone(), text(value))).collect()
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn prometheus_stores_the_page_with_types_and_help() {
    in_time(RARELY / 2, stores_the_page);
}

fn stores_the_page(lateness: &Lateness) -> Result<(), String> {
    let every = RARELY * (1 << lateness.attempt);
    let endpoint = Endpoint::new();
    let group = endpoint.monitor.group([KeyValue::new("group", "a \"quoted\" \\ name")]);
    let (one, two) = (spoken(5_000), spoken(700));
    let _watched = [group.watch(one.client), group.watch(one.server)];
    let _also = endpoint.monitor.watch(two.client, [KeyValue::new("client", "b")]);
    let _listener = group.watch(one.listener);
    let prometheus = Prometheus::scraping(endpoint.address, every);
    let page = parsed(&get(endpoint.address, "/metrics"));

    let metadata = get(prometheus.address, "/api/v1/metadata");
    let stored = query(prometheus.address, &format!("{{job='{JOB}'}}"));
    prometheus.was_in_time(lateness, every)?;
    let metadata: Value = serde_json::from_str(&metadata).expect("the API answers in JSON");
    let families = page.families.iter().map(|(name, family)| {
        // The text format has no unit but the one in the name.
        let entry = serde_json::json!({"type": family.kind, "help": family.help, "unit": ""});
        (name.clone(), Value::from(vec![entry]))
    });
    assert_eq!(metadata["data"], Value::Object(families.collect()));

    let mut stored: BTreeMap<_, _> = stored
        .iter()
        .map(|series| (labels(series), number_of(&series["value"][1])))
        .filter(|(labels, _)| {
            let name = &labels["__name__"];
            name != "up" && !name.starts_with("scrape_")
        })
        .collect();
    let moves = |name: &str| {
        let histogram = |family: &&String| page.families[*family].kind == "histogram";
        let of_histogram = |family: &String| name.starts_with(&**family);
        // Histograms have a sample more of each socket at each scrape.
        page.families.keys().filter(histogram).any(of_histogram)
            || name.starts_with("tcp_monitor_sweep")
            || name.contains("_since_")
    };
    let mut compared = BTreeSet::new();
    for sample in page.all() {
        let mut labels = sample.labels.clone();
        labels.insert("__name__".into(), sample.name.clone());
        // Prometheus writes every bound its own way, as other numbers.
        if let Some(bound) = labels.get_mut("le") {
            let number: f64 = bound.parse().expect("a bound is a number");
            *bound = stored
                .keys()
                .filter_map(|stored| stored.get("le"))
                .find(|stored| stored.parse() == Ok(number))
                .unwrap_or_else(|| panic!("no bound {bound}"))
                .clone();
        }
        let value = stored.remove(&labels).unwrap_or_else(|| panic!("no {labels:?}"));
        if !moves(&sample.name) {
            assert_eq!(value, sample.value, "{sample:?}");
            compared.insert(sample.name.clone());
        }
    }
    assert_eq!(stored, BTreeMap::new());
    for name in ["tcp_data_sent_bytes_total", "tcp_connection_count", "tcp_socket_rtt_seconds"] {
        assert!(compared.contains(name), "{compared:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn rates_and_quantiles_are_what_the_endpoints_know() {
    in_time(OFTEN / 2, rates_and_quantiles);
}

fn rates_and_quantiles(lateness: &Lateness) -> Result<(), String> {
    let every = OFTEN * (1 << lateness.attempt);
    const ROUNDS: usize = 50;
    let endpoint = Endpoint::new();
    let group = endpoint.monitor.group([KeyValue::new("group", "a")]);
    let idle = endpoint.monitor.group([KeyValue::new("group", "idle")]);
    let listener = Pair::connect().listener;
    // Series that are there before anything is counted: Prometheus cannot see a rise from nothing.
    converse(&group, &listener);
    // Congestion windows that differ: what was sent opened them.
    let pairs: Vec<_> = (0..10).map(|number| spoken(1 + number * number * 6_000)).collect();
    let windows = pairs.iter().map(|pair| {
        let window = tcpinfo::read(&pair.client).expect("it is open").snd_cwnd;
        f64::from(window.expect("a connection has one"))
    });
    let windows: Vec<f64> = windows.collect();
    let _idle: Vec<_> =
        pairs.into_iter().map(|pair| (idle.watch(pair.client), pair.server)).collect();

    let prometheus = Prometheus::scraping(endpoint.address, every);
    let scrapes = || scalar(prometheus.address, &format!("count_over_time(up{{job='{JOB}'}}[1h])"));
    let some_more = || {
        let before = scrapes();
        eventually("twenty scrapes", || (scrapes() >= before + 20.0).then_some(()));
    };
    some_more();
    let began = Instant::now();
    (0..ROUNDS).for_each(|_| converse(&group, &listener));
    let took = began.elapsed();
    some_more();
    prometheus.was_in_time(lateness, every)?;

    // A machine that stands still for 200 ms makes a sender repeat itself.
    let risen = |name: &str| {
        let window = format!("{name}{{group='a'}}[1h]");
        let risen = format!("max_over_time({window}) - min_over_time({window})");
        scalar(prometheus.address, &risen)
    };
    let sent = (ROUNDS * ANSWERED) as f64 + risen("tcp_data_retransmitted_bytes_total");
    // All of it within the window, and a little more than it: `rate` and `increase` stretch what
    // they saw to the window's ends, at most by 1.1 times what lies between two samples.
    for (name, rise) in [
        ("tcp_data_sent_bytes_total", sent),
        ("tcp_data_received_bytes_total", (ROUNDS * (ASKED + 1)) as f64),
        ("tcp_connection_opened_total", ROUNDS as f64),
        ("tcp_connection_closed_total", ROUNDS as f64),
        ("tcp_connection_duration_seconds_count", ROUNDS as f64),
    ] {
        let window = format!("{name}{{group='a'}}[1h]");
        assert_eq!(risen(name), rise, "{name}");
        assert_eq!(scalar(prometheus.address, &format!("resets({window})")), 0.0);
        let samples = query(prometheus.address, &window);
        let samples = samples[0]["values"].as_array().expect("a window of samples");
        let time = |at: usize| samples[at][0].as_f64().expect("a time");
        let (first, last) = (time(0), time(samples.len() - 1));
        let apart = (last - first) / (samples.len() - 1) as f64;
        let stretch = 1.0 + 2.0 * 1.1 * apart / (last - first);
        let rate = 3_600.0 * scalar(prometheus.address, &format!("rate({window})"));
        assert!((rise..=rise * stretch).contains(&rate), "{name}: {rate} of {rise}");
    }

    // Lives of connections: no longer together than it took to make them one after the other.
    let lives = risen("tcp_connection_duration_seconds_sum");
    assert!(lives > 0.0 && lives <= took.as_secs_f64(), "{lives} s in {took:?}");

    // Every scrape adds one sample of each window, so the shares stay what they are.
    let buckets = query(prometheus.address, "tcp_congestion_window_bucket{group='idle'}");
    let bounds = buckets.iter().map(|series| {
        let bound = series["metric"]["le"].as_str().expect("a bucket has a bound");
        bound.parse().expect("a bound is a number")
    });
    let mut bounds: Vec<f64> = bounds.collect();
    bounds.sort_by(f64::total_cmp);
    assert!(windows.iter().any(|window| *window != windows[0]), "{windows:?}");
    for quantile in [0.1, 0.5, 0.75, 0.95] {
        let text =
            format!("histogram_quantile({quantile}, tcp_congestion_window_bucket{{group='idle'}})");
        let theirs = scalar(prometheus.address, &text);
        let ours = interpolated(&windows, &bounds, quantile);
        assert!((theirs - ours).abs() < 1e-9 * ours, "{quantile}: {theirs} is not {ours}");
    }
    Ok(())
}

/// The quantile of values of which only the counts between bounds are known.
fn interpolated(values: &[f64], bounds: &[f64], quantile: f64) -> f64 {
    let rank = quantile * values.len() as f64;
    let below = |bound: f64| values.iter().filter(|value| **value <= bound).count() as f64;
    let at = bounds.iter().position(|bound| below(*bound) >= rank).expect("the last is infinite");
    let start = if at == 0 { 0.0 } else { bounds[at - 1] };
    let before = if at == 0 { 0.0 } else { below(start) };
    start + (bounds[at] - start) * (rank - before) / (below(bounds[at]) - before)
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn no_series_is_left_behind_when_connections_close() {
    in_time(RARELY / 4, no_series_is_left_behind);
}

fn no_series_is_left_behind(lateness: &Lateness) -> Result<(), String> {
    const SOCKETS: usize = 20;
    let every = RARELY / 2 * (1 << lateness.attempt);
    let endpoint = Endpoint::new();
    let prometheus = Prometheus::scraping(endpoint.address, every);
    let group = endpoint.monitor.group([KeyValue::new("group", "a")]);
    let count = |name: &str| maybe(prometheus.address, &format!("count({{__name__=~'{name}'}})"));
    let mut cookies = BTreeSet::new();
    for _ in 0..2 {
        assert_eq!(count("tcp_socket_.*"), None);
        let watched: Vec<_> = (0..SOCKETS)
            .map(|number| {
                let Pair { client, server, .. } = spoken(100);
                let number = KeyValue::new("number", number as i64);
                (endpoint.monitor.watch(client, [number]), group.watch(server))
            })
            .collect();
        eventually("every socket's series", || {
            count("tcp_socket_data_sent_bytes_total").filter(|count| *count == SOCKETS as f64)
        });
        for series in query(prometheus.address, "tcp_socket_data_sent_bytes_total") {
            // The same numbers again are other sockets, and other series.
            assert!(cookies.insert(series["metric"]["tcp_socket_cookie"].to_string()), "{series}");
        }
        let live = "sum(tcp_connection_count{group='a'})";
        assert_eq!(scalar(prometheus.address, live), SOCKETS as f64);
        drop(watched);
        // Prometheus forgets at the next scrape what is not there, and else after five minutes.
        eventually("no socket's series", || count("tcp_socket_.*").is_none().then_some(()));
        assert_eq!(scalar(prometheus.address, live), 0.0);
    }
    assert_eq!(
        scalar(prometheus.address, "tcp_connection_closed_total{group='a'}"),
        2.0 * SOCKETS as f64
    );
    prometheus.was_in_time(lateness, every)?;
    assert_eq!(cookies.len(), 2 * SOCKETS);
    Ok(())
}

#[test]
#[ignore = "needs prometheus: integration/test.sh"]
fn a_minute_of_scrapes_under_churn_has_no_error() {
    in_time(RARELY, scrapes_under_churn);
}

/// Ten scrapes a second by fifty jobs: a scrape may take as long as it is until the job's next.
fn scrapes_under_churn(lateness: &Lateness) -> Result<(), String> {
    const JOBS: usize = 50;
    const EACH: Duration = Duration::from_secs(5);
    /// As many as in a minute, which a machine that does something else takes longer for.
    const SCRAPES: f64 = 600.0;
    let endpoint = Endpoint::new();
    let jobs: Vec<String> = (0..JOBS).map(|number| format!("{JOB}-{number}")).collect();
    let prometheus = Prometheus::scraping_as(&jobs, endpoint.address, EACH);
    let begin = scalar(prometheus.address, "vector(time())");
    let scrapes = || maybe(prometheus.address, "sum(count_over_time(up[1h]))");
    let (done, conversations) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..2 {
            let (endpoint, done, conversations) = (&endpoint, &done, &conversations);
            scope.spawn(move || {
                let group = endpoint.monitor.group([KeyValue::new("group", number)]);
                // An address each: one pair of addresses has not that many ports.
                let address = free_address();
                let listener = TcpListener::bind(address).expect("it is free");
                while !done.load(Ordering::Relaxed) {
                    converse(&group, &listener);
                    let client = TcpStream::connect(address).expect("it listens");
                    let number = [KeyValue::new("group", number)];
                    let _watched = endpoint.monitor.watch(client, number);
                    drop(listener.accept().expect("the client connected"));
                    conversations.fetch_add(1, Ordering::Relaxed);
                    // As many as a busy service has, and some time for other tests.
                    thread::park_timeout(Duration::from_millis(5));
                }
            });
        }
        while scrapes() < Some(SCRAPES) {
            thread::park_timeout(RARELY);
        }
        done.store(true, Ordering::Relaxed);
    });
    let conversations = conversations.load(Ordering::Relaxed) as f64;
    let seen = |what: &str| {
        let same = format!("count(sum by (job) ({what}) == {})", conversations);
        maybe(prometheus.address, &same)
    };
    eventually("a scrape of each after the last connection", || {
        seen("tcp_connection_opened_total").filter(|jobs| *jobs == JOBS as f64)
    });
    assert_eq!(seen("tcp_connection_closed_total"), Some(JOBS as f64));
    let sent =
        format!("(tcp_data_sent_bytes_total - tcp_data_retransmitted_bytes_total) / {ANSWERED}");
    assert_eq!(seen(&sent), Some(JOBS as f64));

    let window = format!("{:.0}s", scalar(prometheus.address, "vector(time())") - begin);
    let over = |function: &str, series: &str, of_jobs: &str| {
        scalar(prometheus.address, &format!("{of_jobs}({function}({series}[{window}]))"))
    };
    prometheus.was_in_time(lateness, EACH)?;
    assert_eq!(over("min_over_time", "up", "min"), 1.0);
    assert!(over("min_over_time", "scrape_samples_scraped", "min") > 0.0);
    let scrapes = over("count_over_time", "up", "sum");
    // The first of each job came before the window.
    assert!(scrapes + JOBS as f64 >= SCRAPES, "{scrapes} scrapes");
    let counters = "{__name__=~'tcp_[a-z_]*_total', group!='', tcp_socket_cookie=''}";
    for counter in query(prometheus.address, &format!("group by (__name__) ({counters})")) {
        let name = counter["metric"]["__name__"].as_str().expect("it was asked for");
        let resets = format!("sum(resets({name}{{tcp_socket_cookie=''}}[{window}]))");
        assert_eq!(scalar(prometheus.address, &resets), 0.0, "{name}");
    }
    prometheus.was_in_time(lateness, EACH)?;
    let duration = over("max_over_time", "scrape_duration_seconds", "max");
    println!("{conversations} connections, {scrapes} scrapes, none longer than {duration} s");
    Ok(())
}
