//! The program `tcpinfo`: every TCP connection of this host, and what limits it.

use std::process::ExitCode;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn main() -> ExitCode {
    tcpinfo_cli::run(std::env::args_os())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn main() -> ExitCode {
    eprintln!("tcpinfo: it asks the Linux kernel, and this is another system");
    ExitCode::from(4)
}
