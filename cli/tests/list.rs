//! `tcpinfo list`: which sockets, which fields, in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use support::loopback::Pair;

use crate::cgroup::Group;
use crate::program::{fails, objects, prints, tcpinfo};

fn port(pair: &Pair) -> String {
    pair.listener.local_addr().expect("it is bound").port().to_string()
}

/// The local addresses of the sockets that these arguments select.
#[track_caller]
fn locals(arguments: &[&str]) -> BTreeSet<String> {
    let address = |object: &serde_json::Map<_, _>| Some(object["local"].as_str()?.to_owned());
    let all = objects(&[&["--fields", "local"], arguments].concat());
    all.iter().map(|object| address(object).expect("a text")).collect()
}

fn addresses(pair: &Pair) -> BTreeSet<String> {
    let all = [pair.client.local_addr(), pair.server.local_addr()];
    all.into_iter().map(|address| address.expect("it is connected").to_string()).collect()
}

#[test]
fn filters_select_what_they_say() {
    let pair = Pair::connect();
    let port = port(&pair);
    let both = addresses(&pair);
    assert_eq!(locals(&["--port", &port]), both, "the listener has the address of the server");
    assert_eq!(locals(&["--port", &port, "--to", "127.0.0.0/8"]), both);
    assert_eq!(locals(&["--port", &port, "--to", "127.0.0.2"]), BTreeSet::new());
    assert_eq!(locals(&["--port", &port, "--to", "10.0.0.0/8,127.0.0.1"]), both);
    let own = std::process::id().to_string();
    assert_eq!(locals(&["--port", &port, "--pid", &own]), both);
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat starts");
    let other_pid = other.id().to_string();
    assert_eq!(locals(&["--port", &port, "--pid", &other_pid]), BTreeSet::new());
    assert_eq!(locals(&["--port", &port, "--pid", &format!("{other_pid},{own}")]), both);
    drop(other.stdin.take());
    other.wait().expect("it ends with its input");
}

