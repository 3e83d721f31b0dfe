//! The descriptors of this process that may be open.

use std::fs::{File, read_dir};
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

/// How much larger than the number of open descriptors their table may be, so that asking for each
/// number is cheaper than listing: a closed descriptor costs 0.09 us, an entry of the list 0.7.
const SPARSE: usize = 6;

/// Calls `see` for every descriptor that may be open now, in order. Some of them are closed.
///
/// `open` is how many there are about.
pub(crate) fn each_descriptor(open: usize, mut see: impl FnMut(RawFd)) -> io::Result<()> {
    let size = table_size()?;
    if size <= open.saturating_mul(SPARSE).saturating_add(256) {
        (0..size as RawFd).for_each(see);
        return Ok(());
    }
    for entry in read_dir("/proc/thread-self/fd")? {
        if let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            see(fd);
        }
    }
    Ok(())
}

/// The size of the table of descriptors: it grows by doubling, and does not shrink.
fn table_size() -> io::Result<usize> {
    let mut room = [0; 4096];
    // Of the calling thread: the first thread of the process may be gone.
    let len = File::open("/proc/thread-self/status")?.read(&mut room)?;
    let text = String::from_utf8_lossy(&room[..len]);
    let size = text.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse().ok());
    size.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "no FDSize in the status of a thread")
    })
}

/// The inode of a descriptor's file: of a socket, the number that [`Socket::inode`] says.
///
/// [`Socket::inode`]: super::Socket::inode
pub(crate) fn inode_of(fd: RawFd) -> Option<u32> {
    std::fs::metadata(format!("/proc/thread-self/fd/{fd}")).ok().map(|file| file.ino() as u32)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_table_that_is_asked_and_one_that_is_listed_have_the_same_descriptors() {
        let file = File::open("/proc/self/status").expect("procfs");
        for open in [usize::MAX, 0] {
            let mut seen = Vec::new();
            each_descriptor(open, |fd| seen.push(fd)).expect("procfs");
            assert!(seen.contains(&file.as_raw_fd()), "{seen:?}");
            assert!(seen.is_sorted(), "{seen:?}");
        }
    }

    #[test]
    fn a_socket_has_the_inode_that_the_kernel_tells_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let mut dump = super::super::Query::new().with_local_port(port).dump().expect("netlink");
        let socket = dump.next().expect("it listens").expect("well-formed");
        assert_eq!(socket.inode, inode_of(listener.as_raw_fd()));
    }
}
