//! Asks the kernel about a socket. This is the only file with `unsafe`. Only this file and `diag`
//! make system calls.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::OnceLock;

use crate::congestion::Congestion;
use crate::info::TcpInfo;
use crate::kernel::Kernel;

/// `TCP_CC_INFO` of `linux/tcp.h`: `libc` does not have it for every target.
const TCP_CC_INFO: i32 = 26;

/// More than any kernel returns today, so that a longer structure is noticed by its length.
pub(crate) const ROOM: usize = 512;

/// What the kernel reports of a TCP socket now: one `getsockopt(TCP_INFO)`, no allocation.
///
/// It takes anything with a file descriptor: sockets of std, tokio, mio, socket2, rustix, and
/// [`BorrowedFd`](std::os::fd::BorrowedFd). The kernel takes the socket's lock to answer. That
/// takes a third of a microsecond on an idle socket, and longer while another thread is inside
/// `send` or `recv` on the same socket.
///
/// # Errors
///
/// The kernel's own: `EBADF`, `ENOTSOCK`; `EOPNOTSUPP` or `ENOPROTOOPT` if the socket is not TCP;
/// `EPERM` if a BPF program forbids it.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let info = tcpinfo::read(&stream)?;
/// println!("{info}");
/// assert_eq!(info.state, tcpinfo::State::Established);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "TCP_INFO")]
#[doc(alias = "getsockopt")]
pub fn read(socket: impl AsFd) -> io::Result<TcpInfo> {
    read_raw(socket.as_fd().as_raw_fd())
}

/// [`read`] for a descriptor, whatever file it is now.
pub(crate) fn read_raw(fd: RawFd) -> io::Result<TcpInfo> {
    let mut room = [0; ROOM];
    let len = reply(fd, &mut room)?;
    TcpInfo::decode(&room[..len], Kernel::running())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads the reply for a descriptor, whatever file it is now, and returns the reply's length.
pub(crate) fn reply(fd: RawFd, room: &mut [u8; ROOM]) -> io::Result<usize> {
    option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, room)
}

/// The congestion control of a TCP socket: the algorithm's name and what it reports of itself.
///
/// Another thread may switch the algorithm meanwhile. So the name is read before and after the
/// numbers, and has to fit them: BBR's numbers never appear under the name of reno or cubic, and
/// BBR never appears without numbers. Vegas and DCTCP look alike if they are switched there and
/// back within one call.
///
/// # Errors
///
/// The kernel's own, as for [`read`]; `EBUSY` if the algorithm changed during each of eight
/// attempts. A kernel without `TCP_CC_INFO` (before 4.1, gVisor) is no error: the algorithm then
/// reports nothing.
#[doc(alias = "TCP_CC_INFO")]
#[doc(alias = "TCP_CONGESTION")]
pub fn congestion(socket: impl AsFd) -> io::Result<Congestion> {
    let socket = socket.as_fd();
    let mut before = rustix::net::sockopt::tcp_congestion(socket)?;
    for _ in 0..8 {
        let mut room = [0; ROOM];
        let fd = socket.as_raw_fd();
        let len = match option(fd, libc::IPPROTO_TCP, TCP_CC_INFO, &mut room) {
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                return Ok(Congestion::decode(&before, &[]));
            }
            other => other?,
        };
        let after = rustix::net::sockopt::tcp_congestion(socket)?;
        let congestion = Congestion::decode(&after, &room[..len]);
        if before == after && is_of_one_algorithm(&congestion) {
            return Ok(congestion);
        }
        before = after;
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

/// Whether the numbers can be of the named algorithm: reno and cubic never report any, bbr always
/// does.
///
/// Equal names before and after do not prove it: while a thread switched between reno and bbr, half
/// of 200,000 calls returned the numbers of the other algorithm.
fn is_of_one_algorithm(congestion: &Congestion) -> bool {
    match congestion.algorithm.as_str() {
        "reno" | "cubic" => congestion.info.is_none(),
        "bbr" => congestion.info.is_some(),
        _ => true,
    }
}

/// The socket's cookie: a number no other socket of this boot has or will have.
///
/// It stays the same through disconnect and reconnect. Since Linux 4.12.
///
/// # Errors
///
/// The kernel's own; `ENOPROTOOPT` if the kernel has no cookies (older kernels, gVisor).
#[doc(alias = "SO_COOKIE")]
pub fn socket_cookie(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::net::sockopt::socket_cookie(socket)?)
}

/// Tells the peer that nothing more will come.
#[cfg(feature = "tokio")]
pub(crate) fn end_writing(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?)
}

impl Kernel {
    /// The kernel this program runs on, asked once.
    pub fn running() -> &'static Self {
        static RUNNING: OnceLock<Kernel> = OnceLock::new();
        RUNNING.get_or_init(|| {
            let name = rustix::system::uname();
            let Ok(kernel) = name.release().to_string_lossy().parse();
            kernel
        })
    }
}

/// Blocks every signal on the calling thread: a signal for the process then goes to one of the
/// program's own threads, as if this thread were not there.
#[cfg(all(feature = "diag", feature = "monitor"))]
pub(crate) fn block_signals() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given, and `pthread_sigmask` reads it; a
    // null pointer says that the old mask is not wanted. Both outlive the calls, and only the
    // calling thread is changed.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
}

