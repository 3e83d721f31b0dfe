//! Another process that makes connections, and what has to be in the metrics of them.

use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use tcpinfo::Monitor;
use tcpinfo::diag::{Event, Events};

pub(crate) use support::totals::{Totals, role, totals};

use support::exchanges::Made;
use support::loopback::until;
use support::reader::{Collected, Reader};
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
    made: Option<Made>,
}

impl Generator {
    fn start(arguments: &[String]) -> Self {
        let mut command = Command::new(program("connections"));
        let running = Running::with_input(command.args(arguments), Stdio::piped());
        let line = running.line();
        let addresses = line.split_whitespace().map(|it| it.parse().expect("an address"));
        let addresses = addresses.collect();
        Self { running, addresses, made: None }
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

    /// Whether the work has come to its end.
    pub(crate) fn is_done(&mut self) -> bool {
        let line = self.running.lines.try_recv();
        self.made = self.made.or(line.ok().map(|line| line.parse().expect("what it counted")));
        self.made.is_some()
    }

    /// Waits for the end of the work.
    pub(crate) fn made(&self) -> Made {
        self.made.unwrap_or_else(|| self.running.line().parse().expect("what it counted"))
    }
}

/// Somebody else who is told of the ends of connections. The kernel tells them from a queue of its
/// own, some time after the end: a discovery that begins in between counts them.
pub(crate) struct Ends(Arc<AtomicU64>);

impl Ends {
    pub(crate) fn listen() -> Self {
        let events = Events::open().and_then(|events| events.with_receive_buffer(4 << 20));
        let mut events = events.expect("sock_diag answers");
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::downgrade(&told);
        // Takes them at once: the buffer has room for some 6,000.
        thread::spawn(move || {
            loop {
                let event = events.next_within(Duration::from_millis(100));
                let Some(count) = count.upgrade() else { return };
                match event.expect("well-formed") {
                    Some(Event::Ended(socket)) if socket.peer.port() != 0 => {
                        count.fetch_add(1, Ordering::Release);
                    }
                    Some(Event::Lost) => panic!("the buffer is too small"),
                    _ => {}
                }
            }
        });
        Self(told)
    }

    /// Waits for the ends of so many sockets that were connected.
    pub(crate) fn wait(&self, count: u64) {
        let told = || self.0.load(Ordering::Acquire);
        until("the ends to be told", || (told() >= count).then_some(()));
    }
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

/// Collects once a second until told to stop: no counter may fall, and no level be below zero.
pub(crate) fn collect_every_second(reader: &Reader, done: &AtomicBool) {
    let mut last = Collected::default();
    while !done.load(Ordering::Acquire) {
        let now = reader.collected();
        now.assert_follows(&last);
        last = now;
        thread::park_timeout(Duration::from_secs(1));
    }
}

/// Does this while both collect every second.
pub(crate) fn while_collecting<T>(readers: &[Reader], work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let collecting: Vec<_> = readers
            .iter()
            .map(|reader| scope.spawn(|| collect_every_second(reader, &done)))
            .collect();
        let result = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Release);
        collecting.iter().for_each(|it| it.thread().unpark());
        collecting.into_iter().for_each(|it| it.join().expect("no counter fell"));
        result.unwrap_or_else(|why| resume_unwind(why))
    })
}

/// So many providers of a monitor.
pub(crate) fn providers(monitor: &Monitor, count: usize) -> Vec<(Reader, SdkMeterProvider)> {
    let all: Vec<_> = (0..count).map(|_| Reader::with_provider()).collect();
    all.iter().for_each(|(_, provider)| monitor.instrument(provider));
    all
}
