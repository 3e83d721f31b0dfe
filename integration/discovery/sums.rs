//! The sums of a host beside the kernel's own totals of the namespace: `/proc/net/snmp` and
//! `/proc/net/netstat`, which `nstat` shows.

use std::collections::BTreeMap;

use tcpinfo::{Discovery, Monitor};

use super::scene::{Generator, connections, providers, role, totals};
use support::alone::in_namespace;
use support::loopback::until;
use support::reader::Collected;

/// The kernel's totals by name, as `nstat` calls them.
fn kernel() -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for path in ["/proc/self/net/snmp", "/proc/self/net/netstat"] {
        let text = std::fs::read_to_string(path).expect("procfs");
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks(2) {
            let [names, numbers] = [pair[0], pair[1]].map(|line| line.split(' '));
            let kind = pair[0].split(':').next().expect("a kind");
            for (name, number) in names.zip(numbers).skip(1) {
                // Some are -1.
                if let Ok(number) = number.parse() {
                    all.insert(format!("{kind}{name}"), number);
                }
            }
        }
    }
    all
}

fn sum(collected: &Collected, name: &str) -> u64 {
    let of = collected.counters.iter().filter(|(series, _)| series.split('{').next() == Some(name));
    of.map(|(_, value)| *value as u64).sum()
}

#[test]
#[ignore = "needs unshare, and the program connections: integration/test.sh"]
fn the_sums_of_a_host_are_the_kernels_own() {
    in_namespace(|| {
        let monitor = Monitor::new();
        let providers = providers(&monitor, 1);
        let reader = &providers[0].0;
        let before = kernel();
        let _discovered = monitor.discover(Discovery::host()).expect("sock_diag answers");
        let mut generator = Generator::both(connections(), 4_000, 0);
        generator.go();
        let made = generator.made();
        let collected = until("the end of every connection", || {
            let collected = reader.collected();
            let ended = totals(&collected, |_| true)[1];
            (ended == 2 * made.client[0]).then_some(collected)
        });
        assert_eq!(monitor.snapshot().monitor.event_overruns, 0);
        let now = kernel();
        let gained = |name: &str| now[name] - before[name];
        let opened = |side| totals(&collected, role(side))[0];
        assert_eq!(opened("client"), gained("TcpActiveOpens"));
        assert_eq!(opened("server"), gained("TcpPassiveOpens"));
        let retransmitted = sum(&collected, "tcp.segment.retransmitted");
        assert_eq!(retransmitted, gained("TcpRetransSegs"));
        // Segments the first time each was sent: with data, or with nothing but a FIN.
        let data = sum(&collected, "tcp.data_segment.sent") - retransmitted;
        let first = gained("TcpExtTCPOrigDataSent");
        let fins = 2 * made.client[0];
        let most = data + retransmitted + fins;
        assert!((data..=most).contains(&first), "{data} {retransmitted} {first}");
        // The kernel also counts handshakes before there is a connection, and what comes to none.
        let sent = sum(&collected, "tcp.segment.sent") - retransmitted;
        assert!(sent <= gained("TcpOutSegs"), "{sent}");
        println!(
            "measured: {} connections at {:.0}/s; kernel and sums: opens {} + {}, retransmitted \
             {retransmitted}, with data or FIN {first}, with data {data}, out {} {sent}",
            made.client[0],
            made.rate(),
            gained("TcpActiveOpens"),
            gained("TcpPassiveOpens"),
            gained("TcpOutSegs"),
        );
    });
}
