//! What docs/fleet.md says that a page has, counted on a real page.

use std::fs;

use opentelemetry::KeyValue;
use tcpinfo::{Monitor, Page};

use support::loopback::used_pair;

/// What Linux 6.18 replies: older kernels have fewer fields, and so fewer series.
const WHOLE: usize = 280;

fn series(page: &Page) -> Vec<String> {
    let mut text = Vec::new();
    page.write(&mut text).expect("a vector takes all");
    let text = String::from_utf8(text).expect("a page is text");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The number of series of a page with so many groups and single sockets, with what they watch.
fn counted(groups: usize, sockets: usize) -> (usize, usize) {
    let monitor = Monitor::new();
    let page = monitor.page();
    let mut held = Vec::new();
    for number in 0..groups {
        let pair = used_pair();
        let group = monitor.group([KeyValue::new("listener", number as i64)]);
        held.push((group.watch(pair.client), pair.server));
    }
    for _ in 0..sockets {
        let pair = used_pair();
        held.push((monitor.watch(pair.client, []), pair.server));
    }
    let series = series(&page);
    let buckets = series.iter().filter(|line| line.contains("_bucket{")).count();
    (series.len(), buckets)
}

#[test]
fn the_fleet_has_as_many_series_as_the_guide_says() {
    let pair = used_pair();
    let len = tcpinfo::read(&pair.client).expect("it is open").reply_len;
    if len < WHOLE {
        println!("SKIPPED: the_fleet_has_as_many_series_as_the_guide_says: a reply of {len} bytes");
        return;
    }
    let (own, _) = counted(0, 0);
    let (one, buckets) = counted(1, 0);
    let (three, _) = counted(3, 0);
    let (two_sockets, _) = counted(0, 2);
    let (four_sockets, _) = counted(0, 4);
    let group = (three - one) / 2;
    let (_, own_buckets) = counted(0, 0);
    let socket = (four_sockets - two_sockets) / 2;
    let rows = [
        ("the monitor itself", own),
        ("a group", group),
        ("of these, buckets of histograms", buckets - own_buckets),
        ("a single socket", socket),
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fleet.md");
    let guide = fs::read_to_string(path).expect("it is in the repository");
    for (what, count) in rows {
        let row = format!("| {what} | {count} |");
        assert!(guide.contains(&row), "docs/fleet.md: {row}, in {rows:?}");
    }
}
