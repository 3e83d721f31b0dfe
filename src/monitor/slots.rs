//! Where watched sockets live: chunks of slots, each behind a lock of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

/// Slots in one chunk: one bit each of a word says which are taken.
const CHUNK: usize = u64::BITS as usize;

/// Takes a lock whatever happened to an earlier holder. What the locks here guard is whole between
/// any two statements that can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds values in places that never move. Adding and removing take a lock for a moment; walking
/// over all of them locks one at a time.
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

    /// Takes the value out of a slot, in one step with what `last` does to it.
    ///
    /// Waits at most for whoever holds this one slot.
    pub(crate) fn remove<R>(&self, number: usize, last: impl FnOnce(&mut T) -> R) -> Option<R> {
        let removed = self.clear(number, last);
        lock(&self.free).push(number);
        removed
    }

    fn clear<R>(&self, number: usize, last: impl FnOnce(&mut T) -> R) -> Option<R> {
        let chunks = self.chunks.load();
        let chunk = &chunks[number / CHUNK];
        let mut slot = lock(&chunk.slots[number % CHUNK]);
        chunk.taken.fetch_and(!(1 << (number % CHUNK)), Ordering::Release);
        let mut value = slot.take()?;
        // Still under the lock: nobody can meet the value after its last use.
        Some(last(&mut value))
    }

    /// Shows one value to `look`, `None` where the slot is empty.
    pub(crate) fn look<R>(&self, number: usize, look: impl FnOnce(&T) -> R) -> Option<R> {
        let chunks = self.chunks.load();
        let slot = lock(&chunks[number / CHUNK].slots[number % CHUNK]);
        slot.as_ref().map(look)
    }

    /// Shows every value to `visit`, one lock at a time. What `visit` declines to keep is taken
    /// out; its number stays with its owner until `remove`.
    pub(crate) fn visit(&self, mut visit: impl FnMut(usize, &mut T) -> Keep) {
        for (index, chunk) in self.chunks.load_full().iter().enumerate() {
            let mut taken = chunk.taken.load(Ordering::Acquire);
            while taken != 0 {
                let position = taken.trailing_zeros() as usize;
                taken &= taken - 1;
                let mut slot = lock(&chunk.slots[position]);
                let Some(value) = slot.as_mut() else { continue };
                if visit(index * CHUNK + position, value) == Keep::No {
                    *slot = None;
                }
            }
        }
    }
}

/// Whether a visited value stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(slots: &Slots<u32>) -> Vec<(usize, u32)> {
        let mut contents = Vec::new();
        slots.visit(|number, value| {
            contents.push((number, *value));
            Keep::Yes
        });
        contents
    }

    #[test]
    fn numbers_are_used_again_and_values_do_not_move() {
        let slots = Slots::new();
        let numbers: Vec<usize> = (0..130).map(|value| slots.insert(value)).collect();
        assert_eq!(numbers, (0..130).collect::<Vec<usize>>());
        assert_eq!(slots.remove(70, |value| *value), Some(70));
        assert_eq!(contents(&slots).len(), 129);
        assert_eq!(slots.insert(7_000), 70);
        assert_eq!(contents(&slots)[70], (70, 7_000));
    }

    #[test]
    fn a_declined_value_leaves_its_number_with_the_owner() {
        let slots = Slots::new();
        let number = slots.insert(1);
        slots.visit(|_, _| Keep::No);
        assert_eq!(contents(&slots), []);
        assert_ne!(slots.insert(2), number);
        assert_eq!(slots.remove(number, |value| *value), None);
        assert_eq!(slots.insert(3), number);
    }

    #[test]
    fn a_panicking_visitor_harms_nobody_else() {
        let slots = Slots::new();
        slots.insert(1);
        slots.insert(2);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            slots.visit(|_, _| panic!("a reading failed badly"));
        }));
        assert!(panicked.is_err());
        assert_eq!(contents(&slots), [(0, 1), (1, 2)]);
    }
}
