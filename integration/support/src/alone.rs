//! Tests that need a process to themselves, or a network namespace as well: they run this very
//! binary once more, with one test.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Set for the process that is alone, to the name of its test.
const ALONE: &str = "TCPINFO_ALONE";
/// The user `nobody` of every system.
const NOBODY: u32 = 65534;
/// What a test prints that is worth passing on.
const PASSED_ON: [&str; 3] = ["REPEATED: ", "SKIPPED: ", "measured: "];

/// Who runs the test in the process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Same,
    /// A user without any privilege. Skipped where only root could become it.
    Nobody,
}

/// The name of the test that a closure is in.
pub fn test_of<F>() -> &'static str {
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    name.split_once("::").map_or(name, |(_, path)| path)
}

/// Whether this process has the test to itself.
fn is_alone(test: &str) -> bool {
    std::env::var(ALONE).is_ok_and(|alone| alone == test)
}

/// Does this in a process with one test.
#[track_caller]
pub fn in_process<F: FnOnce()>(work: F) {
    let test = test_of::<F>();
    if is_alone(test) {
        return work();
    }
    let mut command = Command::new(std::env::current_exe().expect("procfs"));
    finish(test, User::Same, command.args(arguments(test)));
}

/// Does this in a process with one test: as whoever runs the tests, and again as nobody.
#[track_caller]
pub fn as_both<F: FnOnce()>(work: F) {
    let test = test_of::<F>();
    if is_alone(test) {
        return work();
    }
    for user in [User::Same, User::Nobody] {
        let mut command = Command::new(std::env::current_exe().expect("procfs"));
        if user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        finish(test, user, command.args(arguments(test)).current_dir("/"));
    }
}

/// Does this in a process and a network namespace of its own, where loopback is up and has all
/// ports: as whoever runs the tests, and again as nobody. Needs `unshare` and `setpriv`, of
/// util-linux, and `ip`, of iproute2.
#[track_caller]
pub fn in_namespace<F: FnOnce()>(work: F) {
    let test = test_of::<F>();
    if is_alone(test) {
        return work();
    }
    for user in [User::Same, User::Nobody] {
        match in_new_namespace(user) {
            Some(mut command) => finish(test, user, command.args(arguments(test))),
            None => println!("SKIPPED: {test}: only root can become nobody"),
        }
    }
}

/// This binary in a network namespace of its own, if the user can be had.
fn in_new_namespace(user: User) -> Option<Command> {
    const SET_UP: &str = "ip link set lo up && cd /proc/sys/net/ipv4 &&
        echo 1024 65535 >ip_local_port_range && echo 1 >tcp_tw_reuse && cd / && exec";
    const SET_UID: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = Command::new("unshare");
    if !is_root {
        // Whoever makes a user namespace is all that can be had in it.
        command.args(["--user", "--map-root-user"]);
    }
    let set_uid = match user {
        User::Same => "",
        User::Nobody if is_root => SET_UID,
        User::Nobody => return None,
    };
    command.args(["--net", "sh", "-c", &format!("{SET_UP} {set_uid} \"$@\""), "sh"]);
    command.arg(std::env::current_exe().expect("procfs"));
    Some(command)
}

fn arguments(test: &str) -> [&str; 5] {
    ["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"]
}

/// Runs it to its end, and says what it said.
#[track_caller]
fn finish(test: &str, user: User, command: &mut Command) {
    let whose = match user {
        User::Same => "",
        User::Nobody => ", as nobody",
    };
    let output = match command.env(ALONE, test).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: {test}{whose}: {error}");
            return;
        }
    };
    let Output { status, stdout, stderr } = output;
    let [text, error] = [stdout, stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    if error.starts_with("unshare: ") || error.starts_with("setpriv: ") {
        println!("SKIPPED: {test}{whose}: {}", error.trim());
        return;
    }
    // The first stands behind the test's name, on the same line.
    for line in text.lines() {
        if let Some(at) = PASSED_ON.iter().filter_map(|word| line.find(word)).min() {
            println!("{}{whose}", &line[at..]);
        }
    }
    assert!(status.success(), "{test}{whose}: {status}\n{text}\n{error}");
    assert!(text.contains("1 passed"), "{test}{whose}: {text}\n{error}");
}
