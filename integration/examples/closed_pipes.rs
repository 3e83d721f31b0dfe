//! Examples whose output nobody reads to its end, as in `| head`: they end without a word.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::export::otlp::receiver::Receiver;
use support::lateness::PATIENCE;
use support::loopback::until;
use support::running::{example, program};

/// How to run each example, and whether it ends by itself.
const EXAMPLES: [(&str, &[&str], bool); 16] = [
    ("axum", &["127.0.0.1:0"], false),
    ("borrowed", &[], true),
    ("both", &["--listen", "127.0.0.1:0", "--seconds", "1"], true),
    // Shows a table every five seconds, and ends when it cannot.
    ("demo", &["--listen", "127.0.0.1:0"], true),
    ("discover", &[], true),
    ("host", &[], true),
    ("hyper_client", &[], true),
    ("otlp", &["--seconds", "1"], true),
    ("page", &["127.0.0.1:0"], false),
    ("prometheus", &["127.0.0.1:0"], false),
    // Nothing is pushed within the test.
    ("push", &["127.0.0.1:4318", "3600"], false),
    ("read", &["<a server of ours>"], true),
    ("tls", &[], true),
    ("tonic", &[], true),
    ("tonic_client", &[], true),
    ("tracing", &[], true),
];

/// An example that runs, with the server that `read` asks.
struct Running {
    name: &'static str,
    child: Child,
    server: TcpListener,
}

impl Running {
    fn start(
        (name, arguments, _): (&'static str, &[&str], bool),
        collector: &Receiver,
        stdout: Stdio,
    ) -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = server.local_addr().expect("it is bound").to_string();
        let mut command = Command::new(path(name));
        let ours = |argument| if argument == "<a server of ours>" { &*address } else { argument };
        command.args(arguments.iter().copied().map(ours));
        // No proxy, and no other collector.
        command.env_clear().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        Self { name, child: command.spawn().expect("the program starts"), server }
    }

    /// Answers `read`, which waits half a second for it.
    fn answer(&self) {
        if self.name == "read" {
            let (mut stream, _) = self.server.accept().expect("the example connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
            stream.read_exact(&mut [0; 2]).expect("it sends two bytes");
            stream.write_all(b"hello").expect("room for five bytes");
        }
    }

    #[track_caller]
    fn ends_without_a_word(mut self) {
        let name = self.name;
        let status = until(name, || self.child.try_wait().expect("it is our child"));
        assert_eq!((status.code(), self.said().as_str()), (Some(0), ""), "{name}");
    }

    /// What it said on standard error until it ended.
    fn said(&mut self) -> String {
        let mut said = String::new();
        let mut pipe = self.child.stderr.take().expect("it was piped");
        pipe.read_to_string(&mut said).expect("text");
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let mut reader = Command::new("true");
    let mut reader = reader.stdin(Stdio::piped()).spawn().expect("coreutils have it");
    let pipe = reader.stdin.take().expect("it was piped");
    assert!(reader.wait().expect("it is our child").success());
    pipe.into()
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

/// The program of this name: a file in `examples/`, or of a package below it.
fn path(name: &str) -> PathBuf {
    if folder().join(name).with_extension("rs").exists() { example(name) } else { program(name) }
}

#[test]
fn every_example_is_run_here() {
    let mut programs = BTreeSet::new();
    for file in folder().read_dir().expect("the examples are here") {
        let path = file.expect("it can be listed").path();
        if path.extension().is_some_and(|it| it == "rs") {
            programs.extend(path.file_stem().and_then(|name| name.to_str()).map(String::from));
        } else if path.is_dir() {
            let manifest = std::fs::read_to_string(path.join("Cargo.toml")).expect("a package");
            let named = manifest.split("[[bin]]\nname = \"").skip(1);
            programs.extend(named.filter_map(|it| it.split('"').next()).map(String::from));
        }
    }
    assert_eq!(programs, EXAMPLES.iter().map(|(name, ..)| (*name).to_owned()).collect());
}

#[test]
fn no_example_prints_by_a_macro_that_panics() {
    let mut printing = Vec::new();
    let mut folders = vec![folder().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for file in folder.read_dir().expect("the examples are here") {
            let path = file.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).expect("examples are text");
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '!'));
            let found = words.filter(|word| ["print!", "println!"].contains(word));
            printing.extend(found.map(|word| format!("{}: {word}", path.display())));
        }
    }
    assert!(files > EXAMPLES.len(), "{files} files");
    assert!(printing.is_empty(), "write with `writeln!(out, ..)?`: {printing:#?}");
}

#[test]
fn examples_that_nobody_reads_end_without_a_word() {
    let collector = Receiver::http();
    for how in EXAMPLES {
        // The servers too: they print where they are.
        Running::start(how, &collector, unread()).ends_without_a_word();
    }
    for name in ["both", "demo", "otlp", "read"] {
        Running::start((name, &["--help"], true), &collector, unread()).ends_without_a_word();
    }
}

#[test]
fn examples_of_which_somebody_reads_a_line_end_without_a_word() {
    let collector = Receiver::http();
    for how in EXAMPLES {
        let mut running = Running::start(how, &collector, Stdio::piped());
        let mut pipe = BufReader::new(running.child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        pipe.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "{}: {line:?}", running.name);
        drop(pipe);
        running.answer();
        let (_, _, ends) = how;
        if ends {
            running.ends_without_a_word();
            continue;
        }
        assert_eq!(running.child.try_wait().expect("it is our child"), None, "{}", running.name);
        running.child.kill().expect("it runs");
        assert_eq!(running.said(), "", "{}", running.name);
    }
}
