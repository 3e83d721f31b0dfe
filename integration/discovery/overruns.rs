//! A receive buffer that is too small: the lost ends are reported, and nothing else goes wrong.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tcpinfo::{Discovery, GroupSnapshot, Monitor};

use super::scene::{Generator, connections, of_clients, of_servers, providers, totals};
use support::alone::in_namespace;
use support::loopback::until;

/// Stops this process for so long, as a debugger or a crowded machine does.
fn stopped_for(seconds: &str) -> Child {
    let pid = std::process::id();
    let script = format!("kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}");
    Command::new("sh").args(["-c", &script]).process_group(0).spawn().expect("a shell")
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn lost_ends_are_told_and_what_comes_after_them_is_exact() {
    in_namespace(|| {
        let errors = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&errors);
        let count = move |_: &tcpinfo::Attributes, error: &std::io::Error| {
            println!("told: {error}");
            told.fetch_add(1, Ordering::Relaxed);
        };
        let monitor = Monitor::builder().on_error(count).build();
        let providers = providers(&monitor, 2);
        let discovery = Discovery::host().with_receive_buffer(100_000);
        let _discovered = monitor.discover(discovery).expect("sock_diag answers");
        let overruns = || monitor.snapshot().monitor.event_overruns;
        let mut made = [0; 5];
        let mut fast = Vec::new();
        // On a slow machine most of them may come after the stop: then again.
        while overruns() == 0 {
            assert!(fast.len() < 6, "the buffer is not too small");
            let mut generator = Generator::both(connections(), 4_000, 2);
            generator.go();
            let mut stopper = stopped_for("1");
            assert!(stopper.wait().expect("it is our child").success());
            let more = generator.made();
            made = sum(made, sum(of_clients(more.client), of_servers(more.server)));
            fast.push(generator);
        }
        until("an error", || (errors.load(Ordering::Relaxed) > 0).then_some(()));

        // What comes now is counted to the byte, in groups of its own: its servers have new ports.
        // The kernel tells ends from a queue of its own. If it is late with the last ones of
        // before, they may fill the buffer once more: then again.
        let mut slow_ones = Vec::new();
        let (is_slow, slow_made) = loop {
            let before = overruns();
            let mut slow = Generator::both(500, 250, 1);
            let is_slow = ports(&slow);
            slow.go();
            let made = slow.made();
            let made = sum(of_clients(made.client), of_servers(made.server));
            slow_ones.push(slow);
            let told = until("the end of these", || {
                let now = totals(&providers[0].0.collected(), &is_slow);
                (now[1] >= made[1] || overruns() > before).then_some(now[1])
            });
            if told >= made[1] {
                break (is_slow, made);
            }
            println!("REPEATED: events were lost once more");
            assert!(slow_ones.len() < 6, "the buffer is too small for 250 connections a second");
        };
        // All of what was made before has been closed, by its event or by its absence; some of it
        // nobody saw. Nothing counts twice.
        let settled = until("only listeners to be left", || {
            let snapshot = monitor.snapshot();
            let sum = |of: fn(&GroupSnapshot) -> u64| snapshot.groups.iter().map(of).sum::<u64>();
            let listeners =
                fast.iter().chain(&slow_ones).map(|it| it.addresses.len() as u64).sum::<u64>();
            let live = sum(GroupSnapshot::live) - listeners;
            assert_eq!(sum(|group| group.opened), sum(|group| group.closed) + live);
            (live == 0).then(|| providers[0].0.collected())
        });
        assert_eq!(totals(&settled, &is_slow), slow_made);
        let are_fast: Vec<_> = fast.iter().map(ports).collect();
        let fast = totals(&settled, |it| are_fast.iter().any(|is_fast| is_fast(it)));
        assert_eq!(fast[0], fast[1]);
        assert!(fast.iter().zip(made).all(|(now, made)| *now <= made), "{fast:?} {made:?}");
        assert!(fast[0] < made[0], "nothing was lost: the buffer was not too small");
        let lost = settled.counters.iter().find(|(name, _)| name.contains("monitor.event"));
        assert_eq!(lost.map(|(_, lost)| *lost as u64), Some(overruns()), "{settled:#?}");
        println!("measured: {} of {} ends counted, {} overruns", fast[0], made[0], overruns());
    });
}

/// Whether the attributes are those of a group of this generator's servers.
fn ports(generator: &Generator) -> impl Fn(&str) -> bool + use<> {
    let ports = generator.addresses.iter().map(|it| format!("server.port={}", it.port()));
    let ports: Vec<_> = ports.collect();
    move |attributes| attributes.split(',').any(|it| ports.iter().any(|port| port == it))
}

fn sum(one: [u64; 5], other: [u64; 5]) -> [u64; 5] {
    std::array::from_fn(|at| one[at] + other[at])
}
