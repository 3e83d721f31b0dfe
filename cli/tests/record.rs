//! `tcpinfo record` and `replay`: what was recorded is what another program saw.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};
use support::loopback::{Pair, until};

use crate::program::{fails, objects, prints, tcpinfo};
use crate::terminal::Terminal;

/// A file of the test's own, removed in the end.
struct Recorded(PathBuf);

impl Recorded {
    fn new(test: &str) -> Self {
        let name = format!("tcpinfo-{test}-{}.rec", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a text")
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn port(pair: &Pair) -> String {
    pair.listener.local_addr().expect("it is bound").port().to_string()
}

/// The objects that `replay --json` prints.
fn replayed(path: &str, more: &[&str]) -> Vec<Map<String, Value>> {
    let text = prints(&[&["replay", "--json", path], more].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[test]
fn a_recording_is_what_list_prints() {
    let Pair { mut client, mut server, listener } = Pair::connect();
    client.write_all(&[0; 5000]).expect("it is connected");
    server.read_exact(&mut [0; 5000]).expect("as much was sent");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let file = Recorded::new("list");
    let arguments = ["--processes", "--port", &port];
    // What grows while nothing happens.
    let apart = ["time", "last_data_sent", "last_data_recv", "last_ack_recv", "busy_time"]
        .map(str::to_owned);
    let settled = |objects: Vec<Map<String, Value>>| -> BTreeMap<u64, Map<String, Value>> {
        let still = |mut object: Map<String, Value>| {
            object.retain(|name, _| !apart.contains(name));
            (object["cookie"].as_u64().expect("a number"), object)
        };
        objects.into_iter().map(still).collect()
    };
    let (live, recorded) = until("a moment in which nothing happens", || {
        let before = settled(objects(&arguments));
        let record = ["record", file.path(), "--replace", "--for", "1ms", "--port", &port];
        assert_eq!(prints(&record), "");
        let after = settled(objects(&arguments));
        (before == after).then(|| (before, replayed(file.path(), &[])))
    });
    assert_eq!(live.len(), 3);
    assert_eq!(settled(recorded), live);
    let of_server = replayed(file.path(), &["--to", "127.0.0.1", "--pid", "1"]);
    assert!(of_server.is_empty(), "another process has none of them: {of_server:?}");
    let own = std::process::id().to_string();
    let own = replayed(file.path(), &["--to", "127.0.0.1", "--pid", &own]);
    let connections = own.iter().filter(|object| object["state"] == "established").count();
    assert!(connections >= 2 && connections == own.len(), "{own:?}");
}

#[test]
fn sockets_that_come_and_go_are_in_their_samples() {
    let file = Recorded::new("churn");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let port = address.port().to_string();
    let arguments = ["record", file.path(), "--interval", "5ms", "--port", &port];
    let mut running = tcpinfo(&arguments).stderr(Stdio::piped()).spawn().expect("it starts");
    // Connections that each live for several samples: the file grows by a sample at a time. What is
    // written first was asked for before: the header, and one sample.
    let len = || fs::metadata(file.path()).map_or(0, |file| file.len());
    let mut cookies = Vec::new();
    for _ in 0..20 {
        let client = std::net::TcpStream::connect(address).expect("it listens");
        let (server, _) = listener.accept().expect("it connected");
        for socket in [&client, &server] {
            cookies.push(rustix::net::sockopt::socket_cookie(socket).expect("a socket"));
        }
        for _ in 0..4 {
            let before = len();
            until("another sample", || (len() > before).then_some(()));
        }
    }
    let id = Pid::from_raw(running.id() as i32).expect("a process");
    kill_process(id, Signal::INT).expect("it runs");
    let status = until("its end", || running.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    let mut pipe = running.stderr.take().expect("it is piped");
    pipe.read_to_string(&mut said).expect("a text");
    assert!(said.starts_with("tcpinfo: ") && said.contains(" samples, the last of "), "{said}");
    let objects = replayed(file.path(), &[]);
    let recorded: std::collections::BTreeSet<u64> =
        objects.iter().filter_map(|object| object["cookie"].as_u64()).collect();
    let missing: Vec<_> = cookies.iter().filter(|cookie| !recorded.contains(cookie)).collect();
    assert!(missing.is_empty(), "{missing:?} of {cookies:?}");
}

#[test]
fn what_is_around_a_bad_verdict_is_kept_and_nothing_else() {
    let file = Recorded::new("around");
    let record = |pair: &Pair, more: &[&str]| -> (u64, String) {
        let port = port(pair);
        let all = ["record", file.path(), "--replace", "--interval", "20ms", "--for", "1s"];
        let all = [&all[..], &["--port", &port], more].concat();
        let output = tcpinfo(&all).output().expect("it starts");
        let said = String::from_utf8(output.stderr).expect("a text");
        assert_eq!(output.status.code(), Some(0), "{said}");
        let found = said.split(", ").find_map(|part| part.strip_suffix(" with such a verdict"));
        (found.and_then(|found| found.parse().ok()).unwrap_or_else(|| panic!("{said}")), said)
    };
    let quiet = Pair::connect();
    let (found, said) = record(&quiet, &["--on", "stalled,receive_window", "--around", "10s"]);
    assert_eq!(found, 0, "{said}");
    let sentence = format!("{}: it has no sample that is whole", file.path());
    assert_eq!(fails(tcpinfo(&["replay", file.path()])), (4, sentence));
    let pair = crate::explain::closed_window();
    let (found, said) = record(&pair, &["--on", "receive_window", "--around", "10s"]);
    assert!(found > 0, "{said}");
    // Everything since the beginning, which was less than ten seconds ago.
    let samples: std::collections::BTreeSet<String> =
        replayed(file.path(), &[]).iter().map(|object| object["time"].to_string()).collect();
    let expected = format!("tcpinfo: {} samples, {found} with such a verdict, ", samples.len());
    assert!(said.starts_with(&expected), "{said} {}", samples.len());
    let (found, said) = record(&pair, &["--on", "stalled"]);
    assert_eq!(found, 0, "{said}");
    let wrong = tcpinfo(&["record", file.path(), "--on", "bad"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said.contains("a cause is one of stalled, "), "{said}");
}

/// Whether a kept recording of so many objects still says at its end what was kept with it.
#[track_caller]
fn decodes(path: &str, whole: usize, expected: &str) {
    let objects = replayed(path, &[]);
    let expected: Vec<Map<String, Value>> =
        expected.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(objects.len(), whole);
    let last = &objects[whole - expected.len()..];
    for (at, (object, expected)) in last.iter().zip(&expected).enumerate() {
        // A later version may know more fields, none may be lost.
        let kept: Map<String, Value> = expected
            .keys()
            .map(|name| (name.clone(), object.get(name).cloned().unwrap_or_default()))
            .collect();
        assert_eq!(&kept, expected, "line {at}");
    }
}

#[test]
fn a_file_of_this_release_decodes_for_ever() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/release-0.1.rec");
    let expected = include_str!("data/release-0.1.jsonl");
    assert_eq!(expected.lines().count(), 5, "the last of 11 samples");
    decodes(path, 55, expected);
}

/// What a big-endian kernel says of its sockets: `TCP_INFO` is what integration/kernels.sh kept of
/// Linux 6.12 on s390x, the rest of each reply was made up around it.
#[test]
fn a_file_of_the_other_byte_order_decodes_as_well() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/big-endian.rec");
    let expected = include_str!("data/big-endian.jsonl");
    assert_eq!(expected.lines().count(), 6, "the last of 2 samples");
    decodes(path, 12, expected);
}

#[test]
fn replay_shows_the_past_with_a_slider() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/release-0.1.rec");
    let mut terminal = Terminal::start((100, 24), &["replay", path]);
    terminal.until("a slider", |lines| lines[0].contains(" UTC ").then_some(()));
    terminal.send(" ");
    terminal.until("a pause", |lines| lines[0].contains("PAUSED").then_some(()));
    terminal.send("}");
    terminal.until("the last sample", |lines| lines[0].contains(" 11/11  ").then_some(()));
    terminal.send("{");
    terminal.until("the first sample", |lines| lines[0].contains(" 1/11  ").then_some(()));
    terminal.send("]]]");
    terminal.until("the fourth sample", |lines| lines[0].contains(" 4/11  ").then_some(()));
    terminal.until("rates of the past", |lines| lines[0].contains("sent ").then_some(()));
    terminal.send("q");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn files_that_cannot_be_used_are_said_in_a_sentence() {
    let file = Recorded::new("damage");
    let pair = Pair::connect();
    let port = port(&pair);
    prints(&["record", file.path(), "--for", "1ms", "--port", &port]);
    let again = tcpinfo(&["record", file.path(), "--for", "1ms", "--port", &port]);
    let sentence = format!("{} exists: name another file, or say --replace", file.path());
    assert_eq!(fails(again), (2, sentence));
    let whole = fs::read(file.path()).expect("it was written");
    fs::write(file.path(), [&whole[..], &whole[whole.len() - 100..whole.len() - 50]].concat())
        .expect("it can be written");
    let output = tcpinfo(&["replay", "--json", file.path()]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() >= 3);
    let said = String::from_utf8_lossy(&output.stderr);
    let offset = whole.len();
    let expected = format!("tcpinfo: {}: it ends within a sample, at byte {offset}, ", file.path());
    assert!(said.starts_with(&expected), "{said}");
    fs::write(file.path(), b"#!/bin/sh\n").expect("it can be written");
    let sentence = format!("{}: it is no recording of tcpinfo", file.path());
    assert_eq!(fails(tcpinfo(&["replay", file.path()])), (4, sentence));
    let missing = format!("{}.missing", file.path());
    let sentence = format!("{missing}: No such file or directory (os error 2)");
    assert_eq!(fails(tcpinfo(&["replay", &missing])), (4, sentence));
    let nowhere = "/no/such/folder/file";
    let mut record = Command::new(env!("CARGO_BIN_EXE_tcpinfo"));
    record.args(["record", nowhere]);
    let sentence = format!("{nowhere}: No such file or directory (os error 2)");
    assert_eq!(fails(record), (4, sentence));
}
