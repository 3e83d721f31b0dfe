//! What passes and events have in common: who a connection belongs to, and what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::super::attributes::Attributes;
use super::super::connections::Connections;
use super::super::cookies::Whereabouts;
use super::super::failures::{Failed, panicked};
use super::super::identity::{Ends, SocketIdentity};
use super::super::locks::lock;
use super::super::phase::{End, Phase};
use super::super::progress::Progress;
use super::super::ranking::{Candidate, Shown};
use super::super::reading::{Answer, Reading};
use super::super::sample::ConnectionSample;
use super::super::set::{Membership, MetricFamily};
use super::super::sets::Placement;
use super::super::snapshot::Sums;
use super::active::{Active, Grouped};
use super::outcome::{Adopted, Newcomer, Parted, Seen, Told};
use super::sight::{OwnListener, Ownership, Sight, Sink, reply_of};
use crate::diag::{Query, RawSocket, Socket};
use crate::info::{CounterNumbers, Reply, UpDownNumbers};
use crate::verdict::Verdict;
use crate::wire::Bytes;

/// In ids of connections: those of discovered ones are their cookies.
const DISCOVERED: u64 = 1 << 63;

/// How wrong the kernel's times can be: it counts ticks of up to 10 ms.
const TICKS: Duration = Duration::from_millis(50);

/// A discovered connection that was just read.
struct Met<'m, S> {
    group: &'m Membership,
    progress: &'m Progress,
    sight: &'m S,
    identity: SocketIdentity,
}

impl<S: Sight> Candidate for Met<'_, S> {
    fn verdict(&self) -> Option<Verdict> {
        self.progress.verdict()
    }

    fn show(self, reply: &Reply<'_>) -> Option<Shown> {
        let Self { group, progress, sight, identity } = self;
        let cookie = sight.cookie();
        let more = identity.always(Ends::Known(sight.ends()?), cookie, reply.state())?;
        let labels = group.set().labels.plain.with(more);
        let counters = progress.counters.totals();
        let sums = Sums { counters, up_downs: UpDownNumbers::of(reply) };
        Some(Shown::new(labels, sums, cookie | DISCOVERED))
    }
}

/// The discoveries of a monitor, and what they have found.
pub(crate) struct Engine {
    pub(crate) connections: Arc<Connections>,
    pub(crate) active: ArcSwap<Vec<Arc<Active>>>,
    /// How often events were lost.
    pub(crate) overruns: AtomicU64,
    /// Whether events were lost since the last pass began.
    pub(crate) has_lost: AtomicBool,
    /// Whether there ever was a discovery.
    pub(crate) was_used: AtomicBool,
    /// What this process listens on, as far as it is known.
    pub(crate) own_listeners: ArcSwap<Vec<OwnListener>>,
}

