//! The allocator of the tests: counts what a thread allocates, and what the process has not given
//! back.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

/// The system's allocator, counted: a test binary makes it its `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Bytes allocated and not freed.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// Whether what is allocated is touched at once.
static TOUCHES: AtomicBool = AtomicBool::new(false);

/// The smallest page of any machine.
const PAGE: usize = 4_096;

fn count() {
    // A thread that ends may allocate after its locals are gone; nobody counts there.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

fn grow(bytes: isize) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
}

/// From now on each page that is allocated is resident: the kernel gives one only when it is first
/// written to, which for a large block may be hours after it was allocated.
pub fn touch_from_now_on() {
    TOUCHES.store(true, Ordering::Relaxed);
}

/// Writes to each page of a block from an offset on, where nothing but zeros or nothing at all was
/// written before.
///
/// # Safety
///
/// The block is this large, unless it is null, and nobody else uses it.
unsafe fn touch(block: *mut u8, from: usize, size: usize) {
    if size >= PAGE && !block.is_null() && TOUCHES.load(Ordering::Relaxed) {
        for at in (from..size).step_by(PAGE) {
            // SAFETY: it is within the block.
            unsafe { block.add(at).write_volatile(0) };
        }
    }
}

/// Bytes that the process has allocated and not freed.
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed).try_into().expect("nothing is freed that was not allocated")
}

/// Has the allocator give back to the kernel what the process gave back to the allocator.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

// SAFETY: every method passes on what it was given to the system's allocator, under the contract
// it was called with; the counter beside it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        grow(layout.size() as isize);
        // SAFETY: the caller's contract, passed on; the block is new.
        unsafe {
            let block = System.alloc(layout);
            touch(block, 0, layout.size());
            block
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        grow(layout.size() as isize);
        // SAFETY: the caller's contract, passed on; the block is new.
        unsafe {
            let block = System.alloc_zeroed(layout);
            touch(block, 0, layout.size());
            block
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        grow(size as isize - layout.size() as isize);
        // SAFETY: the caller's contract, passed on; what the block gained is new.
        unsafe {
            let block = System.realloc(pointer, layout, size);
            touch(block, layout.size(), size);
            block
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: the caller's contract, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often this thread asked for memory while it did `work`.
pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}
