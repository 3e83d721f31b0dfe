//! Child processes, which have copies of this process's descriptors: nothing is counted twice.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use rustix::io::{FdFlags, fcntl_setfd};
use tcpinfo::{Discovery, Monitor};

use super::scene::{
    Generator, Totals, connections, of_clients, of_servers, providers, role, totals,
};
use support::alone::in_namespace;
use support::loopback::until;
use support::reader::Reader;
use support::signals;

/// A child with a copy of every socket of this process that it may have, until it is told to end.
fn child() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it is everywhere")
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().expect("it is our child").success());
}

fn connect(listener: &TcpListener) -> [TcpStream; 2] {
    let client = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let pair = [client.expect("it listens"), listener.accept().expect("it is connected").0];
    for stream in &pair {
        // Children get a copy.
        fcntl_setfd(stream, FdFlags::empty()).expect("a descriptor");
    }
    pair
}

fn exchange([client, server]: &mut [TcpStream; 2]) {
    client.write_all(&[1; 700]).expect("room for it");
    server.read_exact(&mut [0; 700]).expect("it was sent");
    server.write_all(&[2; 300]).expect("room for it");
    client.read_exact(&mut [0; 300]).expect("it was sent");
}

fn all(reader: &Reader) -> Totals {
    totals(&reader.collected(), |_| true)
}

/// Connections whose copies children hold: while all have them, and after the parent or the child
/// lets go of them.
fn copies(discovery: impl Fn() -> Discovery, host: bool) {
    let monitor = Monitor::new();
    let providers = providers(&monitor, 1);
    let reader = &providers[0].0;
    let _discovered = monitor.discover(discovery()).expect("there are descriptors");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let [mut ours, mut theirs] = [connect(&listener), connect(&listener)];
    exchange(&mut ours);
    exchange(&mut theirs);
    let children: Vec<Child> = (0..3).map(|_| child()).collect();
    assert_eq!(all(reader)[..3], [4, 0, 2_000]);
    exchange(&mut ours);
    exchange(&mut theirs);
    assert_eq!(all(reader)[..3], [4, 0, 4_000]);
    // The parent lets go of one connection, the children do not.
    drop(theirs);
    let left = all(reader);
    assert_eq!(left[..3], [4, if host { 0 } else { left[1] }, 4_000]);
    exchange(&mut ours);
    assert_eq!(all(reader)[2], 5_000);
    children.into_iter().for_each(end);
    // Now it ends, and counts as ended once.
    until("the end of what children held", || (all(reader)[1] == 2).then_some(()));
    drop(ours);
    until("the end of the other", || (all(reader)[1] == 4).then_some(()));
    assert_eq!(all(reader)[..3], [4, 4, 5_000]);
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn sockets_that_children_have_too_count_once() {
    in_namespace(|| {
        copies(Discovery::process, false);
        copies(Discovery::host, true);
    });
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn a_fork_takes_nothing_from_its_parent() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let providers = providers(&monitor, 1);
        let reader = &providers[0].0;
        let all = || [role("client"), role("server")].map(|of| totals(&reader.collected(), of));
        let _host = monitor.discover(Discovery::host()).expect("sock_diag answers");
        let _process = monitor.discover(Discovery::process()).expect("there are descriptors");
        let mut generator = Generator::both(connections() / 2, 2_000, 1);
        let own = all();
        // SAFETY: no connection ends, so the monitor's thread waits for the kernel, without a lock;
        // the others wait for the generator and for this one.
        let whole = unsafe {
            signals::in_fork(|| {
                // The connections are the parent's.
                for _ in 0..20 {
                    assert_eq!(monitor.snapshot().monitor.discovered, 0);
                    assert_eq!(all(), own);
                }
            })
        };
        assert!(whole, "the child did not come to the end of its work");
        generator.go();
        let mut forks = 0;
        while !generator.is_done() {
            // SAFETY: a child that only waits for a moment, with a copy of every descriptor.
            assert!(unsafe { signals::in_fork(|| thread::sleep(Duration::from_millis(20))) });
            drop(reader.collected());
            forks += 1;
        }
        let made = generator.made();
        let settled = until("the end of every connection", || {
            let all = all();
            (all[0][1] + all[1][1] >= 2 * made.client[0]).then_some(all)
        });
        assert_eq!(settled, [of_clients(made.client), of_servers(made.server)]);
        println!("measured: {forks} forks while {} connections ended", made.client[0]);
    });
}

#[test]
#[ignore = "needs unshare: integration/test.sh"]
fn a_child_drops_its_copy_of_a_watch_whatever_the_parent_was_doing() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let group = monitor.group([KeyValue::new("watched", true)]);
        let _own = monitor.discover(Discovery::process().without_events()).expect("descriptors");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let [client, _server] = connect(&listener);
        let mut watched = Some(group.watch(client));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    // For most of the time it has the lock of the only connection's slot.
                    drop(monitor.snapshot());
                }
            });
            for _ in 0..500 {
                // SAFETY: the child closes a descriptor, and frees memory: the allocator of the C
                // library is made ready for a `fork`.
                let whole = unsafe { signals::in_fork(|| drop(watched.take())) };
                if !whole {
                    done.store(true, Ordering::Release);
                    panic!("the child waits for a lock that no thread of it has");
                }
            }
            done.store(true, Ordering::Release);
        });
        let snapshot = monitor.snapshot();
        let closed: u64 = snapshot.groups.iter().map(|group| group.closed).sum();
        assert_eq!((closed, snapshot.monitor.watched), (0, 1), "that was the child's copy");
    });
}
