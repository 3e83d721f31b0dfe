//! How often the kernel is asked: one dump a sweep, whoever collects and whatever is discovered.

use std::process::Command;

use tcpinfo::{Discovery, Monitor};

use super::scene::providers;
use support::alone::in_namespace;
use support::loopback::Pair;

const COLLECTIONS: usize = 20;
/// Printed between collections, where `strace` sees it.
const MARK: &str = "collection of both";

/// Requests to `sock_diag` that `strace` saw between the first two marks, between the next two, and
/// so on: for connections, and for listeners alone, which are few.
fn dumps(trace: &str) -> Vec<[usize; 2]> {
    let parts: Vec<&str> = trace.split(MARK).collect();
    let inside = &parts[1..parts.len() - 1];
    let dump = |line: &&str| line.contains("sendto(") && line.contains("SOCK_DIAG_BY_FAMILY");
    let of = |part: &&str| {
        let all = part.lines().filter(dump);
        let (connections, listeners): (Vec<_>, Vec<_>) =
            all.partition(|line| line.contains("TCP_ESTABLISHED"));
        [connections.len(), listeners.len()]
    };
    inside.iter().map(of).collect()
}

#[test]
#[ignore = "needs unshare and strace: integration/test.sh"]
fn a_sweep_asks_for_one_dump() {
    in_namespace(|| {
        let trace = std::env::temp_dir().join(format!("tcpinfo-{}.strace", std::process::id()));
        let output = Command::new("strace")
            .args(["-f", "-e", "trace=sendto,write", "-o"])
            .arg(&trace)
            .arg(std::env::current_exe().expect("procfs"))
            .args(["--exact", "discovery::dumps::collections", "--ignored", "--nocapture"])
            .args(["--test-threads=1"])
            .env("TCPINFO_COLLECT", "yes")
            .output()
            .expect("strace");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        let traced = std::fs::read_to_string(&trace).expect("strace wrote it");
        std::fs::remove_file(&trace).expect("strace wrote it");
        // A dump is a request for each family.
        assert_eq!(dumps(&traced), [[2, 0]; COLLECTIONS], "{traced}");
    });
}

#[test]
#[ignore = "the part of a_sweep_asks_for_one_dump that strace looks at"]
fn collections() {
    if std::env::var_os("TCPINFO_COLLECT").is_none() {
        return;
    }
    let monitor = Monitor::new();
    let providers = providers(&monitor, 2);
    let pairs: Vec<Pair> = (0..20).map(|_| Pair::connect()).collect();
    let watched: Vec<_> = pairs
        .iter()
        .map(|pair| monitor.group([]).watch(pair.client.try_clone().expect("fd")))
        .collect();
    let all = [Discovery::process(), Discovery::host(), Discovery::host()];
    let _discovered = all.map(|discovery| monitor.discover(discovery).expect("sock_diag answers"));
    eprintln!("{MARK}");
    for collection in 0..COLLECTIONS {
        // Each of both is a sweep of its own, in turns.
        drop(providers[collection % 2].0.collected());
        eprintln!("{MARK}");
    }
    drop(watched);
}
