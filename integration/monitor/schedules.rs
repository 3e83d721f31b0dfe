//! Whatever a program does with a monitor, in any order: it counts what a simple model says.

mod compare;
mod model;
mod world;

use std::cell::OnceCell;
use std::fmt;

use proptest::prelude::*;

use self::world::World;

/// Names of groups.
const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Who collects: how many, each with a provider of its own.
const READERS: usize = 3;

/// Connections at once, open or not.
const CONNECTIONS: usize = 6;

const STEPS: usize = 60;

/// Which metrics a watch feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Group(usize),
    Own,
}

/// What a watch is given of a connection.
#[derive(Clone, Copy, Debug)]
enum How {
    /// The program's own descriptor, shared: an `Arc`.
    Shared,
    /// A descriptor of its own.
    Cloned,
    /// A reference, to a descriptor that stays open.
    Reference,
    /// The same, lent.
    Lent,
}

/// One thing that a program does. Numbers of things are taken modulo how many there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    Send {
        connection: usize,
        bytes: usize,
    },
    Watch {
        monitor: usize,
        connection: usize,
        family: Family,
        how: How,
    },
    Drop {
        handle: usize,
    },
    GiveBack {
        handle: usize,
    },
    /// Watches the program's own descriptor, and leaks that.
    Leak {
        monitor: usize,
        connection: usize,
        family: Family,
    },
    /// The program's own descriptor, and such as it was given back.
    Close {
        connection: usize,
    },
    ShowWorst {
        group: usize,
        count: usize,
    },
    Hold {
        group: usize,
    },
    Release {
        group: usize,
    },
    Collect {
        reader: usize,
    },
    Snapshot {
        monitor: usize,
    },
    /// Drops a provider, and makes another.
    Renew {
        reader: usize,
    },
}

/// What is done one after the other.
#[derive(Clone)]
struct Schedule(Vec<Step>);

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these steps:\n")?;
        self.0.iter().try_for_each(|step| writeln!(f, "    {step:?}"))
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let connection = || 0..CONNECTIONS;
    let family =
        || prop_oneof![2 => (0..GROUPS.len()).prop_map(Family::Group), 1 => Just(Family::Own)];
    let how =
        prop_oneof![Just(How::Shared), Just(How::Cloned), Just(How::Reference), Just(How::Lent)];
    // A second one now and then.
    let monitor = || prop_oneof![9 => Just(0_usize), 1 => Just(1_usize)];
    prop_oneof![
        4 => Just(Step::Open),
        8 => (connection(), 1..700_usize)
            .prop_map(|(connection, bytes)| Step::Send { connection, bytes }),
        8 => (monitor(), connection(), family(), how)
            .prop_map(|(monitor, connection, family, how)| {
                Step::Watch { monitor, connection, family, how }
            }),
        5 => (0..16_usize).prop_map(|handle| Step::Drop { handle }),
        3 => (0..16_usize).prop_map(|handle| Step::GiveBack { handle }),
        1 => (monitor(), connection(), family()).prop_map(|(monitor, connection, family)| {
            Step::Leak { monitor, connection, family }
        }),
        3 => connection().prop_map(|connection| Step::Close { connection }),
        1 => (0..GROUPS.len(), 0..3_usize)
            .prop_map(|(group, count)| Step::ShowWorst { group, count }),
        1 => (0..GROUPS.len()).prop_map(|group| Step::Hold { group }),
        1 => (0..GROUPS.len()).prop_map(|group| Step::Release { group }),
        8 => (0..READERS).prop_map(|reader| Step::Collect { reader }),
        3 => monitor().prop_map(|monitor| Step::Snapshot { monitor }),
        1 => (0..READERS).prop_map(|reader| Step::Renew { reader }),
    ]
}

/// All steps at first; to find out which ones a failure takes, they are left out one by one.
fn schedules() -> impl Strategy<Value = Schedule> {
    let kept = prop::collection::vec(prop::bool::weighted(0.999), STEPS);
    (kept, prop::collection::vec(steps(), STEPS)).prop_map(|(kept, steps)| {
        let kept = steps.into_iter().zip(kept).filter(|(_, kept)| *kept);
        Schedule(kept.map(|(step, _)| step).collect())
    })
}

fn run(schedule: &Schedule) {
    let cells: Vec<OnceCell<std::net::TcpStream>> = (0..STEPS).map(|_| OnceCell::new()).collect();
    let mut world = World::new(&cells);
    for step in &schedule.0 {
        world.take(*step);
    }
    world.end();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        max_shrink_time: 20_000,
        max_shrink_iters: 1_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_schedule_counts_as_the_model_does(schedule in schedules()) {
        run(&schedule);
    }
}

/// Schedules that once went wrong, or that chance finds late.
#[test]
fn schedules_that_chance_finds_late_count_as_the_model_does() {
    use Family::{Group, Own};
    use How::{Cloned, Lent, Reference, Shared};
    use Step::{
        Close, Collect, Drop, GiveBack, Leak, Open, Renew, Send, ShowWorst, Snapshot, Watch,
    };
    let watch = |family, how| Watch { monitor: 0, connection: 0, family, how };
    let send = |bytes| Send { connection: 0, bytes };
    let collect = || (0..READERS).map(|reader| Collect { reader });
    let (give_back, end) = (GiveBack { handle: 0 }, Drop { handle: 0 });
    let close = Close { connection: 0 };
    let mut all: Vec<Vec<Step>> = Vec::new();
    // Every way to watch it after every other, with what is sent between.
    for (first, second) in [Shared, Cloned, Reference, Lent]
        .into_iter()
        .flat_map(|first| [Shared, Cloned, Reference, Lent].map(|second| (first, second)))
    {
        for family in [Group(0), Own] {
            for leave in [give_back, end] {
                let mut steps = vec![Open, send(500), watch(family, first), send(60)];
                steps.extend(collect());
                steps.extend([
                    leave,
                    send(7),
                    watch(family, second),
                    send(1),
                    Collect { reader: 0 },
                ]);
                steps.extend([leave, Collect { reader: 1 }, watch(family, first), send(2)]);
                steps.extend(collect());
                steps.extend([close, leave, Snapshot { monitor: 0 }]);
                all.push(steps);
            }
        }
    }
    // A leaked handle of a socket that is open in another one.
    let leak = Leak { monitor: 0, connection: 0, family: Group(1) };
    all.push(vec![
        Open,
        leak,
        watch(Group(0), Cloned),
        send(9),
        close,
        send(5),
        Collect { reader: 0 },
    ]);
    // The same provider for two monitors, and a provider that goes.
    let second = Watch { monitor: 1, connection: 0, family: Group(0), how: Shared };
    let mut steps = vec![Open, send(30), watch(Group(0), Shared), second, send(4)];
    steps.extend(collect());
    steps.extend([Renew { reader: 1 }, send(5)]);
    steps.extend(collect());
    all.push(steps);
    let worst = |group| ShowWorst { group, count: 2 };
    let mut steps = vec![Open, worst(0), worst(1), watch(Group(0), Shared)];
    for round in 0..20 {
        steps.extend([send(100), Collect { reader: round % READERS }, give_back]);
        steps.extend([watch(Group(round % 2), Shared), send(3), Collect { reader: round % 2 }]);
    }
    all.push(steps);
    for steps in all {
        println!("{:?}", Schedule(steps.clone()));
        run(&Schedule(steps));
    }
}
