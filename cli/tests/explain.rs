//! `tcpinfo explain`: sentences and exit status for connections whose limit is known.

use std::io::Write;
use std::process::{Command, Output};

use serde_json::Value;
use support::loopback::{Pair, until};

use crate::program::{fails, tcpinfo};

fn port(pair: &Pair) -> String {
    pair.listener.local_addr().expect("it is bound").port().to_string()
}

/// A connection whose receiver reads nothing, while the sender has more to send.
pub(crate) fn closed_window() -> Pair {
    let pair = Pair::connect();
    pair.client.set_nonblocking(true).expect("it is open");
    until("a closed window", || {
        while (&pair.client).write(&[0; 1 << 16]).is_ok() {}
        (tcpinfo::read(&pair.client).expect("it is open").snd_wnd == Some(0)).then_some(())
    });
    pair
}

#[track_caller]
fn explained(mut command: Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    assert_eq!(String::from_utf8_lossy(&stderr), "");
    let status = status.code().expect("no signal ended it");
    (status, String::from_utf8(stdout).expect("a text"))
}

#[test]
fn a_receiver_that_does_not_read_is_found_and_named() {
    let pair = closed_window();
    let port = port(&pair);
    let name = std::fs::read_to_string("/proc/self/comm").expect("it has a name");
    let client = pair.client.local_addr().expect("it is connected");
    let (status, text) = explained(tcpinfo(&["explain", &format!(":{port}"), "--for", "1s"]));
    assert_eq!(status, 1, "{text}");
    let first = text.lines().next().expect("a line");
    let process = format!("{}/{}", name.trim_end(), std::process::id());
    let expected = format!(":{port}: 2 connections of {process}, watched for ");
    assert!(first.starts_with(&expected), "{first}");
    let sender = format!("\n  {client} > 127.0.0.1:{port}\n    the receiver: its window");
    let receiver = format!("\n  127.0.0.1:{port} < {client}\n    this program reads too slowly");
    for part in ["\nReceive window: 2 of 2 connections.\n", &sender, &receiver] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.contains("\n  Next: the program at the other end reads too slowly"), "{text}");
}

#[test]
fn every_form_of_a_target_leads_to_the_same_connection() {
    let pair = closed_window();
    let port = port(&pair);
    let own = std::process::id();
    let client = pair.client.local_addr().expect("it is connected");
    for target in [
        format!(":{port}"),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        client.to_string(),
        own.to_string(),
        "127.0.0.0/8".into(),
        "127.0.0.1".into(),
    ] {
        let (status, text) = explained(tcpinfo(&["explain", &target, "--for", "600ms", "--json"]));
        let report: Value = serde_json::from_str(&text).expect("an object");
        assert_eq!(report["target"], target, "{text}");
        let all = report["connections"].as_array().expect("a list");
        let local = client.to_string();
        let is_ours =
            |it: &&Value| it["local"] == local && it["peer"] == format!("127.0.0.1:{port}");
        let ours = all.iter().find(is_ours).unwrap_or_else(|| panic!("{target}: {text}"));
        assert_eq!(ours["verdict"]["cause"], "receive_window", "{target}: {ours}");
        assert_eq!((&ours["pid"], &ours["is_wrong"]), (&own.into(), &true.into()));
        assert!(report["causes"]["receive_window"].as_u64() >= Some(1), "{text}");
        assert!(ours["sentence"].as_str().expect("a text").starts_with("the receiver: "), "{ours}");
        assert_eq!(status, 1);
    }
}

#[test]
fn quiet_connections_are_no_failure_and_none_is_one() {
    let pair = Pair::connect();
    let port = port(&pair);
    let target = format!(":{port}");
    let (status, text) = explained(tcpinfo(&["explain", &target, "--for", "300ms"]));
    assert_eq!(status, 0, "{text}");
    assert!(text.ends_with("\nToo little: 2 of 2 connections.\n"), "{text}");
    drop(pair);
    let (status, sentence) = fails(tcpinfo(&["explain", "127.0.0.9:9", "--for", "100ms"]));
    assert_eq!(status, 3);
    assert_eq!(sentence, "no connection of 127.0.0.9:9 within 100ms");
    for (target, status, sentence) in [
        (":x", 2, ":x is no port"),
        ("", 2, "a target is PID, :PORT, HOST:PORT, an address or a unit"),
        ("4294967295", 3, "no process 4294967295"),
    ] {
        assert_eq!(fails(tcpinfo(&["explain", target])), (status, sentence.to_owned()));
    }
}

#[test]
fn a_recording_is_explained_as_the_present_is() {
    let pair = closed_window();
    let port = port(&pair);
    let name = format!("tcpinfo-explain-{}.rec", std::process::id());
    let file = std::env::temp_dir().join(name);
    let path = file.to_str().expect("a text");
    let record = ["record", path, "--for", "1s", "--interval", "200ms", "--port", &port];
    let output = tcpinfo(&record).output().expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    drop(pair);
    let arguments = ["explain", &format!(":{port}"), "--replay", path, "--for", "10s"];
    let (status, text) = explained(tcpinfo(&arguments));
    std::fs::remove_file(&file).expect("it was written");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("\n    the receiver: its window"), "{text}");
    assert!(text.contains(&format!("/{}, watched for ", std::process::id())), "{text}");
}
