//! More groups than there are places: hosts that come one after another, each with a connection or
//! two, as a client of many servers sees them.

use std::net::{Ipv4Addr, TcpStream};

use opentelemetry::KeyValue;
use tcpinfo::{Monitor, Watched};

use crate::monitor::exports::Exports;
use support::hosts::Hosts;

/// Watches each connection in the group of its host.
fn by_host(monitor: &Monitor) -> impl Fn(&str, TcpStream) -> Watched<TcpStream> + use<> {
    let monitor = monitor.clone();
    move |host, socket| monitor.group([KeyValue::new("host", host.to_owned())]).watch(socket)
}

fn collect(both: &mut [Exports; 2]) {
    both.iter_mut().for_each(Exports::collect);
}

/// All that was opened, closed and sent is in some series, the overflow's included.
#[track_caller]
fn complete(both: &[Exports; 2], hosts: &Hosts) {
    for exports in both {
        let sum = |metric: &str| exports.sum_of_all(metric);
        assert_eq!(sum("tcp.connection.opened"), hosts.opened());
        assert_eq!(sum("tcp.connection.closed"), hosts.opened());
        assert_eq!(sum("tcp.data.sent") - sum("tcp.data.retransmitted"), hosts.sent());
        assert_eq!(exports.samples_of_all("tcp.connection.duration") as f64, hosts.opened());
    }
}

#[test]
fn a_thousand_hosts_are_a_thousand_connections() {
    let monitor = Monitor::new();
    let mut both = Exports::both(&monitor);
    let mut hosts = Hosts::new(Ipv4Addr::new(127, 0, 3, 1), by_host(&monitor));
    for number in 0..1_000 {
        hosts.visit(&format!("host-{number}"), number % 100);
        if number % 50 == 49 {
            collect(&mut both);
        }
    }
    collect(&mut both);
    complete(&both, &hosts);
    // The first have the places, and the rest is together.
    for exports in &both {
        assert_eq!(exports.series_of("tcp.connection.opened").len(), 151);
        let overflow = "tcp.connection.opened{otel.metric.overflow=true}";
        assert_eq!(exports.sum(overflow), 850.0);
    }
    assert_eq!(monitor.snapshot().monitor.folded, 850);
}

#[test]
fn a_host_that_is_visited_all_the_time_goes_on_through_a_flood_of_others() {
    const LEGIT: &str = "tcp.connection.opened{host=api.legit}";
    let monitor = Monitor::new();
    let mut both = Exports::both(&monitor);
    let mut hosts = Hosts::new(Ipv4Addr::new(127, 0, 3, 2), by_host(&monitor));
    let mut seen = Vec::new();
    for round in 0..4 {
        for _ in 0..10 {
            hosts.visit("api.legit", 30);
        }
        for number in 0..300 {
            if number % 50 == 0 {
                collect(&mut both);
            }
            hosts.visit(&format!("host-{round}-{number}"), 20);
        }
        collect(&mut both);
        let [cumulative, _] = &both;
        seen.push(cumulative.latest(LEGIT));
        complete(&both, &hosts);
    }
    assert_eq!(seen, [10.0, 20.0, 30.0, 40.0].map(Some));
    for exports in &both {
        assert_eq!(exports.sum(LEGIT), 40.0);
        assert_eq!(exports.sent("tcp", "{host=api.legit}"), 1_200.0);
    }
}

/// The same where groups make room as soon as they can: what comes back begins at zero.
#[test]
fn hosts_that_make_room_for_each_other_lose_nothing() {
    let builder = Monitor::builder().with_max_groups(20);
    let monitor = builder.with_group_retention(std::time::Duration::ZERO).build();
    let mut both = Exports::both(&monitor);
    let mut hosts = Hosts::new(Ipv4Addr::new(127, 0, 3, 3), by_host(&monitor));
    for number in 0..1_000_usize {
        // Every third is one of a few that come back.
        let host = if number % 3 == 0 { number % 8 } else { number };
        hosts.visit(&format!("host-{host}"), number % 70);
        // The two do not collect alike.
        if number % 10 == 9 {
            both[0].collect();
        }
        if number % 35 == 34 {
            both[1].collect();
        }
    }
    // What took a place last is at zero first.
    for _ in 0..3 {
        collect(&mut both);
    }
    complete(&both, &hosts);
    let overflow = "tcp.connection.opened{otel.metric.overflow=true}";
    let had_places = both.each_ref().map(|exports| 1_000.0 - exports.sum(overflow));
    assert!(had_places.iter().all(|places| *places > 20.0), "{had_places:?} had a place");
}
