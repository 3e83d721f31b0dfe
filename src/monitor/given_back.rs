//! Open connections that nobody watches: given back by their watch, and remembered so that a later
//! watch counts on instead of from the start.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::Mutex;

use super::locks::lock;
use crate::read;

/// How many are remembered.
const CAPACITY: usize = 1_024;

/// When the memory is full, one in so many additions looks for connections that ended meanwhile.
/// Not each: looking takes a system call for every connection in it.
const LOOK_EVERY: u64 = 64;

/// A connection that nobody watches, with what tells whether it is still open.
#[derive(Clone, Copy)]
pub(crate) struct GivenBack {
    pub(crate) slot: usize,
    pub(crate) cookie: u64,
    /// The descriptor that the last watch had. It can be closed, or another socket, at any time.
    pub(crate) fd: RawFd,
}

impl GivenBack {
    pub(crate) fn is_open(&self) -> bool {
        read::cookie_of(self.fd).is_ok_and(|cookie| cookie == self.cookie)
    }
}

/// The connections of one family of metrics that were given back, oldest first. Each has a stamp:
/// the number of connections that were given back before it.
#[derive(Default)]
pub(crate) struct GivenBackQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    connections: BTreeMap<u64, GivenBack>,
    next_stamp: u64,
    /// `next_stamp` at the last look for connections that ended.
    looked_at: u64,
}

impl GivenBackQueue {
    /// Remembers a connection, and returns its stamp. Returns with it the connections that have to
    /// be forgotten to make room: those that ended, or else the oldest.
    pub(crate) fn add(&self, connection: GivenBack) -> (u64, Vec<(u64, GivenBack)>) {
        let mut queue = lock(&self.0);
        let mut forgotten = Vec::new();
        if queue.connections.len() >= CAPACITY {
            if queue.next_stamp - queue.looked_at >= LOOK_EVERY {
                queue.looked_at = queue.next_stamp;
                let ended = queue.connections.iter().filter(|(_, other)| !other.is_open());
                forgotten = ended.map(|(stamp, other)| (*stamp, *other)).collect();
                for (stamp, _) in &forgotten {
                    queue.connections.remove(stamp);
                }
            }
            if forgotten.is_empty() {
                forgotten.extend(queue.connections.pop_first());
            }
        }
        let stamp = queue.next_stamp;
        queue.next_stamp += 1;
        queue.connections.insert(stamp, connection);
        (stamp, forgotten)
    }

    /// Forgets a connection that is watched again, or has ended.
    pub(crate) fn remove(&self, stamp: u64) {
        lock(&self.0).connections.remove(&stamp);
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).connections.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn an_open_connection_is_forgotten_after_all_that_ended() {
        let open = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let fd = open.as_raw_fd();
        let cookie = read::cookie_of(fd).expect("this kernel has cookies");
        let queue = GivenBackQueue::default();
        let (first, _) = queue.add(GivenBack { slot: 0, cookie, fd });
        let mut forgotten = Vec::new();
        for slot in 1..3 * CAPACITY {
            forgotten.extend(queue.add(GivenBack { slot, cookie: u64::MAX, fd }).1);
        }
        assert!(forgotten.iter().all(|(stamp, _)| *stamp != first));
        assert_eq!(forgotten.len() + queue.len(), 3 * CAPACITY);
        // Of open ones the oldest goes.
        for slot in 0..2 * CAPACITY {
            forgotten.extend(queue.add(GivenBack { slot, cookie, fd }).1);
        }
        assert!(forgotten.iter().any(|(stamp, _)| *stamp == first));
        assert_eq!(queue.len(), CAPACITY);
    }
}
