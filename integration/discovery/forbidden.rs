//! Where netlink is forbidden, as on Android or in a container whose policy says so: the process
//! is discovered all the same, and everybody can see what is missing.
#![allow(unsafe_code)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tcpinfo::diag::Query;
use tcpinfo::{Discovery, DiscoveryEvents, Monitor};

use support::alone::in_process;
use support::reader::Reader;
use support::totals::totals;

/// From now on this thread, and those that it begins, cannot open a netlink socket.
fn forbid_netlink() {
    let [load, equals, gives] =
        [libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_RET];
    let step = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    // The first argument is at 16; its low half is the first one or the second one.
    let first = if cfg!(target_endian = "little") { 16 } else { 20 };
    let mut program = [
        step(load, 0, 0),
        step(equals, 3, libc::SYS_socket as u32),
        step(load, 0, first),
        step(equals, 1, libc::AF_NETLINK as u32),
        step(gives, 0, libc::SECCOMP_RET_ERRNO | libc::EACCES as u32),
        step(gives, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program outlive the calls, which keep neither.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let done = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter);
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.expect("procfs").path().join("comm")).unwrap_or_default()
    };
    tasks.map(name).collect()
}

#[test]
fn a_process_is_discovered_without_netlink_and_says_what_is_missing() {
    in_process(|| {
        forbid_netlink();
        let denied = Query::new().dump().expect_err("it is forbidden");
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&errors);
        let note = move |_: &tcpinfo::Attributes, error: &std::io::Error| {
            told.lock().expect("no panic").push((error.kind(), error.to_string()));
        };
        let monitor = Monitor::builder().on_error(note).build();
        let (reader, provider) = Reader::with_provider();
        monitor.instrument(&provider);
        let host = monitor.discover(Discovery::host()).expect_err("it needs netlink");
        assert_eq!(host.kind(), ErrorKind::PermissionDenied);
        let discovered = monitor.discover(Discovery::process()).expect("there are descriptors");
        let missing = DiscoveryEvents::Unavailable(ErrorKind::PermissionDenied);
        assert_eq!(discovered.events(), missing);

        let all = || totals(&reader.collected(), |_| true);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(address).expect("it listens");
        let server = listener.accept().expect("it is connected").0;
        assert_eq!(all()[..2], [2, 0]);
        drop((client, server));
        // No event says it: the next sweep finds them gone.
        assert_eq!(all()[..2], [2, 2]);
        assert_eq!(all()[..2], [2, 2]);
        let snapshot = monitor.snapshot();
        let discoveries = &snapshot.monitor.discoveries;
        assert_eq!(discoveries.iter().map(|it| it.events).collect::<Vec<_>>(), [missing]);
        assert!(threads().iter().all(|name| !name.starts_with("tcpinfo")), "{:?}", threads());
        let errors = errors.lock().expect("no panic");
        let [(kind, text)] = &errors[..] else { panic!("it is said once: {errors:?}") };
        assert_eq!(*kind, ErrorKind::PermissionDenied);
        assert!(text.starts_with("no events of ended sockets: "), "{text}");
    });
}
