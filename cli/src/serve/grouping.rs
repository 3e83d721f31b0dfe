//! Puts each connection into a group, once: when the discovery sees it first.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tcpinfo::State;
use tcpinfo::diag::{Query, Socket, cgroup_path};
use tcpinfo::opentelemetry::KeyValue;

use super::rule::{Rule, Sight};
use super::settings::Settings;
use crate::args::GroupBy;
use crate::names::Names;
use crate::unit;

/// Paths of control groups that are kept; they are looked up again if there are more.
const KEPT: usize = 4_096;
/// For how long what listens is good enough if nothing new comes.
const KNOWN: Duration = Duration::from_secs(10);
/// For how long it is good enough for a connection that is still there: one pass sees many.
const FRESH: Duration = Duration::from_millis(10);

/// Chooses the group of each connection.
pub(super) struct Grouping {
    rules: Vec<Rule>,
    by: Vec<GroupBy>,
    only_groups: bool,
    needs_processes: bool,
    needs_units: bool,
    known: Mutex<Known>,
}

/// What was found out so far.
#[derive(Default)]
struct Known {
    names: Names,
    paths: HashMap<u64, Option<Arc<Path>>>,
    listening: HashMap<u16, Listener>,
    /// Ports of servers elsewhere, since what listens was asked: their clients are here.
    elsewhere: HashSet<u16>,
    asked: Option<Instant>,
}

/// Who listens on a port. A short connection says neither program nor unit, and this one does.
struct Listener {
    command: Option<Arc<str>>,
    cgroup: Option<Arc<Path>>,
}

impl Grouping {
    pub(super) fn new(settings: &Settings) -> Self {
        let (rules, mut by) = (settings.rules.clone(), settings.by.clone());
        if by.is_empty() {
            by.push(GroupBy::Port);
        }
        Self {
            needs_processes: by.contains(&GroupBy::Process)
                || rules.iter().any(Rule::needs_processes),
            needs_units: by.contains(&GroupBy::Unit) || rules.iter().any(Rule::needs_units),
            only_groups: settings.only_groups,
            known: Mutex::default(),
            rules,
            by,
        }
    }

    /// The attributes of its group; `None` if it does not count.
    pub(super) fn group(&self, socket: &Socket) -> Option<Vec<KeyValue>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_server = known.is_server(self, socket);
        let (mut command, mut cgroup) = known.of(self, socket);
        let listener = is_server.then(|| known.listening.get(&socket.local.port())).flatten();
        command = command.or_else(|| listener.and_then(|it| it.command.clone()));
        cgroup = cgroup.or_else(|| listener.and_then(|it| it.cgroup.clone()));
        let sight = Sight {
            local: socket.local,
            peer: socket.peer,
            cgroup: cgroup.as_deref(),
            command: command.as_deref(),
        };
        if let Some(rule) = self.rules.iter().find(|rule| rule.fits(&sight)) {
            return Some(vec![KeyValue::new("tcp.group", rule.name.clone())]);
        }
        if self.only_groups {
            return None;
        }
        let mut attributes = Vec::with_capacity(2 * self.by.len());
        for by in &self.by {
            match by {
                GroupBy::Port => {
                    let (role, port) = match is_server {
                        true => ("server", socket.local.port()),
                        false => ("client", socket.peer.port()),
                    };
                    attributes.push(KeyValue::new("tcp.role", role));
                    attributes.push(KeyValue::new("server.port", i64::from(port)));
                }
                GroupBy::Unit => {
                    let name = cgroup.as_deref().map(unit::short);
                    attributes.extend(name.map(|name| KeyValue::new("tcp.unit", name)));
                }
                GroupBy::Process => {
                    let name = command.as_deref().map(str::to_owned);
                    attributes
                        .extend(name.map(|name| KeyValue::new("process.executable.name", name)));
                }
            }
        }
        Some(attributes)
    }
}

impl Known {
    /// Whether the local port is one that is listened on.
    fn is_server(&mut self, grouping: &Grouping, socket: &Socket) -> bool {
        if socket.state == State::Listen {
            self.add_listener(grouping, socket);
            return true;
        }
        let (local, peer) = (socket.local.port(), socket.peer.port());
        let age = self.asked.map_or(Duration::MAX, |asked| asked.elapsed());
        let is_new = !self.listening.contains_key(&local) && !self.elsewhere.contains(&peer);
        let is_fresh = age < FRESH && socket.state != State::Close;
        if age > KNOWN || (is_new && !is_fresh) {
            self.ask(grouping, age > KNOWN);
        }
        let is_server = self.listening.contains_key(&local);
        if !is_server {
            self.elsewhere.insert(peer);
        }
        is_server
    }

    /// Asks the kernel what listens; some 15 us.
    fn ask(&mut self, grouping: &Grouping, forget: bool) {
        let Ok(sockets) = Query::new().with_states([State::Listen]).dump() else { return };
        let sockets: Vec<Socket> = sockets.filter_map(Result::ok).collect();
        if forget {
            self.listening.clear();
            self.elsewhere.clear();
        }
        for socket in &sockets {
            if !self.listening.contains_key(&socket.local.port()) {
                self.add_listener(grouping, socket);
            }
        }
        self.asked = Some(Instant::now());
    }

    fn add_listener(&mut self, grouping: &Grouping, socket: &Socket) {
        let (command, cgroup) = self.of(grouping, socket);
        self.listening.insert(socket.local.port(), Listener { command, cgroup });
    }

    /// The program that holds a socket, and the path of its control group, as far as it is needed.
    fn of(
        &mut self,
        grouping: &Grouping,
        socket: &Socket,
    ) -> (Option<Arc<str>>, Option<Arc<Path>>) {
        let command = grouping.needs_processes.then(|| {
            self.names.refresh_processes([socket]);
            self.names.process(socket).map(|process| process.command)
        });
        let cgroup = socket.cgroup.filter(|_| grouping.needs_units).map(|id| self.path(id));
        (command.flatten(), cgroup.flatten())
    }

    fn path(&mut self, id: u64) -> Option<Arc<Path>> {
        if self.paths.len() >= KEPT {
            self.paths.clear();
        }
        let path = self.paths.entry(id).or_insert_with(|| {
            let path = cgroup_path(id).ok().flatten();
            // The root of all groups is no unit.
            path.filter(|path| path.parent().is_some()).map(Arc::from)
        });
        path.clone()
    }
}
