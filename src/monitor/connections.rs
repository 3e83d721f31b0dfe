//! Which connections a monitor knows, by cookie: those in its slots, watched or given back, and for
//! a while the cookies of those that ended.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::RawFd;
use std::sync::Mutex;

use super::slots::lock;
use crate::read;

/// How many open connections without a watch are remembered.
const GIVEN_BACK: usize = 1_024;

/// How many cookies of ended connections are remembered.
const ENDED: usize = 4_096;

const SHARDS: usize = 16;

/// How many connections are given back between two looks at a full memory for those that ended:
/// a look takes a system call for each.
const LOOK_EVERY: u64 = 64;

/// The connections of one family of metrics. A connection is entered here before it is in use, and
/// withdrawn before its slot's number is free again, so a number found here is that of a slot
/// which holds the connection, or has held it until just now.
pub(crate) struct Connections {
    shards: [Mutex<Shard>; SHARDS],
    ended: Mutex<Ended>,
    given_back: Mutex<GivenBack>,
}

type Shard = HashMap<u64, Location, BuildHasherDefault<CookieHasher>>;

/// Cookies of the last that ended, in a ring. One for all shards: which of them the cookies of a
/// program are in is up to the kernel and to whoever else asks for cookies.
#[derive(Default)]
struct Ended {
    cookies: Vec<u64>,
    next: usize,
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Location {
    Slot(usize),
    /// Nowhere any more, remembered at this place of the ring.
    Ended(usize),
}

/// Open connections that nobody watches, by when they were given back.
#[derive(Default)]
struct GivenBack {
    connections: BTreeMap<u64, Returned>,
    next: u64,
    /// What `next` was at the last look for those that ended.
    looked: u64,
}

/// A connection that nobody watches, as far as one can tell whether it is still open.
#[derive(Clone, Copy)]
pub(crate) struct Returned {
    pub(crate) slot: usize,
    pub(crate) cookie: u64,
    pub(crate) fd: RawFd,
}

impl Returned {
    pub(crate) fn is_open(&self) -> bool {
        read::cookie_of(self.fd).is_ok_and(|cookie| cookie == self.cookie)
    }
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { shards: Default::default(), ended: Mutex::default(), given_back: Mutex::default() }
    }

    fn shard(&self, cookie: u64) -> &Mutex<Shard> {
        &self.shards[(cookie % SHARDS as u64) as usize]
    }

    /// The slot of a connection, which `insert` chooses if the connection is in none; and whether
    /// it did. `insert` learns whether the connection is one that ended before.
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

    /// The connection has left its slot.
    pub(crate) fn end(&self, cookie: u64) {
        let mut ended = lock(&self.ended);
        let Ended { cookies, next } = &mut *ended;
        let place = Location::Ended(*next);
        lock(self.shard(cookie)).insert(cookie, place);
        match cookies.get_mut(*next) {
            None => cookies.push(cookie),
            Some(last) => {
                let last = std::mem::replace(last, cookie);
                let mut shard = lock(self.shard(last));
                // Unless it was watched again, or ended again, since.
                if last != cookie && shard.get(&last) == Some(&place) {
                    shard.remove(&last);
                }
            }
        }
        *next = (*next + 1) % ENDED;
    }

    /// Remembers a connection that was given back, and says under which stamp. Returns with it
    /// those that have to be forgotten for it: ended ones, or the one given back first.
    pub(crate) fn give_back(&self, returned: Returned) -> (u64, Vec<(u64, Returned)>) {
        let mut given_back = lock(&self.given_back);
        let mut forgotten = Vec::new();
        if given_back.connections.len() >= GIVEN_BACK {
            if given_back.next - given_back.looked >= LOOK_EVERY {
                given_back.looked = given_back.next;
                let ended = given_back.connections.iter().filter(|(_, other)| !other.is_open());
                forgotten = ended.map(|(stamp, other)| (*stamp, *other)).collect();
                for (stamp, _) in &forgotten {
                    given_back.connections.remove(stamp);
                }
            }
            if forgotten.is_empty() {
                forgotten.extend(given_back.connections.pop_first());
            }
        }
        let stamp = given_back.next;
        given_back.next += 1;
        given_back.connections.insert(stamp, returned);
        (stamp, forgotten)
    }

    /// A connection that was given back is watched again, or ended.
    pub(crate) fn take_back(&self, stamp: u64) {
        lock(&self.given_back).connections.remove(&stamp);
    }

    /// How many connections are remembered that nobody watches.
    pub(crate) fn given_back(&self) -> usize {
        lock(&self.given_back).connections.len()
    }
}

/// Cookies are counted up by the kernel: nobody chooses them, and a multiplication spreads them.
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
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_last_cookies_that_ended_are_known() {
        // One shard for all, an uneven share for each, every one in turn.
        for stride in [SHARDS as u64, 6, 1] {
            the_last_that_ended_are_known(stride);
        }
    }

    fn the_last_that_ended_are_known(stride: u64) {
        let connections = Connections::new();
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

    #[test]
    fn an_open_connection_is_forgotten_after_all_that_ended() {
        let open = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let cookie = read::cookie_of(open.as_raw_fd()).expect("this kernel has cookies");
        let connections = Connections::new();
        let (first, _) = connections.give_back(Returned { slot: 0, cookie, fd: open.as_raw_fd() });
        let mut forgotten = Vec::new();
        for slot in 1..3 * GIVEN_BACK {
            let ended = Returned { slot, cookie: u64::MAX, fd: open.as_raw_fd() };
            forgotten.extend(connections.give_back(ended).1);
        }
        assert!(forgotten.iter().all(|(stamp, _)| *stamp != first));
        assert_eq!(forgotten.len() + connections.given_back(), 3 * GIVEN_BACK);
        // Of open ones the oldest goes.
        for slot in 0..2 * GIVEN_BACK {
            forgotten
                .extend(connections.give_back(Returned { slot, cookie, fd: open.as_raw_fd() }).1);
        }
        assert!(forgotten.iter().any(|(stamp, _)| *stamp == first));
        assert_eq!(connections.given_back(), GIVEN_BACK);
    }
}
