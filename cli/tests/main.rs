//! The program `tcpinfo` as a user runs it.

mod explain;
mod failures;
mod generate;
mod list;
mod program;
mod record;
mod ss;
mod terminal;
mod top;
