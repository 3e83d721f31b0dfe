//! Which sockets of this process there were between two sweeps.
//!
//! An event of an ended socket does not say whose it was. It was of this process if its cookie was
//! seen behind one of our descriptors: by a sweep, or by a sighting, which only asks for cookies.
//! Or if its local port is one that this process listens on, and nobody else. Everything else is a
//! stranger's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::listening::{Listener, Listening};
use super::sight::{OwnListener, Ownership};
use super::walk::cookie_of;
use crate::diag::{Socket, each_descriptor};
use crate::read::{self, ROOM};
use crate::state::State;

/// The shortest time between two sightings.
const SHORTEST: Duration = Duration::from_millis(1);

/// For how long a cookie is remembered behind which there is no descriptor any more: longer than
/// the kernel keeps a socket without a program.
const KEPT: Duration = Duration::from_secs(1_200);

/// How many are remembered.
const MOST: usize = 1 << 16;

/// The sockets of this process that were sighted.
pub(super) struct Sightings<'e> {
    engine: &'e Engine,
    listening: Arc<Listening>,
    sockets: HashMap<u64, Sighted>,
    /// Share of one core.
    budget: f64,
    next: Option<Instant>,
    open: usize,
    count: u64,
}

struct Sighted {
    since: Instant,
    is_tcp: bool,
    /// The number of the last sighting that met it.
    last: u64,
}

impl<'e> Sightings<'e> {
    pub(super) fn new(engine: &'e Engine, listening: Arc<Listening>) -> Self {
        let sockets = HashMap::new();
        Self { engine, listening, sockets, budget: 0.0, next: None, open: 0, count: 0 }
    }

    pub(super) fn set_budget(&mut self, budget: f64) {
        self.budget = budget;
    }

    /// When the next sighting is due; `None` if there are none.
    pub(super) fn next(&self) -> Option<Instant> {
        (self.budget > 0.0).then(|| self.next.unwrap_or_else(Instant::now))
    }

    /// Makes a sighting if it is due.
    pub(super) fn look_if_due(&mut self) {
        if self.next().is_some_and(|next| next <= Instant::now()) {
            self.look();
        }
    }

    fn look(&mut self) {
        let began = Instant::now();
        self.count += 1;
        let (now, table) = (self.count, &self.engine.connections.discovered);
        let Self { sockets, engine, listening, .. } = self;
        let mut found = 0;
        let mut listeners: Option<Vec<OwnListener>> = None;
        let walked = each_descriptor(self.open, |fd| {
            let Ok(cookie) = cookie_of(fd) else { return };
            found += 1;
            match sockets.entry(cookie) {
                Entry::Occupied(mut known) => known.get_mut().last = now,
                Entry::Vacant(_) if table.has(cookie) => {}
                Entry::Vacant(new) => {
                    let mut room = [0; ROOM];
                    let reply = engine.connections.reader.ask(fd, &mut room);
                    let state = reply.as_ref().ok().map(|reply| reply.state());
                    let local =
                        if state == Some(State::Listen) { read::local_of(fd) } else { None };
                    // After all questions: if the cookie is still the same, they were about it.
                    if !cookie_of(fd).is_ok_and(|after| after == cookie) {
                        return;
                    }
                    if let Some(local) = local {
                        listening.add(local.port());
                        let known = || engine.own_listeners.load_full().to_vec();
                        let listener = Listener { cookie, local };
                        listeners.get_or_insert_with(known).push(OwnListener { fd, listener });
                    }
                    let is_tcp = state.is_some() && !read::has_subflows(fd);
                    new.insert(Sighted { since: began, is_tcp, last: now });
                }
            }
        });
        if let Some(mut listeners) = listeners {
            listeners.retain(|own| own.is_open());
            engine.own_listeners.store(Arc::new(listeners));
        }
        self.open = found;
        // What is a connection of the table now, or never was one, need not be remembered.
        if now % 64 == 0 || sockets.len() > MOST {
            let is_small = sockets.len() <= MOST;
            sockets.retain(|cookie, it| {
                let waits = it.is_tcp && is_small && it.since.elapsed() < KEPT;
                it.last == now || (waits && !table.has(*cookie))
            });
        }
        let took = began.elapsed();
        let pause = if walked.is_ok() { took.div_f64(self.budget.max(1e-6)) } else { KEPT };
        self.next = Some(began + took + pause.max(SHORTEST));
    }

    /// Whether this process, and nobody else, listens at this end of a connection.
    fn is_served(&self, socket: &Socket) -> bool {
        let own = self.engine.own_listeners.load();
        let accepting = own.iter().find(|own| own.listener.accepts(socket.local));
        if !accepting.is_some_and(OwnListener::is_open) {
            return false;
        }
        self.listening.refresh();
        let all = self.listening.all();
        let mut accepting = all.iter().filter(|it| it.accepts(socket.local));
        accepting.all(|it| own.iter().any(|own| own.listener.cookie == it.cookie))
    }
}

impl OwnListener {
    /// Whether the descriptor still is the listener.
    fn is_open(&self) -> bool {
        cookie_of(self.fd).is_ok_and(|now| now == self.listener.cookie)
    }
}

/// Without a look at this process, nothing is known to be of it.
impl Ownership for Option<Sightings<'_>> {
    fn of(&mut self, socket: &Socket) -> Option<Option<Duration>> {
        let sightings = self.as_mut()?;
        if let Some(sighted) = sightings.sockets.remove(&socket.cookie) {
            return sighted.is_tcp.then(|| Some(sighted.since.elapsed()));
        }
        sightings.is_served(socket).then_some(None)
    }
}
