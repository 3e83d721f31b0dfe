//! Which sockets of this process there were between two sweeps.
//!
//! An event of an ended socket does not say whose it was. It was of this process if its cookie was
//! seen behind one of our descriptors: by a sweep, or by a sighting, which only asks for cookies.
//! Or if its local port is one that this process listens on, and nobody else. If nothing is known
//! to listen there, the server may have just begun: then the thread looks at once, for as long as
//! its budget allows. Everything else is a stranger's.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
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

/// For how long it may look at once for new servers if it did not do so for a while.
const SAVED: Duration = Duration::from_millis(5);

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
    allowance: Allowance,
    /// Listeners of others, by cookie, as of the last look for new servers.
    of_others: HashSet<u64>,
}

/// Time that may be spent on looks for new servers.
struct Allowance {
    /// In seconds; it is spent before it is known how long a look takes.
    saved: f64,
    at: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { saved: SAVED.as_secs_f64(), at: Instant::now() }
    }
}

impl Allowance {
    /// Does this if there is time for it, of which a share of `budget` comes back.
    fn spend<R>(&mut self, budget: f64, work: impl FnOnce() -> R) -> Option<R> {
        let now = Instant::now();
        let back = now.duration_since(self.at).as_secs_f64() * budget;
        (self.saved, self.at) = ((self.saved + back).min(SAVED.as_secs_f64()), now);
        if budget <= 0.0 || self.saved <= 0.0 {
            return None;
        }
        let done = work();
        self.saved -= now.elapsed().as_secs_f64();
        Some(done)
    }
}

struct Sighted {
    since: Instant,
    is_tcp: bool,
    /// The number of the last sighting that met it.
    last: u64,
}

impl<'e> Sightings<'e> {
    pub(super) fn new(engine: &'e Engine, listening: Arc<Listening>) -> Self {
        let (sockets, of_others, allowance) = Default::default();
        let (budget, next, open, count) = (0.0, None, 0, 0);
        Self { engine, listening, sockets, budget, next, open, count, allowance, of_others }
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
    fn is_served(&mut self, socket: &Socket) -> bool {
        if !self.listens(socket.local) && !self.has_begun(socket.local) {
            return false;
        }
        self.listening.refresh();
        let (own, all) = (self.engine.own_listeners.load(), self.listening.all());
        let mut accepting = all.iter().filter(|it| it.accepts(socket.local));
        accepting.all(|it| own.iter().any(|own| own.listener.cookie == it.cookie))
    }

    /// Whether this process is known to listen at this address.
    fn listens(&self, local: SocketAddr) -> bool {
        let own = self.engine.own_listeners.load();
        let accepting = own.iter().find(|own| own.listener.accepts(local));
        accepting.is_some_and(OwnListener::is_open)
    }

    /// A connection ended where this process is not known to listen. Looks whether it has begun to:
    /// asks what listens, and looks at the own descriptors once for each listener.
    fn has_begun(&mut self, local: SocketAddr) -> bool {
        let mut allowance = std::mem::take(&mut self.allowance);
        let found = self.look_for(local, &mut allowance);
        self.allowance = allowance;
        found && self.listens(local)
    }

    fn look_for(&mut self, local: SocketAddr, allowance: &mut Allowance) -> bool {
        let is_any = |all: &[Listener]| all.iter().any(|it| it.accepts(local));
        if !is_any(&self.listening.all()) {
            allowance.spend(self.budget, || self.listening.look_now());
        }
        let all = self.listening.all();
        let is_new = |it: &&Listener| it.accepts(local) && !self.of_others.contains(&it.cookie);
        if all.iter().find(is_new).is_none() {
            return false;
        }
        let looked = allowance.spend(self.budget, || self.look());
        if looked.is_some() {
            let own = self.engine.own_listeners.load();
            let is_own = |it: &Listener| own.iter().any(|own| own.listener.cookie == it.cookie);
            self.of_others = all.iter().filter(|it| !is_own(it)).map(|it| it.cookie).collect();
        }
        looked.is_some()
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
