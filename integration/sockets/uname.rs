//! The same kernel under another name: `setarch --uname-2.6` turns 6.18 into 2.6.78.

use std::process::Command;

use tcpinfo::{FIELDS, Kernel};

use support::loopback::{Pair, names};

const READS: &str = "sockets::uname::child_prints_what_it_reads";
const MASKED: [&str; 3] = ["setarch", std::env::consts::ARCH, "--uname-2.6"];
const MARK: &str = "present: ";

/// What this test binary prints when `wrapper` runs only the test named `child`.
fn child(child: &str, wrapper: &[&str]) -> (String, Vec<String>) {
    let binary = std::env::current_exe().expect("this binary has a path");
    let (program, arguments) = wrapper.split_first().expect("a wrapper is a command");
    let output = Command::new(program)
        .args(arguments)
        .arg(binary)
        .args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8(output.stdout).expect("the child prints text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let line = text.split_once(MARK).and_then(|(_, rest)| rest.lines().next());
    let mut words = line.unwrap_or_else(|| panic!("no {MARK:?} in {text}")).split(' ');
    let release = words.next().expect("the release stands first").to_owned();
    (release, words.map(str::to_owned).collect())
}

#[test]
#[ignore = "prints for the tests below, which run it under another uname: integration/test.sh"]
fn child_prints_what_it_reads() {
    let info = tcpinfo::read(&Pair::connect().client).expect("it is connected");
    println!("{MARK}{} {}", Kernel::running().release(), names(&info).join(" "));
    assert_eq!(info.fields().count(), names(&info).len());
}

#[test]
fn a_masked_release_costs_only_what_length_cannot_prove() {
    let here = tcpinfo::read(&Pair::connect().client).expect("it is connected");
    let (release, masked) = child(READS, &MASKED);
    let kernel: Kernel = release.parse().expect("any release is a kernel");
    assert_eq!((release.starts_with("2.6."), kernel.version()), (true, None), "{release}");
    let word = |name: &&str| FIELDS.iter().any(|f| f.name == *name && f.offset >= 276);
    let expected: Vec<_> = names(&here).into_iter().filter(|name| !word(name)).collect();
    assert_eq!(masked, expected);
}

#[test]
fn an_unmasked_child_reads_what_its_parent_does() {
    let here = tcpinfo::read(&Pair::connect().client).expect("it is connected");
    let (release, unmasked) = child(READS, &["setarch", std::env::consts::ARCH]);
    assert_eq!(release, Kernel::running().release());
    assert_eq!(unmasked, names(&here));
}

#[cfg(feature = "otel")]
fn exported() -> Vec<String> {
    let monitor = tcpinfo::Monitor::new();
    let (reader, provider) = support::reader::Reader::with_provider();
    monitor.instrument(&provider);
    let (one, other) = (Pair::connect(), Pair::connect());
    let group = monitor.group([]);
    let _watched = (group.watch(one.client), monitor.watch(other.client, []));
    let collected = reader.collected();
    drop(group.watch(other.server));
    collected.names().into_iter().map(str::to_owned).collect()
}

#[test]
#[cfg(feature = "otel")]
#[ignore = "prints for the test below, which runs it under another uname: integration/test.sh"]
fn child_prints_what_it_exports() {
    println!("{MARK}{} {}", Kernel::running().release(), exported().join(" "));
}

#[test]
#[cfg(feature = "otel")]
fn a_masked_release_exports_every_metric_there_is() {
    let (_, masked) = child("sockets::uname::child_prints_what_it_exports", &MASKED);
    assert_eq!(masked, exported());
}
