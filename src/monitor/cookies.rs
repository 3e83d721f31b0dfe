//! The connections of a monitor by their cookies.
//!
//! ```text
//!              slot()                   end()                    4,096 others ended
//!   unknown ----------> in a slot ----------------> ended ---------------------------> unknown
//!                            ^                        |
//!                            +------------------------+
//!                                      slot()
//! ```
//!
//! A connection in a slot is watched, or open and given back. Cookies of ended connections are kept
//! for a while, because the monitor can be wrong: a connection that had to make room, or whose last
//! watch closed only its own clone, is taken for ended and may be watched again. Then it is known,
//! and its history does not count twice.

use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use super::locks::lock;

/// How many cookies of ended connections are kept.
const ENDED: usize = 4_096;

/// How many parts the index has, each with a lock of its own.
const SHARDS: usize = 16;

/// The connections of one family of metrics, by cookie.
///
/// A connection is entered before its slot is in use, and removed before its slot's number is free
/// again. So a number found here is that of a slot which holds the connection, or held it until
/// just now.
#[derive(Default)]
pub(crate) struct CookieIndex {
    shards: [Mutex<Shard>; SHARDS],
    ended: Mutex<EndedRing>,
}

type Shard = HashMap<u64, Location, BuildHasherDefault<CookieHasher>>;

/// The cookies of the connections that ended last. One ring for all shards: how evenly cookies
/// spread over shards is up to the kernel and to other programs that ask for cookies.
#[derive(Default)]
struct EndedRing {
    cookies: Vec<u64>,
    next: usize,
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Location {
    Slot(usize),
    /// In no slot any more: at this place of the ring.
    Ended(usize),
}

/// Where a connection is, as far as the index knows.
#[cfg(feature = "diag")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Slot(usize),
    /// In no slot any more: it ended not long ago.
    Ended,
    Unknown,
}

impl CookieIndex {
    fn shard(&self, cookie: u64) -> &Mutex<Shard> {
        &self.shards[(cookie % SHARDS as u64) as usize]
    }

    /// The slot of a connection, and whether it is new. If the connection is in no slot, `insert`
    /// puts it into one; it is told whether the connection ended before.
    pub(crate) fn slot(&self, cookie: u64, insert: impl FnOnce(bool) -> usize) -> (usize, bool) {
        let mut shard = lock(self.shard(cookie));
        let entry = shard.entry(cookie);
        let ended = match &entry {
            Entry::Occupied(known) => match *known.get() {
                Location::Slot(slot) => return (slot, false),
                Location::Ended(_) => true,
            },
            Entry::Vacant(_) => false,
        };
        let slot = insert(ended);
        entry.insert_entry(Location::Slot(slot));
        (slot, true)
    }

    /// Where a connection is.
    #[cfg(feature = "diag")]
    pub(crate) fn whereabouts(&self, cookie: u64) -> Whereabouts {
        match lock(self.shard(cookie)).get(&cookie) {
            Some(Location::Slot(slot)) => Whereabouts::Slot(*slot),
            Some(Location::Ended(_)) => Whereabouts::Ended,
            None => Whereabouts::Unknown,
        }
    }

    /// Does something while the connection is in no slot and cannot come into one; `None` if it is
    /// in a slot.
    #[cfg(feature = "diag")]
    pub(crate) fn unless_in_slot<R>(&self, cookie: u64, work: impl FnOnce() -> R) -> Option<R> {
        let shard = lock(self.shard(cookie));
        let is_in_slot = matches!(shard.get(&cookie), Some(Location::Slot(_)));
        (!is_in_slot).then(work)
    }

    /// The connection has left its slot, and goes on elsewhere: `work` puts it there.
    #[cfg(feature = "diag")]
    pub(crate) fn leave<R>(&self, cookie: u64, work: impl FnOnce() -> R) -> R {
        let mut shard = lock(self.shard(cookie));
        shard.remove(&cookie);
        work()
    }

    /// The connection has left its slot. Its cookie takes the next place of the ring, and the
    /// cookie that had this place is forgotten.
    pub(crate) fn end(&self, cookie: u64) {
        let mut ended = lock(&self.ended);
        let EndedRing { cookies, next } = &mut *ended;
        let place = Location::Ended(*next);
        lock(self.shard(cookie)).insert(cookie, place);
        match cookies.get_mut(*next) {
            None => cookies.push(cookie),
            Some(last) => {
                let last = std::mem::replace(last, cookie);
                let mut shard = lock(self.shard(last));
                // If it is not at this place any more, it was watched again since, or even ended
                // again and has another place.
                if last != cookie && shard.get(&last) == Some(&place) {
                    shard.remove(&last);
                }
            }
        }
        *next = (*next + 1) % ENDED;
    }
}

/// A hash for cookies. The kernel counts them up and nobody can choose one, so a multiplication
/// spreads them well enough.
#[derive(Default)]
struct CookieHasher(u64);

impl Hasher for CookieHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, cookie: u64) {
        let spread = cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cookies_that_ended_are_known() {
        // One shard for all, an uneven share for each, every one in turn.
        for stride in [SHARDS as u64, 6, 1] {
            the_last_that_ended_are_known(stride);
        }
    }

    fn the_last_that_ended_are_known(stride: u64) {
        let connections = CookieIndex::default();
        for number in 1..=10_000 {
            let cookie = stride * number;
            let mut known = false;
            let slot = connections.slot(cookie, |ended| {
                known = ended;
                7
            });
            assert_eq!((slot, known), ((7, true), false));
            assert_eq!(connections.slot(cookie, |_| 8), (7, false));
            connections.end(cookie);
        }
        let known = |cookie| {
            let mut known = false;
            connections.slot(cookie, |ended| {
                known = ended;
                1
            });
            known
        };
        let known: Vec<u64> = (1..=10_000).filter(|number| known(stride * number)).collect();
        assert_eq!(known, (10_001 - ENDED as u64..=10_000).collect::<Vec<_>>());
    }
}
