//! Sweeps by several threads say what a sweep by one thread says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tcpinfo::{
    FIELDS, Field, Group, GroupSnapshot, Monitor, Snapshot, SocketSnapshot, Watched, Worst,
};

use super::verdicts::assert_verdicts_add_up;
use support::loopback::until_every;
use support::random::Rng;

/// Enough for four threads: each has 1,024 at least.
const CONNECTIONS: usize = 4_200;

fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).expect("a field")
}

/// Raises the limit of descriptors for this process, if it must.
pub(crate) fn make_room(descriptors: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < descriptors) {
        let raised = limit.maximum.map_or(descriptors, |maximum| maximum.min(descriptors));
        setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }).expect("allowed");
    }
}

/// Connections from this process to itself: the ends that connected, and those that accepted.
fn connections(count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    make_room(2 * count as u64 + 2_048);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let connect = |_| {
        let client = TcpStream::connect(address).expect("it listens");
        (client, listener.accept().expect("the client connected").0)
    };
    (0..count).map(connect).unzip()
}

fn groups(monitor: &Monitor) -> Vec<Group> {
    (0..7).map(|number| monitor.group([KeyValue::new("group", number)])).collect()
}

/// What a group's counters and levels are, without those that move while nothing is sent.
fn told(group: &GroupSnapshot) -> String {
    let numbers = ["bytes_sent", "bytes_acked", "bytes_received", "unacked", "notsent_bytes"]
        .map(|name| group.get(field(name)).and_then(|value| value.as_f64()));
    let states: Vec<_> = group.states().collect();
    let shown = (group.attributes(), group.opened, group.closed, group.live());
    format!("{shown:?} {states:?} {numbers:?} {}", group.samples.len())
}

fn told_of_sockets(snapshot: &Snapshot) -> Vec<String> {
    let sent = field("bytes_sent");
    let told = |socket: &SocketSnapshot| {
        let info = socket.info.as_ref().map(|info| info.bytes_received);
        format!("{:?} {:?} {info:?}", socket.attributes(), socket.get(sent))
    };
    let mut told: Vec<String> = snapshot.sockets.iter().map(told).collect();
    told.sort();
    told
}

#[test]
fn four_threads_say_what_one_says() {
    let (clients, mut servers) = connections(CONNECTIONS);
    let monitors = [1, 4].map(|threads| {
        Monitor::builder().with_sweep_threads(threads).with_max_sockets(300).build()
    });
    let groups = monitors.each_ref().map(groups);
    groups.iter().for_each(|groups| groups[3].show_worst(Worst::RttInflation, 5));
    let mut watched = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let [one, four] = [0, 1].map(|side| groups[side][number % 7].watch(client));
        watched.extend([one, four]);
        if number % 20 == 0 {
            let attributes = [KeyValue::new("number", number as i64)];
            watched.extend(monitors.each_ref().map(|it| it.watch(client, attributes.clone())));
        }
    }
    let mut random = Rng::new(11);
    let mut said = Vec::new();
    for _ in 0..5 {
        for _ in 0..500 {
            let which = random.below(CONNECTIONS as u64) as usize;
            let bytes = vec![7; 1 + random.below(2_000) as usize];
            (&clients[which]).write_all(&bytes).expect("room for the bytes");
            servers[which].read_exact(&mut vec![0; bytes.len()]).expect("the bytes");
        }
        // An acknowledgement may be 40 ms late.
        until_every(Duration::from_millis(1), "everything acknowledged", || {
            let snapshot = monitors[0].snapshot();
            let is_acked = |group: &GroupSnapshot| {
                group.get(field("unacked")).is_some_and(|unacked| unacked.as_f64() == Some(0.0))
            };
            snapshot.groups.iter().all(is_acked).then_some(())
        });
        let [one, four] = monitors.each_ref().map(Monitor::snapshot);
        let groups = |snapshot: &Snapshot| snapshot.groups.iter().map(told).collect::<Vec<_>>();
        assert_eq!(groups(&one), groups(&four));
        assert_eq!(told_of_sockets(&one), told_of_sockets(&four));
        // Those with series of their own, and of group 3 up to five.
        assert!((210..=215).contains(&four.sockets.len()), "{}", four.sockets.len());
        said.push(groups(&four));
    }
    assert_eq!(said.len(), 5);
    said.dedup();
    assert_eq!(said.len(), 5, "nothing moved");
}

#[test]
fn connections_that_end_beside_four_threads_are_counted_once() {
    let (clients, servers) = connections(CONNECTIONS);
    let monitor = Monitor::builder().with_sweep_threads(4).build();
    let group = monitor.group([KeyValue::new("group", "churning")]);
    let watched: Vec<Watched<TcpStream>> = clients.into_iter().map(|it| group.watch(it)).collect();
    let sent = field("bytes_sent");
    let (queue, done) = (Mutex::new(watched.into_iter().zip(servers)), AtomicBool::new(false));
    thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            let mut last = (0, 0, 0.0);
            let mut sweeps = 0_u64;
            while !done.load(Ordering::Acquire) {
                let snapshot = monitor.snapshot();
                assert_verdicts_add_up(&snapshot);
                let group = &snapshot.groups[0];
                let bytes = group.get(sent).and_then(|value| value.as_f64()).unwrap_or(0.0);
                let now = (group.opened, group.closed, bytes);
                assert!(now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2, "{last:?} {now:?}");
                (last, sweeps) = (now, sweeps + 1);
            }
            sweeps
        });
        let droppers = [(); 2].map(|()| {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("nobody panics").next();
                    let Some((mut client, mut server)) = next else { return };
                    client.write_all(&[7; 100]).expect("room for the bytes");
                    server.read_exact(&mut [0; 100]).expect("the bytes");
                }
            })
        });
        droppers.into_iter().for_each(|dropper| dropper.join().expect("it drops"));
        done.store(true, Ordering::Release);
        assert!(sweeps.join().expect("nothing fell") > 0);
    });
    let snapshot = monitor.snapshot();
    let group = &snapshot.groups[0];
    let count = CONNECTIONS as u64;
    assert_eq!((group.opened, group.closed, group.live()), (count, count, 0));
    assert_eq!(group.get(sent).and_then(|value| value.as_f64()), Some(100.0 * count as f64));
}
