//! Built events and passes: when a connection leaves the table, and what its event finds then.

use std::sync::Arc;

use super::super::super::attributes::Attributes;
use super::super::super::progress::Progress;
use super::super::super::set::{MetricFamily, Set};
use super::super::entries::LEFT;
use super::*;

mod model;

fn newcomer(claim: u8, is_base: bool) -> Newcomer {
    let set = Set::new(MetricFamily::Group, Attributes::new([]), 0, false);
    let group = Membership::join(&Arc::new(set));
    let progress = Progress::new();
    Newcomer { cookie: 7, progress, group, claim, is_base, has_event: true }
}

/// A table with one connection, which a discovery claimed that has ended since.
fn left_behind() -> Table {
    let table = Table::new();
    table.claim(0);
    table.begin_pass();
    assert!(table.insert(newcomer(0, false)));
    table.unclaim(0);
    table
}

fn pass(table: &Table, is_whole: bool) {
    table.begin_pass();
    let end = |_: Parted| panic!("nobody claims it");
    table.end_pass(true, is_whole, |_| None, end);
}

#[test]
fn an_event_that_comes_after_a_pass_does_not_count_an_unclaimed_connection_again() {
    let table = left_behind();
    pass(&table, true);
    assert!(matches!(table.end(7), Told::Parted(parted) if parted.is_unclaimed()));
    assert!(matches!(table.end(7), Told::Unknown));

    // However late it is.
    let table = left_behind();
    (0..10).for_each(|_| pass(&table, true));
    assert!(!table.has(7));
    assert!(matches!(table.end(7), Told::Refused(u64::MAX)));
}

#[test]
fn an_unclaimed_connection_stays_until_a_pass_could_show_it() {
    let table = left_behind();
    (0..10).for_each(|_| pass(&table, false));
    assert!(table.has(7));
    pass(&table, true);
    assert!(!table.has(7));
}

#[test]
fn a_discovery_that_begins_later_takes_a_connection_that_nobody_claimed() {
    let table = left_behind();
    (0..10).for_each(|_| pass(&table, true));
    table.claim(3);
    table.begin_pass();
    assert!(table.insert(newcomer(3, true)));
    assert!(matches!(table.end(7), Told::Parted(parted) if parted.claim == 3));
}

#[test]
fn a_dump_that_is_older_than_its_event_does_not_revive_what_was_watched() {
    let table = Table::new();
    table.claim(0);
    table.begin_pass();
    // The event came while it was watched, then it was given back, and the dump still shows it.
    table.tell_watched(7);
    let Newcomer { group, .. } = newcomer(0, false);
    let adopted = table.adopt(7, History::new(), group, None, 0);
    assert!(matches!(adopted, Adopted::Ended(parted) if parted.claim == 0));
    let seen = table.see(7, 1, |_| panic!("it has ended"));
    assert_eq!(seen, Seen::Ignored);
    assert!(!table.insert(newcomer(0, false)));
    table.end_pass(true, true, |_| None, |_| panic!("it has ended"));
    assert_eq!(lock(&table.inner).marks.cookies(), []);
}
