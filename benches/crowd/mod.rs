//! Ten thousand connections over loopback, whose other ends live in a process of their own: one
//! process may not open as many files.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// Connections to a child process that holds the other ends.
pub(crate) struct Crowd {
    pub(crate) streams: Vec<TcpStream>,
    child: Child,
}

/// Set for the child, to the number of connections it shall hold.
const HOLD: &str = "TCPINFO_BENCH_HOLD";

/// What the child does instead of a benchmark.
pub(crate) fn hold_if_asked() {
    let Ok(count) = std::env::var(HOLD) else { return };
    let count = count.parse().expect("a number of connections");
    raise_file_limit();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    println!("{}", listener.local_addr().expect("it is bound"));
    let mut held = Vec::new();
    for stream in listener.incoming().take(count) {
        let mut stream = stream.expect("a connection");
        // Something to count at both ends.
        let mut request = [0; 100];
        stream.read_exact(&mut request).expect("the request");
        stream.write_all(&request).expect("room for the answer");
        held.push(stream);
    }
    println!("holding");
    // Until the parent goes away.
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

impl Crowd {
    pub(crate) fn connect(count: usize) -> Self {
        raise_file_limit();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(HOLD, count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let mut lines = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut lines, &mut line).expect("a line");
            line.trim().to_owned()
        };
        let address = line();
        let streams = (0..count).map(|_| {
            let mut stream = TcpStream::connect(&address).expect("the child listens");
            stream.write_all(&[1; 100]).expect("room for the request");
            stream.read_exact(&mut [0; 100]).expect("the answer");
            stream
        });
        let streams = streams.collect();
        assert_eq!(line(), "holding");
        Self { streams, child }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the child ends when its input does");
    }
}

/// To what the system allows; a process without the right to that gets its hard limit.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").expect("Linux says how many");
    let most = most.trim().parse().ok();
    if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_err() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let raised = Rlimit { current: maximum, maximum };
        setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard one");
    }
}
