//! What `integration/kernels.sh` boots as a kernel's only program, and what judges the replies.

#![deny(unsafe_code)]

mod boot;
mod btf;
mod cases;
mod check;
mod discovery;
mod raw;
mod record;
mod truth;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cases", console] => check::print_cases(console),
        ["btf", console] => check::print_header(console),
        ["check", console, truth, by] => check::check(console, truth, by, None),
        ["check", console, truth, by, save] => check::check(console, truth, by, Some(save)),
        ["columns"] => check::print_columns(),
        _ => {
            let of_console = "cases CONSOLE | btf CONSOLE | check CONSOLE TRUTH BY [SAVE]";
            eprintln!("usage: {of_console} | columns");
            ExitCode::FAILURE
        }
    }
}
