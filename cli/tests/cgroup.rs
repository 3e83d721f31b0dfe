//! A control group of a test's own, and a program that listens within it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A control group of the test's own, removed in the end.
pub(crate) struct Group(PathBuf);

impl Group {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("proc is mounted");
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let line = lines.find(|words| words[2] == "cgroup2").ok_or("no cgroup2 is mounted")?;
        let path = Path::new(line[1]).join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Debian's Python listens within.
    pub(crate) fn listen(&self) -> Listening {
        let script = "/usr/bin/python3 -c 'import socket, sys; s = socket.socket(); \
             s.bind((\"127.0.0.1\", 0)); s.listen(); print(s.getsockname()[1], flush=True); \
             sys.stdin.read()'";
        let enter = format!("echo $$ >'{}/cgroup.procs' && exec {script}", self.0.display());
        let mut command = Command::new("sh");
        let command = command.args(["-c", &enter]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = command.spawn().expect("sh starts");
        let mut line = String::new();
        let mut reader = BufReader::new(running.stdout.take().expect("it is piped"));
        reader.read_line(&mut line).expect("it prints its port");
        Listening { running, port: line.trim_end().to_owned() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A program that listens on a port of 127.0.0.1.
pub(crate) struct Listening {
    running: Child,
    pub(crate) port: String,
}

impl Listening {
    pub(crate) fn end(&mut self) {
        drop(self.running.stdin.take());
        self.running.wait().expect("it ends with its input");
    }
}
