//! Sockets whose owner only lends them: the watch ends with its guard, or harms nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use tcpinfo::{FIELDS, FieldValue, GroupSnapshot, Monitor, Snapshot};

use support::loopback::Pair;
use support::reader::Reader;

/// A database driver, say: it lends its socket, and keeps it.
struct Driver {
    socket: TcpStream,
}

impl Driver {
    fn query(&mut self, bytes: usize) {
        self.socket.write_all(&vec![1; bytes]).expect("room for the bytes");
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn sent(group: &GroupSnapshot) -> Option<FieldValue> {
    group.get(FIELDS.iter().find(|field| field.name == "bytes_sent").expect("a row"))
}

fn bytes(count: usize) -> Option<FieldValue> {
    Some(FieldValue::Integer(count as u64))
}

fn errors(snapshot: &Snapshot) -> u64 {
    snapshot.monitor.read_errors.iter().map(|(_, count)| count).sum()
}

#[test]
fn the_end_of_a_loan_is_the_last_read_and_not_the_end_of_the_socket() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let mut pair = Pair::connect();
    let mut driver = Driver { socket: pair.client };
    let watch = group.watch_borrowed(&driver.socket);
    assert_eq!(sent(&monitor.snapshot().groups[0]), bytes(0));
    // After the last sweep, and through the loan itself: `&TcpStream` writes.
    (&mut &**watch).write_all(&[1; 1_000]).expect("room for the bytes");
    assert_eq!(watch.info().expect("it is open").bytes_sent, Some(1_000));
    drop(watch);
    // Not the loan's any more.
    driver.query(500);
    let snapshot = monitor.snapshot();
    let group = &snapshot.groups[0];
    assert_eq!((group.opened, group.closed, group.live()), (1, 0, 0));
    assert_eq!(sent(group), bytes(1_000));
    assert_eq!((errors(&snapshot), snapshot.monitor.given_back), (0, 1));
    let mut received = vec![0; 1_500];
    pair.server.read_exact(&mut received).expect("the socket is open as before");
    // The owner's end is the connection's.
    drop(driver);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].closed, snapshot.monitor.given_back), (1, 0));
    assert_eq!((errors(&snapshot), sent(&snapshot.groups[0])), (0, bytes(1_000)));
}

#[test]
fn a_loan_that_was_never_swept_counts() {
    let monitor = Monitor::new();
    let driver = Driver { socket: Pair::connect().client };
    drop(monitor.group([]).watch_borrowed(&driver));
    drop(driver);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].opened, snapshot.groups[0].closed), (1, 1));
    assert_eq!(snapshot.monitor.reads, 1);
}

#[test]
fn a_loan_ends_with_a_panic_as_well() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let Pair { client, server: _server, .. } = Pair::connect();
    let work = || {
        let watch = group.watch_borrowed(&client);
        (&mut &**watch).write_all(&[1; 70]).expect("room for the bytes");
        panic!("a query failed badly");
    };
    catch_unwind(AssertUnwindSafe(work)).expect_err("it panics");
    drop(client);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.monitor.watched, snapshot.groups[0].closed), (0, 1));
    assert_eq!(sent(&snapshot.groups[0]), bytes(70));
}

#[test]
fn a_loan_by_itself_has_series_until_it_ends() {
    let monitor = Monitor::new();
    let (reader, provider) = Reader::with_provider();
    monitor.instrument(&provider);
    let Pair { client, server: _server, .. } = Pair::connect();
    let driver = Driver { socket: client };
    let cookie = tcpinfo::socket_cookie(&driver).expect("this kernel has cookies");
    let watch = monitor.watch_borrowed(&driver, [KeyValue::new("db", "orders")]);
    let series = format!("tcp.socket.data.sent{{db=orders,tcp.socket.cookie={cookie}}}");
    assert_eq!(reader.collected().counter(&series), 0.0);
    drop(watch);
    assert_eq!(reader.collected().counters.get(&series), None);
}

