//! A page of metrics as parsers of others read it.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::exposition::{Family, Sample, parsed};

/// What a program says to a page on its standard input.
pub fn said_of(command: &mut Command, page: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is installed");
    let mut stdin = child.stdin.take().expect("it was piped");
    let page = page.to_owned();
    let writer = thread::spawn(move || stdin.write_all(page.as_bytes()));
    let output = child.wait_with_output().expect("it is our child");
    writer.join().expect("writing does not panic").expect("it reads all of the page");
    output
}

/// `promtool` has nothing to say to a page but what is known here.
#[track_caller]
pub fn passes_promtool(page: &str) {
    let output = said_of(Command::new("promtool").args(["check", "metrics"]), page);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // The one name Prometheus would choose otherwise; OpenTelemetry's conventions have the like of
    // `tcp.connection.count` (`db.client.connection.count`). 3 means style: a page that cannot be
    // read is 1.
    let count = "tcp_connection_count non-histogram and non-summary metrics should not have \
                 \"_count\" suffix\n";
    assert_eq!((said.as_str(), output.status.code()), (count, Some(3)));
    assert_eq!(output.stdout, b"");
}

/// Another parser of the same format reads the same from a page.
#[track_caller]
pub fn passes_python(text: &str) {
    // Numbers as their bits: JSON's readers round.
    const PROGRAM: &str = "
import json, struct, sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for s in family.samples:
        bits = struct.pack('>d', s.value).hex()
        print(json.dumps([family.type, family.documentation, s.name, s.labels, bits]))
";
    let output = said_of(Command::new("/usr/bin/python3").args(["-c", PROGRAM]), text);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    let theirs = lines.lines().map(|line| {
        let sample: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        sample.to_string()
    });
    let mut theirs: Vec<String> = theirs.collect();
    let page = parsed(text);
    let ours = page.families.values().flat_map(|Family { kind, help, samples }| {
        samples.iter().map(move |Sample { name, labels, value }| {
            let bits = format!("{:016x}", value.to_bits());
            serde_json::json!([kind, help, name, labels, bits]).to_string()
        })
    });
    let mut ours: Vec<String> = ours.collect();
    theirs.sort_unstable();
    ours.sort_unstable();
    let different = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours);
    assert_eq!(different, None);
    assert_eq!(theirs.len(), ours.len());
}

/// Python's parser of OpenMetrics, which knows the rules better than most, reads a page whole.
#[track_caller]
pub fn passes_openmetrics(text: &str) {
    const PROGRAM: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, family.unit, len(family.samples))
";
    let output = said_of(Command::new("/usr/bin/python3").args(["-c", PROGRAM]), text);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let said = String::from_utf8(output.stdout).expect("text");
    let read: usize = said
        .lines()
        .map(|line| line.rsplit(' ').next().and_then(|it| it.parse::<usize>().ok()).expect(line))
        .sum();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read, lines, "{said}");
}
