//! One pass over all watched sockets: one kernel read each, added up, published as a snapshot.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::counters::{COUNTERS, Totals};
use super::entry::{Entry, Owner, Reading};
use super::sample::{Dice, Reservoir, Sample};
use super::set::{Family, Labels, STATES, Set, UP_DOWNS, state_rank};
use super::slots::{Keep, lock};
use super::snapshot::{GroupSnapshot, MonitorSnapshot, Snapshot, SocketSnapshot, Sums};
use super::worst::{Chosen, Contest};
use super::{Config, Shared, Trouble};
use crate::info::{Kind, Raw, TcpInfo};
use crate::read::ROOM;
use crate::state::State;

/// What sweeps keep from one to the next: scratch memory and what they chose.
pub(crate) struct Sweeper {
    /// By the index of the set.
    tallies: Vec<Option<Tally>>,
    dice: Dice,
    count: u64,
    /// The worst connections shown by the last sweep, by cookie.
    chosen: HashMap<u64, Chosen>,
}

impl Sweeper {
    pub(crate) fn new() -> Self {
        let seed = SystemTime::UNIX_EPOCH.elapsed().map(|since| since.as_nanos() as u64);
        Self {
            tallies: Vec::new(),
            dice: Dice::new(seed.unwrap_or(1)),
            count: 0,
            chosen: HashMap::new(),
        }
    }
}

/// What one sweep adds up for one set.
struct Tally {
    set: Arc<Set>,
    added: Totals,
    seen: u64,
    opened: u64,
    states: [u64; STATES],
    up_downs: [u64; UP_DOWNS],
    up_downs_seen: u64,
    live: u64,
    /// The only live socket of a shared series, while there is but one.
    info: Option<TcpInfo>,
    samples: Reservoir,
    contest: Option<Contest>,
}

impl Tally {
    fn new(set: Arc<Set>) -> Self {
        let contest = lock(&set.worst).map(|(worst, count)| Contest::new(worst, count));
        Self {
            set,
            added: [0; COUNTERS],
            seen: 0,
            opened: 0,
            states: [0; STATES],
            up_downs: [0; UP_DOWNS],
            up_downs_seen: 0,
            live: 0,
            info: None,
            samples: Reservoir::default(),
            contest,
        }
    }

    /// Adds one reading of one socket.
    #[inline]
    fn add(&mut self, entry: &Entry, reading: &Reading<'_>, config: &Config, dice: &mut Dice) {
        self.live += 1;
        for (sum, added) in self.added.iter_mut().zip(&reading.increments.added) {
            *sum = sum.wrapping_add(*added);
        }
        self.seen |= reading.counters_present;
        self.opened += u64::from(reading.opened);
        self.states[state_rank(reading.reply.state())] += 1;
        let up_downs = Raw::<UP_DOWNS>::of::<{ Kind::UpDown as u8 }>(&reading.reply);
        self.up_downs_seen |= up_downs.present;
        for (rank, sum) in self.up_downs.iter_mut().enumerate() {
            *sum += up_downs.values[rank] & (up_downs.present >> rank & 1).wrapping_neg();
        }
        // A listener has a congestion window too, which nothing ever goes through.
        let connected = reading.reply.state() != State::Listen && !reading.reply.is_blank();
        if let Some(place) = connected.then(|| self.samples.choose(config.samples, dice)).flatten()
        {
            self.samples.put(place, Sample::live(&reading.reply.info()));
        }
        if let Some(contest) = &mut self.contest {
            contest.enter(entry, reading, config);
        }
        if self.set.family == Family::Socket {
            self.info = (self.live == 1).then(|| reading.reply.info());
        }
    }
}

/// A snapshot, and beside it what only one registration gets: the samples of ended connections.
pub(crate) struct Swept {
    pub(crate) snapshot: Arc<Snapshot>,
    /// For the groups of the snapshot, in its order.
    pub(crate) ended: Vec<Vec<Sample>>,
}

/// A snapshot in the making.
struct Pass<'s> {
    shared: &'s Shared,
    sweeper: &'s mut Sweeper,
    sockets: Vec<SocketSnapshot>,
    trouble: Vec<Trouble>,
    room: [u8; ROOM],
}

impl Shared {
    /// Reads every watched socket once. Sweeps wait for each other; watching and dropping waits at
    /// most for one read.
    pub(crate) fn sweep(&self, registration: Option<usize>) -> Swept {
        let mut sweeper = lock(&self.sweeper);
        let (at, began) = (SystemTime::now(), Instant::now());
        sweeper.count += 1;
        let mut pass = Pass {
            shared: self,
            sweeper: &mut sweeper,
            sockets: Vec::with_capacity(self.own.load(Ordering::Relaxed)),
            trouble: Vec::new(),
            room: [0; ROOM],
        };
        self.slots.visit(|slot, entry| {
            let visited = catch_unwind(AssertUnwindSafe(|| pass.read(slot, entry)));
            visited.unwrap_or_else(|_| {
                pass.trouble.push(Trouble::panicked(entry.attributes()));
                pass.show_last(entry);
                Keep::Yes
            })
        });
        let (groups, ended) = pass.merge(registration);
        let Pass { sockets, trouble, .. } = pass;
        let noted = self.note(&trouble);
        let snapshot = Arc::new(Snapshot {
            at,
            groups,
            sockets,
            monitor: MonitorSnapshot {
                watched: self.watched.load(Ordering::Relaxed),
                sweep_duration: began.elapsed(),
                reads: self.reads.load(Ordering::Relaxed),
                read_errors: noted,
                folded: self.folded.load(Ordering::Relaxed),
            },
        });
        self.latest.store(Some(Arc::clone(&snapshot)));
        drop(sweeper);
        self.report(trouble);
        Swept { snapshot, ended }
    }
}

