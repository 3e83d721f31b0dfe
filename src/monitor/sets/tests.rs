//! Places: who gets one, who gives one up, and what each reader is told of it.

use std::collections::HashSet;

use opentelemetry::KeyValue;

use super::super::sample::Rng;
use super::super::worst::Worst;
use super::*;
use crate::info::CounterNumbers;

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
    match sets.place(MetricFamily::Group, &named(name), caps) {
        Placement::Own(membership) => (true, membership),
        Placement::Folded(membership) => (false, membership),
    }
}

fn place(sets: &mut Sets, name: &'static str, registrations: &[usize]) -> (bool, Membership) {
    place_after(sets, name, registrations, Duration::ZERO)
}

/// What a collection does with the sets, and what it says was opened.
fn collect(sets: &mut Sets, registration: usize, alive: &[usize]) -> Vec<u64> {
    sets.collected_by(Reader::Registration(registration), alive);
    sets.note_idle(Instant::now());
    let mut told: Vec<_> = sets.reported().collect();
    told.sort_by_key(|set| format!("{:?}", set.labels.plain));
    let reader = Reader::Registration(registration);
    let told = told
        .into_iter()
        .map(|set| lock(&set.ledger).tell(reader, alive, set.takes_a_place).0.opened);
    told.collect()
}

fn open(membership: &Membership) {
    lock(&membership.set().ledger).add(&CounterNumbers::NONE, 1);
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
    lock(&set.ledger).tell(Reader::Snapshots, &[], false);
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
    for reader in [0, 1].map(Reader::Registration) {
        for set in sets.named.values() {
            lock(&set.ledger).tell(reader, &[0, 1], false);
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
    let place = |sets: &mut Sets, name| match sets.place(MetricFamily::Socket, &named(name), caps) {
        Placement::Own(membership) => (true, membership),
        Placement::Folded(membership) => (false, membership),
    };
    let (own, first) = place(&mut sets, "a");
    assert!(own && !place(&mut sets, "b").0);
    drop(first);
    assert!(place(&mut sets, "b").0);
}

/// Somebody who collects, as a backend adds it up.
#[derive(Default)]
struct Backend {
    latest: HashMap<String, (u64, u64)>,
    sums: (u64, u64),
    met: HashSet<u64>,
}

impl Backend {
    /// Collects what was opened and one counter of each set. Neither falls while its series is
    /// there.
    fn collect(&mut self, sets: &mut Sets, reader: Reader, alive: &[usize]) {
        if reader.is_alive(alive) {
            sets.collected_by(reader, alive);
        }
        sets.drop_unused_series();
        sets.note_idle(Instant::now());
        let mut now = HashMap::new();
        for set in sets.reported() {
            let (told, _) = lock(&set.ledger).tell(reader, alive, set.takes_a_place);
            let told = (told.opened, told.counters.values[0]);
            let name = format!("{:?}", set.labels.plain);
            let last = self.latest.get(&name).copied().unwrap_or_default();
            // Where somebody collects, groups that make room wait for no snapshot.
            if reader.is_alive(alive) {
                assert!(told.0 >= last.0 && told.1 >= last.1, "{name}: {told:?} after {last:?}");
                self.sums = (self.sums.0 + told.0 - last.0, self.sums.1 + told.1 - last.1);
            }
            if self.met.insert(set.serial) && set.takes_a_place && reader != Reader::Snapshots {
                assert_eq!(told, (0, 0), "{name} begins");
            }
            assert_eq!(now.insert(name, told), None, "each series once");
        }
        self.latest = now;
    }
}

/// Groups that are placed, used and let go in any order, and read by so many at any time.
fn any_order(rng: &mut Rng, readers: usize, renews: bool) {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut sets = Sets::new();
    let mut alive: Vec<usize> = (0..readers).collect();
    let mut backends: Vec<Backend> = (0..readers).map(|_| Backend::default()).collect();
    let mut snapshots = Backend::default();
    let mut held: Vec<Membership> = Vec::new();
    let mut sums = (0, 0);
    for _ in 0..80 {
        match rng.below(9) {
            0..=2 => {
                let name = NAMES[rng.below(5) as usize];
                held.push(place(&mut sets, name, &alive).1);
            }
            3 | 4 if !held.is_empty() => {
                let bytes = rng.below(2) * rng.below(100);
                let of = &held[rng.below(held.len() as u64) as usize];
                let mut added = CounterNumbers::NONE.with_present(bytes.min(1));
                added.values[0] = bytes;
                lock(&of.set().ledger).add(&added, 1);
                sums = (sums.0 + 1, sums.1 + bytes);
            }
            5 | 6 if !held.is_empty() => {
                held.swap_remove(rng.below(held.len() as u64) as usize);
            }
            7 if renews && readers > 0 && rng.below(4) == 0 => {
                let reader = rng.below(readers as u64) as usize;
                alive[reader] = alive.iter().max().map_or(0, |last| last + 1);
                backends[reader] = Backend::default();
            }
            7 => snapshots.collect(&mut sets, Reader::Snapshots, &alive),
            _ if readers > 0 => {
                let number = rng.below(readers as u64) as usize;
                let reader = Reader::Registration(alive[number]);
                backends[number].collect(&mut sets, reader, &alive);
            }
            _ => {}
        }
    }
    drop(held);
    for _ in 0..3 {
        for (backend, id) in backends.iter_mut().zip(&alive) {
            backend.collect(&mut sets, Reader::Registration(*id), &alive);
        }
    }
    for backend in backends.iter().filter(|_| !renews) {
        assert_eq!(backend.sums, sums);
    }
    if readers == 0 {
        snapshots.collect(&mut sets, Reader::Snapshots, &alive);
        assert_eq!(snapshots.sums, sums);
    }
}

#[test]
fn in_any_order_no_series_falls_and_each_sum_is_what_was_added() {
    for seed in 0..1_000 {
        for (readers, renews) in [(0, false), (1, false), (2, false), (3, false), (3, true)] {
            any_order(&mut Rng::new(seed), readers, renews);
        }
    }
}
