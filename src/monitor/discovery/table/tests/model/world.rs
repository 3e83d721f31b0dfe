//! The world of the model: a kernel with sockets, events and dumps, and what the monitor does with
//! them, as `Engine` and `Connections` do it. After each step, what was counted of a connection is
//! compared with what must be.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::super::super::super::super::judged::tests::{connection, put};
use super::super::super::super::super::phase::{End, Phase};
use super::super::super::super::super::reading::Answer;
use super::super::*;
use crate::info::{CounterNumbers, Reply, Row};
use crate::kernel::Kernel;
use crate::wire::LEN;

/// Takes in a reading with so many bytes.
fn reading<T>(phase: Phase, bytes: u64, take_in: impl FnOnce(&Answer<'_>) -> T) -> T {
    let mut reply = connection();
    put(&mut reply, "state", if phase == Phase::Over { 7 } else { 1 });
    put(&mut reply, "bytes_acked", bytes);
    let kernel = Kernel::from_release("6.18.0");
    let answer = Answer::new(Reply::new(&reply, LEN, &kernel), None);
    assert_eq!(answer.phase(), phase);
    take_in(&answer)
}

fn bytes_of(added: &CounterNumbers) -> u64 {
    added.values[Row::bytes_acked.rank()]
}

/// Another group for each time that a connection is put into one, which says whose it is.
fn group_of(cookie: u64) -> Membership {
    let set = Set::new(MetricFamily::Group, Attributes::new([]), cookie as usize, false);
    Membership::join(&Arc::new(set))
}

pub(super) fn cookie_of(parted: &Parted) -> u64 {
    parted.group.set().index as u64
}

/// What was counted of a connection, beside what must be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) bytes: u64,
    /// The highest reading that anybody took, and what the readings so far add up to.
    pub(super) last: Option<u64>,
    pub(super) sum: u64,
    /// The discovery that counted it has ended: it counts no more, or from anew.
    pub(super) is_left: bool,
}

/// A discovery: of the cookies that leave no remainder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    pub(super) number: u8,
    pub(super) divisor: u64,
    pub(super) has_events: bool,
    pub(super) is_based: bool,
}

impl Model {
    pub(super) fn wants(&self, cookie: u64) -> bool {
        cookie % self.divisor == 0
    }
}

pub(super) struct Slot {
    pub(super) history: History,
    pub(super) group: Membership,
    pub(super) opened_in: Option<Membership>,
    pub(super) is_watched: bool,
}

pub(super) struct Pass {
    pub(super) active: Vec<Model>,
    pub(super) has_lost: bool,
    /// The discovery whose base it takes.
    pub(super) begins: Option<u8>,
    /// What the kernel has made ready, and up to which cookie.
    pub(super) ready: VecDeque<(u64, u64)>,
    pub(super) upto: u64,
}

