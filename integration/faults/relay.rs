//! The path between two namespaces: it does to packets what a test asks for, and counts it.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::setpriority_process;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::namespace::Namespace;
use super::packet::{Packet, Segment};
use super::tally::{Tally, Window};
use support::lateness::Worst;
use support::random::Rng;

/// One direction of the path.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// At most this much comes on top of the delay, and nothing overtakes.
    pub(crate) jitter: Duration,
    /// Bytes a second; `None` is no bottleneck.
    pub(crate) rate: Option<u64>,
    /// For how long what waits at the bottleneck may have to wait; `None` is room for everything.
    pub(crate) room: Option<Duration>,
    pub(crate) fault: Option<Fault>,
    /// Which of the segments that carry data do not arrive, retransmits among them.
    pub(crate) loss: Option<Box<dyn FnMut() -> bool + Send>>,
}

/// What happens to some segments.
pub(crate) struct Fault {
    pub(crate) what: What,
    /// Picks among the segments that carry data for the first time, which count from 1.
    pub(crate) picks: Box<dyn FnMut(u64) -> bool + Send>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Drop,
    Copy,
    /// Lets this many that carry data go first.
    HoldBack(u32),
    Mark,
}

/// Both directions: to the receiver, and back to the sender.
pub(crate) type Both<T> = [T; 2];

/// The running path.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    is_hole: AtomicBool,
    /// Larger packets do not pass, 0 for no limit.
    mtu: AtomicU16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tallies: Both<Tally>,
    under_way: usize,
}

impl Relay {
    pub(crate) fn new(namespaces: &Both<Namespace>, links: Both<Link>, worst: Worst) -> Self {
        let devices = [0, 1].map(|end: usize| {
            namespaces[end].inside(|| {
                let device = DeviceBuilder::new().name(DEVICE).build_sync();
                let device = device.unwrap_or_else(|error| panic!("/dev/net/tun: {error}"));
                device.set_nonblocking(true).expect("it is open");
                device
            })
        });
        let shared = Arc::<Shared>::default();
        let mut path = Path {
            shared: Arc::clone(&shared),
            devices,
            ways: links.map(Way::new),
            waiting: BTreeMap::new(),
            count: 0,
            worst,
        };
        let thread = thread::spawn(move || path.run());
        Self { shared, thread: Some(thread) }
    }

    /// What passed so far, once nothing is under way.
    pub(crate) fn tallies(&self) -> Option<Both<Tally>> {
        let state = self.shared.state.lock().expect("the relay runs");
        (state.under_way == 0).then(|| state.tallies.clone())
    }

    /// From now on nothing passes, or everything again.
    pub(crate) fn set_hole(&self, is_hole: bool) {
        self.shared.is_hole.store(is_hole, Ordering::Release);
    }

    /// From now on larger packets are answered instead of carried.
    pub(crate) fn set_mtu(&self, mtu: u16) {
        self.shared.mtu.store(mtu, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(why)) = ended
            && !thread::panicking()
        {
            resume_unwind(why);
        }
    }
}

/// The name of the interface in either namespace.
pub(crate) const DEVICE: &str = "tun0";

struct Path {
    shared: Arc<Shared>,
    devices: Both<SyncDevice>,
    ways: Both<Way>,
    /// By when they are due, then by when they came.
    waiting: BTreeMap<(Instant, u64), (usize, Packet)>,
    count: u64,
    /// By how much this thread was late.
    worst: Worst,
}

struct Way {
    link: Link,
    rng: Rng,
    /// When the bottleneck has sent what came before.
    free: Instant,
    /// The longest that something waited for that.
    queued: Duration,
    /// When the last packet is due: jitter does not reorder.
    last: Instant,
    /// Held back, and behind how many more.
    held: Vec<(Packet, u32)>,
    window: Window,
}

impl Way {
    fn new(link: Link) -> Self {
        let now = Instant::now();
        Self {
            link,
            rng: Rng::new(7),
            free: now,
            queued: Duration::ZERO,
            last: now,
            held: Vec::new(),
            window: Window::default(),
        }
    }

    /// Whether what waits at the bottleneck leaves no room for more.
    fn is_full(&self, now: Instant) -> bool {
        self.link.room.is_some_and(|room| self.free.saturating_duration_since(now) > room)
    }

    /// When a packet that comes now is due on the other side.
    fn due(&mut self, now: Instant, len: usize) -> Instant {
        let mut due = now;
        if let Some(rate) = self.link.rate {
            self.queued = self.queued.max(self.free.saturating_duration_since(now));
            self.free = self.free.max(now) + Duration::from_secs(1) * len as u32 / rate as u32;
            due = self.free;
        }
        let jitter = self.link.jitter.mul_f64(self.rng.below(1000) as f64 / 1000.0);
        self.last = self.last.max(due + self.link.delay + jitter);
        self.last
    }
}

/// How long the relay sleeps at most: what nothing follows is held back no longer.
const IDLE: Duration = Duration::from_millis(20);