#[test]
fn a_socket_lent_again_and_again_is_one_connection() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let Pair { client, server: _server, .. } = Pair::connect();
    client.set_nodelay(true).expect("it is connected");
    let mut driver = Driver { socket: client };
    for _ in 0..10 {
        let watch = group.watch_borrowed(&driver);
        let snapshot = monitor.snapshot();
        let group = &snapshot.groups[0];
        assert_eq!((group.opened, group.closed, group.live()), (1, 0, 1));
        (&mut &watch.socket).write_all(&[1; 10]).expect("room for the bytes");
        drop(watch);
        driver.query(7);
    }
    // Not what was sent between two loans, and nothing twice.
    let snapshot = monitor.snapshot();
    assert_eq!(sent(&snapshot.groups[0]), bytes(100));
    assert_eq!(tcpinfo::read(&driver).expect("it is open").bytes_sent, Some(170));
}

#[test]
fn a_leaked_loan_is_reported_once_and_then_left_alone() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reports);
    let monitor = Monitor::builder()
        .on_error(move |attributes, _| {
            seen.lock().expect("whole").push(format!("{attributes:?}"));
        })
        .build();
    let group = monitor.group([KeyValue::new("db", "orders")]);
    let driver = Driver { socket: Pair::connect().client };
    std::mem::forget(group.watch_borrowed(&driver));
    drop(driver);
    let reads: Vec<u64> = (0..5).map(|_| monitor.snapshot().monitor.reads).collect();
    // The one that met no socket.
    assert_eq!(reads, [1; 5]);
    assert_eq!(*reports.lock().expect("whole"), [r#"{"db": String(Static("orders"))}"#]);
    let snapshot = monitor.snapshot();
    assert_eq!((errors(&snapshot), snapshot.monitor.watched), (1, 0));
    assert_eq!(snapshot.groups[0].opened, snapshot.groups[0].closed);
}

#[test]
fn a_leaked_loan_of_a_socket_that_stays_open_goes_on() {
    let monitor = Monitor::new();
    let group = monitor.group([]);
    let Pair { client, server: _server, .. } = Pair::connect();
    let mut driver = Driver { socket: client };
    std::mem::forget(group.watch_borrowed(&driver));
    driver.query(25);
    let snapshot = monitor.snapshot();
    assert_eq!((snapshot.groups[0].live(), errors(&snapshot)), (1, 0));
    assert_eq!(sent(&snapshot.groups[0]), bytes(25));
}

/// Every round leaks a loan, closes its socket, and lets a stranger take the number, while sweeps
/// run without pause.
#[test]
fn no_stranger_is_counted_for_a_leaked_loan_under_sweeps() {
    const ROUNDS: u64 = 300;
    const OWN: usize = 10;
    let reports = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&reports);
    let monitor = Monitor::builder()
        .on_error(move |_, _| {
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    let group = monitor.group([]);
    let done = AtomicBool::new(false);
    let mut taken = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let live = monitor.snapshot().groups[0].live();
                assert!(live <= 1, "{live} leaked loans are taken for open");
            }
        });
        for _ in 0..ROUNDS {
            let lender = Pair::connect();
            let mut driver = Driver { socket: lender.client };
            let number = driver.socket.as_raw_fd();
            std::mem::forget(group.watch_borrowed(&driver));
            driver.query(OWN);
            monitor.snapshot();
            drop(driver);
            let mut strangers = [Pair::connect(), Pair::connect()];
            for stranger in &mut strangers {
                stranger.client.write_all(&[1; 10_000]).expect("room for the bytes");
                taken += u64::from(stranger.client.as_raw_fd() == number);
            }
            monitor.snapshot();
        }
        done.store(true, Ordering::Relaxed);
    });
    let snapshot = monitor.snapshot();
    assert_eq!(sent(&snapshot.groups[0]), bytes(OWN * ROUNDS as usize));
    assert_eq!((snapshot.groups[0].opened, snapshot.groups[0].closed), (ROUNDS, ROUNDS));
    assert_eq!((errors(&snapshot), reports.load(Ordering::Relaxed)), (ROUNDS, ROUNDS));
    assert_eq!(snapshot.monitor.watched, 0);
    println!("{taken} of {ROUNDS} numbers went to a stranger's socket at once");
}
