//! Discovered sockets: those that the monitor finds by itself, in this process or on this host.
//!
//! ```text
//!   sweep ---> walk: own descriptors ---+
//!         \--> dump: one for each query -+--> engine --> table: entry by cookie
//!                                        |              |
//!   thread ---> events of ended sockets -+              +--> tallies, or ledgers
//!         \---> sightings: own cookies
//! ```
//!
//! A pass is what one sweep asks for: all dumps and the walk. Everything that a connection adds is
//! taken out of its entry under the table's lock, and goes to one place: from a pass to a tally,
//! from an event to the ledger. `table.rs` says why nothing counts twice.
//!
//! After a `fork` the child has a copy of the monitor, none of its threads, and whatever locks
//! these had. The connections are the parent's. So in the child the monitor is silent: its
//! snapshots are empty, and it cannot begin a discovery.

mod active;
mod choice;
mod engine;
mod entries;
mod listening;
mod marks;
pub(super) mod outcome;
mod pass;
mod process;
mod sight;
mod sightings;
pub(super) mod table;
#[cfg(test)]
mod tests;
mod thread;
mod walk;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use self::active::Active;
use self::engine::Engine;
use self::listening::Listening;
use self::pass::{Passed, Scanner};
use self::sight::Sink;
use self::thread::EventThread;
use super::attributes::Attributes;
use super::connections::Connections;
use super::failures::{Failed, panicked};
use super::locks::lock;
use super::snapshot::{DiscoveryEvents, DiscoveryScope, Found};
use super::tally::Tallies;
use crate::diag::{Events, Query};

pub use self::choice::Discovery;

/// How often a discovery that begins asks what is there, until it was told everything.
const BASE_PASSES: usize = 3;

/// How many discoveries there can be at a time: each has a bit.
const MOST: usize = 64;

/// The discoveries of a monitor.
pub(crate) struct Discoveries {
    engine: Arc<Engine>,
    scanner: Mutex<Scanner>,
    /// The thread that is in a pass: a grouping that it calls may call the monitor.
    passing: Mutex<Option<ThreadId>>,
    /// Held while the list of discoveries changes, and what depends on it.
    telling: Mutex<Telling>,
}

/// Who tells the ends of sockets.
#[derive(Default)]
struct Telling {
    thread: Option<Arc<EventThread>>,
    /// The namespaces whose events the thread takes.
    told: Vec<Query>,
}

