//! The locks of a monitor, in the order in which they may be taken.
//!
//! A thread that holds a lock takes only locks with a higher number, so no two threads can wait for
//! each other:
//!
//! | number | lock | held by | in |
//! | --- | --- | --- | --- |
//! | 1 | the sweeper | one sweep at a time; never by `watch` or drop | `shared.rs` |
//! | 2 | what passes keep | a pass: of a sweep, or of a discovery that begins | `discovery.rs` |
//! | 3 | who tells the ends of sockets | the begin and the end of a discovery | `discovery.rs` |
//! | 4 | the cookies of connections that ended | the end of a connection | `cookies.rs` |
//! | 5 | one shard of the index: from a cookie to a slot | `watch`, the end of one | `cookies.rs` |
//! | 6 | a slot: one connection | whoever reads or changes that connection | `slots.rs` |
//! | 6 | the discovered connections | one of them, or 64 | `discovery/table.rs` |
//! | 7 | the numbers of free slots | a moment | `slots.rs` |
//! | 7 | the connections that were given back | a moment, or a look at each | `given_back.rs` |
//! | 7 | the sets | a moment | `connections.rs` |
//! | 8 | the ledger of a set | a moment | `set.rs` |
//! | 8 | which of its connections a set shows | a moment | `set.rs` |
//! | 9 | the random numbers for samples of ended connections | a moment | `registrations.rs` |
//! | 9 | when each registration collected | a moment | `registrations.rs` |
//! | 9 | the counts of failures, the queue of failures | a moment | `failures.rs` |
//! | 9 | which thread is in a pass | a moment | `discovery.rs` |
//! | 9 | what was asked about listeners | one question to the kernel | `discovery/listening.rs` |
//! | 9 | default attributes of discovered groups | a moment | `discovery/active.rs` |
//! | 9 | orders for the thread, and its end | a moment | `discovery/thread.rs` |
//!
//! Locks with the same number are never held together. Four rules keep this order useful:
//!
//! - **A slot's lock is held during the system call that reads its socket.** A handle leaves its
//!   slot before its descriptor is closed, so while the lock is held no descriptor in the slot can
//!   be closed by its watch, or be used again for another socket. `watch` and drop wait for one
//!   read at most.
//! - **A shard's lock is never held while waiting for a slot in use.** That slot may be in a long
//!   read, and other threads need the shard. So `watch` looks up the slot's number under the
//!   shard's lock, releases it, and checks under the slot's lock that the connection is still
//!   there. The one slot that is locked under a shard's lock is new, and nobody else knows it.
//! - **The program's `on_error` is called with no lock held**: it may call the monitor.
//! - **A grouping is called with the first two locks held at most.** A grouping is a function of
//!   the program, and may call the monitor: from there a sweep gives the last snapshot, and no
//!   discovery can begin. The thread that takes events holds no lock when it calls one, and locks
//!   the discovered connections for one event at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks and ignores poisoning: the data is consistent wherever a panic can happen.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
