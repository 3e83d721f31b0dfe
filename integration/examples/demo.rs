//! The demo as a newcomer runs it, and its page of metrics against what it should show.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use support::exposition::{Page, parsed};
use support::lateness::{PATIENCE, in_time, less};
use support::loopback::until;
use support::parsers::{passes_promtool, passes_python};
use support::running::{Running, program, run};

const FREE_PORT: &str = "127.0.0.1:0";

/// The demo on a free port, and where it says it serves.
fn serving(more: &[&str]) -> (Running, SocketAddr) {
    let mut command = Command::new(program("demo"));
    let running = Running::start(command.args(["--listen", FREE_PORT]).args(more));
    let address = address_of(&running);
    (running, address)
}

fn address_of(running: &Running) -> SocketAddr {
    let line = running.line();
    let url = line.strip_prefix("metrics at http://").expect(&line);
    let (address, _) = url.split_once("/metrics").expect(&line);
    address.parse().expect(&line)
}

/// What a server sent for these bytes: the head's lines, and the body it announced.
fn exchange(address: SocketAddr, request: &[u8]) -> (Vec<String>, String) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    stream.write_all(request).expect("it reads the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let head: Vec<String> = head.split("\r\n").map(String::from).collect();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head:?}");
    (head, body.into())
}

fn get(address: SocketAddr, path: &str) -> (Vec<String>, String) {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

/// The text of a page of metrics.
fn scrape(address: SocketAddr) -> String {
    let (head, body) = get(address, "/metrics");
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    assert_eq!(head[1], "Content-Type: text/plain; version=0.0.4; charset=utf-8");
    body
}

/// The headline names of the design as Prometheus sees them.
const HEADLINE: [(&str, &str); 27] = [
    ("tcp_connection_count", "gauge"),
    ("tcp_connection_opened_total", "counter"),
    ("tcp_connection_closed_total", "counter"),
    ("tcp_connection_duration_seconds", "histogram"),
    ("tcp_data_sent_bytes_total", "counter"),
    ("tcp_data_acked_bytes_total", "counter"),
    ("tcp_data_received_bytes_total", "counter"),
    ("tcp_data_retransmitted_bytes_total", "counter"),
    ("tcp_segment_sent_total", "counter"),
    ("tcp_segment_received_total", "counter"),
    ("tcp_segment_retransmitted_total", "counter"),
    ("tcp_segment_out_of_order_total", "counter"),
    ("tcp_segment_spurious_total", "counter"),
    ("tcp_timeouts_total", "counter"),
    ("tcp_busy_time_seconds_total", "counter"),
    ("tcp_data_unsent_bytes", "gauge"),
    ("tcp_segment_unacked", "gauge"),
    ("tcp_segment_lost", "gauge"),
    ("tcp_rtt_seconds", "histogram"),
    ("tcp_min_rtt_seconds", "histogram"),
    ("tcp_rttvar_seconds", "histogram"),
    ("tcp_queueing_delay_seconds", "histogram"),
    ("tcp_delivery_rate_bytes_per_second", "histogram"),
    ("tcp_congestion_window", "histogram"),
    ("tcp_listener_accept_queue", "gauge"),
    ("tcp_listener_backlog", "gauge"),
    ("tcp_monitor_watched", "gauge"),
];

/// Scrapes until every headline metric has something to report and the slow readers are felt.
fn full_page(address: SocketAddr) -> String {
    until("every headline metric", || {
        let text = scrape(address);
        let page = parsed(&text);
        let stalled = page
            .samples("tcp_busy_time_seconds_total")
            .any(|sample| sample.label("tcp_limited_by") == "receive_window" && sample.value > 0.0);
        let unsent = page.samples("tcp_data_unsent_bytes").any(|sample| sample.value > 0.0);
        let all = HEADLINE.iter().all(|(name, _)| page.families.contains_key(*name));
        (all && stalled && unsent).then_some(text)
    })
}

#[test]
fn the_demo_serves_the_headline_metrics() {
    let began = Instant::now();
    let (_running, address) = serving(&[]);
    let page = parsed(&full_page(address));
    for (name, kind) in HEADLINE {
        assert_eq!(page.families[name].kind, kind, "{name}");
    }
    for family in page.families.values() {
        assert!(family.help.ends_with('.') || family.help == "Target metadata", "{family:?}");
    }
    for service in ["api", "downloads", "uploads"] {
        let of = [("service", service)];
        let busy = |part| {
            let labels = [("service", service), ("tcp_limited_by", part)];
            page.value("tcp_busy_time_seconds_total", &labels)
        };
        let busy: f64 = ["receive_window", "send_buffer", "network"].map(busy).iter().sum();
        let connections = page.value("tcp_connection_opened_total", &of);
        assert!(connections >= 2.0, "{service}");
        // Ticks of the kernel's clock, one connection's worth each.
        let most = connections * (began.elapsed().as_secs_f64() + 0.01);
        assert!((0.0..most).contains(&busy), "{service}: busy {busy} s of {most}");
        assert!(page.value("tcp_data_received_bytes_total", &of) > 0.0, "{service}");
        assert!(page.value("tcp_listener_backlog", &of) > 0.0, "{service}");
        let listening = [("service", service), ("network_connection_state", "listen")];
        assert_eq!(page.value("tcp_connection_count", &listening), 1.0);
    }
    for client in ["browser", "phone", "mirror", "slow-reader", "photos", "backup"] {
        let name = "tcp_socket_data_sent_bytes_total";
        assert!(page.value(name, &[("client", client)]) > 0.0, "{client}");
        let sample = page.samples(name).find(|sample| sample.label("client") == client);
        let sample = sample.expect("its value was just read");
        assert_eq!(sample.label("network_peer_address"), "127.0.0.1");
        assert!(sample.label("network_peer_port").parse::<u16>().is_ok(), "{sample:?}");
        assert!(sample.label("tcp_socket_cookie").parse::<u64>().is_ok(), "{sample:?}");
    }
}

#[test]
fn counters_of_the_demo_never_go_down() {
    let (_running, address) = serving(&[]);
    let mut last = parsed(&scrape(address));
    // Visitors come and go meanwhile.
    let closed = |page: &Page| -> f64 {
        page.samples("tcp_connection_closed_total").map(|sample| sample.value).sum()
    };
    let enough = closed(&last) + 15.0;
    until("fifteen visitors", || {
        let page = parsed(&scrape(address));
        for (name, family) in &last.families {
            let counters = family.kind == "counter" || family.kind == "histogram";
            for before in family.samples.iter().filter(|_| counters) {
                let after = page.families[name].samples.iter();
                let after: Vec<_> = after
                    .filter(|after| (&after.name, &after.labels) == (&before.name, &before.labels))
                    .collect();
                assert_eq!(after.len(), 1, "{before:?}");
                assert!(after[0].value >= before.value, "{before:?} became {:?}", after[0]);
            }
        }
        last = page;
        (closed(&last) >= enough).then_some(())
    });
}

#[test]
fn a_table_appears_within_ten_seconds() {
    let mut shown = String::new();
    in_time(Duration::from_millis(100), |lateness| {
        let (began, (running, _)) = (Instant::now(), serving(&[]));
        shown.clear();
        while !(shown.contains("receive window") && shown.contains("sockets, read in")) {
            shown += &(running.line() + "\n");
        }
        less(began.elapsed(), Duration::from_secs(10), lateness)
    });
    for word in ["group", "connection", "median rtt", "cwnd", "retransmitted", "limited by"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    for name in ["api", "downloads", "uploads", "browser", "slow-reader", "backup"] {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}: {shown}");
    }
    // Nothing for terminals in a pipe.
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn once_ends_after_the_first_scrape() {
    let (mut running, address) = serving(&["--once"]);
    let (head, hint) = get(address, "/");
    assert_eq!((head[0].as_str(), hint.contains("/metrics")), ("HTTP/1.1 200 OK", true));
    assert_eq!(running.child.try_wait().expect("it is our child"), None);
    assert!(parsed(&scrape(address)).families.contains_key("tcp_data_sent_bytes_total"));
    assert_eq!(running.end().code(), Some(0));
    assert_eq!(running.lines.iter().count(), 0);
}

#[test]
fn only_a_get_of_the_page_gets_the_page() {
    let (_running, address) = serving(&[]);
    let status = |request: &[u8]| exchange(address, request).0[0].clone();
    assert_eq!(get(address, "/other").0[0], "HTTP/1.1 404 Not Found");
    assert_eq!(get(address, "/metrics?name[]=x").0[0], "HTTP/1.1 200 OK");
    assert_eq!(status(b"GET /metrics HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
    let (head, _) = exchange(address, b"POST /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(head[0], "HTTP/1.1 405 Method Not Allowed");
    assert!(head.contains(&"Allow: GET".into()), "{head:?}");
    assert_eq!(status(b"\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(status(b"GET /metrics\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    let endless = [b"GET /metrics HTTP/1.1\r\nA: ", &[b'a'; 9 << 10][..]].concat();
    assert_eq!(status(&endless), "HTTP/1.1 431 Request Header Fields Too Large");
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_waiting() {
    in_time(Duration::from_secs(1), |lateness| {
        let (_running, address) = serving(&[]);
        // It has patience with each for five seconds.
        let _silent = [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
        let began = Instant::now();
        scrape(address);
        less(began.elapsed(), Duration::from_secs(4), lateness)
    });
}

#[test]
fn ctrl_c_ends_the_demo() {
    // A test that runs in the background of a shell ignores the signal, and so would its child.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(program("demo")).args(["--listen", FREE_PORT]);
    let mut running = Running::start(&mut command);
    let address = address_of(&running);
    scrape(address);
    let pid = running.child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().expect("coreutils have kill");
    assert!(sent.success());
    // SIGINT is 2.
    assert_eq!(running.end().signal(), Some(2));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_busy_port_is_one_line_of_error() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(Command::new(program("demo")).args(["--listen", &address]));
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        error,
        format!("demo: cannot listen on {address}: Address already in use (os error 98)\n")
    );
}

#[test]
fn wrong_arguments_are_named() {
    let demo = |arguments: &[&str]| {
        let output = run(Command::new(program("demo")).args(arguments));
        let stderr = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), stderr, String::from_utf8(output.stdout).expect("text"))
    };
    let (code, error, _) = demo(&["--port", "1"]);
    assert_eq!((code, error.lines().count()), (Some(2), 1), "{error}");
    assert!(error.contains("--port"), "{error}");
    let (code, error, _) = demo(&["--listen"]);
    assert_eq!((code, error.contains("--listen")), (Some(2), true), "{error}");
    let (code, error, _) = demo(&["--listen", "nowhere"]);
    assert_eq!((code, error.contains("nowhere")), (Some(1), true), "{error}");
    let (code, error, help) = demo(&["--help"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    for word in ["--listen", "--once", "9464", "Ctrl-C"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
#[ignore = "needs promtool: integration/test.sh"]
fn promtool_has_one_known_complaint() {
    let (_running, address) = serving(&[]);
    passes_promtool(&full_page(address));
}

/// Another parser of the same format reads the same from it.
#[test]
#[ignore = "needs python3-prometheus-client: integration/test.sh"]
fn the_python_client_reads_the_same_samples() {
    let (_running, address) = serving(&[]);
    passes_python(&full_page(address));
}
