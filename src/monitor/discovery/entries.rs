//! Where discovered connections are kept: by cookie, close together, each in at most 300 bytes.
//!
//! The entries are in chunks that never move, without gaps: whatever is taken out is replaced by
//! the last entry. So the memory grows by one chunk at a time, and shrinks again. The index has the
//! place of each cookie, by open addressing: 5 to 10 bytes for each entry.

use super::super::progress::Progress;
use super::super::reading::Answer;
use super::super::set::Membership;
use super::outcome::{Coverage, NOBODY};
use crate::info::CounterNumbers;

/// Entries of a chunk.
pub(super) const CHUNK: usize = 64;

/// One discovered connection, or listener.
pub(crate) struct Entry {
    pub(super) cookie: u64,
    pub(crate) progress: Progress,
    /// The group that reports it.
    pub(crate) group: Membership,
    /// When it was first seen, in nanoseconds on the table's clock. [`UNKNOWN`]: it was there
    /// before.
    pub(super) since: u64,
    /// The last pass that saw it.
    pub(super) seen: u32,
    /// The discovery that claimed it; [`NOBODY`] if that one has ended.
    pub(super) claim: u8,
    /// Whether the kernel tells its end.
    pub(super) has_event: bool,
    /// It came from a watch while a pass was running, whose dump can be older than the watch's last
    /// reading.
    pub(super) is_adopted: bool,
}

/// For how many passes a connection that nobody claims waits for its event.
pub(super) const LEFT: u32 = 4;

/// The age of a connection that was there before it was looked for.
pub(super) const UNKNOWN: u64 = u64::MAX;

impl Entry {
    /// Takes in a reading of a pass. Returns what it adds, and whether it opens the connection.
    #[inline]
    pub(super) fn take_in(&mut self, answer: &Answer<'_>) -> (CounterNumbers, bool) {
        if std::mem::take(&mut self.is_adopted) && self.progress.counters.fell(&answer.raw) {
            // The dump is older than the last reading of the watch.
            return (answer.raw.with_zeros(u64::MAX), false);
        }
        self.progress.take_in(answer)
    }

    /// Whether this pass should have shown it and did not, so that it leaves the table. `coverage`
    /// is that of its claim; nothing if its discovery has ended. `waits` says whether the kernel
    /// tells ends to anybody, and `is_whole` whether the pass was complete for all discoveries.
    pub(super) fn is_gone(
        &mut self,
        pass: u32,
        coverage: Option<Coverage>,
        waits: bool,
        is_whole: bool,
    ) -> bool {
        let missed = pass.wrapping_sub(self.seen);
        if self.claim == NOBODY {
            // Nobody wants it, or it has ended, and its event may be on the way. Had it gone too
            // early, it would count again.
            return is_whole && (!(waits && self.has_event) || missed > LEFT);
        }
        let Some(coverage) = coverage else {
            // Its discovery ended while the pass was under way.
            self.claim = NOBODY;
            return false;
        };
        let closes = coverage.closes_absent || !self.has_event || missed > coverage.closes_after;
        missed > 0 && coverage.is_complete && closes
    }
}

/// Entries by cookie.
#[derive(Default)]
pub(super) struct Entries {
    chunks: Vec<Vec<Entry>>,
    len: usize,
    /// The place of an entry and one more, or 0: none. The length is a power of two.
    index: Vec<u32>,
}