#[test]
fn fields_have_the_order_that_was_asked_for_and_absent_ones_are_null() {
    let pair = Pair::connect();
    let port = port(&pair);
    let text = prints(&["list", "--json", "--port", &port, "--fields", "peer,backlog,state"]);
    let lines: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    let local = pair.client.local_addr().expect("it is connected");
    let expected = [
        r#"{"peer":"0.0.0.0:0","backlog":128,"state":"listen"}"#.to_owned(),
        format!(r#"{{"peer":"127.0.0.1:{port}","backlog":null,"state":"established"}}"#),
        format!(r#"{{"peer":"{local}","backlog":null,"state":"established"}}"#),
    ];
    assert_eq!(lines, BTreeSet::from(expected));
}

#[test]
fn sorted_by_a_field_with_absent_ones_last() {
    let Pair { mut client, server, listener } = Pair::connect();
    client.write_all(&[0; 1000]).expect("it is connected");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let queues = |more: &[&str]| -> Vec<Option<u64>> {
        let sort = ["--port", &port, "--sort", "bytes_sent", "--fields", "bytes_sent"];
        let all = objects(&[&sort[..], more].concat());
        all.iter().map(|object| object["bytes_sent"].as_u64()).collect()
    };
    assert_eq!(queues(&[]), [Some(1000), Some(0), None]);
    assert_eq!(queues(&["--reverse"]), [Some(0), Some(1000), None]);
    drop(server);
}

#[test]
fn a_table_has_columns_under_their_names() {
    let pair = Pair::connect();
    let port = port(&pair);
    let fields = "state,local,bytes_sent,backlog";
    let text = prints(&["list", "--port", &port, "--sort", "backlog", "--fields", fields]);
    let lines: Vec<&str> = text.lines().collect();
    let local = pair.listener.local_addr().expect("it is bound").to_string();
    let width = addresses(&pair).iter().map(String::len).max().expect("two");
    assert_eq!(lines[0], format!("state        {:<width$}  bytes_sent  backlog", "local"));
    assert_eq!(lines[1], format!("listen       {local:<width$}           -      128"));
    assert_eq!(lines.len(), 4);
}

#[test]
fn processes_are_named_when_asked_for() {
    let pair = Pair::connect();
    let port = port(&pair);
    let all = objects(&["--port", &port, "--processes"]);
    assert_eq!(all.len(), 3);
    let name = fs::read_to_string("/proc/self/comm").expect("it has a name");
    for object in &all {
        assert_eq!(object["pid"], std::process::id());
        assert_eq!(object["command"], name.trim_end());
    }
    let without = objects(&["--port", &port]);
    assert!(without.iter().all(|object| !object.contains_key("pid")));
}

/// A shell that holds connections, over each of which so many bytes were sent.
fn sender(port: u16, bytes: &[usize]) -> Child {
    let send = |(at, bytes): (usize, &usize)| {
        let fd = 10 + at;
        format!("exec {fd}<>/dev/tcp/127.0.0.1/{port}; head -c {bytes} /dev/zero >&{fd}; ")
    };
    let script: String = bytes.iter().enumerate().map(send).collect();
    let mut command = Command::new("bash");
    let command = command.args(["-c", &format!("{script} read")]).stdin(Stdio::piped());
    command.spawn().expect("bash starts")
}

#[test]
fn each_process_has_the_bytes_that_it_sent() {
    const SIZES: [&[usize]; 3] = [&[3_000_000], &[1, 70_000, 2_000_000], &[500, 500]];
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    let mut processes = Vec::new();
    let mut accepted = Vec::new();
    for sizes in SIZES {
        processes.push(sender(port, sizes));
        for size in sizes {
            let (mut stream, _) = listener.accept().expect("the shell connects");
            stream.read_exact(&mut vec![0; *size]).expect("as much is sent");
            accepted.push(stream);
        }
    }
    let port = port.to_string();
    let mut sent: BTreeMap<u64, u64> = BTreeMap::new();
    let own = u64::from(std::process::id());
    for object in objects(&["--port", &port, "--processes"]) {
        let number = |name: &str| object[name].as_u64();
        let pid = number("pid").expect("our own processes are seen");
        let bytes = number("bytes_sent").unwrap_or(0) - number("bytes_retrans").unwrap_or(0);
        *sent.entry(pid).or_default() += bytes;
    }
    // The shell, and not the program that wrote for it and has ended.
    let sizes = SIZES.iter().map(|sizes| sizes.iter().sum::<usize>() as u64);
    let pids = processes.iter().map(|process| u64::from(process.id()));
    let expected: BTreeMap<u64, u64> = pids.zip(sizes).chain([(own, 0)]).collect();
    assert_eq!(sent, expected);
    for mut process in processes {
        drop(process.stdin.take());
        process.wait().expect("it ends with its input");
    }
}

#[test]
fn ipv6_has_brackets() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        println!("SKIPPED: ipv6_has_brackets: no IPv6 here");
        return;
    };
    let address = listener.local_addr().expect("it is bound");
    let _client = TcpStream::connect(address).expect("it listens");
    let port = address.port().to_string();
    let expected = address.to_string();
    let all = locals(&["--port", &port, "--to", "::1"]);
    assert!(all.contains(&expected) && all.len() == 2, "{all:?}");
}

#[test]
fn watching_prints_again_and_again() {
    let pair = Pair::connect();
    let port = port(&pair);
    let arguments = ["list", "--json", "--watch", "1ms", "--port", &port, "--fields", "time"];
    let mut command = tcpinfo(&arguments);
    let mut running = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let lines = BufReader::new(running.stdout.take().expect("it is piped")).lines();
    let times: BTreeSet<_> = lines.take(30).map(|line| line.expect("it prints lines")).collect();
    // Three sockets each time.
    assert_eq!(times.len(), 10, "{times:?}");
    running.kill().expect("it runs");
    running.wait().expect("it was killed");
}

#[test]
#[ignore = "needs Debian's python3: integration/test.sh"]
fn a_unit_is_its_control_group() {
    let name = format!("tcpinfo-{}.service", std::process::id());
    let group = match Group::new(&name) {
        Ok(group) => group,
        Err(why) => {
            println!("SKIPPED: a_unit_is_its_control_group: {why}");
            return;
        }
    };
    let mut listening = group.listen();
    let expected = BTreeSet::from([format!("127.0.0.1:{}", listening.port)]);
    let bare = name.strip_suffix(".service").expect("it ends so");
    for unit in [&name, bare, &format!("/{name}")] {
        assert_eq!(locals(&["--unit", unit]), expected, "{unit}");
    }
    let all = objects(&["--unit", bare, "--fields", "unit"]);
    assert_eq!(all[0]["unit"], *name);
    listening.end();
    drop(group);
    let (status, sentence) = fails(tcpinfo(&["list", "--unit", bare]));
    assert_eq!(status, 3, "{sentence}");
    assert!(sentence.starts_with(&format!("no unit or container {bare}: ")), "{sentence}");
}
