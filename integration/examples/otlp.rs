//! The examples `otlp` and `both` as programs, against receivers of our own.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::export::otlp::points;
use crate::export::otlp::receiver::{Answer, Push, Receiver};
use support::lateness::{Lateness, PATIENCE, in_time};
use support::loopback::until;
use support::reader::Collected;
use support::running::program;

/// The groups of both examples.
const SERVICES: [&str; 3] = ["api", "downloads", "uploads"];

/// An example that runs, and ends with the test at the latest.
struct Running {
    child: Child,
    out: Channel<String>,
    err: Channel<String>,
}

impl Running {
    fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program(name));
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy().to_ascii_uppercase();
            if text.starts_with("OTEL_") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("OTEL_METRIC_EXPORT_INTERVAL", "200");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = lines(child.stdout.take().expect("it is piped"));
        let err = lines(child.stderr.take().expect("it is piped"));
        Self { child, out, err }
    }

    /// The next line it prints.
    fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).expect("it prints in time")
    }

    /// Exit status, and what else it printed.
    fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let rest = |channel: &Channel<String>| {
            let mut lines = Vec::new();
            loop {
                match channel.recv_timeout(PATIENCE) {
                    Ok(line) => lines.push(line),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return lines,
                    Err(error) => panic!("it does not end: {error}"),
                }
            }
        };
        let (out, err) = (rest(&self.out), rest(&self.err));
        // It closed both ends, which it does by ending.
        let status = self.child.wait().expect("it is ours");
        (status.code(), out, err.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Channel<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut all = BufReader::new(from).lines().map_while(Result::ok);
        all.try_for_each(|line| sender.send(line))
    });
    lines
}

/// A program that runs for a second has time for all of this where nothing is later.
const ALLOWED: Duration = Duration::from_millis(50);

/// How long a program runs, in seconds: twice as long in each further attempt.
fn seconds(least: u64, lateness: &Lateness) -> String {
    (least << lateness.attempt).to_string()
}

/// Too little happened.
fn too_slow(what: &str, lateness: &Lateness) -> Result<(), String> {
    lateness.slowed(2 * ALLOWED);
    Err(what.to_owned())
}

/// Runs for a second and compares the totals it prints with what was pushed, which it takes `sum`
/// to add up.
fn totals_arrive(
    lateness: &Lateness,
    receiver: &Receiver,
    arguments: &[&str],
    variables: &[(&str, &str)],
    sum: impl Fn(&[Collected], &str) -> f64,
) -> Result<Vec<Push>, String> {
    let seconds = seconds(1, lateness);
    let arguments = [&["--seconds", &seconds], arguments].concat();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str());
    let running = Running::start("otlp", &arguments, &[&[endpoint], variables].concat());
    let (status, out, err) = running.end();
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out:?}");
    let pushes = receiver.so_far();
    // One every 200 ms, and one at the end.
    if pushes.len() < 2 {
        too_slow("there was one push", lateness)?;
    }
    let collected: Vec<_> = pushes.iter().map(|push| points::collected(&push.request)).collect();
    assert_eq!(out.len(), 3, "{out:?}");
    for line in &out {
        let (group, totals) = line.split_once(": ").expect("a group");
        let (key, value) = group.split_once(' ').expect("an attribute");
        for total in totals.split(", ") {
            let (name, total) = total.split_once(' ').expect("a total");
            let name = match name {
                "opened" | "closed" => format!("tcp.connection.{name}"),
                _ => format!("tcp.data.{name}"),
            };
            let series = format!("{name}{{{key}={value}}}");
            let total: f64 = total.parse().expect("it is a number");
            assert_eq!(sum(&collected, &series), total, "{series}: {out:?}");
        }
    }
    let last = collected.last().expect("there are some");
    for service in SERVICES {
        let listening =
            format!("tcp.connection.count{{network.connection.state=listen,service={service}}}");
        assert_eq!(last.level(&listening), 1.0);
    }
    assert!(sum(&collected, "tcp.data.sent{service=api}") > 0.0);
    assert!(collected.iter().any(|push| push.histograms["tcp.rtt{service=api}"] > 0));
    assert!(last.names().contains("tcp.socket.rtt"), "{:?}", last.names());
    Ok(pushes)
}

