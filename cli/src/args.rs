//! The definition of the arguments, of which help, completions and the manual page are made.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tcpinfo::Cause;
use tcpinfo::diag::IpPrefix;

use crate::failure::Status;
use crate::judge;

/// Every TCP connection of this host, and what limits it.
///
/// tcpinfo asks the kernel, without any privilege, and shows what it says: it captures no packets
/// and guesses nothing.
#[derive(Debug, Parser)]
#[command(name = "tcpinfo", version, after_long_help = statuses(), max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Top(Top),
    Explain(Explain),
    List(List),
    Serve(Serve),
    Record(Record),
    Replay(Replay),
    Completions(Completions),
    Man(Man),
}

/// Print a script that completes the arguments in a shell.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, for `man -l -`.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The page of this command
    pub(crate) command: Option<String>,
}

/// Record what the kernel says, to look at it later.
///
/// The file is the flight recorder: it keeps what is newest within its limits, and is whole at any
/// time. Ctrl-C ends it.
#[derive(Args, Debug)]
pub(crate) struct Record {
    /// The file to write
    pub(crate) file: PathBuf,
    /// The file has at most about this size, and at least half of it once it was full
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = size)]
    pub(crate) size: u64,
    /// Samples that are older go sooner or later
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(crate) keep: Duration,
    /// Time between two samples
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) interval: Duration,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,
    /// Keep only the time around a verdict of these causes, such as stalled,loss
    #[arg(long, value_name = "CAUSE", value_delimiter = ',', value_parser = cause)]
    pub(crate) on: Vec<Cause>,
    /// How long before and after such a verdict, at least
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time, requires = "on")]
    pub(crate) around: Duration,
    /// The file may exist: it is replaced
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// Show a recording as the live table shows the present.
///
/// Keys [ and ] step through it, { and } by 60 samples.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// The file that `record` wrote
    pub(crate) file: PathBuf,
    /// Print every sample as `list --json` does, and show no table
    #[arg(long)]
    pub(crate) json: bool,
    /// What one row is
    #[arg(long, value_enum, default_value_t = By::Connection)]
    pub(crate) by: By,
    /// Greatest first by this column
    #[arg(long, value_enum, default_value_t = Sort::Verdict)]
    pub(crate) sort: Sort,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// Show a live table of the connections.
///
/// Without a command, this is what tcpinfo does.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// What one row is
    #[arg(long, value_enum, default_value_t = By::Connection)]
    pub(crate) by: By,
    /// Greatest first by this column
    #[arg(long, value_enum, default_value_t = Sort::Verdict)]
    pub(crate) sort: Sort,
    /// Time between two samples
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

impl Default for Top {
    fn default() -> Self {
        let (by, sort) = (By::Connection, Sort::Verdict);
        Self { by, sort, interval: Duration::from_secs(1), filters: Filters::default() }
    }
}

/// What one row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// A connection
    Connection,
    /// All connections of one server's port, or to one server
    Group,
    /// All connections of a process
    Process,
    /// All connections of a systemd unit or container
    Unit,
}

impl By {
    pub(crate) const ALL: [Self; 4] = [Self::Connection, Self::Group, Self::Process, Self::Unit];

    pub(crate) fn name(self) -> &'static str {
        ["connection", "group", "process", "unit"][self as usize]
    }
}

/// By what rows are sorted, the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// What limits a connection, the worst first
    Verdict,
    /// Bytes sent and received each second
    Rate,
    /// Bytes sent each second
    Sent,
    /// Bytes received each second
    Received,
    /// Part of the bytes that were sent again
    Retransmitted,
    /// What queues add to the round trip
    Queue,
    /// Round-trip time
    Rtt,
    /// Time without an answer of the peer
    Stalled,
    /// Bytes that wait in the send buffer
    Unsent,
    /// Number of connections
    Connections,
}

/// Which connections. The kernel selects, except by process.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which connections")]
pub(crate) struct Filters {
    /// Those that this process holds
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Those with this port on either side
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub(crate) port: Vec<u16>,
    /// Those to an address within this prefix, such as 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) to: Vec<IpPrefix>,
    /// Those of this systemd unit or container: a control group's name or path
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) unit: Vec<String>,
}

/// Say in a few sentences what limits some connections.
///
/// Watches them for a while and says what limits them, with the evidence, and what to look at next.
/// The exit status is 0 if nothing is wrong, 1 if something is, and 3 if there is no such
/// connection.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// PID, :PORT, HOST:PORT, an address or a prefix of the other side, or the name of a unit
    pub(crate) target: String,
    /// How long to watch
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) duration: Duration,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Look at the end of a recording
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
}

