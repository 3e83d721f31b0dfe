//! `tcpinfo top` on a screen: what it shows of known traffic, and what keys do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::loopback::Pair;

use crate::terminal::Terminal;

const FAST: [&str; 3] = ["top", "--interval", "200ms"];

fn port(pair: &Pair) -> String {
    pair.listener.local_addr().expect("it is bound").port().to_string()
}

/// Sends from the client to the server without an end.
struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// 10 kB every 10 ms.
    fn start(pair: &Pair) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor is free");
        let (mut client, mut server) = (clone(&pair.client), clone(&pair.server));
        let stopped = Arc::clone(&stop);
        let writer = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                client.write_all(&[7; 10_000]).expect("it is connected");
                thread::sleep(Duration::from_millis(10));
            }
            client.shutdown(std::net::Shutdown::Write).expect("it is connected");
        });
        let reader = thread::spawn(move || {
            let mut room = [0; 1 << 16];
            while server.read(&mut room).expect("it is connected") > 0 {}
        });
        Self { stop, threads: vec![writer, reader] }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn both_ends_of_a_connection_are_rows_with_their_rates() {
    let pair = Pair::connect();
    let traffic = Traffic::start(&pair);
    let port = port(&pair);
    let mut terminal = Terminal::start((80, 24), &[&FAST[..], &["--port", &port]].concat());
    let client = pair.client.local_addr().expect("it is connected").port();
    let (sender, receiver) = (format!(":{client} > "), format!(":{port} < "));
    terminal.until("rates", |lines| {
        let row = |begin: &str| lines.iter().find(|line| line.contains(begin));
        let (sender, receiver) = row(&sender).zip(row(&receiver))?;
        // name, RTT, queue, retransmitted, sent, received
        let cells: Vec<&str> = sender.split_whitespace().rev().take(2).collect();
        let is_rate = |text: &str| text.ends_with("kB/s") || text.ends_with("MB/s");
        let theirs: Vec<&str> = receiver.split_whitespace().rev().take(2).collect();
        let shown = is_rate(cells[1]) && cells[0] == "0" && theirs[1] == "0" && is_rate(theirs[0]);
        shown.then_some(())
    });
    let lines = terminal.lines();
    assert!(lines[0].starts_with("2 connections  sent "), "{lines:?}");
    assert!(lines[1].starts_with("CONNECTION"), "{lines:?}");
    assert!(lines[23].starts_with("? help  q quit"), "{lines:?}");
    assert_eq!(lines.iter().map(|line| line.chars().count()).max(), Some(80), "{lines:?}");
    terminal.send("q");
    assert_eq!(terminal.end().code(), Some(0));
    drop(traffic);
}

#[test]
fn the_worst_verdict_is_at_the_top() {
    let pair = Pair::connect();
    let port = port(&pair);
    // Nobody reads: the window closes.
    pair.client.set_nonblocking(true).expect("it is open");
    let mut terminal = Terminal::start((100, 24), &[&FAST[..], &["--port", &port]].concat());
    terminal.line("2 connections");
    let client = pair.client.local_addr().expect("it is connected").port();
    let sender = format!(":{client} > 127.0.0.1:{port}");
    terminal.until("a verdict", |lines| {
        while (&pair.client).write(&[0; 1 << 16]).is_ok() {}
        let row = lines.iter().find(|line| line.contains(&sender))?;
        row.contains("receive window").then_some(())
    });
    terminal.send("/receive window\r");
    terminal.line("search: receive window");
    terminal.until("only what is limited", |lines| {
        (lines[2].contains(" receive window ") && lines[4].is_empty()).then_some(())
    });
    terminal.send("\x1b");
    terminal.until("no search", |lines| (!lines[0].contains("search")).then_some(()));
    terminal.send("2");
    terminal.line("1 receive window");
    terminal.send("1");
    terminal.line(&sender);
    terminal.send("/");
    terminal.send(&format!("{client} > \r"));
    terminal.line("1 connection ");
    terminal.send("\r");
    terminal.line("Verdict: the receiver: its window");
    terminal.line("Next: the program at the other end reads too slowly");
}

