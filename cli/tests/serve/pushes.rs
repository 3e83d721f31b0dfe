//! Pushes, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::lateness::PATIENCE;
use support::loopback::until;
use support::running::Running;

use super::{Served, ask, command, converse, listen};

/// A Collector of a kind: it answers each push with this status.
fn collector(status: &'static str) -> (String, Receiver<usize>) {
    let (listener, port) = listen();
    let (sender, pushes) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut len = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                let line = line.to_ascii_lowercase();
                let value = line.strip_prefix("content-length:");
                len = value.map_or(len, |value| value.trim().parse().expect("a number"));
            }
            let mut body = vec![0; len];
            let _ = reader.read_exact(&mut body);
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = (&stream).write_all(head.as_bytes());
            let _ = sender.send(len);
        }
    });
    (format!("http://127.0.0.1:{port}"), pushes)
}

#[test]
fn a_signal_ends_it_after_a_last_push() {
    for signal in [Signal::TERM, Signal::INT] {
        let (endpoint, pushes) = collector("200 OK");
        let (listener, port) = listen();
        let mut command = command(&["--port", &port]);
        let command = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        let mut running = Running::start(command);
        // Without --listen there is no page then.
        assert_eq!(running.line(), format!("pushed to {endpoint}"));
        converse(&listener, 1);
        kill_process(Pid::from_child(&running.child), signal).expect("it is our child");
        assert_eq!(running.end().code(), Some(0));
        assert!(pushes.recv_timeout(PATIENCE).expect("the last push") > 500);
        assert!(pushes.try_recv().is_err(), "the first push would come after a minute");
    }
}

#[test]
fn a_collector_that_is_down_stops_nothing_and_is_said_in_sentences() {
    let (_listener, port) = listen();
    let mut command = command(&["--listen", "127.0.0.1:0", "--port", &port]);
    let endpoint = "http://127.0.0.1:1";
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "50");
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "500");
    let served = Served::with(&mut command);
    until("a push that failed", || {
        let (status, _, body) = ask(served.address, "GET /healthz HTTP/1.1\r\n\r\n");
        assert_eq!(status, "200 OK", "a new start would help nobody");
        let failed = format!("ok, but pushes to {endpoint} fail: ");
        body.starts_with(&failed).then_some(())
    });
    served.page();
    let (code, said) = served.end(Signal::TERM);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, lines.len()), (Some(4), 2), "{said}");
    let first = format!("tcpinfo: a push to {endpoint} failed: ");
    assert!(lines[0].starts_with(&first), "{said}");
    assert!(lines[0].ends_with("; the next one has the same totals"), "{said}");
    assert!(lines[1].starts_with("tcpinfo: the last totals did not arrive: "), "{said}");
}
