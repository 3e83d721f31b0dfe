//! The thread that takes the events of ended sockets: the only one that the crate ever has.
//!
//! It begins with the first discovery that wants events and ends with the last. It blocks every
//! signal, allocates nothing for an event of a connection that is known, and holds no lock for
//! longer than one event.

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use super::super::attributes::Attributes;
use super::super::failures::{Failed, panicked};
use super::super::locks::lock;
use super::engine::Engine;
use super::listening::Listening;
use super::sightings::Sightings;
use crate::diag::{Events, Query, RawEvent, Waker};
use crate::read;
use crate::wire::LEN;

/// How long to wait for the thread where it is not needed that it has done its work.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often to wait that long, while the thread takes events all the time.
const PATIENT: u32 = 10;

/// Events that are taken before anything else is looked at.
const BATCH: usize = 256;

/// What an event takes of a receive buffer at least: it is 1.3 KB on Linux 6.18.
const LEAST_BYTES: usize = 768;

/// The thread, as those see it who begin and end discoveries.
pub(super) struct EventThread {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
    id: ThreadId,
}

struct Running {
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

struct Shared {
    waker: Waker,
    orders: Mutex<Vec<Order>>,
    /// How many batches were taken.
    batches: AtomicU64,
}

enum Order {
    /// Takes these events as well.
    Take(Source),
    /// Says when all events were taken that wait now.
    Fence(SyncSender<()>),
    /// Looks for sockets of this process, with this share of a core; or does not.
    Sight(Option<(Arc<Listening>, f64)>),
    Stop,
}

/// The events of one network namespace.
struct Source {
    events: Events,
    query: Query,
    /// After so many batches everything was taken that waited before.
    batches: usize,
    /// Events were lost, and those that came before are not all taken.
    has_lost: bool,
}

impl EventThread {
    pub(super) fn start(engine: Arc<Engine>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waker: Waker::new()?,
            orders: Mutex::default(),
            batches: AtomicU64::new(0),
        });
        let (sender, ended) = sync_channel(1);
        let name = "tcpinfo-events".to_owned();
        let in_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name).spawn(move || {
            read::block_signals();
            run(&engine, &in_thread);
            drop(engine);
            // Nobody listens if it took too long.
            let _ = sender.send(());
        })?;
        let id = thread.thread().id();
        let running = Mutex::new(Some(Running { thread, ended }));
        Ok(Self { shared, running, id })
    }

    fn order(&self, order: Order) {
        lock(&self.shared.orders).push(order);
        self.shared.waker.wake();
    }

    /// Takes these events as well, of the namespace of `query`.
    pub(super) fn take(&self, events: Events, query: Query) {
        let events_at_most = events.receive_buffer().unwrap_or_default() / LEAST_BYTES;
        let batches = 1 + events_at_most.div_ceil(BATCH);
        self.order(Order::Take(Source { events, query, batches, has_lost: false }));
    }

    /// Looks for sockets of this process from now on, or does not any more.
    pub(super) fn sight(&self, how: Option<(Arc<Listening>, f64)>) {
        self.order(Order::Sight(how));
    }

    /// Waits until all events were taken that wait now: a second at most in which the thread takes
    /// none, as it may be in a function of the program that waits for the caller.
    pub(super) fn fence(&self) {
        if self.id == thread::current().id() {
            return;
        }
        let (sender, receiver) = sync_channel(1);
        self.order(Order::Fence(sender));
        let batches = || self.shared.batches.load(Ordering::Relaxed);
        for _ in 0..PATIENT {
            let before = batches();
            let waited = receiver.recv_timeout(PATIENCE);
            if waited != Err(RecvTimeoutError::Timeout) || batches() == before {
                return;
            }
        }
    }

    /// Ends the thread, and waits for that a second at most: it may be in a function of the program
    /// that waits for the caller.
    pub(super) fn stop(&self) {
        let running = lock(&self.running).take();
        self.order(Order::Stop);
        let Some(Running { thread, ended }) = running else { return };
        if self.id != thread::current().id() && ended.recv_timeout(PATIENCE).is_ok() {
            let _ = thread.join();
        }
    }
}

