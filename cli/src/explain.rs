//! `tcpinfo explain`: what limits some connections, in a few sentences.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tcpinfo::diag::Socket;
use tcpinfo::{Cause, State, TcpInfo, Verdict};

use crate::args::Explain;
use crate::failure::{Failure, Status};
use crate::feed::{Feed, Player};
use crate::judge::{advice, is_wrong, order, words};
use crate::names::{Names, Process};
use crate::recording::Recording;
use crate::sample::Sample;
use crate::target::wanted;
use crate::text;

/// How many connections are shown of each cause.
const SHOWN: usize = 3;

/// The first and the latest reading of one socket.
#[derive(Debug)]
struct Watched {
    /// When the first dump began that has it.
    begin: Duration,
    earlier: TcpInfo,
    /// When the latest dump ended.
    end: Duration,
    /// The latest.
    socket: Socket,
    process: Option<Process>,
    unit: Option<String>,
    is_server: bool,
}

/// A socket and what limits it.
#[derive(Debug)]
struct Finding {
    watched: Watched,
    verdict: Verdict,
}

/// Everything that was seen of the target.
#[derive(Debug, Default)]
struct Watch {
    sockets: HashMap<u64, Watched>,
    names: Names,
    /// When the latest sample was taken.
    now: Duration,
    begin: Option<Duration>,
}

pub(crate) fn run(explain: &Explain) -> Result<Status, Failure> {
    let wanted = wanted(&explain.target)?;
    let mut watch = Watch::default();
    match &explain.replay {
        None => watch.live(&mut Feed::live(&wanted)?, explain.duration)?,
        Some(path) => {
            let recording = Recording::open(path)?;
            if let Some(damage) = recording.damage() {
                let _ = writeln!(io::stderr(), "tcpinfo: {}: {damage}", path.display());
            }
            watch.recorded(Player::new(recording, wanted), explain.duration)?;
        }
    }
    let elapsed = watch.now.saturating_sub(watch.begin.unwrap_or_default());
    let mut findings: Vec<Finding> = watch.sockets.into_values().filter_map(judge).collect();
    if findings.is_empty() {
        let target = &explain.target;
        let time = text::time(explain.duration);
        return Err(Failure::no_target(format!("no connection of {target} within {time}")));
    }
    // The worst first, and of one cause those that moved most.
    findings.sort_by_key(|it| (order(it.verdict.cause), std::cmp::Reverse(it.moved())));
    let report = match explain.json {
        true => object(&explain.target, elapsed, &findings),
        false => sentences(&explain.target, elapsed, &findings),
    };
    let written = io::stdout().write_all(report.as_bytes());
    written.map_err(|error| Failure::output(&error))?;
    let wrong = findings.iter().any(|finding| is_wrong(finding.verdict.cause));
    Ok(if wrong { Status::Found } else { Status::Done })
}

impl Watch {
    /// Between two samples at most: a connection that begins and ends within is not seen.
    const PAUSE: Duration = Duration::from_millis(500);

    fn live(&mut self, feed: &mut Feed, duration: Duration) -> Result<(), Failure> {
        let mut begun = None;
        // Several samples in any case: a dump can miss a connection.
        let pause = Self::PAUSE.min(duration / 5);
        loop {
            if let Some(sample) = feed.next(&mut self.names)? {
                self.note(sample);
            }
            // The first sample takes longer: it looks up every process.
            let begun = *begun.get_or_insert_with(Instant::now);
            let left = duration.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            // The last sample comes when the time is over.
            thread::sleep(if left < pause * 3 / 2 { left } else { pause });
        }
    }

    /// The end of a recording.
    fn recorded(&mut self, mut player: Player, duration: Duration) -> Result<(), Failure> {
        let last = player.len() - 1;
        let end = player.wall_of(last);
        let early = |at: &usize| player.wall_of(*at) + duration < end;
        player.seek((0..last).take_while(early).count());
        while let Some(sample) = player.next(&mut self.names)? {
            self.note(sample);
        }
        Ok(())
    }

    fn note(&mut self, sample: Sample) {
        let Sample { at, took, sockets, listening, .. } = sample;
        self.now = at;
        self.begin.get_or_insert(at);
        for socket in sockets {
            // Without a reading there is nothing to judge: TIME_WAIT, unfinished handshakes.
            let Some(info) = socket.info.clone() else { continue };
            let names = &self.names;
            let process = names.process(&socket);
            let watched = self.sockets.entry(socket.cookie).or_insert_with(|| Watched {
                begin: at,
                earlier: info,
                end: at + took,
                socket: socket.clone(),
                process: None,
                unit: names.unit(&socket).map(|unit| unit.to_string()),
                is_server: listening.contains(&socket.local.port()),
            });
            watched.process = process.or(watched.process.take());
            (watched.end, watched.socket) = (at + took, socket);
        }
    }
}