#[test]
fn groups_processes_and_units_are_a_key_away() {
    let pair = Pair::connect();
    let port = port(&pair);
    let mut terminal = Terminal::start((120, 24), &[&FAST[..], &["--port", &port]].concat());
    terminal.line("2 connections");
    terminal.send("2");
    terminal.line(&format!("server :{port}"));
    terminal.line(&format!("to 127.0.0.1:{port}"));
    terminal.send("3");
    let name = std::fs::read_to_string("/proc/self/comm").expect("it has a name");
    let process = format!("{}/{}", name.trim_end(), std::process::id());
    let row = terminal.line(&process);
    assert!(row.split_whitespace().any(|word| word == "2"), "{row}");
    terminal.send("4");
    terminal.until("units", |lines| lines[1].starts_with("UNIT").then_some(()));
    // Into the process, and out again.
    terminal.send("3");
    terminal.line(&process);
    terminal.send("\r");
    let heading = format!("CONNECTIONS OF {}", process.to_uppercase());
    terminal.line(&heading[..24.min(heading.len())]);
    terminal.send("\x1b");
    terminal.until("processes", |lines| lines[1].starts_with("PROCESS").then_some(()));
}

#[test]
fn enter_shows_every_field_of_a_connection() {
    let Pair { mut client, server, listener } = Pair::connect();
    client.write_all(&[0; 5000]).expect("it is connected");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let arguments = [&FAST[..], &["--port", &port, "--sort", "unsent"]].concat();
    let mut terminal = Terminal::start((100, 40), &arguments);
    terminal.line("2 connections");
    terminal.send("/");
    terminal.line("search: _");
    terminal.send(&format!("> 127.0.0.1:{port}\r"));
    terminal.line("1 connection ");
    terminal.send("\r");
    let title = format!("{} - 127.0.0.1:{port}", client.local_addr().expect("it is connected"));
    terminal.line(&title);
    let line = terminal.line("bytes_sent");
    let mut words = line.split_whitespace().skip_while(|word| *word != "bytes_sent");
    assert_eq!(words.nth(1), Some("5000"), "{line}");
    terminal.line("round trip");
    let line = terminal.line("congestion");
    let algorithm = tcpinfo::congestion(&client).expect("it is a socket").algorithm;
    assert!(line.contains(&algorithm), "{line}");
    terminal.line("wmem_queued");
    drop((client, server));
    terminal.line("This connection has ended. Esc goes back.");
    terminal.send("\x1b");
    terminal.line("0 connections");
}

#[test]
fn pausing_help_and_search_show_what_they_do() {
    let pair = Pair::connect();
    let port = port(&pair);
    let mut terminal = Terminal::start((80, 24), &[&FAST[..], &["--port", &port]].concat());
    terminal.line("2 connections");
    terminal.send(" ");
    terminal.until("a pause", |lines| lines[0].starts_with("PAUSED").then_some(()));
    terminal.send(" ");
    terminal.until("no pause", |lines| lines[0].starts_with("2 conn").then_some(()));
    terminal.send("?");
    terminal.line("part of the bytes sent that were sent again");
    terminal.send("x");
    terminal.line("2 connections");
    terminal.send("/no such\r");
    terminal.line("0 connections  search: no such");
    terminal.send("\x1b");
    terminal.line("2 connections");
    // SGR mouse: a click on the heading RTT.
    let heading = terminal.line("RTT");
    let column = heading.find("RTT").expect("it is there") + 1;
    terminal.send(&format!("\x1b[<0;{column};2M"));
    terminal.until("underlined RTT", |_| {
        let cell = |screen: &vt100::Screen| {
            screen.cell(1, column as u16 - 1).is_some_and(vt100::Cell::underline)
        };
        terminal.with(cell).then_some(())
    });
}

