//! `tcpinfo record`: the flight recorder.

use std::io::{self, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::args::Record;
use crate::failure::{Failure, Status};
use crate::names::{Known, Names};
use crate::recording::{Frame, Limits, Ring};
use crate::sample::Sampler;
use crate::select::{Selection, Wanted};
use crate::signals::ended;
use crate::text;

pub(crate) fn run(record: &Record) -> Result<Status, Failure> {
    let selection = Selection::new(&Wanted::from(&record.filters))?;
    let query = selection.query(false).with_memory().with_congestion();
    let sampler = Sampler::new(selection, query);
    let limits = Limits { size: record.size, time: record.keep };
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
    let (begun, mut samples) = (Instant::now(), 0_u64);
    let mut next = Some(first);
    let mut sockets;
    loop {
        let due = Instant::now() + record.interval;
        let (sample, replies) = match next.take() {
            Some(first) => first,
            None => sampler.replies()?,
        };
        names.read_units(&sample.sockets);
        names.refresh_processes(&sample.sockets);
        if ring.is_key_next() {
            known = Known::default();
        }
        let mut tables = names.tables(&sample.sockets, &mut known);
        tables.listening = sample.listening.into_iter().collect();
        let wall = sample.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        (samples, sockets) = (samples + 1, replies.len());
        ring.append(Frame { wall, at: sample.at, took: sample.took, tables, replies })
            .map_err(failed)?;
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
    let size = text::bytes(ring.len() as f64);
    let path = path.display();
    let _ = writeln!(
        io::stderr(),
        "tcpinfo: {samples} samples, the last of {sockets} sockets; {path} has {size}B"
    );
    Ok(Status::Done)
}
