//! Descriptors at numbers that no other test uses, so that a stranger can take one at will.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

/// A number that is free until somebody asks for it: the kernel gives the lowest ones to everybody
/// else.
pub(super) fn number() -> RawFd {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1_024).min(1_000_000);
    let number = limit - NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number > limit / 2, "{number} may be in use below a limit of {limit}");
    RawFd::try_from(number).expect("limits are small")
}

/// The socket at this number, which must be free.
#[track_caller]
pub(super) fn at(number: RawFd, socket: TcpStream) -> TcpStream {
    let moved = rustix::io::fcntl_dupfd_cloexec(&socket, number).expect("a number that is free");
    assert_eq!(moved.as_raw_fd(), number, "somebody else has the number");
    moved.into()
}