impl Engine {
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        Self {
            connections,
            active: ArcSwap::default(),
            overruns: AtomicU64::new(0),
            has_lost: AtomicBool::new(false),
            was_used: AtomicBool::new(false),
            own_listeners: ArcSwap::default(),
        }
    }

    /// A pass shows a connection that may be in the table. Returns what it found there.
    #[inline]
    pub(crate) fn see(
        &self,
        sight: &impl Sight,
        reply: Reply<'_>,
        asks: u64,
        sink: &mut Sink<'_>,
    ) -> Seen {
        let answer = Answer::new(reply, self.connections.reader.moment(&mut sink.ticker));
        self.connections.discovered.see(sight.cookie(), asks, |entry| {
            let (added, opened) = entry.take_in(&answer);
            self.add(sink, &entry.group, &entry.progress, sight, (reply, added, opened));
        })
    }

    /// Whether the connection is watched, and so is none of a discovery.
    pub(crate) fn is_watched(&self, cookie: u64) -> bool {
        match self.connections.groups.cookies.whereabouts(cookie) {
            Whereabouts::Slot(slot) => self.connections.is_watched(slot, cookie),
            Whereabouts::Ended | Whereabouts::Unknown => false,
        }
    }

    /// A pass shows a connection that is not in the table: it comes into the group of the first of
    /// these discoveries that wants it.
    #[cold]
    pub(crate) fn meet(
        &self,
        sight: &impl Sight,
        reply: Reply<'_>,
        seen: Seen,
        candidates: &[&Arc<Active>],
        sink: &mut Sink<'_>,
    ) {
        let (cookie, next) = (sight.cookie(), Phase::of(&reply));
        let (table, cookies) = (&self.connections.discovered, &self.connections.groups.cookies);
        let asks = candidates.iter().fold(0, |asks, active| asks | active.bit());
        match cookies.whereabouts(cookie) {
            Whereabouts::Slot(slot) => {
                let selects = |it: &&&Arc<Active>| {
                    let socket = sight.socket();
                    socket.is_some_and(|socket| it.discovery.query.selects(&socket))
                };
                let claims = candidates.iter().find(|it| sight.is_selected() || selects(it));
                let Some(claims) = claims else { return };
                match self.connections.give_to_discovery(slot, cookie, claims.number) {
                    Adopted::Entry => {
                        self.see(sight, reply, asks, sink);
                    }
                    Adopted::Ended(parted) => self.close(parted, ConnectionSample::NOTHING),
                    Adopted::Nothing => {}
                }
                return;
            }
            // Its watch ended before there was a discovery.
            Whereabouts::Ended => return table.unwatched(cookie),
            Whereabouts::Unknown => {}
        }
        // Never connected: it may become a connection later.
        if next == Phase::Blank {
            return;
        }
        let Some(socket) = sight.socket() else { return };
        let wanted = candidates
            .iter()
            .filter(|active| sight.is_selected() || active.discovery.query.selects(&socket))
            .find_map(|active| Some((active, self.group(active, &socket)?)));
        let Some((active, group)) = wanted else { return table.refuse(cookie, asks) };
        if seen == Seen::Unclaimed {
            table.reclaim(cookie, group, active.number);
            self.see(sight, reply, asks, sink);
            return;
        }
        let answer = Answer::new(reply, self.connections.reader.moment(&mut sink.ticker));
        let is_base = !active.is_based();
        let (progress, added, opened) = if is_base {
            let nothing = answer.raw.with_zeros(u64::MAX);
            (Progress::there_before(&answer), nothing, false)
        } else {
            let mut progress = Progress::new();
            let (added, opened) = progress.take_in(&answer);
            (progress, added, opened)
        };
        let new = Newcomer {
            cookie,
            progress: progress.clone(),
            group: group.clone(),
            claim: active.number,
            is_base,
            has_event: sight.has_event(),
        };
        if cookies.unless_in_slot(cookie, || table.insert(new)) == Some(true) {
            self.add(sink, &group, &progress, sight, (reply, added, opened));
        }
    }

    /// Adds a reading to what reports its connection.
    #[inline]
    fn add(
        &self,
        sink: &mut Sink<'_>,
        group: &Membership,
        progress: &Progress,
        sight: &impl Sight,
        (reply, added, opened): (Reply<'_>, CounterNumbers, bool),
    ) {
        sink.readings += 1;
        let reading = Reading { reply, added, opened, cause: progress.judged.cause() };
        let Some(tallies) = &mut sink.tallies else {
            lock(&group.set().ledger).add(&reading.added, u64::from(reading.opened));
            return;
        };
        let (tally, sampling) = tallies.of(group);
        let identity = self.connections.reader.identity;
        tally.add(&reading, sampling, Met { group, progress, sight, identity });
    }

    /// The place of a connection among the groups, if the discovery wants it.
    fn group(&self, active: &Active, socket: &Socket) -> Option<Membership> {
        let failures = &self.connections.failures;
        let attributes = match active.group(socket) {
            Grouped::Into(attributes, problems) => {
                for problem in problems {
                    failures.put(Failed::new(attributes.clone(), problem.into()));
                }
                attributes
            }
            Grouped::Unwanted => return None,
            Grouped::Panicked => {
                failures.note(Failed::new(Attributes::new([]), panicked()));
                return None;
            }
        };
        match self.connections.place(MetricFamily::Group, &attributes) {
            Placement::Own(membership) => Some(membership),
            Placement::Folded(membership) => {
                self.connections.folded.fetch_add(1, Ordering::Relaxed);
                Some(membership)
            }
        }
    }

    /// The kernel tells that a socket ended, in the namespace of `query`.
    pub(crate) fn ended(
        &self,
        raw: &RawSocket<'_>,
        query: &Query,
        ownership: &mut impl Ownership,
        room: &mut Bytes,
    ) {
        let (table, cookie) = (&self.connections.discovered, raw.cookie());
        let Some(reply) = raw.info().and_then(|bytes| reply_of(bytes, room)) else { return };
        let next = Phase::of(&reply);
        let mut refused = 0;
        // Again if a pass puts it into the table in the meantime.
        loop {
            match table.end(cookie) {
                Told::Ignored => return,
                Told::Parted(parted) => return self.finish(parted, &reply, raw),
                Told::Late(parted) => return drop(self.take_last(parted, &reply)),
                Told::Refused(by) => refused = by,
                Told::Unknown => {}
            }
            match self.connections.groups.cookies.whereabouts(cookie) {
                Whereabouts::Unknown if matches!(next, Phase::Blank | Phase::Listening) => return,
                Whereabouts::Unknown => {
                    if self.pass_by(raw, &reply, query, refused, ownership) {
                        return;
                    }
                }
                // It was watched, and that ended before there was a discovery. A pass may still
                // show it.
                Whereabouts::Ended => {
                    table.pass_by(cookie);
                    return;
                }
                Whereabouts::Slot(slot) => {
                    let active = self.active.load();
                    let Some(first) = active.first() else { return };
                    match self.connections.give_to_discovery(slot, cookie, first.number) {
                        Adopted::Entry => {}
                        Adopted::Ended(parted) => {
                            return self.close(parted, ConnectionSample::live(&reply));
                        }
                        Adopted::Nothing => return table.tell_watched(cookie),
                    }
                }
            }
        }
    }

    /// The end of a connection that is in the table: the event is its last reading.
    fn finish(&self, parted: Parted, reply: &Reply<'_>, raw: &RawSocket<'_>) {
        if parted.is_unclaimed() {
            let active = self.active.load();
            let is_wanted = |socket: &Socket| {
                active.iter().any(|it| !it.is_process() && it.discovery.query.selects(socket))
            };
            if !raw.decode().is_ok_and(|socket| is_wanted(&socket)) {
                return;
            }
        }
        if parted.progress.life.phase() == Phase::Listening {
            return;
        }
        let parted = self.take_last(parted, reply);
        self.close(parted, ConnectionSample::live(reply));
    }

    /// Adds what the last reading of a connection adds.
    fn take_last(&self, mut parted: Parted, reply: &Reply<'_>) -> Parted {
        let (added, opened) = parted.progress.take_in(&Answer::new(*reply, None));
        lock(&parted.group.set().ledger).add(&added, u64::from(opened));
        parted
    }

    /// Counts a connection in full that ended before any pass saw it, if anybody wants it. Returns
    /// whether that is so: no pass has seen it until now.
    fn pass_by(
        &self,
        raw: &RawSocket<'_>,
        reply: &Reply<'_>,
        query: &Query,
        refused: u64,
        ownership: &mut impl Ownership,
    ) -> bool {
        let Ok(socket) = raw.decode() else { return true };
        // Nothing came from the other side since: this long it was over, or idle.
        let silent = socket.info.as_ref().and_then(|info| info.last_ack_recv);
        let active = self.active.load();
        let mut own = None;
        for active in active.iter().filter(|it| it.has_events() && refused & it.bit() == 0) {
            let is_here = active.discovery.query.shares_namespace(query);
            let before = active.began.elapsed() + TICKS;
            let is_older = silent.is_some_and(|silent| silent > before);
            if !is_here
                || !active.is_based()
                || is_older
                || !active.discovery.query.selects(&socket)
            {
                continue;
            }
            let mut age = None;
            if active.is_process() {
                match own.get_or_insert_with(|| ownership.of(&socket)) {
                    Some(known) => age = *known,
                    None => continue,
                }
            }
            let Some(group) = self.group(active, &socket) else { continue };
            if !self.connections.discovered.pass_by(raw.cookie()) {
                return false;
            }
            let mut progress = Progress::new();
            let (added, opened) = progress.take_in(&Answer::new(*reply, None));
            lock(&group.set().ledger).add(&added, u64::from(opened));
            let parted = Parted::passing(group, progress, age, active.number);
            self.close(parted, ConnectionSample::live(reply));
            return true;
        }
        // A walk may have read it a moment ago, and must not put it into the table any more:
        // nothing would ever end it there.
        self.connections.discovered.pass_by(raw.cookie())
    }

    /// Counts the end of a connection, in the group that counted it as opened.
    pub(crate) fn close(&self, parted: Parted, last: ConnectionSample) {
        let group = parted.opened_in.as_ref().unwrap_or(&parted.group);
        let mut ledger = lock(&group.set().ledger);
        match parted.end() {
            End::Nothing => return,
            End::Closed => ledger.close(),
            End::OpenedAndClosed => ledger.pass(),
        }
        let registrations = &self.connections.registrations;
        if !registrations.is_empty() {
            let last = parted.age.map_or(last, |age| last.at_the_end(age));
            registrations.offer(&mut ledger, last);
        }
    }
}
