//! Random schedules: connections begin and end, dumps show them late, events come late or never,
//! watches and discoveries begin and end, in any order. A simple model says what must be counted.

use super::*;

mod passes;
mod world;

use world::World;

/// How many schedules, and how many steps each has.
const SCHEDULES: u64 = 3_000;
const STEPS: u64 = 400;
/// How many sockets are open at most.
const OPEN: usize = 8;

/// A generator of random numbers: xorshift.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % end
    }
}

/// One schedule: steps at random, and then whatever has to come to an end.
fn schedule(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::new();
    for _ in 0..STEPS {
        let chosen = |rng: &mut Rng, world: &World| {
            let at = rng.below(world.open.len().max(1) as u64) as usize;
            world.open.keys().nth(at).copied()
        };
        match rng.below(64) {
            0..8 if world.open.len() < OPEN => {
                world.open.insert(world.next, rng.below(3) * 100);
                world.next += 1;
            }
            8..20 => {
                if let Some(cookie) = chosen(&mut rng, &world) {
                    *world.open.get_mut(&cookie).expect("it is open") += 1 + rng.below(100);
                }
            }
            20..25 => {
                if let Some(cookie) = chosen(&mut rng, &world) {
                    // Whoever watches it reads it before.
                    let slot = world.slots.get(&cookie);
                    if slot.is_some_and(|slot| slot.is_watched) {
                        world.read(cookie, world.open[&cookie]);
                    }
                    world.close(cookie);
                }
            }
            25..28 => {
                if let Some(cookie) = chosen(&mut rng, &world) {
                    world.watch(cookie);
                }
            }
            28..34 => world.touch_a_slot(&mut rng),
            34 if world.pass.is_none() && world.active.len() < 3 => {
                world.begin_discovery(1 + rng.below(2), rng.below(3) > 0);
            }
            35 if rng.below(4) == 0 && !world.active.is_empty() => {
                let at = rng.below(world.active.len() as u64);
                world.end_discovery(at as usize);
            }
            36..40 if world.pass.is_none() && !world.active.is_empty() => world.begin_pass(None),
            40..54 if world.pass.is_some() => world.go_on(),
            // Cut short.
            54 if rng.below(4) == 0 && !world.takes_base() => world.end_pass(false),
            55..63 => {
                if let Some((cookie, bytes)) = world.events.pop_front() {
                    world.event(cookie, bytes);
                }
            }
            63 if rng.below(8) == 0 && !world.events.is_empty() => {
                // Somewhere in the middle: the kernel tells some of them late.
                let at = rng.below(world.events.len() as u64) as usize;
                world.untold.extend(world.events.remove(at).map(|(cookie, _)| cookie));
                // Or it has no memory, and says nothing.
                world.has_lost |= rng.below(4) > 0;
            }
            _ => {}
        }
    }
    world.finish();
}

impl World {
    /// Something happens to one of the connections that are, or were, watched.
    fn touch_a_slot(&mut self, rng: &mut Rng) {
        let mut cookies: Vec<u64> = self.slots.keys().copied().collect();
        cookies.sort_unstable();
        let Some(&cookie) = cookies.get(rng.below(cookies.len().max(1) as u64) as usize) else {
            return;
        };
        let is_watched = self.slots[&cookie].is_watched;
        match (self.open.get(&cookie).copied(), is_watched) {
            (Some(bytes), true) if rng.below(8) < 5 => self.read(cookie, bytes),
            (Some(bytes), true) if rng.below(8) < 7 => {
                self.read(cookie, bytes);
                self.slots.get_mut(&cookie).expect("it is there").is_watched = false;
            }
            // Lent to somebody who closed it.
            (None, true) if rng.below(4) == 0 => {
                self.slots.get_mut(&cookie).expect("it is there").is_watched = false;
            }
            // It makes room for others, or only the monitor's copy was closed.
            (Some(_), _) if rng.below(8) > 0 => {}
            _ => self.forget(cookie),
        }
    }

    fn whole_pass(&mut self) {
        if self.pass.is_none() && !self.active.is_empty() {
            self.begin_pass(None);
        }
        while self.show() {}
        self.end_pass(true);
    }

    /// Ends everything: nothing may be left, and nothing may be missing.
    fn finish(&mut self) {
        self.whole_pass();
        for cookie in self.open.keys().copied().collect::<Vec<_>>() {
            if self.slots.get(&cookie).is_some_and(|slot| slot.is_watched) {
                self.read(cookie, self.open[&cookie]);
            }
            self.close(cookie);
        }
        for cookie in self.slots.keys().copied().collect::<Vec<_>>() {
            if self.slots[&cookie].is_watched {
                self.forget(cookie);
            }
        }
        while let Some((cookie, bytes)) = self.events.pop_front() {
            self.event(cookie, bytes);
        }
        for cookie in self.slots.keys().copied().collect::<Vec<_>>() {
            self.forget(cookie);
        }
        for _ in 0..2 * LEFT {
            self.whole_pass();
        }
        let inner = lock(&self.table.inner);
        let left = (inner.entries.chunks(), inner.opened_in.len());
        assert_eq!(left, (0, 0), "entries and groups are left");
        let waits = |cookie: &u64| self.untold.contains(cookie);
        let marked = inner.marks.cookies();
        assert!(marked.iter().all(waits), "{marked:?} are marked, of {:?}", self.untold);
        drop(inner);
        for (cookie, counted) in &self.counted {
            let is_even = counted.is_left || counted.opened == counted.closed;
            assert!(is_even, "at the end, {cookie}: {counted:?}");
        }
    }
}

#[test]
fn whatever_happens_in_whatever_order_a_connection_counts_once() {
    for seed in 1..=SCHEDULES {
        let result = std::panic::catch_unwind(|| schedule(seed));
        assert!(result.is_ok(), "schedule {seed}");
    }
}
