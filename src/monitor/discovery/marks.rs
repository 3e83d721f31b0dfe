//! Cookies that are no entries of the table, and must not become any: what is known of them.

use std::collections::HashMap;
use std::time::Duration;

use super::outcome::Parted;

/// How long a mark stays in any case.
const LATE: Duration = Duration::from_secs(60);

/// Of how many absent connections a late event still counts what they did last.
const MOST_LATE: usize = 4_096;

/// How many marks stay for longer than that: some 4 MiB.
const MARKS: usize = 65_536;

/// What is known of a cookie that is not an entry.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) kind: MarkKind,
    /// The last pass that saw it, and when it was seen last or made.
    pub(super) seen: u32,
    pub(super) at: u64,
    /// The discoveries that refused it, one bit each.
    pub(super) by: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// Ended by an event while a pass was running.
    Closed,
    /// Closed because passes did not show it; its event may still come.
    Absent,
    /// Its watch ended; the event is still to come.
    Unwatched,
    /// Its event came; its watch is still to end.
    Told,
    /// No grouping wanted it.
    Refused,
}

/// The marks, by cookie.
#[derive(Default)]
pub(super) struct Marks {
    all: HashMap<u64, Mark>,
    /// Connections that are marked absent, whose event may still say what they did last.
    late: HashMap<u64, Parted>,
}

impl Marks {
    #[cfg(test)]
    #[cfg(test)]
    pub(super) fn cookies(&self) -> Vec<u64> {
        self.all.keys().copied().collect()
    }

    /// Whether a connection with this cookie does not count any more.
    pub(super) fn bar(&self, cookie: u64) -> bool {
        self.all.get(&cookie).is_some_and(|mark| mark.kind != MarkKind::Refused)
    }

    /// A pass shows a cookie. Whether it is marked, and not only refused by others than `asks`.
    #[inline]
    pub(super) fn see(
        &mut self,
        cookie: u64,
        asks: u64,
        pass: u32,
        now: impl FnOnce() -> u64,
    ) -> bool {
        if self.all.is_empty() {
            return false;
        }
        let Some(mark) = self.all.get_mut(&cookie) else { return false };
        (mark.seen, mark.at) = (pass, now());
        mark.kind != MarkKind::Refused || asks & !mark.by == 0
    }

    pub(super) fn put(&mut self, cookie: u64, kind: MarkKind, seen: u32, at: u64) {
        self.all.insert(cookie, Mark { kind, seen, at, by: 0 });
    }

    pub(super) fn remove(&mut self, cookie: u64) -> Option<Mark> {
        self.late.remove(&cookie);
        self.all.remove(&cookie)
    }

    /// A connection was closed because passes do not show it. If events are told, one may still
    /// come for it.
    pub(super) fn put_absent(
        &mut self,
        cookie: u64,
        gone: &Parted,
        has_events: bool,
        seen: u32,
        at: u64,
    ) {
        self.put(cookie, MarkKind::Absent, seen, at);
        if has_events && self.late.len() < MOST_LATE {
            self.late.insert(cookie, gone.clone());
        }
    }

    /// What is known of a connection that was marked absent, and whose event has come.
    pub(super) fn take_late(&mut self, cookie: u64) -> Option<Parted> {
        self.late.remove(&cookie)
    }

    /// A discovery ended: nothing of its connections counts any more.
    pub(super) fn unclaim(&mut self, claim: u8) {
        self.late.retain(|_, parted| parted.claim != claim);
    }

    /// These discoveries do not want a connection.
    pub(super) fn refuse(&mut self, cookie: u64, by: u64, seen: u32, at: u64) {
        let new = Mark { kind: MarkKind::Refused, seen, at, by: 0 };
        self.all.entry(cookie).or_insert(new).by |= by;
    }

    /// These discoveries are to be asked again.
    pub(super) fn forget_refusals(&mut self, by: u64) {
        self.all.values_mut().for_each(|mark| mark.by &= !by);
    }

    /// An event comes for a cookie. Returns the mark that it had. While a pass runs, which may
    /// still show it, a mark stays.
    pub(super) fn end(&mut self, cookie: u64, is_running: bool) -> Option<Mark> {
        let mark = self.all.get_mut(&cookie)?;
        let last = *mark;
        match last.kind {
            MarkKind::Refused => drop(self.all.remove(&cookie)),
            _ if is_running => mark.kind = MarkKind::Closed,
            MarkKind::Told => {}
            _ => drop(self.all.remove(&cookie)),
        }
        Some(last)
    }

    /// Of two things that both come, the first leaves a mark and the second takes it away.
    pub(super) fn meet(
        &mut self,
        cookie: u64,
        kind: MarkKind,
        seen: u32,
        at: u64,
        is_running: bool,
    ) {
        match self.all.get_mut(&cookie) {
            Some(mark) if mark.kind == kind => {}
            Some(mark) if is_running => mark.kind = MarkKind::Closed,
            Some(_) => drop(self.all.remove(&cookie)),
            None => self.put(cookie, kind, seen, at),
        }
    }

    /// A pass is over. No later one can show what ended during this one.
    pub(super) fn end_pass(&mut self, pass: u32, now: u64, has_events: bool) {
        let is_young = |mark: &Mark| now.saturating_sub(mark.at) < LATE.as_nanos() as u64;
        // A program may keep a connection that was reset for as long as it likes. No pass shows it,
        // and its event comes at the end: so marks stay, unless there are too many.
        let stay_long = self.all.len() <= MARKS;
        self.all.retain(|_, mark| match mark.kind {
            MarkKind::Closed => false,
            _ if has_events => stay_long || is_young(mark),
            _ => mark.seen == pass || is_young(mark),
        });
        let Self { all, late } = self;
        late.retain(|cookie, _| all.contains_key(cookie));
    }
}
