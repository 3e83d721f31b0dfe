//! `tcpinfo serve`: a page whose numbers are the library's and what was sent, and its bounds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::exposition::{Page, Sample, parsed};
use support::lateness::PATIENCE;
use support::loopback::{until, until_every};
use support::running::Running;
use tcpinfo::diag::{Filter, Query};
use tcpinfo::{Discovery, Monitor};

use crate::cgroup::Group;
use crate::program::tcpinfo;

mod files;
mod mistakes;
mod pushes;
mod readers;

const ASKED: usize = 3_000;
const ANSWERED: usize = 20_000;

/// The program without what this machine's variables say.
fn command(arguments: &[&str]) -> Command {
    let mut command = tcpinfo(&[&["serve"], arguments].concat());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("OTEL_") || text.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command
}

/// It runs, and its page is at this address.
struct Served {
    running: Running,
    address: SocketAddr,
}

impl Served {
    #[track_caller]
    fn start(arguments: &[&str]) -> Self {
        Self::with(&mut command(&[&["--listen", "127.0.0.1:0"], arguments].concat()))
    }

    #[track_caller]
    fn with(command: &mut Command) -> Self {
        let running = Running::start(command);
        let line = running.line();
        let url = line.strip_prefix("metrics at http://").unwrap_or_else(|| panic!("{line}"));
        let address = url.split('/').next().and_then(|address| address.parse().ok());
        Self { running, address: address.unwrap_or_else(|| panic!("{line}")) }
    }

    #[track_caller]
    fn page(&self) -> Page {
        page(self.address)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.running.child);
        kill_process(pid, signal).expect("it is our child");
    }

    /// Its exit status after a signal, and what it said.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let code = self.running.end().code();
        let mut said = String::new();
        let mut stderr = self.running.child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut said).expect("it says text");
        (code, said)
    }
}

/// The page that is there.
#[track_caller]
fn page(address: SocketAddr) -> Page {
    let (status, headers, body) = ask(address, "GET /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(status, "200 OK");
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    parsed(&body)
}

/// Status, headers and body of an answer, its chunks joined.
#[track_caller]
fn ask(address: SocketAddr, request: &str) -> (String, BTreeMap<String, String>, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers with text");
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let headers: BTreeMap<String, String> = lines.map(header).collect();
    let mut body = String::new();
    if !headers.contains_key("content-length") && rest.is_empty() {
        // What HEAD asks for of a page.
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let (len, after) = rest.split_once("\r\n").expect("a chunk has a length");
            let len = usize::from_str_radix(len, 16).expect("in hexadecimal digits");
            body += &after[..len];
            rest = after[len..].strip_prefix("\r\n").expect("a chunk ends");
            if len == 0 {
                assert_eq!(rest, "", "the last chunk is the end");
                break;
            }
        }
    } else {
        body = rest.to_owned();
        let len: usize = headers["content-length"].parse().expect("a number");
        assert!(body.is_empty() || body.len() == len, "{headers:?}");
    }
    (status.to_owned(), headers, body)
}

/// Connections that come and go: each asks and is answered.
fn converse(listener: &TcpListener, times: usize) {
    for _ in 0..times {
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut server, _) = listener.accept().expect("the client connected");
        client.write_all(&[1; ASKED]).expect("the server reads");
        server.read_exact(&mut [0; ASKED]).expect("the client wrote");
        server.write_all(&[2; ANSWERED]).expect("the client reads");
        client.read_exact(&mut [0; ANSWERED]).expect("the server wrote");
        drop(client);
        assert_eq!(server.read(&mut [0]).expect("the client left in peace"), 0);
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    (listener, port)
}

/// The sum of a metric over the series that have this label.
fn sum(page: &Page, name: &str, label: (&str, &str)) -> f64 {
    let has = |(name, value): (&str, &str), labels: &BTreeMap<String, String>| {
        labels.get(name).is_some_and(|it| it == value)
    };
    page.samples(name).filter(|it| has(label, &it.labels)).map(|it| it.value).sum()
}

/// Bytes that were sent once.
fn sent(page: &Page, label: (&str, &str)) -> f64 {
    sum(page, "tcp_data_sent_bytes_total", label)
        - sum(page, "tcp_data_retransmitted_bytes_total", label)
}

/// The page once all connections of it have ended, of which it saw so many.
#[track_caller]
fn ended(served: &Served, connections: usize) -> Page {
    until_every(Duration::from_millis(20), "the ends of all connections", || {
        let page = served.page();
        let closed = page.samples("tcp_connection_closed_total").map(|it| it.value).sum::<f64>();
        (closed >= connections as f64).then_some(page)
    })
}

