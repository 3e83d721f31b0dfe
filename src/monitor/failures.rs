//! Failed reads, and other things that went wrong: counted at once, and told to the program later,
//! when no lock is held.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::attributes::Attributes;
use super::locks::lock;
use crate::read;

/// How many failures wait to be told. If there are more, the newest are only counted.
const WAITING: usize = 1_024;

/// What the program wants to be told of failures by.
pub(crate) type OnError = Box<dyn Fn(&Attributes, &io::Error) + Send + Sync>;

/// Something that went wrong with what has these attributes.
pub(crate) struct Failed {
    pub(crate) attributes: Attributes,
    pub(crate) error: io::Error,
}

impl Failed {
    pub(crate) fn new(attributes: Attributes, error: io::Error) -> Self {
        Self { attributes, error }
    }
}

/// What a read that panicked is reported as.
pub(crate) fn panicked() -> io::Error {
    io::Error::other("a read panicked")
}

/// The counts of failed reads, and the failures that the program is still to be told of.
///
/// A collection runs under a lock of the SDK. The program must not be called under it: `on_error`
/// could create an instrument, which waits for the same lock. So failures wait for the next call
/// that the program itself makes.
pub(crate) struct Failures {
    on_error: Option<OnError>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    waiting: Mutex<VecDeque<Failed>>,
    /// The length of `waiting`, so that a call without failures takes no lock.
    count: AtomicUsize,
    /// Whether a thread is telling. Calls inside `on_error` do not tell again.
    telling: AtomicBool,
}

impl Failures {
    pub(crate) fn new(on_error: Option<OnError>) -> Self {
        Self {
            on_error,
            counts: Mutex::default(),
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
            telling: AtomicBool::new(false),
        }
    }

    /// Counts a failed read.
    pub(crate) fn note(&self, failed: Failed) {
        *lock(&self.counts).entry(read::error_type(&failed.error)).or_default() += 1;
        self.put(failed);
    }

    /// Keeps a failure for the program without counting it as a read.
    pub(crate) fn put(&self, failed: Failed) {
        if self.on_error.is_none() {
            return;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.len() < WAITING {
            waiting.push_back(failed);
            self.count.store(waiting.len(), Ordering::Release);
        }
    }

    /// Failed reads so far, by `error.type`.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        lock(&self.counts).iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    /// Tells the program what waits. The caller holds no lock and is in no collection.
    ///
    /// What fails meanwhile waits for the next call, so an `on_error` that watches what fails does
    /// not call itself.
    #[inline]
    pub(crate) fn tell(&self) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.tell_all();
        }
    }

    #[cold]
    fn tell_all(&self) {
        let Some(on_error) = &self.on_error else { return };
        if self.telling.swap(true, Ordering::Acquire) {
            return;
        }
        let batch = {
            let mut waiting = lock(&self.waiting);
            self.count.store(0, Ordering::Release);
            mem::take(&mut *waiting)
        };
        for Failed { attributes, error } in batch {
            // A panic in the program's callback stays here, and so does a panic in the destructor
            // of what it panicked with. What that one panics with is leaked.
            let called = catch_unwind(AssertUnwindSafe(|| on_error(&attributes, &error)));
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(called)));
            dropped.unwrap_or_else(mem::forget);
        }
        self.telling.store(false, Ordering::Release);
    }
}
