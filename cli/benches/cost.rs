//! What the program costs with 10,000 sockets, `serve` with 100 as well, beside `ss` and
//! `/proc/net/tcp`: `cargo bench -p tcpinfo-cli`. With `-- --test`, everything once and with few
//! sockets.
//!
//! Ratios of CPU time in one run, medians of several rounds. Fails where a promise does not hold.
//! As root it has a network namespace of its own, so that no other sockets are counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Resource, getrlimit, setrlimit};

#[path = "../tests/terminal.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod terminal;

use terminal::Terminal;

/// Connections, each with both of its ends here, and what they were accepted by.
#[allow(dead_code, reason = "all is open as long as this")]
struct Connections(Vec<TcpStream>, Vec<TcpListener>);

impl Connections {
    fn open(sockets: usize) -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).expect("up to the maximum");
        let mut all = Vec::with_capacity(sockets);
        let mut listeners = Vec::new();
        while all.len() < sockets {
            if all.len() % 4000 == 0 {
                listeners.push(TcpListener::bind("127.0.0.1:0").expect("loopback has ports"));
            }
            let listener = listeners.last().expect("the first comes before all");
            let address = listener.local_addr().expect("it is bound");
            all.push(TcpStream::connect(address).expect("it listens, and descriptors are left"));
            all.push(listener.accept().expect("it connected").0);
        }
        Self(all, listeners)
    }
}

