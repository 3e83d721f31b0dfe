//! The program `tcpinfo` as a user runs it.

mod failures;
mod list;
mod program;
mod ss;
mod terminal;
mod top;
