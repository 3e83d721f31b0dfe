//! The reply as the kernel wrote it, for any room. The only file here with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// More than any kernel returns.
pub(crate) const ROOM: usize = 1024;

/// What the room holds where the kernel did not write.
const UNTOUCHED: u8 = 0xa5;

/// `getsockopt(TCP_INFO)` with `asked` bytes of room.
///
/// # Panics
///
/// Where the kernel wrote beyond the length that it returned.
pub(crate) fn tcp_info(socket: impl AsFd, asked: usize) -> io::Result<Vec<u8>> {
    let mut room = [UNTOUCHED; ROOM];
    assert!(asked <= ROOM, "{asked} bytes asked");
    let mut len = asked as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `getsockopt` writes at most `len` bytes to `room`, which has more, and the length to
    // `len`; both outlive the call, and the descriptor is borrowed for it.
    let result = unsafe {
        let room = room.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, room, &mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let (reply, rest) = room.split_at(len as usize);
    assert!(rest.iter().all(|byte| *byte == UNTOUCHED), "bytes beyond the {len} returned ones");
    Ok(reply.to_vec())
}
