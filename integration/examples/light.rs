//! The light examples, as a newcomer runs them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use tcpinfo::{FIELDS, Kernel};

use support::exposition::parsed;
use support::lateness::PATIENCE;
#[cfg(feature = "page")]
use support::loopback::until;
use support::running::{Running, example, run};

#[test]
fn the_first_command_shows_numbers_and_the_next_step_within_ten_seconds() {
    let began = Instant::now();
    let running = Running::start(Command::new(example("prometheus")).arg("127.0.0.1:0"));
    let mut lines = vec![running.line()];
    while !lines.iter().any(|line| line.starts_with("All metrics: ")) {
        lines.push(running.line());
    }
    let next = running.line();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let (totals, [all]) = lines.split_at(lines.len() - 1) else { panic!("{lines:?}") };
    assert!(totals.iter().all(|line| line.contains("_total{")), "{totals:?}");
    let opened = totals.iter().find(|line| line.starts_with("tcp_connection_opened_total{"));
    assert!(opened.is_some_and(|line| line.ends_with(" 3")), "{totals:?}");
    let path = next.rsplit(' ').next().expect("a line has words");
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    assert!(root.join(path).is_file(), "{next}");

    let url = all.strip_prefix("All metrics: curl http://").expect("a command");
    let address = url.strip_suffix("/metrics").expect("the page's address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").expect("room for it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    let page = parsed(page);
    assert!(page.value("tcp_data_sent_bytes_total", &[("listener", "echo")]) > 0.0);
    assert!(page.families.contains_key("tcp_rtt_seconds"), "{:?}", page.families.keys());
}

#[test]
fn the_prometheus_example_is_short_enough_to_copy() {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/prometheus.rs"));
    let text = std::fs::read_to_string(file).expect("it is an example");
    assert!(text.lines().count() <= 60, "{} lines", text.lines().count());
}

#[test]
#[cfg(feature = "page")]
fn the_page_example_answers_in_the_format_that_is_asked_for() {
    let running = Running::start(Command::new(example("page")).arg("127.0.0.1:0"));
    let line = running.line();
    let url = line.strip_prefix("All metrics: curl http://").expect("a command");
    let address = url.strip_suffix("/metrics").expect("the page's address");
    let ask = |accept: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let request = format!("GET /metrics HTTP/1.1\r\nACCEPT: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("room for it");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and the end");
        let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), page.to_owned())
    };
    // Its server accepts while its page is written.
    let head = until("the connection that it makes", || {
        let (head, page) = ask("*/*");
        let opened = parsed(&page).value("tcp_connection_opened_total", &[("listener", "echo")]);
        (opened == 1.0).then_some(head)
    });
    assert!(head.ends_with("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let (head, page) = ask("application/openmetrics-text;version=1.0.0");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(page.ends_with("\n# EOF\n"), "{page}");
}

#[test]
fn the_read_example_names_every_field_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the example connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        let mut bytes = [0; 2];
        stream.read_exact(&mut bytes).expect("it sends two bytes");
        stream.write_all(b"hello").expect("it reads");
        let _ = stream.read(&mut bytes);
        bytes
    });
    let output = run(Command::new(example("read")).arg(format!("localhost:{port}")));
    let error = String::from_utf8(output.stderr).expect("text");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!((output.status.code(), error.as_str()), (Some(0), ""), "{text}");
    assert_eq!(peer.join().expect("the peer was asked"), *b"\r\n");
    assert!(text.contains(&format!("-> 127.0.0.1:{port}\n")), "{text}");
    assert!(text.contains("received   5 bytes\n"), "{text}");

    let parts: Vec<&str> = text.split("\n\n").collect();
    let [_, present, absent, unsupported, congestion] = parts[..] else { panic!("{text}") };
    let names = |part: &str| -> Vec<String> {
        let lines = part.lines().filter(|line| !line.ends_with(':'));
        lines.filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
    };
    let mut named = [present, absent, unsupported].map(names).concat();
    named.sort_unstable();
    let mut all: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
    all.sort_unstable();
    assert_eq!(named, all);
    assert!(names(present).contains(&"bytes_received".into()), "{present}");
    assert!(names(absent).contains(&"accept_queue".into()), "{absent}");
    assert!(names(unsupported).contains(&"last_ack_sent".into()), "{unsupported}");
    assert!(absent.starts_with("nothing to report now:\n"), "{absent}");
    let title = format!("not reported by Linux {}:\n", Kernel::running());
    assert!(unsupported.starts_with(&title), "{unsupported}");
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let system = system.expect("proc is mounted");
    assert!(congestion.starts_with(&format!("congestion control: {system}")), "{congestion}");
}