/// Reads one option and returns how many bytes the kernel wrote.
#[inline]
fn option<const N: usize>(
    fd: RawFd,
    level: i32,
    name: i32,
    room: &mut [u8; N],
) -> io::Result<usize> {
    let mut len = N as libc::socklen_t;
    // SAFETY: `getsockopt` writes at most `len` bytes to `room`, which holds exactly that many, and
    // the length to `len`; both outlive the call. It does not change the descriptor. A descriptor
    // that is not open is an error; one that is another file by now is answered for that file.
    let result = unsafe { libc::getsockopt(fd, level, name, room.as_mut_ptr().cast(), &mut len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((len as usize).min(N))
}

/// What the monitor asks about the descriptors of watched sockets.
#[cfg(feature = "monitor")]
mod watched {
    use std::fmt;
    use std::net::SocketAddr;

    use super::*;

    /// [`read`] for a descriptor that may be another socket by now: that is an error.
    pub(crate) fn read_same(fd: RawFd, cookie: Option<u64>) -> io::Result<TcpInfo> {
        let info = read_raw(fd)?;
        match cookie {
            Some(cookie) if cookie_of(fd)? != cookie => Err(io::Error::other(WrongSocket)),
            // It was not a socket: only such a file has no cookie on a kernel with cookies.
            None if cookie_of(fd).is_ok() => Err(io::Error::other(WrongSocket)),
            // Without cookies there is nothing to compare.
            _ => Ok(info),
        }
    }

    /// The cookie of a descriptor, whatever file it is now.
    pub(crate) fn cookie_of(fd: RawFd) -> io::Result<u64> {
        let mut room = [0; 8];
        match option(fd, libc::SOL_SOCKET, libc::SO_COOKIE, &mut room)? {
            8 => Ok(u64::from_ne_bytes(room)),
            len => Err(io::Error::other(format!("socket cookie of {len} bytes"))),
        }
    }

    /// Whether other sockets can have the same cookie as this one.
    ///
    /// With Multipath TCP, an accepted socket has the cookie of its listener if anybody asked for
    /// the listener's cookie before (seen on Linux 6.18).
    pub(crate) fn shares_cookies(fd: RawFd) -> bool {
        const IPPROTO_MPTCP: u32 = 262;
        let mut room = [0; 4];
        let protocol = option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL, &mut room);
        protocol.is_ok_and(|len| len == 4) && u32::from_ne_bytes(room) == IPPROTO_MPTCP
    }

    /// Whether the descriptor is a Multipath TCP socket, whose cookie is not that of its subflows.
    #[cfg(feature = "diag")]
    pub(crate) fn has_subflows(fd: RawFd) -> bool {
        shares_cookies(fd)
    }

    /// Whether two descriptors are the same socket, by its inode. Slow.
    pub(crate) fn are_same(one: RawFd, other: RawFd) -> bool {
        let file = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        one == other || file(one).is_some_and(|one| file(other) == Some(one))
    }

    /// The address of the other side, `None` if there is none.
    pub(crate) fn peer_of(fd: RawFd) -> Option<SocketAddr> {
        address(fd, libc::getpeername)
    }

    /// The address of this side.
    pub(crate) fn local_of(fd: RawFd) -> Option<SocketAddr> {
        address(fd, libc::getsockname)
    }

    type GetName = unsafe extern "C" fn(RawFd, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

    /// Not by `rustix`: it takes a `BorrowedFd`, and this descriptor may be closed.
    fn address(fd: RawFd, get: GetName) -> Option<SocketAddr> {
        /// A `sockaddr_in6`: the family, the port at 2, an IPv4 address at 4, an IPv6 one at 8.
        #[repr(C, align(8))]
        struct Room([u8; 28]);
        let mut room = Room([0; 28]);
        let mut len = room.0.len() as libc::socklen_t;
        // SAFETY: both functions write at most `len` bytes to `room`, which holds exactly that many
        // and has the alignment of a socket address, and the length to `len`; both outlive the
        // call. A descriptor that is not open is an error.
        let result = unsafe { get(fd, room.0.as_mut_ptr().cast(), &mut len) };
        let bytes = &room.0;
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match (result, family, len) {
            (0, libc::AF_INET, 16..) => {
                let ip: [u8; 4] = *bytes[4..].first_chunk()?;
                Some((ip, port).into())
            }
            (0, libc::AF_INET6, 28..) => {
                let ip: [u8; 16] = *bytes[8..].first_chunk()?;
                Some((ip, port).into())
            }
            _ => None,
        }
    }

    /// Whether the error says that the descriptor is closed or is no TCP socket.
    pub(crate) fn is_gone(error: &io::Error) -> bool {
        let gone = [libc::EBADF, libc::ENOTSOCK, libc::EOPNOTSUPP, libc::ENOPROTOOPT];
        error.raw_os_error().is_some_and(|number| gone.contains(&number))
    }

    /// Whether the error says that the kernel has no cookies.
    #[cfg(feature = "diag")]
    pub(crate) fn is_without_cookies(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::ENOPROTOOPT)
    }

    /// A descriptor that has become another socket.
    #[derive(Debug)]
    pub(crate) struct WrongSocket;

    impl fmt::Display for WrongSocket {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the descriptor has become another socket")
        }
    }

    impl std::error::Error for WrongSocket {}

    /// The value of `error.type` for a failed read.
    pub(crate) fn error_type(error: &io::Error) -> &'static str {
        match error.raw_os_error() {
            Some(libc::EBADF) => "EBADF",
            Some(libc::ENOTSOCK) => "ENOTSOCK",
            Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
            Some(libc::ENOPROTOOPT) => "ENOPROTOOPT",
            Some(libc::EPERM) => "EPERM",
            Some(libc::EACCES) => "EACCES",
            Some(libc::EINVAL) => "EINVAL",
            Some(libc::ENOMEM) => "ENOMEM",
            None if error.get_ref().is_some_and(|inner| inner.is::<WrongSocket>()) => {
                "wrong_socket"
            }
            None if error.kind() == io::ErrorKind::InvalidData => "invalid_reply",
            _ => "_OTHER",
        }
    }
}
#[cfg(feature = "monitor")]
pub(crate) use watched::*;