/// What the thread works on.
struct Work<'e> {
    engine: &'e Engine,
    sources: Vec<Source>,
    /// Who waits, and how many batches may still be taken before.
    fences: Vec<(SyncSender<()>, usize)>,
    sightings: Option<Sightings<'e>>,
}

fn run(engine: &Engine, shared: &Shared) {
    let mut work = Work { engine, sources: Vec::new(), fences: Vec::new(), sightings: None };
    loop {
        match catch_unwind(AssertUnwindSafe(|| work.step(shared))) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(_) => {
                // It cost one event.
                engine.has_lost.store(true, Ordering::Release);
                engine.connections.failures.note(Failed::new(Attributes::new([]), panicked()));
            }
        }
    }
}

impl Work<'_> {
    /// Takes what there is, and waits if that is nothing.
    fn step(&mut self, shared: &Shared) -> ControlFlow<()> {
        let orders = std::mem::take(&mut *lock(&shared.orders));
        for order in orders {
            match order {
                Order::Take(source) => self.sources.push(source),
                Order::Fence(fence) => {
                    let batches = self.sources.iter().map(|source| source.batches).max();
                    self.fences.push((fence, batches.unwrap_or(1)));
                }
                Order::Sight(None) => self.sightings = None,
                Order::Sight(Some((listening, budget))) => {
                    let new = || Sightings::new(self.engine, listening);
                    self.sightings.get_or_insert_with(new).set_budget(budget);
                }
                Order::Stop => return ControlFlow::Break(()),
            }
        }
        let Self { engine, sources, fences, sightings } = self;
        let mut is_empty = true;
        sources.retain_mut(|source| match source.take(engine, sightings) {
            Ok(has_no_more) => {
                is_empty &= has_no_more;
                true
            }
            Err(error) => {
                engine.connections.failures.put(Failed::new(Attributes::new([]), error));
                engine.has_lost.store(true, Ordering::Release);
                false
            }
        });
        // What failed may be told now: no lock is held, and this is no collection.
        engine.connections.failures.tell();
        if let Some(sightings) = sightings {
            sightings.look_if_due();
        }
        shared.batches.fetch_add(1, Ordering::Relaxed);
        fences.retain_mut(|(fence, batches)| {
            *batches -= 1;
            let waits = !is_empty && *batches > 0;
            if !waits {
                // Nobody listens any more if it took too long.
                let _ = fence.send(());
            }
            waits
        });
        if !is_empty {
            return ControlFlow::Continue(());
        }
        let next = sightings.as_ref().and_then(Sightings::next);
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        let waited = shared.waker.wait(sources.iter().map(|source| &source.events), timeout);
        if waited.is_err() {
            // No memory: it may be there later.
            thread::sleep(Duration::from_millis(100));
        }
        ControlFlow::Continue(())
    }
}

impl Source {
    /// Takes some events. Returns whether there are no more. An error ends them.
    fn take(&mut self, engine: &Engine, sightings: &mut Option<Sightings<'_>>) -> io::Result<bool> {
        let mut room = [0; LEN];
        for _ in 0..BATCH {
            let query = &self.query;
            let next = self.events.try_see(|raw| engine.ended(&raw, query, sightings, &mut room));
            match next {
                Ok(RawEvent::Ended(())) => {}
                Ok(RawEvent::Nothing) => {
                    if std::mem::take(&mut self.has_lost) {
                        engine.has_lost.store(true, Ordering::Release);
                    }
                    return Ok(true);
                }
                Ok(RawEvent::Lost) => {
                    self.has_lost = true;
                    engine.overruns.fetch_add(1, Ordering::Relaxed);
                    let lost = "events of ended sockets were lost: the receive buffer was full";
                    let lost = io::Error::other(lost);
                    engine.connections.failures.put(Failed::new(Attributes::new([]), lost));
                }
                Err(error) => match error.kind() {
                    // The next one may be well-formed, and there may be memory for it.
                    io::ErrorKind::InvalidData | io::ErrorKind::OutOfMemory => {
                        engine.connections.failures.put(Failed::new(Attributes::new([]), error));
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(false)
    }
}
