//! Where watched connections live: slots that never move, each behind a lock of its own.
//!
//! ```text
//! block 0   1 chunk    [64 slots]
//! block 1   2 chunks   [64 slots][64 slots]
//! block 2   4 chunks   [64 slots][64 slots][64 slots][64 slots]      ... each twice the last
//! ```
//!
//! A block is allocated when its first number is used, and never freed. So a slot can be reached
//! without a lock on the whole, and a sweep that walks over all slots disturbs nobody. A word in
//! each chunk says which of its slots are taken, one bit each: a walk skips what is free without
//! locking it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::locks::lock;

/// Slots of a chunk: as many as a word has bits.
const WORD: usize = u64::BITS as usize;

/// Chunks that a thread takes at a time.
const PART: usize = 8;

/// How many blocks there can be: 2^40 chunks, more than memory has.
const BLOCKS: usize = 40;

/// Values in slots that never move. Adding and removing lock the list of free numbers for a moment;
/// walking over all locks one slot at a time.
///
/// A number is taken from [`insert`](Self::insert) to [`free`](Self::free). In between the slot can
/// be empty already: whoever empties it first removes the number from every place that has it, and
/// frees it only then.
pub(crate) struct Slots<T> {
    blocks: [OnceLock<Box<[Chunk<T>]>>; BLOCKS],
    free: Mutex<Free>,
}

struct Chunk<T> {
    taken: AtomicU64,
    slots: [Mutex<Option<T>>; WORD],
}

/// The numbers that are not taken.
struct Free {
    used_before: Vec<usize>,
    never_used: usize,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        let free = Free { used_before: Vec::new(), never_used: 0 };
        Self { blocks: [const { OnceLock::new() }; BLOCKS], free: Mutex::new(free) }
    }

    /// The chunk of a number, and the number's place in it.
    #[inline]
    fn chunk(&self, number: usize) -> (&Chunk<T>, usize) {
        // Block b begins with chunk 2^b - 1.
        let chunk = number / WORD + 1;
        let block = chunk.ilog2();
        let chunks = self.blocks[block as usize].get_or_init(|| {
            let empty = || Chunk {
                taken: AtomicU64::new(0),
                slots: std::array::from_fn(|_| Mutex::new(None)),
            };
            std::iter::repeat_with(empty).take(1 << block).collect()
        });
        (&chunks[chunk - (1 << block)], number % WORD)
    }

    /// A chunk that was used before.
    fn existing(&self, index: usize) -> Option<&Chunk<T>> {
        let block = (index + 1).ilog2();
        let chunks = self.blocks.get(block as usize)?.get()?;
        Some(&chunks[index + 1 - (1 << block)])
    }

    /// Puts a value into a free slot and returns the slot's number.
    pub(crate) fn insert(&self, value: T) -> usize {
        let number = {
            let mut free = lock(&self.free);
            free.used_before.pop().unwrap_or_else(|| {
                free.never_used += 1;
                free.never_used - 1
            })
        };
        let (chunk, place) = self.chunk(number);
        *lock(&chunk.slots[place]) = Some(value);
        // After the value is there: whoever sees the bit finds it.
        chunk.taken.fetch_or(1 << place, Ordering::Release);
        number
    }

    /// Works on one slot under its lock. Waits at most for whoever holds this one slot.
    pub(crate) fn with<R>(&self, number: usize, work: impl FnOnce(&mut Option<T>) -> R) -> R {
        let (chunk, place) = self.chunk(number);
        work(&mut lock(&chunk.slots[place]))
    }

    /// Gives up the number of an emptied slot.
    pub(crate) fn free(&self, number: usize) {
        let (chunk, place) = self.chunk(number);
        chunk.taken.fetch_and(!(1 << place), Ordering::Release);
        lock(&self.free).used_before.push(number);
    }

    /// A walk over all slots, which several threads can share.
    pub(crate) fn walk(&self) -> Walk<'_, T> {
        Walk { slots: self, next: AtomicUsize::new(0) }
    }
}

/// One walk over all slots. Each thread that visits takes parts of it, so every slot is shown once.
pub(crate) struct Walk<'s, T> {
    slots: &'s Slots<T>,
    /// The first chunk that nobody has taken.
    next: AtomicUsize,
}

impl<T> Walk<'_, T> {
    /// Shows taken slots to `look`, one lock at a time, until the walk is over. Gives what `look`
    /// returns to `then`, after the slot's lock is released.
    ///
    /// Slots that are taken or freed meanwhile may be missed or met empty.
    pub(crate) fn visit<R>(
        &self,
        mut look: impl FnMut(usize, &mut Option<T>) -> R,
        mut then: impl FnMut(usize, R),
    ) {
        loop {
            let begin = self.next.fetch_add(PART, Ordering::Relaxed);
            for index in begin..begin + PART {
                let Some(chunk) = self.slots.existing(index) else { return };
                let mut taken = chunk.taken.load(Ordering::Acquire);
                while taken != 0 {
                    let place = taken.trailing_zeros() as usize;
                    taken &= taken - 1;
                    let number = index * WORD + place;
                    let seen = look(number, &mut lock(&chunk.slots[place]));
                    then(number, seen);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(slots: &Slots<u32>) -> Vec<(usize, u32)> {
        let mut contents = Vec::new();
        slots.walk().visit(
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
    fn threads_that_share_a_walk_see_each_value_once() {
        let slots = Slots::new();
        (0..5_000).for_each(|value| {
            slots.insert(value);
        });
        (0..5_000).step_by(7).for_each(|number| {
            take(&slots, number);
        });
        let (walk, seen) = (slots.walk(), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| walk.visit(|_, slot| *slot, |_, value| lock(&seen).push(value)));
            }
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        let there = (0..5_000).filter(|number| number % 7 != 0).map(Some);
        assert_eq!(seen, there.collect::<Vec<_>>());
    }

    #[test]
    fn a_panicking_visitor_harms_nobody_else() {
        let slots = Slots::new();
        slots.insert(1);
        slots.insert(2);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            slots.walk().visit(|_, _| panic!("a reading failed badly"), |_, ()| ());
        }));
        assert!(panicked.is_err());
        assert_eq!(contents(&slots), [(0, 1), (1, 2)]);
    }
}
