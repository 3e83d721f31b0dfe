//! `tcpinfo serve`: the metrics of all connections of this host, as a page and as pushes.

use std::io::{self, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tcpinfo::diag::{Filter, Query};
use tcpinfo::{Discovery, DiscoveryEvents, Monitor};

use crate::args::Serve;
use crate::failure::{Failure, Status};
use crate::serve::grouping::Grouping;
use crate::serve::http::Pages;
use crate::serve::push::{Push, is_wanted};
use crate::serve::settings::Settings;
use crate::signals::ended;

mod config;
mod grouping;
mod http;
#[cfg_attr(not(feature = "otlp"), path = "serve/no_push.rs")]
mod push;
mod rule;
mod settings;

/// Where the page is if nothing else is said: the port of OpenTelemetry's exporters for Prometheus.
const USUAL: &str = "127.0.0.1:9464";

pub(crate) fn run(serve: &Serve) -> Result<Status, Failure> {
    let settings = Settings::new(serve)?;
    let pushes = is_wanted(settings.push)?;
    let listen = match (&settings.listen, pushes) {
        (Some(listen), _) => Some(listen.as_str()),
        (None, false) => Some(USUAL),
        (None, true) => None,
    };
    // Before anything is served: a second start must not disturb the first.
    let listener = listen.map(bind).transpose()?;
    let ended = ended().map_err(|error| Failure::impossible(format!("no signals: {error}")))?;
    let monitor = monitor();
    // A page that nobody can ask for would only collect what ends.
    let page = listener.as_ref().map(|_| monitor.page());
    let push = pushes.then(|| Push::start(&monitor)).transpose()?;
    let discovered = monitor.discover(discovery(&settings));
    let discovered = discovered.map_err(|error| Failure::kernel(&error))?;
    if let DiscoveryEvents::Unavailable(kind) = discovered.events() {
        say(&format!(
            "the kernel does not tell the ends of connections ({kind}): short ones are \
                      missing, and what others did last"
        ));
    }
    let mut said = Vec::new();
    if let Some((listener, page)) = listener.zip(page) {
        let address = listener.local_addr().map_err(|error| Failure::output(&error))?;
        said.push(format!("metrics at http://{address}/metrics"));
        let health = push.as_ref().map(Push::health);
        let pages = Pages::new(page, health);
        thread::spawn(move || http::serve(&listener, pages));
    }
    said.extend(push.as_ref().map(|push| format!("pushed to {}", push.to())));
    // Nobody has to read it.
    let _ = writeln!(io::stdout(), "{}", said.join(", "));
    // The sender lives as long as the program.
    let _ = ended.recv();
    match push.map(Push::end) {
        Some(Err(why)) => {
            Err(Failure::impossible(format!("the last totals did not arrive: {why}")))
        }
        Some(Ok(())) | None => Ok(Status::Done),
    }
}

fn bind(listen: &str) -> Result<TcpListener, Failure> {
    let addresses = listen.to_socket_addrs().map_err(|error| {
        Failure::usage(format!("{listen} is no address and port, such as {USUAL}: {error}"))
    })?;
    let addresses: Vec<_> = addresses.collect();
    TcpListener::bind(&addresses[..]).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::impossible(format!(
            "another program listens on {listen}: choose another port by --listen"
        )),
        _ => Failure::impossible(format!("cannot listen on {listen}: {error}")),
    })
}

/// Says each error once, as long as it is the same.
fn monitor() -> Monitor {
    let latest = Mutex::new(String::new());
    let builder = Monitor::builder().on_error(move |_, error| {
        let text = error.to_string();
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        if *latest != text {
            say(&text);
            *latest = text;
        }
    });
    builder.build()
}

/// Never panics: any thread says something.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "tcpinfo: {what}");
}

/// What to look for, and how to group it.
fn discovery(settings: &Settings) -> Discovery {
    let side = |port: &u16| Filter::local_port(*port..=*port) | Filter::peer_port(*port..=*port);
    let ports = settings.port.iter().map(side).collect::<Vec<_>>();
    let to = settings.to.iter().copied().map(Filter::peer).collect::<Vec<_>>();
    let kinds = [ports, to].into_iter().filter(|kind| !kind.is_empty()).map(Filter::any);
    let query = match kinds.reduce(|one, other| one & other) {
        Some(filter) => Query::new().with_filter(filter),
        None => Query::new(),
    };
    let discovery = Discovery::host().with_query(query);
    if settings.is_usual_grouping() {
        return discovery;
    }
    let grouping = Grouping::new(settings);
    discovery.with_groups(move |socket| grouping.group(socket))
}
