//! `tcpinfo replay`: a recording in the table, or as objects.

use std::io::{self, BufWriter, Write};

use crate::args::Replay;
use crate::column::{Column, Entry, Scope, columns};
use crate::failure::{Failure, Status};
use crate::feed::Player;
use crate::names::Names;
use crate::output::object;
use crate::recording::Recording;
use crate::select::Wanted;
use crate::top;

pub(crate) fn run(replay: &Replay) -> Result<Status, Failure> {
    let recording = Recording::open(&replay.file)?;
    if let Some(damage) = recording.damage() {
        let _ = writeln!(io::stderr(), "tcpinfo: {}: {damage}", replay.file.display());
    }
    let player = Player::new(recording, Wanted::from(&replay.filters));
    if replay.json {
        return print(player).map(|()| Status::Done);
    }
    top::replay(replay, player)
}

/// Every socket of every sample, with the process that held it.
fn print(mut player: Player) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let columns: Vec<Column> = columns().filter(|column| column.scope != Scope::Asked).collect();
    let mut names = Names::default();
    while let Some(sample) = player.next(&mut names)? {
        for socket in &sample.sockets {
            let entry = Entry { socket, names: &names, wall: sample.wall };
            object(&mut out, &columns, &entry).map_err(|error| Failure::output(&error))?;
        }
    }
    out.flush().map_err(|error| Failure::output(&error))
}
