//! Programs that tests run: the examples, as a newcomer runs them.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::lateness::PATIENCE;
use crate::loopback::until;

/// A program of `examples/`, which `cargo test` builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    built(&Path::new("examples").join(name), "cargo build --examples")
}

/// A program of a package below `examples/`, which `integration/test.sh` builds before the tests.
pub fn program(name: &str) -> PathBuf {
    built(Path::new(name), "cargo build --workspace --bins --examples")
}

fn built(path: &Path, how: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the test is a file");
    let profile = tests.parent().and_then(|deps| deps.parent()).expect("tests are in deps/");
    let program = profile.join(path);
    assert!(program.exists(), "no {}: run `{how}`", program.display());
    program
}

/// A running example; ends with this value.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    /// What it prints, line by line.
    pub lines: Receiver<String>,
}

impl Running {
    /// Starts it with nothing to read.
    pub fn start(command: &mut Command) -> Self {
        Self::with_input(command, Stdio::null())
    }

    /// Starts it with something to read, such as a pipe.
    pub fn with_input(command: &mut Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("it prints another line")
    }

    /// How it ended.
    pub fn end(&mut self) -> ExitStatus {
        until("the end of the program", || self.child.try_wait().expect("it is our child"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    let mut running = Running::start(command);
    let status = running.end();
    let mut stderr = Vec::new();
    let mut pipe = running.child.stderr.take().expect("it was piped");
    pipe.read_to_end(&mut stderr).expect("the program has ended");
    let mut stdout = running.lines.iter().collect::<Vec<_>>().join("\n");
    stdout.push('\n');
    Output { status, stdout: stdout.into_bytes(), stderr }
}
