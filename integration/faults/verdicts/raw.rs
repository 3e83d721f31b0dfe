//! What the standard library has no safe function for: the bytes of a reply, and a pace.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The reply as the kernel wrote it.
pub(crate) fn tcp_info(socket: impl AsFd) -> io::Result<Vec<u8>> {
    let mut room = vec![0; 512];
    let mut len = room.len() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `getsockopt` writes at most `len` bytes to `room`, which has as many, and the length
    // to `len`; both outlive the call, and the descriptor is borrowed for it.
    let result = unsafe {
        let room = room.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, room, &mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    room.truncate(len as usize);
    Ok(room)
}

/// Sets the most that the socket sends in a second, in bytes.
pub(crate) fn pace(socket: impl AsFd, rate: u64) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the option takes a `u64`, which outlives the call; the descriptor is borrowed for it.
    let result = unsafe {
        let rate = std::ptr::from_ref(&rate).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate, 8)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
