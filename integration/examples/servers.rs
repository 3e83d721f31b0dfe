//! The example servers, as somebody who copies them runs them first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use support::lateness::PATIENCE;
use support::loopback::until;
use support::running::{Running, program, run};

fn printed(name: &str) -> Vec<String> {
    let output = run(&mut Command::new(program(name)));
    assert!(output.status.success(), "{name}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("examples print text");
    text.lines().map(String::from).collect()
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn the_tls_example_shows_more_bytes_than_text() {
    let lines = printed("tls");
    assert_eq!(words(&lines[0]), ["text", "(By)", "TCP", "(By)"]);
    for (line, name) in lines[1..].iter().zip(["received", "sent"]) {
        let words = words(line);
        assert_eq!(words[..2], [name, "43000"]);
        let carried: u64 = words[2].parse().expect("a number");
        assert!((43_100..46_000).contains(&carried), "{line}");
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn the_tonic_example_knows_who_calls() {
    let lines = printed("tonic");
    let (calls, [summary]) = lines.split_at(3) else { panic!("{lines:?}") };
    assert_eq!(summary, "1 connection, 1 open");
    for call in calls {
        assert!(call.starts_with("called by Some(127.0.0.1:"), "{call}");
        assert!(call.contains("round-trip time Some("), "{call}");
    }
}

#[test]
fn the_tracing_example_says_how_the_connection_did() {
    let lines = printed("tracing");
    assert!(lines[0].starts_with(" INFO hello: tracing: a visitor rtt=Some("), "{lines:?}");
    assert_eq!(lines[1], "span hello");
    let (hello, download) = lines[2..].split_at(4);
    let attributes: Vec<_> = hello.iter().map(|line| words(line)).collect();
    let names: Vec<_> = attributes.iter().map(|words| words[0]).collect();
    assert_eq!(names, ["tcp.state", "tcp.rtt", "tcp.total_retrans", "tcp.bytes_received"]);
    assert_eq!((attributes[0][1], attributes[3][1]), ("established", "49"));
    // The visitor did not read for two seconds.
    assert_eq!(download[0], "span download");
    assert_eq!(words(&download[1]), ["tcp.verdict", "receive_window"]);
    let numbers: Vec<_> = download[2..].iter().map(|line| words(line)).collect();
    let names: Vec<_> = numbers.iter().map(|words| words[0]).collect();
    assert_eq!(names, ["tcp.evidence.rwnd_limited", "tcp.evidence.snd_wnd"]);
    let share: f64 = numbers[0][1].parse().expect("a number");
    assert!((0.4..=1.0).contains(&share), "{share}");
}

/// The axum example on a free port with a limit of descriptors, and where it says it serves.
fn serving(limit: usize) -> (Running, SocketAddr) {
    let shell = format!("ulimit -n {limit} && exec \"$0\" 127.0.0.1:0");
    let running = Running::start(Command::new("sh").args(["-c", &shell]).arg(program("axum")));
    let line = running.line();
    let url = line.strip_prefix("http://").expect(&line);
    let address = url.split('/').next().and_then(|it| it.parse().ok()).expect(&line);
    (running, address)
}

/// The body of an answer, and the address of who asked.
fn get(address: SocketAddr, path: &str) -> (SocketAddr, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let own = stream.local_addr().expect("it is connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("room for a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    (own, body.to_owned())
}

#[test]
fn the_axum_example_shows_visitors_their_connection_and_prometheus_all() {
    let (_running, address) = serving(1_000);
    let (own, page) = get(address, "/");
    let lines: Vec<_> = page.lines().collect();
    assert_eq!(lines[0], format!("You are {own}."));
    assert!(lines.iter().any(|line| words(line) == ["bytes_received", "49"]), "{page}");
    let (_, page) = get(address, "/metrics");
    let opened = page.lines().find(|line| line.starts_with("tcp_connection_opened_total{"));
    assert!(opened.is_some_and(|line| line.ends_with(" 2")), "{page}");
}

#[test]
fn the_axum_example_holds_a_descriptor_for_each_connection_and_then_none() {
    let (running, address) = serving(1_000);
    let before = descriptors(&running);
    let clients = connected(300, address);
    until("a descriptor each", || (descriptors(&running) == before + 300).then_some(()));
    get(address, "/metrics");
    drop(clients);
    until("none left", || (descriptors(&running) == before).then_some(()));
}

#[test]
fn an_axum_server_out_of_descriptors_serves_again_when_there_are_some() {
    let (running, address) = serving(40);
    let clients = connected(100, address);
    // The lowest free number is always the next.
    let highest = format!("/proc/{}/fd/39", running.child.id());
    until("no descriptor left", || Path::new(&highest).exists().then_some(()));
    drop(clients);
    let (own, page) = get(address, "/");
    assert!(page.starts_with(&format!("You are {own}.")), "{page}");
}

fn descriptors(running: &Running) -> usize {
    let folder = format!("/proc/{}/fd", running.child.id());
    std::fs::read_dir(&folder).expect("it runs").count()
}

fn connected(count: usize, address: SocketAddr) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("it listens")).collect()
}
