//! The scenes of the matrix: what each does to a connection, in three strengths.

use std::time::Duration;

use tcpinfo::Cause;
use tcpinfo::Cause::*;

use super::local;
use super::play::{Appetite, Event, Load, Setup};
use crate::faults::relay::{Both, Fault, Link, What};
use support::random::Rng;

/// One row of the matrix.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// What is right at the first end, and at the second. Where it is more than one cause, the docs
    /// say why: the fields cannot tell, or the strengths differ.
    pub(crate) right: Both<&'static [Cause]>,
    /// Whether nothing is wrong.
    pub(crate) is_control: bool,
    /// A strength from 0 to 2, and chance.
    pub(crate) make: fn(usize, &mut Rng) -> Stage,
}

/// Where a scene is played.
pub(crate) enum Stage {
    /// On a path between two namespaces.
    Path(Box<Setup>),
    /// On loopback.
    Local(local::Scene),
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Bytes a second of a megabit a second.
const MBIT: u64 = 125_000;

/// A path of 10 to 60 ms and 6 to 12 Mbit/s that takes what comes.
fn path(rng: &mut Rng) -> Setup {
    let delay = ms(rng.within(5..31));
    let there = Link { delay, rate: Some(rng.within(6..13) * MBIT), ..Link::default() };
    Setup {
        links: [there, Link { delay, ..Link::default() }],
        route: "",
        congestion: ["reno", "cubic"][rng.below(2) as usize],
        pacing: None,
        send_buffer: None,
        receive_buffer: None,
        load: Load::Bulk(Appetite::Whole),
        event: Event::None,
        warm_up: ms(1500),
        interval: ms(2000),
    }
}

/// A sender that does not fill the queue: it measures the path, or does not go to its limit.
fn good(rng: &mut Rng) -> Setup {
    let mut setup = path(rng);
    if rng.below(2) == 0 {
        setup.congestion = "bbr";
    } else {
        setup.pacing = setup.links[0].rate.map(|rate| rate * 7 / 10);
    }
    setup
}

fn on(setup: Setup) -> Stage {
    Stage::Path(Box::new(setup))
}

/// A good path that does something to so many of 1,000 segments.
fn picking(what: What, per_mille: u64, rng: &mut Rng) -> Stage {
    let mut setup = good(rng);
    let mut chance = rng.clone();
    let picks = Box::new(move |_| chance.below(1000) < per_mille);
    setup.links[0].fault = Some(Fault { what, picks });
    on(setup)
}

pub(crate) const SCENES: &[Scene] = &[
    Scene {
        name: "random_loss",
        right: [&[Loss], &[Network, TooLittle]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = path(rng);
            setup.congestion = ["reno", "cubic", "bbr"][rng.below(3) as usize];
            let mut chance = rng.clone();
            let per_mille = [20, 50, 100][strength];
            setup.links[0].loss = Some(Box::new(move || chance.below(1000) < per_mille));
            on(setup)
        },
    },
    Scene {
        name: "burst_loss",
        right: [&[Loss], &[Network]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = path(rng);
            let mut chance = rng.clone();
            let (burst, every) = [(4, 150), (10, 250), (20, 400)][strength];
            let mut next = chance.below(every);
            setup.links[0].loss = Some(Box::new(move || {
                next = next.checked_sub(1).unwrap_or_else(|| every / 2 + chance.below(every));
                next < burst
            }));
            on(setup)
        },
    },
    Scene {
        name: "shallow_queue",
        right: [&[Loss, Network], &[Network, Healthy, TooLittle]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = path(rng);
            setup.links[0].room = Some(ms([3, 6, 10][strength]));
            on(setup)
        },
    },
    Scene {
        name: "deep_queue",
        right: [&[Queue], &[Network, Healthy]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = path(rng);
            setup.links[0].room = Some(ms([200, 400, 1000][strength]));
            setup.warm_up = ms(4000);
            on(setup)
        },
    },
    Scene {
        name: "jitter",
        right: [&[Queue, Network], &[Healthy]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            setup.links[0].jitter = ms([10, 60, 200][strength]);
            on(setup)
        },
    },
    Scene {
        name: "reordering",
        right: [&[Network], &[Network]],
        is_control: false,
        make: |strength, rng| {
            let (behind, per_mille) = [(3, 20), (8, 50), (20, 100)][strength];
            picking(What::HoldBack(behind), per_mille, rng)
        },
    },
    Scene {
        name: "duplication",
        right: [&[Network], &[Healthy]],
        is_control: true,
        // Paced: the copies pass the bottleneck as well, and fill a queue that is nearly full.
        make: |strength, rng| {
            let Stage::Path(mut setup) = picking(What::Copy, [10, 50, 150][strength], rng) else {
                unreachable!("it is on a path")
            };
            setup.congestion = "cubic";
            setup.pacing = setup.links[0].rate.map(|rate| rate * 7 / 10);
            Stage::Path(setup)
        },
    },
    Scene {
        name: "marks",
        right: [&[Network], &[Network, TooLittle]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = path(rng);
            let mut chance = rng.clone();
            let per_mille = [20, 100, 300][strength];
            let picks = Box::new(move |_| chance.below(1000) < per_mille);
            setup.links[0].fault = Some(Fault { what: What::Mark, picks });
            setup.route = "features ecn";
            on(setup)
        },
    },
    Scene {
        name: "mtu_change",
        right: [&[Network], &[Healthy]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            setup.event = Event::Mtu([1400, 1000, 600][strength]);
            on(setup)
        },
    },
    Scene {
        name: "black_hole",
        right: [&[Stalled], &[TooLittle, Stalled, Healthy]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            if rng.below(3) == 0 {
                let (answers, asks) = (ms(1), ms(5));
                setup.load = Load::Requests { request: 300, response: 3000, answers, asks };
            }
            setup.event = Event::Hole;
            setup.interval = ms([1000, 2000, 4000][strength]);
            on(setup)
        },
    },
    Scene {
        name: "dead_keep_alive",
        right: [&[Stalled], &[TooLittle]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            setup.load = Load::Idle;
            setup.event = Event::Hole;
            setup.warm_up = ms(500);
            setup.interval = ms([3500, 4500, 6000][strength]);
            on(setup)
        },
    },
    Scene {
        name: "reset",
        right: [&[Reset], &[TooLittle]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            let (answers, asks) = (ms(30), ms(20));
            let requests = Load::Requests { request: 300, response: 3000, answers, asks };
            setup.load = [setup.load, requests, Load::Idle][strength];
            setup.event = Event::Reset;
            setup.interval = ms(1000);
            on(setup)
        },
    },
    Scene {
        name: "zero_window",
        right: [&[ReceiveWindow], &[ReceiveWindow]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            setup.receive_buffer = Some(1 << 16);
            let (open, shut) = [(150, 350), (100, 900), (50, 100_000)][strength];
            setup.load = Load::Bulk(Appetite::Pauses { open: ms(open), shut: ms(shut) });
            on(setup)
        },
    },
    Scene {
        name: "slow_reader",
        right: [&[ReceiveWindow], &[ReceiveWindow]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = good(rng);
            setup.receive_buffer = Some(1 << 16);
            let rate = setup.links[0].rate.expect("it has a bottleneck");
            setup.load = Load::Bulk(Appetite::Rate(rate / [2, 5, 20][strength]));
            on(setup)
        },
    },
    Scene {
        name: "tiny_send_buffer",
        right: [&[SendBuffer], &[Healthy]],
        is_control: false,
        make: |strength, rng| {
            // Paced either way: the kernel's clock sees no other sender whose buffer is empty.
            let mut setup = good(rng);
            let delay = ms(rng.within(20..50));
            setup.links.iter_mut().for_each(|link| link.delay = delay);
            setup.send_buffer = Some([2304, 8192, 16384][strength]);
            on(setup)
        },
    },
    Scene {
        name: "slow_writer",
        right: [&[Application, TooLittle], &[Healthy, TooLittle]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = path(rng);
            let (len, pause) = [(2_000, 200), (10_000, 100), (30_000, 80)][strength];
            setup.load = Load::Chunks { len, pause: ms(pause) };
            on(setup)
        },
    },
    Scene {
        name: "think_time",
        right: [&[Application, Healthy, TooLittle], &[Application, Healthy, TooLittle]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = path(rng);
            let (response, answers) = [(500, 20), (5_000, 100), (50_000, 500)][strength];
            let (answers, asks) = (ms(answers), ms(rng.within(0..50)));
            setup.load = Load::Requests { request: 300, response, answers, asks };
            on(setup)
        },
    },
    Scene {
        name: "serial_requests",
        right: [&[Application], &[Application]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = path(rng);
            let response = [100, 1_000, 10_000][strength];
            let (answers, asks) = (Duration::ZERO, Duration::ZERO);
            setup.load = Load::Requests { request: 300, response, answers, asks };
            on(setup)
        },
    },
    Scene {
        name: "idle_keep_alive",
        right: [&[TooLittle], &[TooLittle]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = path(rng);
            setup.load = Load::Idle;
            setup.warm_up = ms(500);
            setup.interval = ms([2000, 3000, 4000][strength]);
            on(setup)
        },
    },
    Scene {
        name: "too_short",
        right: [&[TooLittle], &[TooLittle]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = path(rng);
            setup.load = Load::Once([500, 5_000, 20_000][strength]);
            setup.warm_up = ms(100);
            setup.interval = ms(1000);
            on(setup)
        },
    },
    Scene {
        name: "delay",
        right: [&[Network], &[Healthy]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = good(rng);
            setup.links.iter_mut().for_each(|link| link.delay = ms([25, 75, 150][strength]));
            setup.warm_up = ms(4000);
            on(setup)
        },
    },
    Scene {
        name: "good_bulk",
        right: [&[Network], &[Healthy]],
        is_control: true,
        make: |strength, rng| {
            let mut setup = good(rng);
            let rate = [3, 8, 16][strength] * MBIT;
            setup.links[0].rate = Some(rate);
            setup.pacing = setup.pacing.map(|_| rate * 7 / 10);
            on(setup)
        },
    },
    Scene {
        name: "bulk_on_loopback",
        right: [&[Network, Application, SendBuffer, Healthy], &[Healthy]],
        is_control: true,
        make: |strength, _| Stage::Local(local::Scene::Bulk([1 << 10, 1 << 14, 1 << 20][strength])),
    },
    Scene {
        name: "nobody_accepts",
        right: [&[AcceptQueue], &[]],
        is_control: false,
        make: |strength, rng| {
            let backlog = rng.within(4..64) as u32;
            let waiting = [backlog * 3 / 4, backlog, backlog + 1][strength];
            Stage::Local(local::Scene::Listener { backlog, waiting, accepts: false })
        },
    },
    Scene {
        name: "somebody_accepts",
        right: [&[Healthy], &[]],
        is_control: true,
        make: |strength, _| {
            let waiting = [1, 8, 40][strength];
            Stage::Local(local::Scene::Listener { backlog: 128, waiting, accepts: true })
        },
    },
    Scene {
        name: "unanswered",
        right: [&[Unreachable], &[]],
        is_control: false,
        make: |strength, rng| {
            let mut setup = path(rng);
            setup.load = Load::Unanswered;
            setup.interval = ms([1500, 2500, 4000][strength]);
            on(setup)
        },
    },
    Scene {
        name: "refused",
        right: [&[Refused], &[]],
        is_control: false,
        make: |_, _| Stage::Local(local::Scene::Refused),
    },
];