fn latest(pushes: &[Collected], series: &str) -> f64 {
    pushes.last().expect("there are some").counter(series)
}

fn added(pushes: &[Collected], series: &str) -> f64 {
    pushes.iter().filter_map(|push| push.counters.get(series)).sum()
}

#[test]
fn otlp_pushes_over_http_what_the_environment_says() {
    let receiver = Receiver::http();
    let variables = [
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue%20one"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    in_time(ALLOWED, |lateness| {
        for push in totals_arrive(lateness, &receiver, &[], &variables, latest)? {
            assert_eq!(push.headers["x-tenant"], "blue one");
            let resource = points::resource(&push.request);
            for attribute in ["service.name=shop", "deployment.environment.name=test"] {
                assert!(resource.iter().any(|other| other == attribute), "{resource:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn otlp_pushes_over_grpc_when_told() {
    let receiver = Receiver::grpc();
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")];
    in_time(ALLOWED, |lateness| {
        for push in totals_arrive(lateness, &receiver, &["--grpc"], &variables, latest)? {
            assert_eq!(push.headers["x-tenant"], "blue");
        }
        Ok(())
    });
    // Or by the environment alone.
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    in_time(ALLOWED, |lateness| {
        totals_arrive(lateness, &receiver, &[], &variables, latest).map(drop)
    });
}

#[test]
fn otlp_pushes_deltas_that_add_up() {
    let receiver = Receiver::http();
    let delta = ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta");
    in_time(ALLOWED, |lateness| {
        let pushes = totals_arrive(lateness, &receiver, &[], &[delta], added)?;
        for line in pushes.iter().flat_map(|push| points::arrived(&push.request)) {
            let counts = line.contains("monotonic=true") || line.contains(" histogram ");
            assert!(!counts || !line.contains(" cumulative {"), "{line}");
            assert!(!line.contains("monotonic=false") || line.contains(" cumulative {"), "{line}");
        }
        Ok(())
    });
}

/// One line when pushes begin to fail, one at the end, and its exit status.
fn fails(endpoint: &str, arguments: &[&str], reason: &str) {
    in_time(ALLOWED, |lateness| fails_once(lateness, endpoint, arguments, reason));
}

fn fails_once(
    lateness: &Lateness,
    endpoint: &str,
    arguments: &[&str],
    reason: &str,
) -> Result<(), String> {
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_TIMEOUT", "500")];
    let seconds = seconds(1, lateness);
    let arguments = [&["--seconds", &seconds], arguments].concat();
    let (status, out, err) = Running::start("otlp", &arguments, &variables).end();
    assert_eq!(status, Some(1), "{err}");
    assert_eq!(out.len(), 3, "{out:?}");
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    let first = format!("otlp: a push to {endpoint} failed: {reason}");
    assert!(lines[0].starts_with(&first), "{err}");
    let last = format!("otlp: the last totals did not arrive: {reason}");
    assert!(lines[1].starts_with(&last), "{err}");
    // The traffic went on.
    if out.iter().any(|line| line.contains("opened 0")) {
        too_slow("a service has not been visited", lateness)?;
    }
    Ok(())
}

#[test]
fn otlp_says_that_nobody_listens() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("it is of TCP");
    let endpoint = format!("http://{address}");
    fails(&endpoint, &[], "HTTP export failed: network error");
    fails(&endpoint, &["--grpc"], "TonicMetricsClient export failed with gRPC code: Unavailable");
}

#[test]
fn otlp_says_that_it_was_refused_or_not_answered() {
    for (answer, reason) in [
        (Answer::Refuse, "HTTP export failed with status code: 503"),
        (Answer::Hold, "HTTP export failed: network error"),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let receiver = Receiver::http_on(listener, answer);
        fails(&receiver.endpoint, &[], reason);
    }
}

#[test]
fn otlp_and_both_explain_their_arguments() {
    for name in ["otlp", "both"] {
        let (status, out, err) = Running::start(name, &["--help"], &[]).end();
        assert_eq!((status, err.as_str()), (Some(0), ""));
        let out = out.join("\n");
        assert!(out.contains(&format!("Usage: {name} ")) && out.contains("OTEL_SERVICE_NAME"));
        for (arguments, complaint) in [
            (&["--gprc"][..], "unknown argument --gprc"),
            (&["--seconds"], "--seconds needs a whole number"),
            (&["--seconds", "soon"], "--seconds needs a whole number"),
        ] {
            let (status, out, err) = Running::start(name, arguments, &[]).end();
            assert_eq!((status, out), (Some(2), vec![]));
            assert_eq!(err, format!("{name}: {complaint}; --help says what there is"));
        }
    }
}

/// The value of a sample on a page of Prometheus, of the series with this label.
fn sample(page: &str, name: &str, label: &str) -> Option<f64> {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(name));
    let line = lines.find(|line| line.starts_with('{') && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// An error where the page is not served any more.
fn scrape(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: page\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    Ok(page)
}

/// Longer than from push to push.
const SOON: Duration = Duration::from_secs(5);

/// Now, in nanoseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    now.as_nanos().try_into().expect("it is earlier than 2554")
}

#[test]
fn both_serves_and_pushes_the_same() {
    in_time(ALLOWED, |lateness| {
        both_serves_and_pushes(lateness).or_else(|what| too_slow(&what, lateness))
    });
}

/// An error where the program ended before all of it was done.
fn both_serves_and_pushes(lateness: &Lateness) -> Result<(), String> {
    let receiver = Receiver::http();
    let seconds = seconds(3, lateness);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint.as_str())];
    let arguments = ["--listen", "127.0.0.1:0", "--seconds", &seconds];
    let running = Running::start("both", &arguments, &variables);
    let line = running.line();
    let address = line.strip_prefix("metrics at http://").and_then(|rest| rest.split('/').next());
    let address = address.expect("it says where").to_owned();

    // A push between two pages has totals between theirs. The first that was collected after the
    // page may have been under way before it, so it is the one after that.
    // A group has no bytes before its first connection was read.
    let first = until("a page with all groups", || {
        let page = match scrape(&address) {
            Ok(page) => page,
            Err(error) => return Some(Err(format!("the page: {error}"))),
        };
        let has = |service| {
            sample(&page, "tcp_data_sent_bytes_total", &format!("service=\"{service}\"")).is_some()
        };
        SERVICES.iter().all(has).then_some(Ok(page))
    })?;
    let after = now();
    let collected_after = |push: &Push| points::read_at(&push.request, "tcp.data.sent") > after;
    let next = || receiver.next_within(SOON).ok_or("no push any more");
    while !collected_after(&next()?) {}
    let between = points::collected(&next()?.request);
    let second = scrape(&address).map_err(|error| format!("the second page: {error}"))?;
    for service in SERVICES {
        for (series, name) in [
            ("tcp.data.sent", "tcp_data_sent_bytes_total"),
            ("tcp.data.received", "tcp_data_received_bytes_total"),
            ("tcp.connection.opened", "tcp_connection_opened_total"),
            ("tcp.connection.closed", "tcp_connection_closed_total"),
            ("tcp.segment.sent", "tcp_segment_sent_total"),
        ] {
            let label = format!("service=\"{service}\"");
            let [low, high] = [&first, &second].map(|page| {
                sample(page, name, &label).unwrap_or_else(|| panic!("no {name} in {page}"))
            });
            let pushed = between.counter(&format!("{series}{{service={service}}}"));
            assert!(low <= pushed && pushed <= high, "{name}: {low} <= {pushed} <= {high}");
        }
    }
    assert!(sample(&second, "tcp_data_sent_bytes_total", "service=\"api\"") > Some(0.0));

    // The last push says no less than the last page.
    let (status, _, err) = running.end();
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let last = points::collected(&receiver.so_far().pop().expect("it ends with a push").request);
    let closed = sample(&second, "tcp_connection_closed_total", "service=\"api\"");
    assert!(Some(last.counter("tcp.connection.closed{service=api}")) >= closed);
    Ok(())
}