#[test]
fn any_size_is_drawn_and_a_new_one_at_once() {
    let pair = Pair::connect();
    let port = port(&pair);
    let mut terminal = Terminal::start((200, 50), &[&FAST[..], &["--port", &port]].concat());
    let wide = terminal.line("RATE COURSE");
    assert!(wide.contains("PROCESS") && wide.contains("STALLED"), "{wide}");
    for (columns, lines) in [(10, 3), (1, 1), (80, 24), (3, 100), (40, 10), (200, 50)] {
        terminal.resize(columns, lines);
        let first = &"2 connections"[..usize::from(columns.min(13))];
        terminal.until("totals in the new size", |all| {
            let fits = all.iter().all(|line| line.chars().count() <= usize::from(columns));
            (fits && all[0].starts_with(first) && all.len() == usize::from(lines)).then_some(())
        });
    }
    terminal.line("RATE COURSE");
    terminal.send("q");
    assert_eq!(terminal.end().code(), Some(0));
}

/// Whether any cell has a colour.
fn has_colour(screen: &vt100::Screen) -> bool {
    let (lines, columns) = screen.size();
    let (lines, columns) = (lines.get(), columns.get());
    let cells = (0..lines).flat_map(|line| (0..columns).map(move |column| (line, column)));
    let coloured = |cell: &vt100::Cell| {
        cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default
    };
    cells.filter_map(|(line, column)| screen.cell(line, column)).any(coloured)
}

#[test]
fn no_color_means_none() {
    let pair = Pair::connect();
    let port = port(&pair);
    let arguments = [&FAST[..], &["--port", &port]].concat();
    let terminal = Terminal::start((200, 50), &arguments);
    terminal.line("▁");
    assert!(terminal.with(has_colour));
    drop(terminal);
    let terminal = Terminal::start_with((200, 50), &arguments, &[("NO_COLOR", "1")]);
    terminal.line("▁");
    assert!(!terminal.with(has_colour));
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let start = || {
        let terminal = Terminal::start((80, 24), &FAST);
        terminal.line("? help");
        terminal
    };
    let mut terminal = start();
    terminal.send("\x03");
    assert_eq!(terminal.end().code(), Some(0));
    let mut terminal = start();
    let id = rustix::process::Pid::from_raw(terminal.id() as i32).expect("a process");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
    assert_eq!(terminal.end().code(), Some(0));
    let panics = [("TCPINFO_PANIC", "1")];
    let mut terminal = Terminal::start_with((80, 24), &FAST, &panics);
    assert_eq!(terminal.end().code(), Some(70));
    terminal.line("tcpinfo: a mistake in this program, please report: panicked at");
}

#[test]
#[ignore = "needs setpriv, of util-linux: integration/test.sh"]
fn what_is_hidden_is_said_in_one_line() {
    let copy = std::env::temp_dir().join(format!("tcpinfo-hidden-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_tcpinfo"), &copy).expect("a new file");
    let path = copy.to_str().expect("a text");
    // Root sees everything, so somebody else has to look. Others cannot become somebody else, and
    // see that root's processes are hidden.
    let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path];
    let is_root = rustix::process::geteuid().is_root();
    let words = if is_root { &other[..] } else { &other[4..] };
    let mut terminal = Terminal::run((100, 24), words, &[]);
    let line = terminal.line("processes of other users");
    let (count, rest) = line.split_once(' ').expect("two words");
    assert!(count.parse::<usize>().is_ok_and(|count| count > 0), "{line}");
    let expected = "processes of other users have no names here: only root sees them";
    assert_eq!(rest, expected);
    terminal.send("q");
    assert_eq!(terminal.end().code(), Some(0));
    std::fs::remove_file(&copy).expect("it was copied");
}

#[test]
fn a_pipe_in_place_of_a_terminal_is_said_in_a_sentence() {
    let (status, sentence) = crate::program::fails(crate::program::tcpinfo(&[]));
    assert_eq!(status, 4);
    let expected = "the live table needs a terminal to show it; `tcpinfo list` prints to a file or \
                    a pipe";
    assert_eq!(sentence, expected);
}