impl Path {
    fn run(&mut self) {
        // Of this thread alone. Who may not do that is late sometimes.
        let _ = setpriority_process(None, -20);
        let mut room = vec![0; 1 << 16];
        while !self.shared.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            let next =
                self.waiting.keys().next().map(|(due, _)| due.saturating_duration_since(now));
            if !self.wait(next.unwrap_or(IDLE).min(IDLE)) && self.waiting.is_empty() {
                for way in 0..2 {
                    for (packet, _) in std::mem::take(&mut self.ways[way].held) {
                        self.send(way, packet);
                    }
                }
            }
            let woken = Instant::now();
            let shared = Arc::clone(&self.shared);
            let mut state = shared.state.lock().expect("nobody panics with it");
            for way in 0..2 {
                while let Ok(len) = self.devices[way].recv(&mut room) {
                    self.take(way, Packet::new(&room[..len]), &mut state.tallies);
                }
            }
            self.hand_over(&mut state.tallies);
            for (tally, way) in state.tallies.iter_mut().zip(&self.ways) {
                tally.queued = way.queued;
            }
            let held: usize = self.ways.iter().map(|way| way.held.len()).sum();
            state.under_way = self.waiting.len() + held;
            drop(state);
            // A moment's work, unless something else had the CPU.
            self.worst.note(woken.elapsed());
        }
    }

    /// Whether packets came before the time was over.
    fn wait(&self, time: Duration) -> bool {
        let [one, other] = &self.devices;
        let mut both =
            [one, other].map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN));
        let timespec = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        let begun = Instant::now();
        let came = poll(&mut both, Some(&timespec)).expect("both are open") > 0;
        self.worst.note(begun.elapsed().saturating_sub(time));
        came
    }

    /// Decides what becomes of a packet, and what of those that waited for it.
    fn take(&mut self, way: usize, mut packet: Packet, tallies: &mut Both<Tally>) {
        let Some(segment) = packet.segment() else { return };
        let tally = &mut tallies[way];
        let fresh = tally.sent(&segment);
        let mtu = self.shared.mtu.load(Ordering::Acquire);
        if self.shared.is_hole.load(Ordering::Acquire) {
            tally.swallowed += 1;
            return;
        }
        if mtu > 0 && packet.bytes().len() > usize::from(mtu) {
            tally.too_big += 1;
            let answer = packet.too_big_for(mtu);
            self.send(1 - way, answer);
            return;
        }
        let link = &mut self.ways[way].link;
        let is_lost = segment.len > 0 && link.loss.as_mut().is_some_and(|is_lost| is_lost());
        if is_lost || self.ways[way].is_full(Instant::now()) {
            tally.dropped += 1;
            return;
        }
        let fault = self.ways[way].link.fault.as_mut();
        let picked =
            fresh.zip(fault).and_then(|(nth, fault)| (fault.picks)(nth).then_some(fault.what));
        match picked {
            Some(What::Drop) => {
                tally.dropped += 1;
                return;
            }
            Some(What::Copy) => {
                tally.copied += 1;
                self.send(way, packet.clone());
            }
            Some(What::HoldBack(behind)) => {
                tally.held_back += 1;
                self.ways[way].held.push((packet, behind));
                return;
            }
            Some(What::Mark) => {
                tally.marked += 1;
                packet.mark();
            }
            None => {}
        }
        self.send(way, packet);
        if segment.len > 0 {
            self.let_go(way);
        }
    }

    /// A segment went past those that are held back.
    fn let_go(&mut self, way: usize) {
        let held = &mut self.ways[way].held;
        held.iter_mut().for_each(|(_, behind)| *behind -= 1);
        let (free, still) = std::mem::take(held).into_iter().partition(|(_, behind)| *behind == 0);
        *held = still;
        let free: Vec<(Packet, u32)> = free;
        for (packet, _) in free {
            self.send(way, packet);
        }
    }

    fn send(&mut self, way: usize, packet: Packet) {
        let due = self.ways[way].due(Instant::now(), packet.bytes().len());
        self.waiting.insert((due, self.count), (way, packet));
        self.count += 1;
    }

    /// Gives to the other end what is due.
    fn hand_over(&mut self, tallies: &mut Both<Tally>) {
        while let Some(first) = self.waiting.first_entry() {
            let now = Instant::now();
            let Some(late) = now.checked_duration_since(first.key().0) else { return };
            self.worst.note(late);
            let (way, packet) = first.remove();
            let segment: Option<Segment> = packet.segment();
            let window = &mut self.ways[way].window;
            if let Some(segment) = &segment {
                tallies[way].handed(segment);
                window.opens(segment, &mut tallies[way].zero_window);
            }
            let sent = self.devices[1 - way].send(packet.bytes());
            sent.expect("the interface is up");
            if let Some(segment) = &segment {
                window.shuts(segment);
            }
        }
    }
}
