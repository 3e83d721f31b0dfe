//! Back-ends as they are installed: Prometheus and receivers of OTLP, on loopback, with scratch
//! folders of their own, stopped by their pid when the test ends.

mod alerts;
mod compose;
mod demo;
mod exponential;
mod floods;
mod outages;
mod own;
mod pages;
mod prometheus;
mod rates;
mod receivers;
mod scrapes;
mod serve;
mod stuck;
mod victoria;

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::lateness::PATIENCE;
use support::loopback::until_every;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program that integration/servers.sh gets, unless a variable says where another one is.
fn found(variable: &str, path: &str) -> Option<PathBuf> {
    let chosen = env::var_os(variable).map(PathBuf::from);
    let program = chosen.unwrap_or_else(|| root().join("target").join(path));
    program.exists().then_some(program)
}

/// The same, and says what is left out when there is none.
fn program(variable: &str, path: &str) -> Option<PathBuf> {
    let program = found(variable, path);
    if program.is_none() {
        let current = thread::current();
        let test = current.name().unwrap_or_default();
        println!("SKIPPED: {test}: no {path}, which integration/servers.sh gets");
    }
    program
}

/// A folder that goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("backends-{}-{}", id(), number()));
        fs::create_dir_all(&path).expect("target/ can be written");
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).expect("target/ can be written");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Another one each time.
fn number() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A free address that stays free: of loopback's many, one that no other test uses.
fn free_address() -> SocketAddr {
    let [_, _, pid_high, pid_low] = id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | pid_high & 63, pid_low, (number() % 254) as u8 + 1);
    let listener = TcpListener::bind((host, 0)).expect("loopback has ports");
    listener.local_addr().expect("it is bound")
}

/// A running program; ends with this value, and with the test's thread at the latest.
struct Server {
    child: Child,
    log: PathBuf,
    scratch: Scratch,
}

impl Server {
    fn start(
        program: impl AsRef<Path>,
        scratch: Scratch,
        arguments: &[String],
        variables: &[(&str, String)],
    ) -> Self {
        let log = scratch.join(&format!("log-{}", number()));
        let file = File::create(&log).expect("target/ can be written");
        let also = file.try_clone().expect("a free descriptor");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program.as_ref()).args(arguments);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy().to_ascii_uppercase();
            if text.starts_with("OTEL_") || text.starts_with("ROTEL_") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(&scratch.0).stdin(Stdio::null()).stdout(file).stderr(also);
        let child = command.spawn().expect("util-linux has setpriv");
        Self { child, log, scratch }
    }

    /// What it printed.
    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("its output is text")
    }

    /// Waits until a page is there.
    #[track_caller]
    fn ready(&mut self, address: SocketAddr, path: &str) {
        eventually("a server that is ready", || {
            let ended = self.child.try_wait().expect("it is our child");
            assert_eq!(ended, None, "{}", self.log());
            ask(address, "GET", path).filter(|(status, _)| status == "200").map(|_| ())
        });
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Ends it at once, and gives back its folder.
    fn kill(mut self) -> Scratch {
        self.end();
        std::mem::replace(&mut self.scratch, Scratch(PathBuf::new()))
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() && self.log.exists() {
            let log = self.log();
            let tail = log.lines().count().saturating_sub(30);
            let tail: Vec<_> = log.lines().skip(tail).collect();
            println!("{}:\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// What a server answers, once it listens: status and body.
fn ask(address: SocketAddr, method: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    // 1.0: the end of the answer is the end of the connection.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()))
}

/// The body of a page that is there.
#[track_caller]
fn get(address: SocketAddr, path: &str) -> String {
    let (status, body) = ask(address, "GET", path).expect("it listens");
    assert_eq!(status, "200", "{path}: {body}");
    body
}

/// Asks now and then until there is an answer.
#[track_caller]
fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_every(Duration::from_millis(20), what, ask)
}

/// The result of a query of Prometheus' API.
#[track_caller]
fn query(address: SocketAddr, query: &str) -> Vec<Value> {
    let body = get(address, &format!("/api/v1/query?query={}", escaped(query)));
    let mut answer: Value = serde_json::from_str(&body).expect("the API answers in JSON");
    assert_eq!(answer["status"], "success", "{query}: {body}");
    match answer["data"]["result"].take() {
        Value::Array(result) => result,
        other => panic!("{query}: {other}"),
    }
}

/// The one value of a query, which it has after the next scrape if not after the latest.
#[track_caller]
fn scalar(address: SocketAddr, text: &str) -> f64 {
    eventually(text, || maybe(address, text))
}

/// The value of a query that has no result or one.
#[track_caller]
fn maybe(address: SocketAddr, text: &str) -> Option<f64> {
    let result = query(address, text);
    assert!(result.len() < 2, "{text}: {result:?}");
    Some(number_of(&result.first()?["value"][1]))
}

/// Numbers are strings in Prometheus' JSON, as they may be infinite.
#[track_caller]
fn number_of(value: &Value) -> f64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no string"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// For a URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The text with something of it replaced, which it has exactly `times` times.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str, times: usize) -> String {
    assert_eq!(text.matches(from).count(), times, "{from} in {text}");
    text.replace(from, to)
}

/// What a program says of what it is given, and its exit status.
fn said(command: &mut Command) -> (String, Option<i32>) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("text"), output.status.code())
}