impl Entries {
    /// How many chunks have entries.
    pub(super) fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK)
    }

    /// Whether somebody claims one that so many passes did not show.
    pub(super) fn lack_any(&self, pass: u32, passes: u32) -> bool {
        let is_absent = |it: &Entry| it.claim != NOBODY && pass.wrapping_sub(it.seen) > passes;
        self.chunks.iter().flatten().any(is_absent)
    }

    /// The entries of one chunk.
    pub(super) fn chunk_mut(&mut self, number: usize) -> &mut [Entry] {
        self.chunks.get_mut(number).map_or(&mut [], Vec::as_mut_slice)
    }

    #[inline]
    pub(super) fn find(&mut self, cookie: u64) -> Option<&mut Entry> {
        let place = self.index[self.slot(cookie)?] as usize - 1;
        Some(&mut self.chunks[place / CHUNK][place % CHUNK])
    }

    /// Adds an entry whose cookie is not there.
    pub(super) fn insert(&mut self, entry: Entry) {
        // At most 4 of 5 slots are taken.
        if (self.len + 1) * 5 > self.index.len() * 4 {
            self.resize((self.index.len() * 2).max(CHUNK));
        }
        let place = self.len;
        self.enter(entry.cookie, place);
        if place / CHUNK == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[place / CHUNK].push(entry);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, cookie: u64) -> Option<Entry> {
        let slot = self.slot(cookie)?;
        let place = self.index[slot] as usize - 1;
        self.leave(slot);
        let end = self.len - 1;
        let last_cookie = self.chunks[end / CHUNK][end % CHUNK].cookie;
        if place != end {
            let moved = self.slot(last_cookie).expect("every entry is in the index");
            self.index[moved] = place as u32 + 1;
        }
        self.len = end;
        let last = self.chunks[end / CHUNK].pop().expect("the last chunk has the last entry");
        let removed = if place == end {
            last
        } else {
            std::mem::replace(&mut self.chunks[place / CHUNK][place % CHUNK], last)
        };
        // One empty chunk is kept.
        if self.chunks.len() > self.chunks() + 1 {
            self.chunks.pop();
        }
        if self.index.len() > CHUNK && self.len * 10 < self.index.len() {
            self.resize(self.index.len() / 2);
        }
        Some(removed)
    }

    fn home(&self, cookie: u64) -> usize {
        let spread = cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> 32) as usize & (self.index.len() - 1)
    }

    /// The slot of the index that has this cookie's entry.
    #[inline]
    fn slot(&self, cookie: u64) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let mut slot = self.home(cookie);
        loop {
            let place = (self.index[slot] as usize).checked_sub(1)?;
            if self.chunks[place / CHUNK][place % CHUNK].cookie == cookie {
                return Some(slot);
            }
            slot = (slot + 1) & (self.index.len() - 1);
        }
    }

    /// Puts a place into the first free slot for its cookie.
    fn enter(&mut self, cookie: u64, place: usize) {
        let mut slot = self.home(cookie);
        while self.index[slot] != 0 {
            slot = (slot + 1) & (self.index.len() - 1);
        }
        self.index[slot] = place as u32 + 1;
    }

    /// Frees a slot, and moves those behind it that would not be found any more.
    fn leave(&mut self, mut free: usize) {
        let mask = self.index.len() - 1;
        let mut slot = free;
        loop {
            slot = (slot + 1) & mask;
            let Some(place) = (self.index[slot] as usize).checked_sub(1) else { break };
            let home = self.home(self.chunks[place / CHUNK][place % CHUNK].cookie);
            // It stays if its home is behind the free slot, up to itself, around the end.
            if (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(free) & mask) {
                self.index[free] = self.index[slot];
                free = slot;
            }
        }
        self.index[free] = 0;
    }

    fn resize(&mut self, slots: usize) {
        self.index = vec![0; slots];
        for place in 0..self.len {
            let cookie = self.chunks[place / CHUNK][place % CHUNK].cookie;
            self.enter(cookie, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::attributes::Attributes;
    use super::super::super::set::{MetricFamily, Set};
    use super::*;

    fn entry(cookie: u64, group: &Membership) -> Entry {
        let (progress, group) = (Progress::new(), group.clone());
        let (since, seen, claim, has_event, is_adopted) = (0, 0, 0, true, false);
        Entry { cookie, progress, group, since, seen, claim, has_event, is_adopted }
    }

    fn group() -> Membership {
        Membership::join(&Arc::new(Set::new(MetricFamily::Group, Attributes::new([]), 0, false)))
    }

    #[test]
    fn an_entry_takes_at_most_300_bytes_with_its_index() {
        // At worst the index has just doubled, and 2 of 5 slots are taken.
        assert!(size_of::<Entry>() + size_of::<u32>() * 5 / 2 <= 300, "{}", size_of::<Entry>());
    }

    #[test]
    fn what_is_in_is_found_and_what_is_out_is_not() {
        let (group, mut entries) = (group(), Entries::default());
        let mut expected = std::collections::BTreeSet::new();
        let mut random = 1_u64;
        for step in 0..200_000_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // It grows, and then it shrinks.
            let cookie = (random >> 33) % 5_000;
            let adds = (random >> 20) % 4 < if step < 100_000 { 3 } else { 1 };
            if adds && expected.insert(cookie) {
                entries.insert(entry(cookie, &group));
            } else if !adds {
                let removed = entries.remove(cookie).map(|entry| entry.cookie);
                assert_eq!(removed.is_some(), expected.remove(&cookie));
                assert!(removed.is_none_or(|it| it == cookie));
            }
            assert_eq!(entries.len, expected.len());
        }
        for cookie in 0..5_000 {
            let found = entries.find(cookie).map(|entry| entry.cookie);
            assert_eq!(found, expected.contains(&cookie).then_some(cookie));
        }
        for cookie in expected {
            assert!(entries.remove(cookie).is_some());
        }
        assert_eq!((entries.len, entries.chunks(), entries.index.len()), (0, 0, CHUNK));
        assert!(entries.chunks.len() <= 1);
    }
}