impl Pass<'_> {
    fn read(&mut self, slot: usize, entry: &mut Entry) -> Keep {
        // Whether the descriptor still is the socket it was: when its counters say otherwise, and
        // every so often in any case.
        let due = (slot as u64 + self.sweeper.count) % 64 == 0;
        let room = &mut self.room;
        let reading = match entry.read(self.shared, room, due) {
            Ok(reading) => reading,
            Err(error) => {
                let keep = if error.is_final() { Keep::No } else { Keep::Yes };
                self.trouble.push(Trouble::new(entry.attributes(), error.into()));
                if keep == Keep::No {
                    entry.leave(self.shared);
                } else {
                    self.show_last(entry);
                }
                return keep;
            }
        };
        match &entry.owner {
            Owner::Set(membership) => {
                let tally = tally_of(&mut self.sweeper.tallies, membership.set());
                tally.add(entry, &reading, &self.shared.config, &mut self.sweeper.dice);
            }
            Owner::Own(labels) => {
                let sums = entry.sums(Some(&reading.reply));
                let (labels, info) = (Arc::clone(labels), Some(reading.reply.info()));
                self.sockets.push(SocketSnapshot { info, labels, sums });
            }
            Owner::Unnamed(_) => {}
        }
        Keep::Yes
    }

    /// A socket that could not be read keeps its counters.
    fn show_last(&mut self, entry: &Entry) {
        let Owner::Own(labels) = &entry.owner else { return };
        let (labels, sums) = (Arc::clone(labels), entry.sums(None));
        self.sockets.push(SocketSnapshot { info: None, labels, sums });
    }

    /// Adds the tallies to their sets and copies out what the sets now say.
    fn merge(&mut self, registration: Option<usize>) -> (Vec<GroupSnapshot>, Vec<Vec<Sample>>) {
        let alive = self.shared.registrations.load_full();
        let sets: Vec<Arc<Set>> = {
            let mut sets = lock(&self.shared.sets);
            if let Some(registration) = registration {
                sets.collected_by(registration, &alive);
            }
            sets.reported().cloned().collect()
        };
        let mut tallies = std::mem::take(&mut self.sweeper.tallies);
        let mut shown: Vec<(GroupSnapshot, Vec<Sample>)> = Vec::new();
        let mut contests = Vec::new();
        for set in &sets {
            let known = tallies
                .get_mut(set.index)
                .and_then(|tally| tally.take_if(|tally| Arc::ptr_eq(&tally.set, set)));
            let mut tally = known.unwrap_or_else(|| Tally::new(Arc::clone(set)));
            let (sums, snapshot) = settle(&mut tally, registration);
            match set.family {
                Family::Group => shown.push(snapshot),
                Family::Socket => self.sockets.push(SocketSnapshot {
                    info: tally.info.take(),
                    labels: Arc::clone(&set.labels),
                    sums,
                }),
            }
            contests.extend(tally.contest.take().map(|contest| (Arc::clone(&set.labels), contest)));
        }
        // Sets given up meanwhile: their additions are not lost, should they come back.
        for mut tally in tallies.into_iter().flatten() {
            settle(&mut tally, None);
        }
        self.choose(contests);
        shown.sort_by_cached_key(|(group, _)| format!("{:?}", group.attributes()));
        shown.into_iter().unzip()
    }

    /// Adds the worst connections of each group that asked for them to the sockets shown.
    fn choose(&mut self, contests: Vec<(Arc<Labels>, Contest)>) {
        let mut last = std::mem::take(&mut self.sweeper.chosen);
        for (labels, contest) in contests {
            for entrant in contest.into_worst() {
                if self.sockets.len() >= self.shared.config.sockets {
                    return;
                }
                let cookie = entrant.cookie;
                let (chosen, shown) = entrant.show(last.remove(&cookie), &labels);
                self.sweeper.chosen.insert(cookie, chosen);
                self.sockets.push(shown);
            }
        }
    }
}

/// The tally of a set, at the set's index.
fn tally_of<'t>(tallies: &'t mut Vec<Option<Tally>>, set: &Arc<Set>) -> &'t mut Tally {
    if tallies.len() <= set.index {
        tallies.resize_with(set.index + 1, || None);
    }
    let place = &mut tallies[set.index];
    if let Some(mut other) = place.take_if(|tally| !Arc::ptr_eq(&tally.set, set)) {
        // A set given up during this sweep, whose index was used again at once.
        settle(&mut other, None);
    }
    place.get_or_insert_with(|| Tally::new(Arc::clone(set)))
}

/// Moves a tally into its set's ledger and says what the ledger then shows.
fn settle(tally: &mut Tally, registration: Option<usize>) -> (Sums, (GroupSnapshot, Vec<Sample>)) {
    let mut ledger = lock(&tally.set.ledger);
    ledger.add(&tally.added, tally.seen, tally.opened);
    ledger.up_downs_seen |= tally.up_downs_seen;
    for (rank, count) in tally.states.iter().enumerate() {
        ledger.states_seen |= u16::from(*count > 0) << rank;
    }
    let ended = ledger.ended.iter_mut().find(|(id, _)| Some(*id) == registration);
    let ended = ended.map(|(_, reservoir)| reservoir.take()).unwrap_or_default();
    let sums = Sums {
        totals: ledger.totals,
        seen: ledger.seen,
        up_downs: tally.up_downs,
        up_downs_seen: ledger.up_downs_seen,
    };
    let group = GroupSnapshot {
        opened: ledger.opened,
        closed: ledger.closed,
        samples: tally.samples.take(),
        labels: Arc::clone(&tally.set.labels),
        sums: sums.clone(),
        states: tally.states,
        states_seen: ledger.states_seen,
    };
    (sums, (group, ended))
}
