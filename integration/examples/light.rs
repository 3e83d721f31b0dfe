//! The light examples, as a newcomer runs them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use tcpinfo::{FIELDS, Kernel};

use support::lateness::PATIENCE;
use support::running::{example, run};

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
