//! A pass: what one sweep asks for. All dumps, and one walk over the descriptors of this process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::sample::ConnectionSample;
use super::active::Active;
use super::engine::Engine;
use super::outcome::{Coverage, Seen};
use super::sight::{Sink, reply_of};
use super::walk::Walk;
use crate::diag::{Query, RawSocket, RepeatedDump};
use crate::state::State;
use crate::wire::LEN;

/// After how many passes that did not show it a connection has ended, even if the kernel did not
/// tell that.
const UNTOLD: u32 = 64;

/// What passes keep from one to the next.
#[derive(Default)]
pub(super) struct Scanner {
    dumps: Vec<RepeatedDump>,
    /// Asks for every connection, where a walk cannot tell which ones are gone.
    whole: Option<RepeatedDump>,
    walk: Walk,
}

impl Scanner {
    /// Asks for everything once.
    pub(super) fn pass(&mut self, engine: &Engine, sink: &mut Sink<'_>) -> Passed {
        let active = engine.active.load_full();
        let has_lost = engine.has_lost.swap(false, Ordering::AcqRel);
        let mut passed = Passed::default();
        let is_used = |dump: &RepeatedDump| {
            active.iter().any(|it| !it.is_process() && it.discovery.query == *dump.query())
        };
        self.dumps.retain(is_used);
        let pass = engine.connections.discovered.begin_pass();
        for (place, it) in active.iter().enumerate() {
            let mut others =
                active.iter().filter(|other| Arc::ptr_eq(&other.listening, &it.listening));
            if !active[..place].iter().any(|other| Arc::ptr_eq(&other.listening, &it.listening)) {
                // A walk shows the listeners of this process, which are all that it has to know.
                let shows = |it: &Arc<Active>| it.discovery.query.shows_listeners();
                let has_host = others.clone().any(|it| !it.is_process());
                it.listening
                    .begin_pass(!has_host || others.any(|it| !it.is_process() && shows(it)));
            }
        }
        let own = active.iter().find(|it| it.is_process());
        if let Some(own) = own {
            let candidates: Vec<_> =
                active.iter().filter(|it| it.discovery.query.namespace().is_none()).collect();
            let walked = self.walk.run(engine, &candidates, &own.listening, sink);
            let walkers = active.iter().filter(|it| it.is_process());
            for walker in walkers {
                passed.note(walker, &walked);
            }
        }
        for dump in &mut self.dumps {
            let of_query =
                |it: &&Arc<Active>| !it.is_process() && it.discovery.query == *dump.query();
            let candidates: Vec<_> = active.iter().filter(of_query).collect();
            let asks = candidates.iter().fold(0, |asks, it| asks | it.bit());
            let Some(listening) = candidates.first().map(|first| &first.listening) else {
                continue;
            };
            let mut room = [0; LEN];
            let dumped = dump.run(|raw| {
                let Some(reply) = raw.info().and_then(|bytes| reply_of(bytes, &mut room)) else {
                    return;
                };
                if reply.state() == State::Listen {
                    listening.add(raw.local_port());
                }
                match engine.see(&raw, reply, asks, sink) {
                    Seen::Taken | Seen::Ignored => {}
                    seen => engine.meet(&raw, reply, seen, &candidates, sink),
                }
            });
            for dumper in candidates {
                passed.note(dumper, &dumped);
            }
        }
        // What ended unseen is not shown any more. A walk does not show connections without a
        // descriptor, which may go on for a while.
        let mut shows_orphans = true;
        let asks_again = pass % UNTOLD == 0 && engine.connections.discovered.lacks_any(UNTOLD);
        if (has_lost || asks_again) && own.is_some_and(|own| own.has_events()) {
            shows_orphans = self.note_all(engine);
        }
        let has_events = active.iter().any(|it| it.has_events());
        let (left, complete) = (engine.active.load(), passed.complete);
        let covered = |claim: u8| {
            let active = left.iter().find(|it| it.number == claim)?;
            let can_close = shows_orphans || !active.is_process();
            let shows = match active.is_process() {
                true => asks_again && shows_orphans,
                false => active.discovery.query.shows_every_state(),
            };
            Some(Coverage {
                is_complete: complete & active.bit() != 0,
                closes_absent: !active.has_events() || (has_lost && can_close),
                closes_after: if shows { UNTOLD } else { u32::MAX },
            })
        };
        let is_whole = left.iter().all(|it| complete & it.bit() != 0);
        engine.connections.discovered.end_pass(has_events, is_whole, covered, |parted| {
            engine.close(parted, ConnectionSample::NOTHING);
        });
        if has_lost && !shows_orphans {
            engine.has_lost.store(true, Ordering::Release);
        }
        passed.readings = sink.readings;
        passed
    }

    /// Notes every connection of the network namespace that is open. Returns whether that worked.
    fn note_all(&mut self, engine: &Engine) -> bool {
        let table = &engine.connections.discovered;
        if self.whole.is_none() {
            self.whole = RepeatedDump::open(Query::new()).ok();
        }
        let Some(dump) = &mut self.whole else { return false };
        dump.run(|raw: RawSocket<'_>| {
            if raw.info().is_some() {
                table.note(raw.cookie());
            }
        })
        .unwrap_or(false)
    }

    /// Makes the dump of a query, unless another discovery has it.
    pub(super) fn dump(&mut self, query: &Query) -> io::Result<()> {
        if !self.dumps.iter().any(|dump| dump.query() == query) {
            self.dumps.push(RepeatedDump::open(query.clone())?);
        }
        Ok(())
    }
}

/// What a pass came to.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) readings: u64,
    /// Which discoveries could not ask.
    pub(super) errors: Vec<(u8, io::Error)>,
    /// The discoveries of which every connection was shown, one bit each.
    complete: u64,
}

impl Passed {
    /// Notes what the question for a discovery came to.
    fn note(&mut self, active: &Active, asked: &io::Result<bool>) {
        match asked {
            Ok(true) => self.complete |= active.bit(),
            Ok(false) => {}
            Err(error) => {
                let error = match error.raw_os_error() {
                    Some(number) => io::Error::from_raw_os_error(number),
                    None => io::Error::new(error.kind(), error.to_string()),
                };
                self.errors.push((active.number, error));
            }
        }
    }

    /// Whether every connection of one discovery was shown.
    pub(super) fn is_complete(&self, number: u8) -> bool {
        self.complete >> number & 1 != 0
    }

    /// The error of one discovery.
    pub(super) fn of(self, number: u8) -> io::Result<()> {
        match self.errors.into_iter().find(|(other, _)| *other == number) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}
