//! Where watched sockets live: chunks of slots, each behind a lock of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

/// Slots in one chunk: one bit each of a word says which are taken.
const CHUNK: usize = u64::BITS as usize;

/// Locks and ignores poisoning: the data is consistent wherever a panic can happen.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds values in places that never move. Adding and removing take a lock for a moment; walking
/// over all of them locks one at a time.
///
/// A number is taken from [`insert`](Self::insert) to [`free`](Self::free). In between its slot can
/// be empty already, so that whoever empties it can first withdraw the number from wherever it is
/// written down.
pub(crate) struct Slots<T> {
    chunks: ArcSwap<Vec<Arc<Chunk<T>>>>,
    free: Mutex<Vec<usize>>,
}

struct Chunk<T> {
    taken: AtomicU64,
    slots: [Mutex<Option<T>>; CHUNK],
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: ArcSwap::from_pointee(Vec::new()), free: Mutex::new(Vec::new()) }
    }

    /// Puts a value into a free slot and returns the slot's number.
    pub(crate) fn insert(&self, value: T) -> usize {
        let number = self.take_number();
        let chunks = self.chunks.load();
        let chunk = &chunks[number / CHUNK];
        *lock(&chunk.slots[number % CHUNK]) = Some(value);
        chunk.taken.fetch_or(1 << (number % CHUNK), Ordering::Release);
        number
    }

    fn take_number(&self) -> usize {
        let mut free = lock(&self.free);
        if let Some(number) = free.pop() {
            return number;
        }
        let chunks = self.chunks.load();
        let first = chunks.len() * CHUNK;
        let mut grown = Vec::clone(&chunks);
        grown.push(Arc::new(Chunk {
            taken: AtomicU64::new(0),
            slots: std::array::from_fn(|_| Mutex::new(None)),
        }));
        self.chunks.store(Arc::new(grown));
        free.extend((first + 1..first + CHUNK).rev());
        first
    }

    /// Works on one slot under its lock. Waits at most for whoever holds this one slot.
    pub(crate) fn with<R>(&self, number: usize, work: impl FnOnce(&mut Option<T>) -> R) -> R {
        let chunks = self.chunks.load();
        work(&mut lock(&chunks[number / CHUNK].slots[number % CHUNK]))
    }

    /// Gives up the number of an emptied slot.
    pub(crate) fn free(&self, number: usize) {
        let chunks = self.chunks.load();
        chunks[number / CHUNK].taken.fetch_and(!(1 << (number % CHUNK)), Ordering::Release);
        lock(&self.free).push(number);
    }

    /// Shows every taken slot to `look`, one lock at a time. What that returns is for `then`, which
    /// runs after the slot's lock is released.
    pub(crate) fn visit<R>(
        &self,
        mut look: impl FnMut(usize, &mut Option<T>) -> R,
        mut then: impl FnMut(usize, R),
    ) {
        for (index, chunk) in self.chunks.load_full().iter().enumerate() {
            let mut taken = chunk.taken.load(Ordering::Acquire);
            while taken != 0 {
                let position = taken.trailing_zeros() as usize;
                taken &= taken - 1;
                let number = index * CHUNK + position;
                let seen = look(number, &mut lock(&chunk.slots[position]));
                then(number, seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(slots: &Slots<u32>) -> Vec<(usize, u32)> {
        let mut contents = Vec::new();
        slots.visit(
            |number, slot| slot.map(|value| (number, value)),
            |_, seen| contents.extend(seen),
        );
        contents
    }

    fn take(slots: &Slots<u32>, number: usize) -> Option<u32> {
        let taken = slots.with(number, Option::take);
        slots.free(number);
        taken
    }

    #[test]
    fn numbers_are_used_again_and_values_do_not_move() {
        let slots = Slots::new();
        let numbers: Vec<usize> = (0..130).map(|value| slots.insert(value)).collect();
        assert_eq!(numbers, (0..130).collect::<Vec<usize>>());
        assert_eq!(take(&slots, 70), Some(70));
        assert_eq!(contents(&slots).len(), 129);
        assert_eq!(slots.insert(7_000), 70);
        assert_eq!(contents(&slots)[70], (70, 7_000));
    }

    #[test]
    fn an_emptied_slot_keeps_its_number_until_it_is_freed() {
        let slots = Slots::new();
        let number = slots.insert(1);
        slots.with(number, |slot| *slot = None);
        assert_eq!(contents(&slots), []);
        assert_ne!(slots.insert(2), number);
        slots.free(number);
        assert_eq!(slots.insert(3), number);
    }

    #[test]
    fn a_panicking_visitor_harms_nobody_else() {
        let slots = Slots::new();
        slots.insert(1);
        slots.insert(2);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            slots.visit(|_, _| panic!("a reading failed badly"), |_, ()| ());
        }));
        assert!(panicked.is_err());
        assert_eq!(contents(&slots), [(0, 1), (1, 2)]);
    }
}