pub(super) struct World {
    pub(super) table: Table,
    /// Bytes of the sockets that are open, and of the others.
    pub(super) open: BTreeMap<u64, u64>,
    pub(super) next: u64,
    pub(super) active: Vec<Model>,
    /// Ends that the kernel is to tell.
    pub(super) events: VecDeque<(u64, u64)>,
    /// Ends that it does not tell.
    pub(super) untold: BTreeSet<u64>,
    pub(super) has_lost: bool,
    pub(super) slots: HashMap<u64, Slot>,
    pub(super) ended: BTreeSet<u64>,
    /// Closed because a pass did not show them, by a discovery that is under way.
    pub(super) absent: BTreeSet<u64>,
    pub(super) pass: Option<Pass>,
    pub(super) counted: BTreeMap<u64, Counted>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            open: BTreeMap::new(),
            next: 1,
            active: Vec::new(),
            events: VecDeque::new(),
            untold: BTreeSet::new(),
            has_lost: false,
            slots: HashMap::new(),
            ended: BTreeSet::new(),
            absent: BTreeSet::new(),
            pass: None,
            counted: BTreeMap::new(),
        }
    }

    pub(super) fn has_events(&self) -> bool {
        self.active.iter().any(|it| it.has_events)
    }

    /// A reading of a connection. `is_base` if what it says does not count.
    pub(super) fn reads(&mut self, cookie: u64, bytes: u64, is_base: bool) {
        let counted = self.counted.entry(cookie).or_default();
        let from = counted.last.unwrap_or(0);
        if !is_base {
            counted.sum += bytes.saturating_sub(from);
        }
        counted.last = Some(if is_base { bytes } else { bytes.max(from) });
    }

    pub(super) fn adds(&mut self, cookie: u64, added: &CounterNumbers, opened: bool) {
        let counted = self.counted.entry(cookie).or_default();
        counted.bytes += bytes_of(added);
        counted.opened += u64::from(opened);
        assert_eq!(counted.bytes, counted.sum, "{cookie}: {counted:?}");
        assert!(counted.opened <= 1, "{cookie}: {counted:?}");
    }

    pub(super) fn ends(&mut self, cookie: u64, end: End) {
        let counted = self.counted.entry(cookie).or_default();
        match end {
            End::Nothing => return,
            End::Closed => {}
            End::OpenedAndClosed => counted.opened += 1,
        }
        counted.closed += 1;
        assert!(counted.opened <= 1 && counted.closed <= counted.opened, "{cookie} {counted:?}");
    }

    /// Whoever counts it now does not know what an ended discovery counted.
    pub(super) fn begin_anew(&mut self, cookie: u64) {
        let counted = self.counted.entry(cookie).or_default();
        if counted.is_left {
            *counted = Counted::default();
        }
    }

    pub(super) fn see(&mut self, cookie: u64, bytes: u64, asks: u64) -> Seen {
        let mut taken = None;
        let seen = reading(Phase::Connected, bytes, |it| {
            self.table.see(cookie, asks, |entry| taken = Some(entry.take_in(it)))
        });
        if let Some((added, opened)) = taken {
            self.reads(cookie, bytes, false);
            self.adds(cookie, &added, opened);
        }
        seen
    }

    /// As `Engine::meet`.
    pub(super) fn meet(
        &mut self,
        cookie: u64,
        bytes: u64,
        seen: Seen,
        asking: &[Model],
        asks: u64,
    ) {
        if let Some(slot) = self.slots.get(&cookie) {
            if !slot.is_watched && self.give(cookie, asking[0].number) {
                self.see(cookie, bytes, asks);
            }
            return;
        }
        if self.ended.contains(&cookie) {
            return self.table.unwatched(cookie);
        }
        let Some(claims) = asking.iter().find(|it| it.wants(cookie)) else {
            return self.table.refuse(cookie, asks);
        };
        if seen == Seen::Unclaimed {
            self.table.reclaim(cookie, group_of(cookie), claims.number);
            let is_left = self.see(cookie, bytes, asks) == Seen::Unclaimed;
            self.counted.entry(cookie).or_default().is_left = is_left;
            return;
        }
        let is_base = !claims.is_based;
        let (progress, added, opened) = if is_base {
            reading(Phase::Connected, bytes, |it| {
                (Progress::there_before(it), it.raw.with_zeros(u64::MAX), false)
            })
        } else {
            let mut progress = Progress::new();
            let (added, opened) = reading(Phase::Connected, bytes, |it| progress.take_in(it));
            (progress, added, opened)
        };
        let (group, claim, has_event) = (group_of(cookie), claims.number, true);
        let new = Newcomer { cookie, progress, group, claim, is_base, has_event };
        if self.table.insert(new) {
            self.begin_anew(cookie);
            self.reads(cookie, bytes, is_base);
            self.adds(cookie, &added, opened);
        }
    }

    /// As `Connections::give_to_discovery`. Returns whether the connection is an entry now.
    pub(super) fn give(&mut self, cookie: u64, claim: u8) -> bool {
        if !self.table.is_claiming(claim) {
            return false;
        }
        let Some(slot) = self.slots.remove(&cookie) else { return false };
        let Slot { history, group, opened_in, .. } = slot;
        match self.table.adopt(cookie, history, group, opened_in, claim) {
            Adopted::Entry => true,
            Adopted::Ended(parted) => {
                self.ends(cookie, parted.end());
                false
            }
            Adopted::Nothing => panic!("the discovery is under way"),
        }
    }

    /// As `Engine::ended`, `finish` and `pass_by`.
    pub(super) fn event(&mut self, cookie: u64, bytes: u64) {
        let before = self.counted.get(&cookie).copied();
        let is_met = before.is_some_and(|it| it.last.is_some()) || self.ended.contains(&cookie);
        let is_new = !is_met && !self.slots.contains_key(&cookie);
        let mut refused = 0;
        loop {
            match self.table.end(cookie) {
                Told::Ignored => {
                    assert!(!self.absent.contains(&cookie), "what {cookie} did last is lost");
                    return;
                }
                Told::Late(mut parted) => {
                    assert_eq!(cookie_of(&parted), cookie);
                    let (added, opened) =
                        reading(Phase::Over, bytes, |it| parted.progress.take_in(it));
                    self.reads(cookie, bytes, false);
                    self.adds(cookie, &added, opened);
                    self.absent.remove(&cookie);
                    return;
                }
                Told::Parted(mut parted) => {
                    let is_wanted = self.active.iter().any(|it| it.wants(cookie));
                    if parted.is_unclaimed() && !is_wanted {
                        return;
                    }
                    let (added, opened) =
                        reading(Phase::Over, bytes, |it| parted.progress.take_in(it));
                    self.reads(cookie, bytes, false);
                    self.adds(cookie, &added, opened);
                    self.ends(cookie, parted.end());
                    return;
                }
                Told::Refused(by) => refused = by,
                Told::Unknown => {}
            }
            if let Some(slot) = self.slots.get(&cookie) {
                let claim = self.active.first().expect("somebody has events").number;
                if slot.is_watched {
                    return self.table.tell_watched(cookie);
                }
                if !self.give(cookie, claim) {
                    return;
                }
                continue;
            }
            if self.ended.contains(&cookie) {
                self.table.pass_by(cookie);
                return;
            }
            let wants = |it: &&Model| {
                it.has_events && it.is_based && refused >> it.number & 1 == 0 && it.wants(cookie)
            };
            let claims = self.active.iter().find(wants).copied();
            assert!(self.table.pass_by(cookie), "one thread");
            if claims.is_some() {
                let mut progress = Progress::new();
                let (added, opened) = reading(Phase::Over, bytes, |it| progress.take_in(it));
                self.reads(cookie, bytes, false);
                self.adds(cookie, &added, opened);
                self.ends(cookie, progress.life.end());
            }
            let all = self.counted.get(&cookie).map(|it| (it.opened, it.closed, it.bytes));
            assert!(!is_new || claims.is_none() || all == Some((1, 1, bytes)), "{all:?}");
            return;
        }
    }

    /// Its program closes a socket.
    pub(super) fn close(&mut self, cookie: u64) {
        let bytes = self.open.remove(&cookie).expect("it is open");
        if self.has_events() {
            self.events.push_back((cookie, bytes));
        } else {
            self.untold.insert(cookie);
        }
    }

    pub(super) fn watch(&mut self, cookie: u64) {
        let bytes = self.open[&cookie];
        self.absent.remove(&cookie);
        if let Some(slot) = self.slots.get_mut(&cookie) {
            if !std::mem::replace(&mut slot.is_watched, true) {
                slot.history.resume();
            }
            return;
        }
        let (group, mut opened_in, mut history) = (group_of(cookie), None, History::new());
        let mut is_known = self.ended.remove(&cookie);
        match self.table.hand_over(cookie) {
            Handover::Entry(known, group, first) => {
                history = known;
                self.counted.entry(cookie).or_default().is_left = false;
                opened_in = Some(first.unwrap_or(group));
            }
            Handover::Known => is_known = true,
            Handover::Nothing => self.begin_anew(cookie),
        }
        if is_known {
            history.mark_known();
        }
        self.slots.insert(cookie, Slot { history, group, opened_in, is_watched: true });
        if is_known {
            self.read(cookie, bytes);
        }
    }

    /// A sweep, or the end of a watch, reads a watched socket.
    pub(super) fn read(&mut self, cookie: u64, bytes: u64) {
        let slot = self.slots.get_mut(&cookie).expect("it is watched");
        let is_base = slot.history.phase() == Phase::Resumed;
        let taken = reading(Phase::Connected, bytes, |it| slot.history.take_in(it, false, || None));
        self.reads(cookie, bytes, is_base);
        self.adds(cookie, &taken.added, taken.opened);
    }

    /// A watch ends with its connection, as far as the monitor knows.
    pub(super) fn forget(&mut self, cookie: u64) {
        let Some(slot) = self.slots.remove(&cookie) else { return };
        self.ends(cookie, slot.history.end());
        self.table.unwatched(cookie);
        self.ended.insert(cookie);
    }
}