/// What limits a socket. Listeners only count if something is wrong with them.
fn judge(watched: Watched) -> Option<Finding> {
    let later = watched.socket.info.as_ref()?;
    let elapsed = watched.end.saturating_sub(watched.begin);
    let verdict = Verdict::between(&watched.earlier, later, elapsed);
    let counts = watched.socket.state != State::Listen || verdict.cause == Cause::AcceptQueue;
    counts.then_some(Finding { watched, verdict })
}

impl Finding {
    /// Bytes that it sent and received while it was watched.
    fn moved(&self) -> u64 {
        let bytes = |info: &TcpInfo| {
            info.bytes_acked.unwrap_or_default() + info.bytes_received.unwrap_or_default()
        };
        let later = self.watched.socket.info.as_ref().map_or(0, bytes);
        later.saturating_sub(bytes(&self.watched.earlier))
    }

    fn name(&self) -> String {
        let Socket { local, peer, state, .. } = &self.watched.socket;
        if *state == State::Listen {
            return format!("listener {local}");
        }
        let arrow = if self.watched.is_server { '<' } else { '>' };
        format!("{local} {arrow} {peer}")
    }
}

/// How many there are: `1 connection`, `7 connections`.
fn count(number: usize) -> String {
    if number == 1 { "1 connection".into() } else { format!("{number} connections") }
}

/// The report for people.
fn sentences(target: &str, elapsed: Duration, findings: &[Finding]) -> String {
    let mut report = String::new();
    let processes: std::collections::BTreeSet<String> = findings
        .iter()
        .filter_map(|it| it.watched.process.as_ref())
        .map(|process| format!("{}/{}", process.command, process.pid))
        .collect();
    let whose = match processes.len() {
        0 => String::new(),
        1..=3 => format!(" of {}", Vec::from_iter(processes).join(", ")),
        many => format!(" of {many} processes"),
    };
    let all = count(findings.len());
    let time = text::time(elapsed);
    let _ = writeln!(report, "{target}: {all}{whose}, watched for {time}.");
    let mut rest = findings;
    while let Some(first) = rest.first() {
        let cause = first.verdict.cause;
        let (these, others) =
            rest.split_at(rest.iter().take_while(|it| it.verdict.cause == cause).count());
        rest = others;
        let what = format!("{} of {all}", these.len());
        let _ = writeln!(report, "\n{}: {what}.", capital(&words(cause)));
        // Of those that are quiet there is nothing to show.
        let shown = if cause == Cause::TooLittle { 0 } else { SHOWN };
        for finding in these.iter().take(shown) {
            let _ = writeln!(report, "  {}\n    {}", finding.name(), finding.verdict);
        }
        if shown > 0 && these.len() > shown {
            let _ = writeln!(report, "  and {} more", these.len() - shown);
        }
        // Both ends of a connection can be here, and each has its own.
        let mut said: Vec<&str> = these.iter().filter_map(|it| advice(&it.verdict)).collect();
        said.sort_unstable();
        said.dedup();
        for advice in said {
            let _ = writeln!(report, "  Next: {advice}.");
        }
    }
    report
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The report for programs: one object.
fn object(target: &str, elapsed: Duration, findings: &[Finding]) -> String {
    let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *causes.entry(finding.verdict.cause.text()).or_default() += 1;
    }
    let connections = findings.iter().map(|finding| {
        let Watched { begin, end, socket, process, unit, .. } = &finding.watched;
        json!({
            "state": socket.state.to_string(),
            "local": socket.local,
            "peer": socket.peer,
            "cookie": socket.cookie,
            "pid": process.as_ref().map(|process| process.pid),
            "command": process.as_ref().map(|process| process.command.to_string()),
            "unit": unit,
            "elapsed": end.saturating_sub(*begin).as_secs_f64(),
            "moved": finding.moved(),
            "verdict": finding.verdict,
            "sentence": finding.verdict.to_string(),
            "is_wrong": is_wrong(finding.verdict.cause),
            "next": advice(&finding.verdict),
        })
    });
    let report = json!({
        "target": target,
        "elapsed": elapsed.as_secs_f64(),
        "causes": causes,
        "connections": connections.collect::<Vec<Value>>(),
    });
    format!("{report}\n")
}