#[test]
fn the_read_example_says_what_is_wrong() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    drop(taken);
    let read = |arguments: &[&str]| {
        let output = run(Command::new(example("read")).args(arguments));
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let refused = format!("read: {address}: Connection refused (os error 111)\n");
    assert_eq!(read(&[&address]), (Some(1), refused));
    assert_eq!(read(&["here"]).0, Some(1));
    assert_eq!(read(&[]), (Some(2), "usage: read HOST:PORT\n".into()));
    assert_eq!(read(&["a:1", "b:2"]), (Some(2), "usage: read HOST:PORT\n".into()));
    assert_eq!(read(&["--help"]), (Some(0), String::new()));
}

/// The rows of the table that the discover example prints: opened, open, sent, received, group.
#[cfg(feature = "diag")]
fn discovered(arguments: &[&str]) -> Vec<(u64, u64, u64, u64, String)> {
    let output = run(Command::new(example("discover")).args(arguments));
    let [text, error] =
        [output.stdout, output.stderr].map(|it| String::from_utf8(it).expect("text"));
    assert_eq!((output.status.code(), error.as_str()), (Some(0), ""), "{text}");
    assert!(text.starts_with("ends of sockets: Told\n\n"), "{text}");
    let next = text.lines().last().expect("it says what is next");
    let path = next.rsplit(' ').next().expect("a line has words");
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    assert!(root.join(path).is_file(), "{next}");
    let lines = text.lines().skip(3).take_while(|line| !line.is_empty());
    // Listeners that nobody connected to have no bytes.
    let lines = lines.filter(|line| !line.contains(" - "));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || words.next().expect("a number").parse().expect("a number");
            let numbers = [number(), number(), number(), number()];
            let group = words.collect::<Vec<_>>().join(" ");
            (numbers[0], numbers[1], numbers[2], numbers[3], group)
        })
        .collect()
}

#[cfg(feature = "diag")]
#[test]
fn the_discover_example_shows_what_code_hides() {
    let groups = discovered(&[]);
    // Servers count each connection in full, also those that have ended: twenty payments.
    let servers: Vec<_> = groups.iter().filter(|it| it.4.contains("tcp.role=server")).collect();
    let payments = servers.iter().find(|it| it.0 == 20).expect("twenty were made");
    assert_eq!(payments.2, 60_000, "{groups:?}");
    let of_servers: Vec<_> = servers.iter().filter(|it| it.0 == 1).collect();
    assert_eq!(of_servers.len(), 1, "{groups:?}");
    assert_eq!((of_servers[0].1, of_servers[0].2, of_servers[0].3), (1, 10_000, 10_000));
    let client = groups.iter().find(|it| it.4.contains("tcp.role=client") && it.1 == 1);
    let client = client.expect("the database stays connected");
    assert_eq!((client.2, client.3), (10_000, 10_000), "{groups:?}");
    assert!(client.4.contains("server.port=") && client.4.contains("server.address=127.0.0.1"));
}

#[cfg(feature = "diag")]
#[test]
fn the_discover_example_shows_the_host() {
    let groups = discovered(&["host"]);
    let payments = groups.iter().filter(|it| it.0 == 20 && it.2 == 60_000);
    assert!(payments.count() >= 2, "both ends of twenty payments: {groups:?}");
    let output = run(Command::new(example("discover")).arg("elsewhere"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("elsewhere: no argument, or host"));
}
