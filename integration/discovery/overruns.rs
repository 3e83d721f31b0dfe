//! A receive buffer that is too small: the lost ends are reported, and nothing else goes wrong.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tcpinfo::{Discovery, Monitor};

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
        let all = || totals(&providers[0].0.collected(), |_| true);

        let mut generator = Generator::both(connections(), 4_000, 2);
        generator.go();
        until("the first ends", || (all()[1] > 200).then_some(()));
        let mut stopper = stopped_for("1");
        assert!(stopper.wait().expect("it is our child").success());
        let made = generator.made();
        let settled = until("only listeners to be left", || {
            let now = all();
            let live: u64 = monitor.snapshot().groups.iter().map(|group| group.live()).sum();
            (now[0] == now[1] && live == 4).then_some(now)
        });
        let made = sum(of_clients(made.client), of_servers(made.server));
        assert!(settled.iter().zip(made).all(|(now, made)| *now <= made), "{settled:?} {made:?}");
        assert!(settled[0] < made[0], "nothing was lost: the buffer was not too small");
        let overruns = monitor.snapshot().monitor.event_overruns;
        assert!(overruns > 0 && errors.load(Ordering::Relaxed) > 0);
        let metrics = providers[0].0.collected();
        let lost = metrics.counters.iter().find(|(name, _)| name.contains("monitor.event"));
        assert_eq!(lost.map(|(_, lost)| *lost as u64), Some(overruns), "{metrics:#?}");
        println!("measured: {} of {} ends counted, {overruns} overruns", settled[0], made[0]);

        // With room again, what comes now is counted to the byte.
        let before = all();
        let mut slow = Generator::both(500, 250, 1);
        slow.go();
        let slow = slow.made();
        let made = sum(of_clients(slow.client), of_servers(slow.server));
        let after = until("the end of these", || {
            let now = all();
            (now[1] >= before[1] + 1_000).then_some(now)
        });
        let gained: Vec<u64> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(gained, made);
        assert_eq!(monitor.snapshot().monitor.event_overruns, overruns);
    });
}

fn sum(one: [u64; 5], other: [u64; 5]) -> [u64; 5] {
    std::array::from_fn(|at| one[at] + other[at])
}
