//! Network namespaces of a test's own, as root or as anybody.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use support::alone::test_of;

/// Set where a test runs again as the root of a user namespace.
const WITHIN: &str = "TCPINFO_FAULTS_WITHIN";

/// A network namespace. It lives as long as this, and as what was opened within.
pub(crate) struct Namespace(OwnedFd);

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Namespace {
    pub(crate) fn new() -> io::Result<Self> {
        // A process holds the namespace until it is open here: to leave one behind, a thread would
        // need an unsafe function.
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = holder.stdin.take().expect("it is piped");
        let mut echo = String::new();
        // Fails where `unshare` does: its own words are the better ones.
        let told = stdin.write_all(b"within\n");
        BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut echo)?;
        let file = File::open(format!("/proc/{}/ns/net", holder.id()));
        drop(stdin);
        let output = holder.wait_with_output()?;
        if echo != "within\n" {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim()));
        }
        told.and(file).map(|file| Self(file.into()))
    }

    /// Does this in the namespace, on a thread of its own.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("it was made here");
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|why| resume_unwind(why))
    }

    /// What a program prints that runs in the namespace.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.inside(|| Command::new(program).args(arguments).output());
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("programs print text")
    }

    /// Sets what the kernel keeps for each namespace.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let written = self.inside(|| std::fs::write(format!("/proc/sys/net/{name}"), value));
        written.unwrap_or_else(|error| panic!("net/{name}: {error}"));
    }
}

/// Gives two namespaces to a closure of a test. Who may not make any becomes root in a user
/// namespace first, where all of the test runs again; who may not do that either skips it.
pub(crate) fn with_two_of(
    test: &str,
    work: impl FnOnce([Namespace; 2]) -> Result<(), String>,
) -> Result<(), String> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun");
    let tun = tun.map_err(|error| io::Error::other(format!("/dev/net/tun: {error}")));
    match tun.and_then(|_| Ok([Namespace::new()?, Namespace::new()?])) {
        Ok(both) => work(both),
        Err(error) if std::env::var_os(WITHIN).is_some() => {
            println!("SKIPPED: {test}: {error}");
            Ok(())
        }
        Err(_) => {
            again(test);
            Ok(())
        }
    }
}

/// The same for a closure that panics where something is wrong.
pub(crate) fn in_two<F: FnOnce([Namespace; 2])>(work: F) {
    let done = with_two_of(test_of::<F>(), |namespaces| {
        work(namespaces);
        Ok(())
    });
    done.expect("it panics instead");
}

fn again(test: &str) {
    let binary = std::env::current_exe().expect("this binary has a path");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(binary)
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(WITHIN, "yes")
        .output()
        .expect("unshare, of util-linux");
    let [text, error] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if error.starts_with("unshare: ") {
        println!("SKIPPED: {test}: {}", error.trim());
        return;
    }
    // The first stands behind the test's name, on the same line.
    for line in text.lines() {
        let begins = ["REPEATED: ", "SKIPPED: "].iter().filter_map(|word| line.find(word)).min();
        if let Some(at) = begins {
            println!("{}", &line[at..]);
        }
    }
    assert!(output.status.success(), "{text}\n{error}");
    assert!(text.contains("1 passed"), "{test}: {text}");
}
