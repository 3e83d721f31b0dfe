//! Counts what a thread allocates, to hold `read` to its word, and what the process has not given
//! back.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

use crate::loopback::Pair;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Bytes allocated and not freed.
static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count() {
    // A thread that ends may allocate after its locals are gone; nobody counts there.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

fn grow(bytes: isize) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
}

/// Bytes that the process has allocated and not freed.
#[cfg(feature = "otel")]
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed).try_into().expect("nothing is freed that was not allocated")
}

// SAFETY: every method passes on what it was given to the system's allocator, under the contract
// it was called with; the counter beside it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        grow(layout.size() as isize);
        // SAFETY: the caller's contract, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        grow(layout.size() as isize);
        // SAFETY: the caller's contract, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        grow(size as isize - layout.size() as isize);
        // SAFETY: the caller's contract, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: the caller's contract, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often this thread asked for memory while it did `work`.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn read_allocates_nothing() {
    let pair = Pair::connect();
    // The first call of a process asks for the kernel's release and keeps it.
    tcpinfo::read(&pair.client).expect("it is connected");
    let reads = allocations(|| {
        for _ in 0..100 {
            std::hint::black_box(tcpinfo::read(&pair.client).expect("it is connected"));
            std::hint::black_box(tcpinfo::read(&pair.listener).expect("it listens"));
        }
    });
    assert_eq!(reads, 0);
}

#[test]
fn looking_at_every_field_allocates_nothing() {
    let pair = Pair::connect();
    let info = tcpinfo::read(&pair.client).expect("it is connected");
    let walk = allocations(|| {
        for (field, value) in info.fields() {
            std::hint::black_box((info.supports(field), value.as_f64(), value.is_zero()));
        }
    });
    assert_eq!(walk, 0);
}

#[test]
#[cfg(feature = "otel")]
fn a_sweep_allocates_for_groups_and_not_for_sockets() {
    let sweep = |sockets: usize| {
        let monitor = tcpinfo::Monitor::new();
        let group = monitor.group([]);
        let pairs: Vec<Pair> = (0..sockets).map(|_| Pair::connect()).collect();
        let _watched: Vec<_> = pairs.into_iter().map(|pair| group.watch(pair.client)).collect();
        // The first sweeps make room for what later ones need again.
        for _ in 0..2 {
            monitor.snapshot();
        }
        allocations(|| drop(monitor.snapshot()))
    };
    assert_eq!(sweep(1), sweep(250));
}