/// CPU seconds of a shell's command, run so many times, its own children included.
fn cpu(command: &str, times: usize) -> f64 {
    let script = format!(
        "TIMEFORMAT='%U %S'; time for ((i = 0; i < {times}; i++)); do {command} >/dev/null; done"
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or_default();
    let seconds = last.split(' ').map(|number| number.parse::<f64>());
    seconds.sum::<Result<f64, _>>().unwrap_or_else(|_| panic!("{command}: {text}")) / times as f64
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// CPU seconds that a process has used.
fn used(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let words: Vec<&str> = rest.split(' ').collect();
    // The kernel counts in hundredths of a second, whatever its tick is.
    words[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
}

/// The part of a core that the live table uses over this time.
fn table(time: Duration, arguments: &[&str], keys: &str) -> f64 {
    let mut terminal = Terminal::start((120, 40), arguments);
    terminal.line("? help");
    terminal.send(keys);
    // The first samples and the names are not what it costs all the time.
    thread::sleep(time / 8);
    let (begun, before) = (Instant::now(), used(terminal.id()));
    thread::sleep(time);
    let share = (used(terminal.id()) - before) / begun.elapsed().as_secs_f64();
    terminal.send("q");
    terminal.end();
    share
}

/// Seconds until the live table shows rows.
fn start() -> f64 {
    let begun = Instant::now();
    let mut terminal = Terminal::start((120, 40), &["top"]);
    terminal.line("127.0.0.1:");
    let took = begun.elapsed().as_secs_f64();
    terminal.send("q");
    terminal.end();
    took
}

/// What `serve` costs.
struct Served {
    /// CPU seconds of one scrape.
    scrape: f64,
    /// Bytes of a page.
    page: usize,
    /// Bytes of memory that are its own, after all scrapes.
    resident: f64,
    /// The part of a core that it uses when nobody scrapes it.
    idle: f64,
}

/// Scrapes it so many times, with the connections that there are and these arguments.
fn serve(scrapes: u32, idle: Duration, arguments: &[&str]) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpinfo"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped());
    let mut running = command.spawn().expect("the program starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(running.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("it says where it is");
    let address = line.split('/').nth(2).unwrap_or_else(|| panic!("{line}"));
    let scrape = || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it reads");
        let mut page = Vec::new();
        stream.read_to_end(&mut page).expect("it answers");
        assert!(page.ends_with(b"\r\n0\r\n\r\n"), "a page is whole");
        page.len()
    };
    scrape();
    let before = used(running.id());
    let page = (0..scrapes).map(|_| scrape()).max().unwrap_or_default();
    let each = (used(running.id()) - before) / f64::from(scrapes);
    let (begun, before) = (Instant::now(), used(running.id()));
    thread::sleep(idle);
    let share = (used(running.id()) - before) / begun.elapsed().as_secs_f64();
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let resident = kilobytes.expect("a number") * 1024.0;
    running.kill().expect("it runs");
    running.wait().expect("it was killed");
    Served { scrape: each, page, resident, idle: share }
}

/// Prints what `serve` costs with so many sockets.
fn print_serve(sockets: usize, scrapes: u32, idle: Duration) {
    for arguments in [&[][..], &["--by", "process,unit"]] {
        let served = serve(scrapes, idle, arguments);
        let what = format!("serve {}", arguments.join(" "));
        println!(
            "  {what:<28} {sockets:>6} sockets: {:>6.2} ms a scrape, a page of {:.0} kB, {:.1} MB \
             of memory, idle {:.2} %",
            served.scrape * 1000.0,
            served.page as f64 / 1000.0,
            served.resident / 1e6,
            served.idle * 100.0
        );
    }
}

/// Runs all of this in a network namespace of its own, where that can be made.
fn again_in_a_namespace() -> Option<ExitCode> {
    const WITHIN: &str = "TCPINFO_COST_WITHIN";
    if std::env::var_os(WITHIN).is_some() {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().ok()?).args(std::env::args_os().skip(1));
    let mut probe = Command::new("unshare");
    let can = probe.args(["--net", "true"]).output().is_ok_and(|output| output.status.success());
    let status = can.then(|| command.env(WITHIN, "yes").status().ok()).flatten()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> ExitCode {
    if let Some(ended) = again_in_a_namespace() {
        return ended;
    }
    let test = std::env::args().any(|argument| argument == "--test");
    let (sockets, rounds, times, time) = match test {
        true => (200, 1, 1, Duration::from_secs(1)),
        false => (10_000, 7, 5, Duration::from_secs(20)),
    };
    println!("CPU time of one scrape, and memory, of serve:");
    let scrapes = if test { 2 } else { 500 };
    let few = Connections::open(100);
    print_serve(100, scrapes, time / 4);
    drop(few);
    let connections = Connections::open(sockets);
    print_serve(sockets, scrapes, time / 4);
    let program = env!("CARGO_BIN_EXE_tcpinfo");
    let commands = [
        ("ss -tina".to_owned(), None),
        // Of this, the kernel's own part is 0.3: what it takes to walk its tables and fill replies.
        (format!("{program} list"), Some(0.5)),
        (format!("{program} list --sort rtt"), None),
        (format!("{program} list --json"), None),
        (format!("{program} list --processes"), None),
        ("ss -tna".to_owned(), None),
        ("cat /proc/net/tcp".to_owned(), None),
    ];
    let mut seconds = vec![Vec::new(); commands.len()];
    for _ in 0..rounds {
        for ((command, _), seconds) in commands.iter().zip(&mut seconds) {
            seconds.push(cpu(command, times));
        }
    }
    let seconds: Vec<f64> = seconds.into_iter().map(median).collect();
    let mut holds = true;
    println!("CPU time with {sockets} sockets, and how many times that of ss -tina:");
    for ((command, most), own) in commands.iter().zip(&seconds) {
        let ratio = own / seconds[0];
        let shown = command.replace(program, "tcpinfo");
        let promise = most.map_or(String::new(), |most| format!(" of at most {most}"));
        println!("  {shown:<28} {:>8.1} ms  {ratio:>5.2}{promise}", own * 1000.0);
        holds &= most.is_none_or(|most| ratio <= most);
    }
    let start = median((0..rounds).map(|_| start()).collect());
    println!("Time from the start of the live table to its first rows: {:.0} ms", start * 1000.0);
    println!("Part of a core that the live table uses, a sample each second:");
    for (what, arguments, keys, most) in [
        ("connections", &["top"][..], "", Some(0.05)),
        ("by process", &["top", "--by", "process"], "", None),
        ("paused", &["top"], " ", Some(0.002)),
    ] {
        let share = table(time, arguments, keys);
        let promise =
            most.map_or(String::new(), |most| format!(" of at most {:.1} %", most * 100.0));
        println!("  {what:<28} {:>8.2} %{promise}", share * 100.0);
        holds &= most.is_none_or(|most| share <= most);
    }
    let file = std::env::temp_dir().join(format!("tcpinfo-cost-{}.rec", std::process::id()));
    let mut record = Command::new(program);
    let seconds = time.as_secs().to_string();
    record.args(["record", "--for", &seconds]).arg(&file).output().expect("it starts");
    let bytes = fs::metadata(&file).expect("it was written").len() as f64;
    fs::remove_file(&file).expect("it was written");
    let hourly = bytes / time.as_secs_f64() * 3600.0 / sockets as f64;
    println!("Bytes of a recording for each idle socket and hour: {hourly:.0}");
    drop(connections);
    if holds || test { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