#[test]
fn the_page_has_what_was_sent_and_what_the_library_says() {
    const TIMES: usize = 20;
    let (listener, port) = listen();
    let number: u16 = port.parse().expect("a port");
    let monitor = Monitor::new();
    let either = Filter::local_port(number..=number) | Filter::peer_port(number..=number);
    let query = Query::new().with_filter(either);
    let library = monitor.page();
    let _discovered = monitor.discover(Discovery::host().with_query(query)).expect("netlink");
    let served = Served::start(&["--port", &port]);
    converse(&listener, TIMES);
    let page = ended(&served, 2 * TIMES);
    let clients = sent(&page, ("tcp_role", "client"));
    let servers = sent(&page, ("tcp_role", "server"));
    assert_eq!([clients, servers], [TIMES * ASKED, TIMES * ANSWERED].map(|bytes| bytes as f64));
    let of_library = until("the same in the library", || {
        let mut text = Vec::new();
        library.write(&mut text).expect("a vector takes all");
        let page = parsed(&String::from_utf8(text).expect("a page is text"));
        let closed = page.samples("tcp_connection_closed_total").map(|it| it.value).sum::<f64>();
        (closed >= 2.0 * TIMES as f64).then_some(page)
    });
    let counters = |page: &Page| -> BTreeMap<String, f64> {
        let counters = page
            .families
            .iter()
            .filter(|(name, family)| family.kind == "counter" && !name.starts_with("tcp_monitor_"));
        let samples = counters.flat_map(|(_, family)| &family.samples);
        samples.map(|it| (format!("{} {:?}", it.name, it.labels), it.value)).collect()
    };
    let counters_of_page = counters(&page);
    assert_eq!(counters_of_page, counters(&of_library));
    assert!(counters_of_page.len() > 40, "{counters_of_page:?}");
    assert_eq!(served.end(Signal::TERM), (Some(0), String::new()));
}

#[test]
fn connections_are_grouped_as_flags_and_file_say() {
    const TIMES: usize = 5;
    let ((one, port), (two, other)) = (listen(), listen());
    let file = Scratch::new(
        "groups",
        &format!(
            "only_groups = true\n[[group]]\nname = \"two\"\nport = [{port}, {other}]\n\
             to = \"127.0.0.0/8\"\n"
        ),
    );
    let group = format!("one=port:{port}");
    let served = Served::start(&["--group", &group, "--config", file.path()]);
    converse(&one, TIMES);
    converse(&two, 2 * TIMES);
    let page = ended(&served, 6 * TIMES);
    // Flags come before the file.
    let each = (ASKED + ANSWERED) as f64;
    assert_eq!(sent(&page, ("tcp_group", "one")), TIMES as f64 * each);
    assert_eq!(sent(&page, ("tcp_group", "two")), 2.0 * TIMES as f64 * each);
    let groups = page.samples("tcp_connection_closed_total").count();
    assert_eq!(groups, 2, "no other connection counts");
}

#[test]
fn programs_are_named_also_of_connections_that_have_ended() {
    const TIMES: usize = 5;
    let (listener, port) = listen();
    let served = Served::start(&["--by", "port,process", "--port", &port]);
    converse(&listener, TIMES);
    let page = ended(&served, 2 * TIMES);
    let name = fs::read_to_string("/proc/self/comm").expect("it has a name");
    let servers: Vec<_> = page.samples("tcp_connection_closed_total").collect();
    let of_servers = servers.iter().find(|it| it.labels["tcp_role"] == "server");
    let of_servers = of_servers.expect("they were servers");
    assert_eq!(of_servers.labels["process_executable_name"], name.trim_end());
    assert_eq!(of_servers.labels["server_port"], port);
    assert_eq!(of_servers.value, TIMES as f64);
}

#[test]
#[ignore = "needs Debian's python3: integration/test.sh"]
fn units_are_groups() {
    let name = format!("tcpinfo-serve-{}.service", std::process::id());
    let group = match Group::new(&name) {
        Ok(group) => group,
        Err(why) => {
            println!("SKIPPED: units_are_groups: {why}");
            return;
        }
    };
    let mut listening = group.listen();
    let port = listening.port.clone();
    let by_unit = Served::start(&["--by", "unit", "--port", &port]);
    let bare = name.strip_suffix(".service").expect("it ends so");
    let rule = format!("ours=unit:{bare}");
    let by_rule = Served::start(&["--group", &rule, "--only-groups"]);
    for (served, label) in [(by_unit, ("tcp_unit", &*name)), (by_rule, ("tcp_group", "ours"))] {
        let page = served.page();
        let counts: Vec<_> = page.samples("tcp_connection_count").collect();
        let listens =
            |it: &&&Sample| it.value > 0.0 && it.labels["network_connection_state"] == "listen";
        let found = counts.iter().find(listens).unwrap_or_else(|| panic!("{counts:?}"));
        assert_eq!((found.labels[label.0].as_str(), found.value), (label.1, 1.0));
    }
    listening.end();
}

/// A file of the test's own, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str, text: &str) -> Self {
        let name = format!("tcpinfo-{test}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("it can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
