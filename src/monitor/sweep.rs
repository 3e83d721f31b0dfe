//! One pass over all watched connections: one kernel read each, added up, published as a snapshot.
//!
//! ```text
//!     slot by slot, each under its lock                 at the end, set by set
//!
//!   slot --read--> reading --+--> tally of its set --+--> ledger of the set --> group's snapshot
//!                            |                       |         ^
//!                            +--> socket's snapshot  |         |  last readings, ends
//!                                                    |   watch and drop, at any time
//!                                                    +--> the worst of the group --> sockets
//! ```
//!
//! A tally lives for one sweep, and belongs to the sweep alone: adding to it needs no lock. The
//! ledger of a set lives as long as the set. Whoever watches or drops meanwhile adds to the ledger
//! directly, and waits for one slot at most.
//!
//! **Why nothing is counted twice, and nothing is lost.** A connection's counters advance only
//! under its slot's lock. Who advances them gets what they advanced by, and adds it to one place:
//! the sweep to a tally, a drop to the ledger. Each tally is moved into its ledger before the
//! ledger is read for the snapshot. What a drop adds after that is in the next snapshot.
//!
//! **Why no set is forgotten too early.** A tally holds a membership of its set until the ledger
//! has everything. So while a sweep has something for a set, the set is in use, and neither makes
//! room nor passes its index on to another set.
//!
//! What a reader is told is the last step. Groups go through the ledger, which knows what each
//! reader was told. Single sockets go through [`Views`], one for each registration.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::builder::Config;
use super::connections::Connections;
#[cfg(feature = "diag")]
use super::discovery::Discoveries;
use super::ledger::Reader;
use super::locks::lock;
use super::ranking::Ranking;
use super::sample::ConnectionSample;
use super::set::{MetricFamily, Set};
use super::snapshot::{GroupSnapshot, MonitorSnapshot, Origin, Snapshot, SocketSnapshot, Start};
use super::tally::Tally;
use super::timestamp::Timestamp;
use super::views::Views;
use super::visitor::{Lane, Visitor};

/// A thread has at least this many connections: starting it costs as much as reading some 100.
const SHARE: u64 = 1_024;

/// What sweeps keep from one to the next.
pub(crate) struct Sweeper {
    /// One for each thread that reads. The first is the caller's; it gets what the others added.
    lanes: Vec<Lane>,
    count: u64,
    /// What each registration was told of single sockets.
    views: HashMap<usize, Views>,
}

/// A snapshot, and what only one registration gets: the samples of ended connections.
pub(crate) struct Swept {
    pub(crate) snapshot: Arc<Snapshot>,
    /// For the groups of the snapshot, in its order.
    pub(crate) ended: Vec<Vec<ConnectionSample>>,
}

/// Where a sweep finds its sockets.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'s> {
    pub(crate) connections: &'s Connections,
    #[cfg(feature = "diag")]
    pub(crate) discoveries: &'s Discoveries,
}

/// The snapshots of groups and of sockets, and the samples of connections that ended.
type Merged = (Vec<GroupSnapshot>, Vec<SocketSnapshot>, Vec<Vec<ConnectionSample>>);

impl Sweeper {
    /// With a lane for each thread that may read.
    pub(crate) fn new(threads: usize, samples: usize) -> Self {
        let lanes = (0..threads.max(1)).map(|thread| Lane::new(samples, thread)).collect();
        Self { lanes, count: 0, views: HashMap::new() }
    }

    /// Reads every watched connection once.
    pub(crate) fn sweep(
        &mut self,
        sources: Sources<'_>,
        config: &Config,
        registration: Option<usize>,
    ) -> Swept {
        let connections = sources.connections;
        let began = Timestamp::now();
        self.count += 1;
        self.read_all(connections, began);
        #[cfg(feature = "diag")]
        let found = sources.discoveries.sweep(&mut self.lanes[0].tallies);
        #[cfg(not(feature = "diag"))]
        let found = super::snapshot::Found::default();
        let (groups, sockets, ended) = self.merge(connections, config, registration, began);
        let monitor = MonitorSnapshot {
            watched: connections.watched(),
            given_back: connections.given_back(),
            sweep_duration: began.elapsed(),
            reads: connections.reader.reads(),
            read_errors: connections.failures.counts(),
            folded: connections.folded(),
            discovered: found.discovered,
            event_overruns: found.overruns,
            discoveries: found.discoveries,
            was_discovered: found.was_used,
            uncollected: connections.registrations.uncollected(),
        };
        let snapshot = Snapshot { at: began.at, groups, sockets, monitor };
        if let Some(views) = registration.and_then(|number| self.views.get_mut(&number)) {
            views.note_end(snapshot.ended());
        }
        Swept { snapshot: Arc::new(snapshot), ended }
    }

