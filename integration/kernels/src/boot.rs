//! The life of a machine with one program: file systems, loopback, modules, the cases, off.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::system::{RebootCommand, finit_module, reboot};

use tcpinfo::diag;

use crate::cases;
use crate::discovery;
use crate::record::Recorder;

pub(crate) fn run() -> ! {
    let mut recorder = Recorder::new();
    std::panic::set_hook(Box::new(|panic| {
        // One line, which the checker takes for a failure wherever it stands.
        println!("\n@FAILED {}", panic.to_string().replace('\n', " "));
    }));
    let done = catch_unwind(AssertUnwindSafe(|| {
        for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
            mount(kind, place, kind, MountFlags::empty(), None::<&CStr>).expect("a mount point");
        }
        // A kernel message in the middle of a line would spoil it.
        fs::write("/proc/sys/kernel/printk", "1 1 1 1").expect("it is ours");
        loopback_up().expect("loopback can be brought up");
        let has_diag = load_modules() || diag::sockets().is_ok();
        recorder.begin(has_diag);
        cases::all(&mut recorder);
        discovery::all(&mut recorder);
    }));
    recorder.end(done.is_ok());
    // Emulators end when the machine does.
    let failed = reboot(RebootCommand::PowerOff);
    unreachable!("pid 1 may power off: {failed:?}")
}

/// `ip link set lo up`, as a message to the kernel.
fn loopback_up() -> rustix::io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // Any family and device type; interface 1 is lo in every namespace.
    message.extend([0; 4]);
    message.extend(1_u32.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    // No protocol is protocol 0, NETLINK_ROUTE.
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let netlink: OwnedFd = rustix::net::socket_with(family, SocketType::RAW, flags, None)?;
    rustix::net::connect(&netlink, &SocketAddrNetlink::new(0, 0))?;
    rustix::net::send(&netlink, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (len, _) = rustix::net::recv(&netlink, &mut answer, RecvFlags::empty())?;
    assert!(len >= 20, "an acknowledgement of {len} bytes");
    match i32::from_ne_bytes(answer[16..20].try_into().expect("four bytes")) {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(-error)),
    }
}

/// Loads what lies in `/modules`, each as soon as what it needs is there; says whether `tcp_diag`
/// is one of them.
fn load_modules() -> bool {
    let mut left: Vec<PathBuf> = fs::read_dir("/modules")
        .expect("the initramfs has the folder")
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    left.sort();
    let has_diag = left.iter().any(|path| path.ends_with("tcp_diag.ko"));
    loop {
        let before = left.len();
        left.retain(|path| {
            let file = File::open(path).expect("it was listed");
            !matches!(finit_module(file, c"", 0), Ok(()) | Err(Errno::EXIST))
        });
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "modules that cannot be loaded: {left:?}");
    has_diag
}
