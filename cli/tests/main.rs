//! The program `tcpinfo` as a user runs it.

mod cgroup;
mod explain;
mod failures;
mod generate;
mod list;
mod program;
mod record;
mod serve;
mod ss;
mod terminal;
mod top;
