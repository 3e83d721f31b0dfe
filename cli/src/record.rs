//! `tcpinfo record`: the flight recorder.

use std::io::{self, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::args::Record;
use crate::failure::{Failure, Status};
use crate::flow::{Flow, Flows};
use crate::names::{Known, Names};
use crate::recording::{Frame, Limits, Ring};
use crate::sample::Sampler;
use crate::select::{Selection, Wanted};
use crate::signals::ended;
use crate::text;

/// Samples from one key frame to the next at most.
const KEY_EVERY: usize = 60;

pub(crate) fn run(record: &Record) -> Result<Status, Failure> {
    let selection = Selection::new(&Wanted::from(&record.filters))?;
    let query = selection.query(false).with_memory().with_congestion();
    let sampler = Sampler::new(selection, query);
    let around = (!record.on.is_empty()).then_some(record.around);
    let limits =
        Limits { size: record.size, time: record.keep, around, key_every: key_every(record) };
    let path = &record.file;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "{} exists: name another file, or say --replace",
            path.display()
        )),
        _ => Failure::impossible(format!("{}: {error}", path.display())),
    };
    // What the kernel refuses is said before there is a file.
    let first = sampler.replies()?;
    let mut ring = Ring::create(path, limits, record.replace).map_err(failed)?;
    let ended = ended().map_err(failed)?;
    let (mut names, mut known) = (Names::default(), Known::default());
    let (mut flows, mut found) = (Flows::default(), 0_u64);
    let (begun, mut samples) = (Instant::now(), 0_u64);
    let mut next = Some(first);
    let mut sockets;
    loop {
        let due = Instant::now() + record.interval;
        let (mut sample, replies) = match next.take() {
            Some(first) => first,
            None => sampler.replies()?,
        };
        names.read_units(&sample.sockets);
        names.refresh_processes(&sample.sockets);
        if ring.is_key_next() {
            known = Known::default();
        }
        let mut tables = names.tables(&sample.sockets, &mut known);
        tables.listening = std::mem::take(&mut sample.listening).into_iter().collect();
        let wall = sample.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        (samples, sockets) = (samples + 1, replies.len());
        let at = sample.at;
        ring.append(Frame { wall, at, took: sample.took, tables, replies }).map_err(failed)?;
        if around.is_some() {
            flows.update(sample);
            let is_one = |flow: &Flow| {
                flow.verdict.as_ref().is_some_and(|verdict| record.on.contains(&verdict.cause))
            };
            if flows.iter().any(is_one) {
                found += 1;
                ring.keep(at);
            }
        }
        let left = record.duration.map(|time| time.saturating_sub(begun.elapsed()));
        if left == Some(Duration::ZERO) {
            break;
        }
        let pause = due.saturating_duration_since(Instant::now());
        match ended.recv_timeout(left.map_or(pause, |left| pause.min(left))) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    ring.finish().map_err(failed)?;
    let size = text::bytes(ring.len() as f64);
    let path = path.display();
    let found = match around {
        Some(_) => format!(", {found} with such a verdict"),
        None => String::new(),
    };
    let _ = writeln!(
        io::stderr(),
        "tcpinfo: {samples} samples{found}, the last of {sockets} sockets; {path} has {size}B"
    );
    Ok(Status::Done)
}

/// Samples from one key frame to the next: what is kept begins and ends with one.
fn key_every(record: &Record) -> usize {
    if record.on.is_empty() {
        return KEY_EVERY;
    }
    let samples = record.around.as_secs_f64() / record.interval.as_secs_f64();
    ((samples / 4.0) as usize).clamp(1, KEY_EVERY)
}
