//! Places: who gets one, who gives one up, and what each reader is told of it.

use opentelemetry::KeyValue;

use super::super::counters::COUNTERS;
use super::super::ledger::Audience;
use super::*;

fn named(name: &'static str) -> Attributes {
    Attributes::new([KeyValue::new("name", name)])
}

fn place_after(
    sets: &mut Sets,
    name: &'static str,
    registrations: &[usize],
    retention: Duration,
) -> (bool, Membership) {
    let caps = Caps { sets: 2, retention, registrations };
    match sets.place(Family::Group, &named(name), caps) {
        Place::Own(membership) => (true, membership),
        Place::Folded(membership) => (false, membership),
    }
}

fn place(sets: &mut Sets, name: &'static str, registrations: &[usize]) -> (bool, Membership) {
    place_after(sets, name, registrations, Duration::ZERO)
}

/// What a collection does with the sets, and what it says was opened.
fn collect(sets: &mut Sets, registration: usize, alive: &[usize]) -> Vec<u64> {
    sets.collected_by(registration, alive);
    sets.note_idle(Instant::now());
    let mut told: Vec<_> = sets.reported().collect();
    told.sort_by_key(|set| format!("{:?}", set.labels.plain));
    let audience = Audience::Registration(registration);
    let told = told
        .into_iter()
        .map(|set| lock(&set.ledger).tell(audience, alive, set.takes_a_place).0.opened);
    told.collect()
}

fn open(membership: &Membership) {
    lock(&membership.set().ledger).add(&[0; COUNTERS], 0, 1);
}

#[test]
fn beyond_the_cap_everything_is_one_set() {
    let mut sets = Sets::new();
    let held: Vec<_> = ["a", "b", "c", "d"].map(|name| place(&mut sets, name, &[])).into();
    assert_eq!(held.iter().map(|(own, _)| *own).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(Arc::ptr_eq(held[2].1.set(), held[3].1.set()));
    assert_eq!(held[2].1.set().labels.plain, Attributes::overflow());
}

/// Two sets of which one has no user any more, after both readers reported them.
fn two_with_one_idle(sets: &mut Sets) -> Membership {
    let (_, first) = place(sets, "a", &[0, 1]);
    open(&first);
    let (_, second) = place(sets, "b", &[0, 1]);
    drop(first);
    for registration in [0, 1] {
        assert_eq!(collect(sets, registration, &[0, 1]), [1, 0, 0]);
    }
    second
}

#[test]
fn a_set_whose_last_counts_nobody_reported_is_kept() {
    let mut sets = Sets::new();
    let (_, first) = place(&mut sets, "a", &[0]);
    let _b = place(&mut sets, "b", &[0]);
    collect(&mut sets, 0, &[0]);
    open(&first);
    drop(first);
    assert!(!place(&mut sets, "c", &[0]).0);
    collect(&mut sets, 0, &[0]);
    assert!(place(&mut sets, "c", &[0]).0);
}

#[test]
fn a_set_keeps_its_place_for_as_long_as_it_may() {
    let mut sets = Sets::new();
    let _b = two_with_one_idle(&mut sets);
    let hour = Duration::from_secs(3_600);
    assert!(!place_after(&mut sets, "c", &[0, 1], hour).0);
    sets.note_idle(Instant::now());
    assert!(place(&mut sets, "c", &[0, 1]).0);
}

#[test]
fn a_set_that_shows_its_worst_keeps_its_place() {
    let mut sets = Sets::new();
    let _b = two_with_one_idle(&mut sets);
    let (_, first) = place(&mut sets, "a", &[0, 1]);
    *lock(&first.set().worst) = Some((Worst::Stalled, 1));
    drop(first);
    assert!(!place(&mut sets, "c", &[0, 1]).0);
}

#[test]
fn without_readers_a_snapshot_has_to_have_shown_a_set() {
    let mut sets = Sets::new();
    let (_, first) = place(&mut sets, "a", &[]);
    open(&first);
    let set = Arc::clone(first.set());
    let _b = place(&mut sets, "b", &[]);
    drop(first);
    assert!(!place(&mut sets, "c", &[]).0);
    lock(&set.ledger).tell(Audience::Snapshots, &[], false);
    sets.note_idle(Instant::now());
    assert!(place(&mut sets, "c", &[]).0);
}

#[test]
fn a_set_without_users_makes_room_and_can_come_back_unnoticed() {
    let mut sets = Sets::new();
    let second = two_with_one_idle(&mut sets);
    let (own, third) = place(&mut sets, "c", &[0, 1]);
    assert!(own);
    // Nobody has collected since: nothing was missed, the totals go on.
    drop(third);
    for audience in [0, 1].map(Audience::Registration) {
        for set in sets.named.values() {
            lock(&set.ledger).tell(audience, &[0, 1], false);
        }
    }
    let (own, again) = place(&mut sets, "a", &[0, 1]);
    assert!(own);
    drop((second, again));
    assert_eq!(collect(&mut sets, 0, &[0, 1]), [1, 0, 0]);
}

#[test]
fn a_set_that_one_of_two_readers_missed_is_folded_until_the_other_did() {
    let mut sets = Sets::new();
    let second = two_with_one_idle(&mut sets);
    let (_, third) = place(&mut sets, "c", &[0, 1]);
    drop(third);
    collect(&mut sets, 0, &[0, 1]);
    // Told of zeros, and not yet of more.
    collect(&mut sets, 0, &[0, 1]);
    assert!(!place(&mut sets, "a", &[0, 1]).0);
    collect(&mut sets, 1, &[0, 1]);
    collect(&mut sets, 1, &[0, 1]);
    let (own, again) = place(&mut sets, "a", &[0, 1]);
    assert!(own);
    open(&again);
    // Each reader sees it begin.
    for registration in [0, 1] {
        assert_eq!(collect(&mut sets, registration, &[0, 1]), [0, 0, 0]);
        assert_eq!(collect(&mut sets, registration, &[0, 1]), [1, 0, 0]);
    }
    drop(second);
}

#[test]
fn a_shared_series_is_gone_with_its_last_socket() {
    let mut sets = Sets::new();
    let caps = Caps { sets: 1, retention: Duration::ZERO, registrations: &[0] };
    let place = |sets: &mut Sets, name| match sets.place(Family::Socket, &named(name), caps) {
        Place::Own(membership) => (true, membership),
        Place::Folded(membership) => (false, membership),
    };
    let (own, first) = place(&mut sets, "a");
    assert!(own && !place(&mut sets, "b").0);
    drop(first);
    assert!(place(&mut sets, "b").0);
}