    /// Reads with as many threads as the connections are worth, and brings what they added up into
    /// the first lane.
    ///
    /// The threads take parts of the slots from one walk, so each connection is read by one of
    /// them, once. A thread that cannot be started leaves its part to the others.
    fn read_all(&mut self, connections: &Connections, began: Timestamp) {
        let (first, others) = self.lanes.split_first_mut().expect("a sweep has a thread");
        let walk = connections.slots.walk();
        let read = |lane: &mut Lane, count| {
            Visitor::new(connections, lane, count, began).read(&walk);
        };
        let (read, count) = (&read, self.count);
        first.sockets.reserve_exact(connections.own());
        // Of connections that nobody watches any more there are few.
        let worth = usize::try_from(connections.watched() / SHARE).unwrap_or(usize::MAX);
        let others = others.iter_mut().take(worth.saturating_sub(1));
        std::thread::scope(|scope| {
            for lane in others {
                let thread = std::thread::Builder::new().name("tcpinfo-sweep".into());
                let _ = thread.spawn_scoped(scope, move || read(lane, count));
            }
            read(first, count);
        });
        let (first, others) = self.lanes.split_first_mut().expect("a sweep has a thread");
        for lane in others {
            first.absorb(lane);
        }
    }

    /// Adds the tallies to the ledgers of their sets, and copies out what the ledgers then say.
    ///
    /// The sets are listed after the last reading, so every set with a tally is among them: it was
    /// there, and its tally has kept it in use since.
    fn merge(
        &mut self,
        connections: &Connections,
        config: &Config,
        registration: Option<usize>,
        began: Timestamp,
    ) -> Merged {
        let reader = registration.map_or(Reader::Snapshots, Reader::Registration);
        let alive = connections.registrations.all();
        let sets: Vec<Arc<Set>> = {
            let mut sets = lock(&connections.sets);
            // Snapshots are no reader while there are registrations: they need not miss a group.
            if reader.is_alive(&alive) {
                sets.collected_by(reader, &alive);
            }
            sets.drop_unused_series();
            sets.note_idle(Instant::now());
            sets.reported().cloned().collect()
        };
        let lane = &mut self.lanes[0];
        let mut tallies = lane.tallies.take();
        let mut sockets = std::mem::take(&mut lane.sockets);
        let mut groups: Vec<(GroupSnapshot, Vec<ConnectionSample>)> = Vec::new();
        let mut rankings = Vec::new();
        for set in &sets {
            let known = tallies.get_mut(set.index);
            let known = known.and_then(|tally| tally.take_if(|tally| tally.is_of(set)));
            // A set without a reading in this sweep is reported all the same.
            let mut tally = known.unwrap_or_else(|| Tally::new(None));
            let (group, ended) = tally.settle(set, reader, &alive);
            match set.family {
                MetricFamily::Group => groups.push((group, ended)),
                MetricFamily::Socket => sockets.push(SocketSnapshot {
                    info: tally.info.take(),
                    verdict: tally.verdict.take(),
                    labels: group.labels,
                    sums: group.sums,
                    origin: Origin { id: set.serial, start: Start::Whole(set.since) },
                    since: set.since,
                }),
            }
            rankings.extend(tally.ranking.take());
        }
        // The worst of each group that asked for them, as far as the cap of sockets leaves room.
        let room = config.sockets.saturating_sub(sockets.len());
        sockets.extend(rankings.into_iter().flat_map(Ranking::into_worst).take(room));
        self.tell_sockets(&mut sockets, registration, &alive, began);
        groups.sort_by_cached_key(|(group, _)| format!("{:?}", group.attributes()));
        let (groups, ended) = groups.into_iter().unzip();
        (groups, sockets, ended)
    }

    /// Turns the totals of single sockets into what this reader is told. A snapshot has the totals
    /// themselves, each series once.
    fn tell_sockets(
        &mut self,
        sockets: &mut Vec<SocketSnapshot>,
        registration: Option<usize>,
        alive: &[usize],
        began: Timestamp,
    ) {
        self.views.retain(|known, _| alive.contains(known));
        match registration {
            Some(registration) => {
                self.views.entry(registration).or_default().tell(sockets, began.at);
            }
            None => {
                let mut told = HashSet::new();
                sockets.retain(|socket| told.insert(socket.labels.plain.clone()));
            }
        }
    }
}
