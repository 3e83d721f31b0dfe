//! Another process that makes connections, and what has to be in the metrics of them.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::made::Made;
use support::reader::{Collected, Series};
use support::running::{Running, program};

/// How many connections a scene makes: 10,000, or what `TCPINFO_CONNECTIONS` says.
pub(crate) fn connections() -> u64 {
    let asked = std::env::var("TCPINFO_CONNECTIONS").ok();
    asked.map_or(10_000, |asked| asked.parse().expect("a number of connections"))
}

/// The program `connections`: its servers listen until this goes.
pub(crate) struct Generator {
    running: Running,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Generator {
    fn start(arguments: &[String]) -> Self {
        let mut command = Command::new(program("connections"));
        let running = Running::with_input(command.args(arguments), Stdio::piped());
        let line = running.line();
        let addresses = line.split_whitespace().map(|it| it.parse().expect("an address"));
        let addresses = addresses.collect();
        Self { running, addresses }
    }

    /// Both ends of so many connections, so many a second, each open for some milliseconds.
    pub(crate) fn both(count: u64, rate: u64, hold: u64) -> Self {
        Self::start(&["both".to_owned(), count.to_string(), rate.to_string(), hold.to_string()])
    }

    /// Clients of servers that are elsewhere.
    pub(crate) fn to(servers: &[SocketAddr], count: u64, rate: u64, hold: u64) -> Self {
        let numbers = [count, rate, hold].map(|number| number.to_string());
        let servers = servers.iter().map(ToString::to_string);
        let arguments: Vec<_> =
            ["to".to_owned()].into_iter().chain(numbers).chain(servers).collect();
        Self::start(&arguments)
    }

    /// Servers of clients that are elsewhere.
    pub(crate) fn at(count: u64) -> Self {
        Self::start(&["at".to_owned(), count.to_string()])
    }

    /// Begins.
    pub(crate) fn go(&mut self) {
        let stdin = self.running.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"go\n").expect("it reads");
    }

    /// Waits for the end of the work.
    pub(crate) fn made(&self) -> Made {
        self.running.line().parse().expect("what it counted")
    }
}

/// Connections opened and closed, bytes sent once, received and acknowledged.
pub(crate) type Totals = [u64; 5];

/// Sums of all series whose attributes the closure chooses, written `key=value,key=value`.
pub(crate) fn totals(collected: &Collected, choose: impl Fn(&str) -> bool) -> Totals {
    let sum = |name: &str| {
        let of_name = |series: &Series| {
            let rest = series.strip_prefix(name).and_then(|it| it.strip_prefix('{'));
            rest.and_then(|it| it.strip_suffix('}')).is_some_and(&choose)
        };
        let all = collected.counters.iter().filter(|(series, _)| of_name(series));
        all.map(|(_, value)| *value).sum::<f64>() as u64
    };
    [
        sum("tcp.connection.opened"),
        sum("tcp.connection.closed"),
        sum("tcp.data.sent") - sum("tcp.data.retransmitted"),
        sum("tcp.data.received"),
        sum("tcp.data.acked"),
    ]
}

/// Whether the attributes name this role.
pub(crate) fn role(role: &'static str) -> impl Fn(&str) -> bool {
    move |attributes| attributes.split(',').any(|it| it.strip_prefix("tcp.role=") == Some(role))
}

/// What has to be in the metrics of clients: the peer's FIN counts one received, our SYN and our
/// FIN one acknowledged each.
pub(crate) fn of_clients([connections, sent, received]: [u64; 3]) -> Totals {
    [connections, connections, sent, received + connections, sent + 2 * connections]
}

/// The same of accepted connections, whose SYN does not count.
pub(crate) fn of_servers([connections, sent, received]: [u64; 3]) -> Totals {
    [connections, connections, sent, received + connections, sent + connections]
}
