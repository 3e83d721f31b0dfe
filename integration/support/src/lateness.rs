//! How late the machine is: what a test that needs time asks, so that it fails on what the software
//! did and not on what else the machine did.

use std::fs;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a test waits for something that always comes: only what never comes takes as long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a scene is played at most.
const ATTEMPTS: u32 = 5;
/// How long the watching thread sleeps at a time.
const NAP: Duration = Duration::from_millis(1);

/// What an attempt saw of the machine.
pub struct Lateness {
    /// From 0.
    pub attempt: u32,
    worst: Worst,
    crowd: Crowd,
}

impl Lateness {
    fn new(attempt: u32) -> Self {
        Self { attempt, worst: Worst::default(), crowd: Crowd::default() }
    }

    /// Where other threads say how late they were.
    pub fn worst(&self) -> Worst {
        self.worst.clone()
    }

    /// Something took too long by so much. That counts as late where there was more to run than
    /// there are CPUs for half of the attempt or more, and where the kernel does not say.
    pub fn slowed(&self, by: Duration) {
        let [seen, crowded] = self.crowd.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        if 2 * crowded >= seen {
            self.worst.note(by);
        }
    }
}

/// An error where something took longer than it may.
pub fn less(took: Duration, than: Duration, lateness: &Lateness) -> Result<(), String> {
    if took < than {
        return Ok(());
    }
    lateness.slowed(than);
    Err(format!("it took {took:?}"))
}

/// How often this was looked at, and how often there was more to run than there are CPUs.
#[derive(Clone, Default)]
struct Crowd(Arc<[AtomicU64; 2]>);

impl Crowd {
    fn look(&self) {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        if let Some(running) = running() {
            self.0[0].fetch_add(1, Ordering::Relaxed);
            self.0[1].fetch_add(u64::from(running > cpus), Ordering::Relaxed);
        }
    }
}

/// How many tasks run or could, beside the one that asks. Not from `/proc/pressure`, whose totals
/// are up to two seconds old.
fn running() -> Option<usize> {
    let averages = fs::read_to_string("/proc/loadavg").ok()?;
    let all: usize = averages.split(['/', ' ']).nth(3)?.parse().ok()?;
    Some(all.saturating_sub(1))
}

/// By how much something came later than it was due, at most.
#[derive(Clone, Default)]
pub struct Worst(Arc<AtomicU64>);

impl Worst {
    /// Something was so late.
    pub fn note(&self, late: Duration) {
        self.0.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
    }

    /// The worst that was noted.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A thread that sleeps for a moment again and again: what it oversleeps, others wait as well. It
/// looks around now and then.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Notes what it oversleeps until it is dropped.
    pub fn start(worst: Worst) -> Self {
        Self::with(worst, Crowd::default())
    }

    fn with(worst: Worst, crowd: Crowd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for nap in 0_u64.. {
                let slept = Instant::now();
                thread::sleep(NAP);
                worst.note(slept.elapsed().saturating_sub(NAP));
                if nap % 16 == 0 {
                    crowd.look();
                }
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Plays a scene. It panics where something is wrong at any speed, and returns an error where
/// something is wrong that takes time: this fails when nothing was later than `allowed`. When
/// something was, the scene is played again, and after a few times it is left out: every attempt is
/// printed.
#[track_caller]
pub fn in_time(allowed: Duration, mut scene: impl FnMut(&Lateness) -> Result<(), String>) {
    let current = thread::current();
    let test = current.name().unwrap_or_default();
    let mut all = Vec::new();
    for attempt in 0..ATTEMPTS {
        let lateness = Lateness::new(attempt);
        let watch = Watch::with(lateness.worst(), lateness.crowd.clone());
        let result = scene(&lateness);
        drop(watch);
        let Err(found) = result else { return };
        let late = lateness.worst.get();
        assert!(late > allowed, "nothing was later than {late:?}, and {found}");
        let number = attempt + 1;
        println!("REPEATED: {test}: attempt {number} was late by up to {late:?}, and {found}");
        all.push(late);
    }
    println!("SKIPPED: {test}: the machine was late in all of {ATTEMPTS} attempts, by {all:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_in_time_fails_at_once() {
        let mut attempts = 0;
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            in_time(Duration::MAX, |_| {
                attempts += 1;
                Err("it is wrong".to_owned())
            });
        }));
        let message = failed.expect_err("it had its time");
        let message = message.downcast_ref::<String>().expect("it says why");
        assert!(message.ends_with(", and it is wrong"), "{message}");
        assert_eq!(attempts, 1);
    }

    #[test]
    fn what_was_late_is_played_again() {
        let mut attempts = 0;
        in_time(Duration::from_secs(1), |lateness| {
            assert_eq!(lateness.attempt, attempts);
            attempts += 1;
            lateness.worst().note(Duration::from_secs(2));
            if attempts < 3 { Err("it is late".to_owned()) } else { Ok(()) }
        });
        assert_eq!(attempts, 3);
    }

    #[test]
    fn more_tasks_than_cpus_are_a_crowd() {
        let (crowd, done, begun) = (Crowd::default(), AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            let cpus = thread::available_parallelism().map_or(1, NonZero::get);
            for _ in 0..=cpus {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
                        std::hint::spin_loop();
                    }
                });
            }
            while crowd.0[1].load(Ordering::Relaxed) == 0 && begun.elapsed() < PATIENCE {
                crowd.look();
            }
            done.store(true, Ordering::Relaxed);
        });
        let [seen, crowded] = crowd.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        assert!(0 < crowded && crowded <= seen, "{crowded} of {seen}");
    }

    #[test]
    fn a_thread_that_is_late_is_noticed() {
        let worst = Worst::default();
        let watch = Watch::start(worst.clone());
        crate::loopback::until("a nap that took longer than it should", || {
            (!worst.get().is_zero()).then_some(())
        });
        drop(watch);
    }
}