impl Discoveries {
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        let engine = Arc::new(Engine::new(connections));
        Self {
            engine,
            scanner: Mutex::default(),
            passing: Mutex::default(),
            telling: Mutex::default(),
        }
    }

    /// Begins a discovery: joins the events first, then takes what is there as its base. Returns
    /// its number, and whether the kernel tells it the ends of sockets.
    pub(crate) fn begin(&self, discovery: Discovery) -> io::Result<(u8, DiscoveryEvents)> {
        let engine = &self.engine;
        if self.is_passing_here() {
            return Err(io::Error::other("a grouping cannot begin a discovery"));
        }
        if self.is_inherited() {
            return Err(io::Error::other("the monitor is that of the parent process"));
        }
        let mut scanner = lock(&self.scanner);
        let active = engine.active.load_full();
        let is_free = |number: &u8| active.iter().all(|it| it.number != *number);
        let Some(number) = (0..MOST as u8).find(is_free) else {
            return Err(io::Error::other(format!("{MOST} discoveries are under way")));
        };
        if discovery.scope == DiscoveryScope::Host {
            scanner.dump(&discovery.query)?;
        }
        let same = active.iter().find(|it| it.discovery.query.shares_namespace(&discovery.query));
        let listening = same.map_or_else(
            || Arc::new(Listening::new(&discovery.query)),
            |same| Arc::clone(&same.listening),
        );
        let (begun, thread) = {
            let mut telling = lock(&self.telling);
            let events = self.listen(&mut telling, &discovery);
            let begun = Arc::new(Active::new(number, discovery, events, listening));
            engine.was_used.store(true, Ordering::Relaxed);
            engine.connections.discovered.claim(number);
            engine.active.rcu(|all| all.iter().cloned().chain([begun.clone()]).collect::<Vec<_>>());
            self.steer(&telling);
            (begun, telling.thread.clone())
        };
        let mut pass = || self.pass(&mut scanner, &mut Sink::new(None));
        let mut passed = pass();
        for _ in 1..BASE_PASSES {
            if passed.is_complete(number) || !passed.errors.is_empty() {
                break;
            }
            // A connection that was not shown would count in full when it is.
            passed = pass();
        }
        if let Err(error) = passed.of(number) {
            drop(scanner);
            self.end(number);
            return Err(error);
        }
        thread.iter().filter(|_| begun.has_events()).for_each(|thread| thread.fence());
        begun.set_based();
        Ok((number, begun.events))
    }

    /// Begins to take events in the namespace of a discovery, if they are wanted and possible.
    fn listen(&self, telling: &mut Telling, discovery: &Discovery) -> DiscoveryEvents {
        if !discovery.events {
            return DiscoveryEvents::Off;
        }
        if telling.told.iter().any(|query| query.shares_namespace(&discovery.query)) {
            return DiscoveryEvents::Told;
        }
        let mut listen = || {
            let events = match discovery.query.namespace() {
                Some(namespace) => Events::open_in(namespace)?,
                None => Events::open()?,
            };
            let events = events.with_receive_buffer(discovery.receive_buffer)?;
            let thread = match &mut telling.thread {
                Some(thread) => thread,
                none => none.insert(Arc::new(EventThread::start(Arc::clone(&self.engine))?)),
            };
            thread.take(events, discovery.query.of_namespace());
            Ok(())
        };
        match listen() {
            Ok(()) => {
                telling.told.push(discovery.query.of_namespace());
                DiscoveryEvents::Told
            }
            Err(error) => {
                let error: io::Error = error;
                let kind = error.kind();
                let text = format!("no events of ended sockets: {error}");
                let error = io::Error::new(kind, text);
                let failed = Failed::new(Attributes::new([]), error);
                self.engine.connections.failures.put(failed);
                DiscoveryEvents::Unavailable(kind)
            }
        }
    }

    /// Tells the thread whether to look for sockets of this process.
    fn steer(&self, telling: &Telling) {
        let active = self.engine.active.load();
        let own = active.iter().filter(|it| it.is_process() && it.has_events());
        let budget = |it: &Arc<Active>| it.discovery.sighting_budget;
        let most = own.max_by(|one, other| budget(one).total_cmp(&budget(other)));
        if let Some(thread) = &telling.thread {
            thread.sight(most.map(|it| (Arc::clone(&it.listening), budget(it))));
        }
    }

    /// Ends a discovery. Its connections are not reported any more, and do not count as closed,
    /// unless another one wants them.
    pub(crate) fn end(&self, number: u8) {
        let engine = &self.engine;
        let mut telling = lock(&self.telling);
        engine
            .active
            .rcu(|all| all.iter().filter(|it| it.number != number).cloned().collect::<Vec<_>>());
        let left = engine.active.load();
        if left.is_empty() {
            engine.connections.discovered.clear();
        } else {
            engine.connections.discovered.unclaim(number);
            self.steer(&telling);
        }
        let is_told = left.iter().any(|it| it.has_events());
        let stopped = if is_told { Telling::default() } else { std::mem::take(&mut *telling) };
        drop(telling);
        // With no lock held: the thread may be in a function of the program.
        stopped.thread.iter().for_each(|thread| thread.stop());
    }

    /// Makes a pass, whose readings go to the tallies of a sweep.
    pub(crate) fn sweep(&self, tallies: &mut Tallies) -> Found {
        let engine = &self.engine;
        let was_used = engine.was_used.load(Ordering::Relaxed);
        if !was_used {
            return Found::default();
        }
        let active = engine.active.load_full();
        if active.is_empty() {
            let overruns = engine.overruns.load(Ordering::Relaxed);
            return Found { overruns, was_used, ..Found::default() };
        }
        // The last collection of a program has every end in it that the kernel told before. On a
        // busy machine the thread can be a second behind.
        let thread = lock(&self.telling).thread.clone();
        thread.iter().filter(|_| !self.is_inherited()).for_each(|thread| thread.fence());
        let overruns = engine.overruns.load(Ordering::Relaxed);
        let mut scanner = lock(&self.scanner);
        let passed = self.pass(&mut scanner, &mut Sink::new(Some(tallies)));
        for (_, error) in passed.errors {
            engine.connections.failures.note(Failed::new(Attributes::new([]), error));
        }
        let discoveries = active.iter().map(|it| it.snapshot()).collect();
        Found { discovered: passed.readings, overruns, discoveries, was_used }
    }

    /// Whether this is a child of the process that discovers: see above.
    pub(crate) fn is_inherited(&self) -> bool {
        self.engine.connections.discovered.is_inherited()
    }

    /// Whether the calling thread is in a pass, and so in a grouping of the program.
    pub(crate) fn is_passing_here(&self) -> bool {
        *lock(&self.passing) == Some(std::thread::current().id())
    }

    /// Asks for everything once.
    fn pass(&self, scanner: &mut Scanner, sink: &mut Sink<'_>) -> Passed {
        *lock(&self.passing) = Some(std::thread::current().id());
        let passed = catch_unwind(AssertUnwindSafe(|| scanner.pass(&self.engine, sink)));
        *lock(&self.passing) = None;
        let telling = lock(&self.telling);
        if self.engine.active.load().is_empty() {
            // The last discovery ended meanwhile.
            self.engine.connections.discovered.clear();
        }
        drop(telling);
        passed.unwrap_or_else(|_| {
            self.engine.connections.failures.note(Failed::new(Attributes::new([]), panicked()));
            Passed::default()
        })
    }
}
