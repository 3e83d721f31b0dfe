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
//     list   top       the commands
//     output           rows of text, or one object a line
//     rows             connections, or groups of them
//     flow             connections over time
//     column           what can be printed of a socket
//     sample           asks the kernel
//     names  select    processes and units by number; from filters to a query
//     unit             control groups by name
//     text   args      numbers for people; the arguments
//     failure          a sentence and an exit status
mod args;
mod column;
mod failure;
mod flow;
mod list;
mod names;
mod output;
mod rows;
mod sample;
mod select;
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
        Some(Command::List(list)) => list::run(&list),
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
