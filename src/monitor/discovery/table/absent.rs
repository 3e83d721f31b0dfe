//! The end of a pass: what it should have shown and did not.

use super::super::super::locks::lock;
use super::super::entries::{Entry, NOBODY};
use super::super::marks::MarkKind;
use super::super::outcome::{Coverage, Parted};
use super::{Inner, Table};

/// For how many passes a connection that nobody claims waits for its event.
pub(super) const LEFT: u32 = 4;

/// Of how many absent connections a late event still counts what they did last.
const MOST_LATE: usize = 4_096;

impl Table {
    /// Whether there is a connection that somebody claims and so many passes did not show.
    pub(crate) fn lacks_any(&self, passes: u32) -> bool {
        let mut lacks = false;
        self.by_chunks(|inner, number| {
            let pass = inner.pass;
            let is_absent = |it: &Entry| it.claim != NOBODY && pass.wrapping_sub(it.seen) > passes;
            lacks |= inner.entries.chunk_mut(number).iter().any(is_absent);
        });
        lacks
    }

    /// Does something for each chunk of entries, from the last one to the first, each under a lock
    /// of its own. What is taken out is replaced by an entry that was visited.
    pub(super) fn by_chunks(&self, mut visit: impl FnMut(&mut Inner, usize)) {
        let chunks = lock(&self.inner).entries.chunks();
        for number in (0..chunks).rev() {
            visit(&mut lock(&self.inner), number);
        }
    }

    /// A pass is over. Takes out what it should have shown and did not, and gives that to `part`
    /// with no lock held. `covered` says of a discovery what the pass says of its connections;
    /// nothing if it has ended.
    /// `has_events` says whether the kernel tells any of them the ends of sockets, and `is_whole`
    /// whether the pass was complete for all of them.
    pub(crate) fn end_pass(
        &self,
        has_events: bool,
        is_whole: bool,
        covered: impl Fn(u8) -> Option<Coverage>,
        mut part: impl FnMut(Parted),
    ) {
        let now = self.now();
        let mut parted = Vec::new();
        self.by_chunks(|inner, number| {
            let pass = inner.pass;
            let mut absent = Vec::new();
            for entry in inner.entries.chunk_mut(number) {
                if entry.claim == NOBODY {
                    // Nobody wants it, or it has ended, and its event may be on the way. Had it
                    // gone too early, it would count again.
                    let waits = has_events && entry.has_event;
                    if is_whole && (!waits || pass.wrapping_sub(entry.seen) > LEFT) {
                        absent.push(entry.cookie);
                    }
                    continue;
                }
                let Some(coverage) = covered(entry.claim) else {
                    // Its discovery ended while the pass was under way.
                    entry.claim = NOBODY;
                    continue;
                };
                let closes = coverage.closes_absent
                    || !entry.has_event
                    || pass.wrapping_sub(entry.seen) > coverage.closes_after;
                if entry.seen != pass && coverage.is_complete && closes {
                    absent.push(entry.cookie);
                }
            }
            for cookie in absent {
                let Some(gone) = inner.part(cookie, now) else { continue };
                if gone.is_unclaimed() {
                    // Only a discovery that begins later may want it, as its base.
                    inner.marks.refuse(cookie, u64::MAX, pass, now);
                } else {
                    inner.marks.put(cookie, MarkKind::Absent, pass, now);
                    if has_events && inner.late.len() < MOST_LATE {
                        inner.late.insert(cookie, gone.clone());
                    }
                    parted.push(gone);
                }
            }
        });
        parted.drain(..).for_each(&mut part);
        let mut inner = lock(&self.inner);
        inner.is_running = false;
        let pass = inner.pass;
        inner.marks.end_pass(pass, now, has_events);
        let Inner { late, marks, .. } = &mut *inner;
        late.retain(|cookie, _| marks.bar(*cookie));
    }
}
