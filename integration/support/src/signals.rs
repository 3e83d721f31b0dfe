//! Signals that interrupt system calls, and child processes by bare `fork`.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Has `SIGUSR1` do no more than interrupt what a thread waits for: without `SA_RESTART`.
pub fn handle() {
    let handler: extern "C" fn(libc::c_int) = count;
    // SAFETY: all bits of a `sigaction` may be zero, and the handler does what a handler may.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut())
    };
    assert_eq!(result, 0);
}

/// How often it was handled.
pub fn handled() -> u64 {
    HANDLED.load(Ordering::Relaxed)
}

/// Sends one to every other thread of this process: how many.
pub fn to_every_thread() -> u64 {
    let mut sent = 0;
    // SAFETY: it only says who asks.
    let own = unsafe { libc::syscall(libc::SYS_gettid) };
    for task in std::fs::read_dir("/proc/self/task").expect("procfs") {
        let task = task.expect("procfs").file_name();
        let thread: i64 = task.to_string_lossy().parse().expect("a number");
        if thread != own {
            let process = std::process::id();
            // SAFETY: it passes numbers. A thread that has ended is an error.
            let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
            sent += u64::from(result == 0);
        }
    }
    sent
}

/// How long a child may work, in seconds.
const CHILD: u32 = 60;

/// Does this in a child that `fork` makes, which has this thread only, and waits for its end:
/// whether it came to the end of the work, within a minute.
///
/// # Safety
///
/// The work must not need what another thread holds at this moment: a lock, or the allocator.
pub unsafe fn in_fork(work: impl FnOnce()) -> bool {
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: it passes a number. The signal ends the child.
            unsafe { libc::alarm(CHILD) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: it only ends the process, without what `exit` would do for the parent.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        child => {
            assert!(child > 0, "no process");
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            while unsafe { libc::waitpid(child, &mut status, 0) } != child {}
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}