/// Print the sockets once, or again and again.
///
/// Without --json, a table for people. With it, one object a line: every field has the name that
/// it has in the library and in the kernel's tcp_info, without `tcpi_`; times are in seconds; what
/// the kernel did not report is null.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// These fields, in this order; `help` lists them all
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub(crate) fields: Vec<String>,
    /// Greatest first by this field, absent ones last
    #[arg(long, value_name = "FIELD")]
    pub(crate) sort: Option<String>,
    /// Least first
    #[arg(long, requires = "sort")]
    pub(crate) reverse: bool,
    /// The processes that hold a socket too: takes longer, and only root sees those of others
    #[arg(short, long)]
    pub(crate) processes: bool,
    /// Connections in TIME_WAIT too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print again and again, each second if no time is given
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s",
          value_parser = time)]
    pub(crate) watch: Option<Duration>,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// Serve the metrics of all connections, and push them.
///
/// A page for Prometheus (--listen), pushes over OTLP (the standard OTEL_* variables), or both at
/// once. Connections are grouped; by default by role and by the server's port. Every byte counts,
/// also of connections that live between two scrapes, because the kernel tells the ends of sockets.
/// SIGTERM and Ctrl-C end it, after a last push.
#[derive(Args, Debug, Default)]
#[command(after_long_help = VARIABLES)]
pub(crate) struct Serve {
    /// Where the page is: /metrics, and /healthz [default: 127.0.0.1:9464 if nothing is pushed]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Push over OTLP/HTTP, also where no variable says where to
    #[arg(long)]
    pub(crate) push: bool,
    /// What connections of no other group are grouped by [default: port]
    #[arg(long, value_enum, value_name = "KEY", value_delimiter = ',')]
    pub(crate) by: Vec<GroupBy>,
    /// A group with a name, for what meets these conditions: port, to, unit and process, such as
    /// database=port:5432,to:10.0.0.0/8. The first group that fits has a connection
    #[arg(long, value_name = "NAME=KIND:VALUE,...")]
    pub(crate) group: Vec<String>,
    /// Connections of no such group do not count
    #[arg(long)]
    pub(crate) only_groups: bool,
    /// Read what is not said here from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only connections with this port on either side: the kernel selects
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub(crate) port: Vec<u16>,
    /// Only connections to an address within this prefix: the kernel selects
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) to: Vec<IpPrefix>,
}

/// By what connections are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    /// Role (server or client) and the server's port
    Port,
    /// systemd unit or container
    Unit,
    /// Name of the program that holds them
    Process,
}

const VARIABLES: &str = "\
Variables (those marked * also, and first, as OTEL_EXPORTER_OTLP_METRICS_...):
  OTEL_EXPORTER_OTLP_ENDPOINT *  where to push; /v1/metrics is appended [http://localhost:4318]
  OTEL_EXPORTER_OTLP_HEADERS *   name=value,name=value
  OTEL_EXPORTER_OTLP_TIMEOUT *   milliseconds for one push and its retries [10000]
  OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE
                                 cumulative, delta or lowmemory [cumulative]
  OTEL_METRIC_EXPORT_INTERVAL    milliseconds from push to push [60000]
  OTEL_METRICS_EXPORTER          none: no push
  OTEL_SDK_DISABLED              true: no push
  OTEL_SERVICE_NAME              who pushes [tcpinfo]
  OTEL_RESOURCE_ATTRIBUTES       name=value,name=value
  HTTP_PROXY, NO_PROXY           as everywhere

An endpoint is http://; for TLS and gRPC let a Collector on this host hand it on.

The file of --config (TOML) has the same names; a value stands alone or in a list:
  listen = \"127.0.0.1:9464\"
  by = [\"port\", \"unit\"]
  only_groups = false
  [[group]]
  name = \"database\"
  port = 5432
  to = [\"10.0.0.0/8\", \"fd00::/8\"]";

/// Reads `500ms`, `5s`, `2m`, `1h`; a number alone is of seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time is a number and ms, s, m or h, such as 5s".into()),
    };
    let number: f64 = number.parse().map_err(|_| "a time begins with a number, such as 5s")?;
    let time = Duration::try_from_secs_f64(number * seconds).ok();
    time.filter(|time| *time >= Duration::from_millis(1)).ok_or("at least 1ms".into())
}

/// Reads the name of a cause, as verdicts have it.
fn cause(text: &str) -> Result<Cause, String> {
    let all = judge::causes();
    let found = all.iter().copied().find(|cause| cause.text() == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|cause| cause.text()).collect();
        format!("a cause is one of {}", names.join(", "))
    })
}

/// Reads `64M`, `1.5G`, `500k`; a number alone is of bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_end_matches('B') {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err("a size is a number and k, M or G, such as 64M".into()),
    };
    let number: f64 = number.parse().map_err(|_| "a size begins with a number, such as 64M")?;
    let size = (number * factor) as u64;
    if size >= 10_000 { Ok(size) } else { Err("at least 10k".into()) }
}

/// The exit statuses, for the end of the help.
fn statuses() -> String {
    let lines =
        Status::ALL.iter().map(|(status, meaning)| format!("  {:<3} {meaning}", status.number()));
    format!("Exit status:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("64M", 64_000_000), ("1.5GB", 1_500_000_000), ("10000", 10_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "5x", "9k", "-1M"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [("1", 1000), ("1.5s", 1500), ("20ms", 20), ("2m", 120_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5x", "0", "1e3s", "-1s", "999999999999999999999h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
