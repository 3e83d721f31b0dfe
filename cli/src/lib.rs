//! The program `tcpinfo`: every TCP connection of this host, and what limits it.
//!
//! This is the inside of a program, not a library to depend on: that is the crate `tcpinfo`.

#![cfg(any(target_os = "linux", target_os = "android"))]

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;

use clap::Parser;

// A file uses only files below its own line:
//
//     replay           shows a recording
//     list top record  explain, generate, serve: the other commands
//     output rows      rows of text, or one object a line; connections, or groups of them
//     flow   feed      connections over time; where samples come from
//     column sample    what can be printed of a socket; asks the kernel
//     target           what `explain` looks at
//     select           from filters to a query
//     names            processes and units by number
//     recording  unit  a file of samples; control groups by name
//     text   args      numbers for people; the arguments
//     judge  signals   what a verdict means; when to end
//     failure          a sentence and an exit status
mod args;
mod column;
mod explain;
mod failure;
mod feed;
mod flow;
mod generate;
mod judge;
mod list;
mod names;
mod output;
mod record;
mod recording;
mod replay;
mod rows;
mod sample;
mod select;
mod serve;
mod signals;
mod target;
mod text;
mod top;
mod unit;

use args::{Arguments, Command};
use failure::{Failure, Status};

/// Runs the program and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    panic::set_hook(Box::new(|info| {
        // One line, whatever the message is.
        let text = info.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(io::stderr(), "tcpinfo: a mistake in this program, please report: {text}");
    }));
    let status = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => {
            let ended = panic::catch_unwind(|| dispatch(arguments));
            ended.map_or(Status::Bug, end)
        }
        Err(error) => {
            // Help goes to the output, and is no failure. Nobody may be there to read it.
            let _ = error.print();
            if error.use_stderr() { Status::Usage } else { Status::Done }
        }
    };
    ExitCode::from(status.number())
}

fn dispatch(arguments: Arguments) -> Result<Status, Failure> {
    match arguments.command {
        None => top::run(&args::Top::default()),
        Some(Command::Top(top)) => top::run(&top),
        Some(Command::Explain(explain)) => explain::run(&explain),
        Some(Command::List(list)) => list::run(&list),
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Record(record)) => record::run(&record),
        Some(Command::Replay(replay)) => replay::run(&replay),
        Some(Command::Completions(completions)) => generate::completions(&completions),
        Some(Command::Man(man)) => generate::man(&man),
    }
}

/// Says in one sentence what went wrong.
fn end(ended: Result<Status, Failure>) -> Status {
    match ended {
        Ok(status) => status,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                // The reader may have left.
                let _ = writeln!(io::stderr(), "tcpinfo: {sentence}");
            }
            failure.status()
        }
    }
}
