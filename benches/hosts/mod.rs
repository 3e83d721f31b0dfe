//! A host with many sockets: a network namespace of the bench's own, whose connections other
//! processes hold, and what the kernel says of them without any help of ours.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::time::{ClockId, clock_gettime};

/// Set in the namespace.
const WITHIN: &str = "TCPINFO_BENCH_WITHIN";
/// Set for a child that holds connections: the last number of its address, and how many.
const CROWD: &str = "TCPINFO_BENCH_CROWD";

/// Does the work of a child, if this process is one. Otherwise goes on in a namespace of its own,
/// in which loopback has all ports; says what is missing and ends where that cannot be had.
pub(crate) fn enter() {
    if let Ok(crowd) = std::env::var(CROWD) {
        hold(&crowd);
    }
    if std::env::var_os(WITHIN).is_some() {
        return;
    }
    const SET_UP: &str = "ip link set lo up &&
        echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range &&
        echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse && exec \"$@\"";
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "sh", "-c", SET_UP, "sh"]);
    command.arg(std::env::current_exe().expect("this program")).args(std::env::args().skip(1));
    let error = command.env(WITHIN, "yes").exec();
    println!("SKIPPED: no network namespace: {error}");
    std::process::exit(0);
}

/// Both ends of so many connections, until the parent goes away.
fn hold(crowd: &str) {
    let (last, count) = crowd.split_once(' ').expect("an address and a number");
    let last = last.parse().expect("a number up to 255");
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 2, last), 0)).expect("all are free");
    let address = listener.local_addr().expect("it is bound");
    let mut held = Vec::new();
    for _ in 0..count.parse().expect("a number of connections") {
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut server, _) = listener.accept().expect("it is connected");
        // Something to count at both ends.
        std::io::Write::write_all(&mut client, &[1; 100]).expect("room for it");
        server.read_exact(&mut [0; 100]).expect("it was sent");
        held.extend([client, server]);
    }
    println!("{address}");
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// Processes that hold connections.
#[derive(Default)]
pub(crate) struct Host {
    children: Vec<Child>,
    /// The port of each listener, and how many connections it has.
    pub(crate) ports: Vec<(u16, usize)>,
    pub(crate) sockets: usize,
}

impl Host {
    /// Adds connections of new servers, until there are so many sockets beside the listeners.
    pub(crate) fn grow(&mut self, sockets: usize) {
        // What one process may open, and a little room.
        const MOST: usize = 9_000;
        while self.sockets < sockets {
            self.add(((sockets - self.sockets) / 2).min(MOST));
        }
    }

    /// Adds so many connections of one new server.
    pub(crate) fn add(&mut self, connections: usize) {
        let last = self.children.len() + 1;
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(CROWD, format!("{last} {connections}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        let address: std::net::SocketAddr = line.trim().parse().expect("an address");
        self.children.push(child);
        self.ports.push((address.port(), connections));
        self.sockets += 2 * connections;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
            child.wait().expect("the child ends when its input does");
        }
    }
}

/// A dump of connections that only counts the messages.
pub(crate) fn bare_dump(room: &mut [u8; 32 * 1024]) -> usize {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let netlink: OwnedFd =
        rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(SOCK_DIAG))
            .expect("sock_diag answers");
    rustix::net::connect(&netlink, &SocketAddrNetlink::new(0, 0)).expect("the kernel is there");
    let mut count = 0;
    for family in [2_u8, 10] {
        // A dump of TCP sockets in any state but TIME_WAIT, with TCP_INFO.
        let mut request = [0_u8; 72];
        request[0] = 72;
        request[4] = 20;
        request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
        request[16..20].copy_from_slice(&[family, 6, 2, 0]);
        request[20..24].copy_from_slice(&(0xfff_u32 & !(1 << 6)).to_ne_bytes());
        request[64..].fill(0xff);
        rustix::net::send(&netlink, &request, SendFlags::empty()).expect("room for it");
        'dump: loop {
            let (len, _) =
                rustix::net::recv(&netlink, &mut room[..], RecvFlags::empty()).expect("an answer");
            let mut rest = &room[..len];
            while rest.len() >= 16 {
                let of = |at: usize| rest[at..at + 4].try_into().expect("4 bytes");
                match u16::from_ne_bytes([rest[4], rest[5]]) {
                    3 => break 'dump,
                    20 => count += 1,
                    kind => panic!("a message of kind {kind}"),
                }
                let len = u32::from_ne_bytes(of(0)) as usize;
                rest = &rest[len.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
    count
}

/// Processor time that `ss -tin state established` takes to show all sockets to nobody.
pub(crate) fn ss() -> Duration {
    let before = children();
    let status = Command::new("ss")
        .args(["-tin", "state", "established"])
        .stdout(Stdio::null())
        .status()
        .expect("ss, of iproute2");
    assert!(status.success());
    children() - before
}

/// Processor time of all children that have ended.
#[allow(unsafe_code)]
fn children() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is one `rusage`, all of whose bits may be zero.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000))
        .iter()
        .sum()
}

/// Time on the clock, and this thread's time on a processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// What some work takes.
pub(crate) fn took<T>(work: impl FnOnce() -> T) -> (Took, T) {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("positive");
    let (wall_before, before) = (Instant::now(), cpu());
    let result = work();
    (Took { wall: wall_before.elapsed(), cpu: cpu() - before }, result)
}

/// The one in the middle.
pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
