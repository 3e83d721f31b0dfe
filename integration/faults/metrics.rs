//! Faults made for real: the metric documented for each moves, and the others do not.

use std::time::{Duration, Instant};

use socket2::SockRef;

use super::check::{Expected, just, up_to};
use super::namespace::{Namespace, with_two_of};
use super::relay::{Both, Fault, Link, What};
use super::scene::{Plan, Scene};
use support::alone::test_of;
use support::lateness::{Worst, in_time};
use support::loopback::until;
use support::random::Rng;

/// Enough for every congestion window there is on the way, and a moment's work.
const LEN: usize = 600_000;
const MSS: u64 = 1448;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A short way with a fault for those that are picked, none of them near the beginning or the end.
fn short(what: What, mut picks: impl FnMut(u64) -> bool + Send + 'static) -> Link {
    let picks = Box::new(move |nth| (20..380).contains(&nth) && picks(nth));
    Link { delay: ms(2), fault: Some(Fault { what, picks }), ..Link::default() }
}

fn far(delay: Duration) -> Plan {
    Plan::there(Link { delay, ..Link::default() })
}

/// A scene that nothing was later in than this had the time that its bounds leave.
const ALLOWED: Duration = Duration::from_millis(10);

/// Plays a scene in two namespaces.
#[track_caller]
fn play<F: Fn(Both<Namespace>, Worst) -> Result<(), String>>(scene: F) {
    play_of(test_of::<F>(), scene);
}

#[track_caller]
fn play_of(test: &str, scene: impl Fn(Both<Namespace>, Worst) -> Result<(), String>) {
    in_time(ALLOWED, |lateness| {
        with_two_of(test, |namespaces| scene(namespaces, lateness.worst()))
    });
}

/// Sends all of it along such a path and compares what both ends export.
#[track_caller]
fn transfer<F: Fn(&Scene) -> Expected>(plan: impl Fn() -> Plan, len: usize, expected: F) {
    play_of(test_of::<F>(), |namespaces, worst| {
        let mut scene = Scene::new(namespaces, plan(), worst);
        scene.transfer(len);
        let expected = expected(&scene);
        scene.check(&expected)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_good_path_moves_traffic_alone() {
    transfer(|| far(ms(2)), LEN, |_| Expected::default());
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn random_loss_is_retransmitted_without_timeouts() {
    let plan = || {
        let mut rng = Rng::new(7);
        Plan::there(short(What::Drop, move |_| rng.below(20) == 0))
    };
    transfer(plan, LEN, |scene| {
        let [there, _] = scene.tallies();
        assert_eq!(there.dropped, 21);
        Expected::default()
            .sender("data.retransmitted", just(there.dropped * MSS))
            .sender("segment.retransmitted", just(there.dropped))
            .receiver("segment.out_of_order", 20.0..=415.0)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_group_that_loses_segments_says_so_in_its_verdicts() {
    play(|namespaces, worst| {
        let mut rng = Rng::new(7);
        let picks = Box::new(move |nth| nth > 20 && rng.below(20) == 0);
        let fault = Some(Fault { what: What::Drop, picks });
        let plan = Plan::there(Link { delay: ms(20), fault, ..Link::default() });
        let mut scene = Scene::new(namespaces, plan, worst);
        scene.write(4_000_000);
        let [sender, receiver] = scene.watch_until("a verdict", |scene, exported| {
            scene.take();
            let loss = exported[0].levels.get("connection.verdict{loss}");
            (loss == Some(&1.0)).then(|| exported.clone().map(|end| end.levels))
        });
        for levels in [sender, receiver] {
            let verdicts = levels.iter().filter(|(it, _)| it.starts_with("connection.verdict{"));
            assert_eq!(verdicts.map(|(_, count)| count).sum::<f64>(), 1.0, "{levels:?}");
        }
        Ok(())
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn burst_loss_is_retransmitted_without_timeouts() {
    let plan = || Plan::there(short(What::Drop, |nth| (200..230).contains(&nth)));
    transfer(plan, LEN, |_| {
        Expected::default()
            .sender("data.retransmitted", just(30 * MSS))
            .sender("segment.retransmitted", just(30))
            .receiver("segment.out_of_order", 1.0..=415.0)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn reordering_is_counted_by_both_ends() {
    let plan = || Plan::there(short(What::HoldBack(5), |nth| nth % 18 == 0));
    transfer(plan, LEN, |scene| {
        let [there, _] = scene.tallies();
        assert_eq!(there.held_back, 20);
        // What the sender took for lost before it knew better was all needless.
        Expected::default()
            .sender("reorderings", 1.0..=20.0)
            .sender("data.retransmitted", just(there.duplicates * MSS))
            .sender("segment.retransmitted", just(there.duplicates))
            .sender("segment.spurious", up_to(there.duplicates))
            .receiver("segment.out_of_order", 20.0..=100.0)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn late_segments_are_retransmitted_needlessly() {
    let plan = || Plan::there(short(What::HoldBack(100), |nth| nth == 200));
    transfer(plan, LEN, |_| {
        Expected::default()
            .sender("reorderings", just(1))
            .sender("data.retransmitted", just(MSS))
            .sender("segment.retransmitted", just(1))
            .sender("segment.spurious", just(1))
            .receiver("segment.out_of_order", 1.0..=100.0)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn duplication_is_spurious_and_not_a_retransmit() {
    let plan = || Plan::there(short(What::Copy, |nth| nth % 18 == 0));
    // A receiver that falls behind takes a copy and what follows it for one segment, of which it
    // reports nothing.
    transfer(plan, LEN, |_| Expected::default().sender("segment.spurious", 10.0..=20.0));
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn delay_of_20_ms_each_way_moves_round_trips_alone() {
    transfer(
        || far(ms(20)),
        LEN,
        |_| Expected::default().middle("rtt", 0.025, 0.25).middle("min_rtt", 0.025, 0.1),
    );
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn delay_of_200_ms_each_way_moves_round_trips_alone() {
    transfer(
        || far(ms(200)),
        60_000,
        |_| Expected::default().middle("rtt", 0.25, 1.0).middle("min_rtt", 0.25, 0.5),
    );
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn jitter_moves_deviation_and_no_loss() {
    let plan = || Plan::there(Link { delay: ms(20), jitter: ms(40), ..Link::default() });
    transfer(plan, LEN, |_| {
        Expected::default()
            .middle("rtt", 0.025, 0.25)
            .middle("min_rtt", 0.025, 0.1)
            .middle("queueing_delay", 0.0, 0.25)
            .middle("rttvar", 0.000_5, 0.25)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_bottleneck_with_a_deep_queue_moves_queueing_delay() {
    play(|namespaces, worst| {
        let plan = Plan::there(Link { delay: ms(2), rate: Some(400_000), ..Link::default() });
        let mut scene = Scene::new(namespaces, plan, worst);
        scene.transfer(LEN);
        let [there, _] = scene.tallies();
        if there.queued <= ms(250) {
            return Err(format!("nothing waited for longer than {:?}", there.queued));
        }
        let expected = Expected::default();
        let expected = expected.middle("rtt", 0.1, 2.5).middle("queueing_delay", 0.1, 2.5);
        scene.check(&expected.middle("delivery_rate", 2.5e5, 5e5))
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn congestion_marks_are_counted_by_both_ends() {
    let plan = || {
        let mut plan = Plan::there(short(What::Mark, |nth| nth % 18 == 0));
        plan.route = "rto_min 3s features ecn";
        plan
    };
    transfer(plan, LEN, |_| {
        // Classic ECN repeats a mark until the sender has answered it.
        Expected::default()
            .sender("ecn.segment.delivered", 20.0..=415.0)
            .receiver("ecn.segment.received", just(20))
            .receiver("ecn.data.received{ce}", just(20 * MSS))
            .receiver("ecn.data.received{ect0}", just(LEN as u64 - 20 * MSS))
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_smaller_path_mtu_shows_in_gauges() {
    play(|namespaces, worst| {
        let mut scene = Scene::new(namespaces, far(ms(2)), worst);
        scene.transfer(LEN / 2);
        assert_eq!(scene.gauges()[0]["path_mtu"], 1500.0);
        scene.relay.set_mtu(1200);
        scene.transfer(LEN / 2);
        let [there, _] = scene.tallies();
        let least = there.too_big as f64;
        let expected = Expected::default()
            .gauge("path_mtu", 1200.0)
            .gauge("send_mss", 1148.0)
            .sender("data.retransmitted", least * MSS as f64..=f64::INFINITY)
            .sender("segment.retransmitted", least..=f64::INFINITY)
            .sender("segment.spurious", up_to(there.again))
            .receiver("segment.out_of_order", up_to(there.handed_data));
        scene.check(&expected)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_zero_window_is_time_limited_by_it() {
    play(|namespaces, worst| {
        let mut plan = far(ms(2));
        plan.receive_buffer = Some(1 << 16);
        let mut scene = Scene::new(namespaces, plan, worst);
        scene.write(LEN);
        let shut = scene.watch_until("a shut window", |scene, _| {
            let info = scene.sender().info().expect("it is open");
            (info.snd_wnd == Some(0)).then(Instant::now)
        });
        scene.watch_until("half a second of it", |_, [sender, _]| {
            assert!(sender.levels["data.unsent"] > 0.0, "{sender:#?}");
            (shut.elapsed() > ms(500)).then_some(())
        });
        assert_eq!(scene.gauges()[0]["send_window"], 0.0);
        scene.finish();
        let [_, back] = scene.tallies();
        if back.zero_window <= ms(450) {
            return Err(format!("the window was shut for {:?}", back.zero_window));
        }
        let least = back.zero_window.as_secs_f64() - 0.05;
        let most = scene.begun.elapsed().as_secs_f64();
        let expected = Expected::default().sender("busy.time{receive_window}", least..=most);
        scene.check(&expected)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_slow_sender_has_no_delivery_rate_and_idles() {
    play(|namespaces, worst| {
        let mut scene = Scene::new(namespaces, far(ms(2)), worst);
        let mut idle = Duration::ZERO;
        for _ in 0..10 {
            scene.transfer(1000);
            let start = Instant::now();
            idle += scene.watch_until("fifty milliseconds", |_, _| {
                Some(start.elapsed()).filter(|elapsed| *elapsed > ms(50))
            });
        }
        // Each period of work may be a tick of the kernel's longer.
        let most = scene.begun.elapsed().saturating_sub(idle) + 10 * ms(10);
        let expected = Expected::default()
            .empty("delivery_rate")
            .sender("busy.time{network}", 0.0..=most.as_secs_f64());
        scene.check(&expected)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_black_hole_is_timeouts_until_it_ends() {
    play(|namespaces, worst| {
        let mut plan = far(ms(2));
        plan.route = "rto_min 200ms";
        let mut scene = Scene::new(namespaces, plan, worst);
        scene.transfer(10_000);
        scene.relay.set_hole(true);
        let start = Instant::now();
        scene.write(100_000);
        scene.watch_until("two timeouts", |_, [sender, _]| {
            (sender.counters["segment.retransmitted"] == 2.0).then_some(())
        });
        let hole = start.elapsed().as_secs_f64();
        let (during, gauges) = (scene.collect(), scene.gauges());
        scene.relay.set_hole(false);
        let timeouts = gauges[0]["consecutive_timeouts"];
        if timeouts != 2.0 {
            return Err(format!("{timeouts} timeouts in a row"));
        }
        let (lost, unacked) = ("segment.lost", "segment.unacked");
        assert!(during[0].levels[lost] > 0.0, "{during:#?}");
        assert_eq!(during[0].levels[lost], during[0].levels[unacked]);
        scene.finish();
        let all = start.elapsed().as_secs_f64();
        let [there, _] = scene.tallies();
        let expected = Expected::default()
            .sender("data.retransmitted", just(there.again_bytes))
            .sender("segment.retransmitted", just(there.again))
            .sender("timeouts", 2.0..=4.0)
            .sender("timeout_recoveries", just(1))
            .sender("timeout_recovery.time", hole - 0.5..=all)
            .sender("rehashes", 2.0..=4.0)
            .receiver("segment.out_of_order", up_to(there.handed_data))
            .middle("min_rtt", 0.0, 0.1)
            .middle("rtt", 0.0, 0.25)
            .middle("queueing_delay", 0.0, 0.25);
        scene.check(&expected)
    });
}

#[test]
#[ignore = "needs ip, nstat, ss and unshare: integration/test.sh"]
fn a_reset_leaves_totals_as_they_were() {
    play(|namespaces, worst| {
        let mut scene = Scene::new(namespaces, far(ms(20)), worst);
        scene.write(LEN);
        scene.watch_until("a part of it", |scene, _| {
            scene.take();
            (scene.read > 50_000).then_some(())
        });
        let receiver = scene.sockets[1].take().expect("it is open");
        SockRef::from(&*receiver).set_linger(Some(Duration::ZERO)).expect("it is open");
        let before = scene.collect();
        drop(receiver);
        scene.watch_until("the reset", |_, [sender, _]| {
            (sender.levels.get("connection.count{closed}") == Some(&1.0)).then_some(())
        });
        // One for all that was on its way.
        let [there, back] = until("as many resets as the receiver sent", || {
            let (nstat, tallies) = (scene.nstat(), scene.tallies());
            (nstat[1]["TcpOutRsts"] == tallies[1].resets).then_some(tallies)
        });
        assert_eq!(scene.nstat()[0]["TcpEstabResets"], 1);

        let after = scene.collect();
        let expected = Expected::default().receiver("connection.closed", just(1));
        let moved = scene.moved(&after, &expected);
        let witnesses = [
            (0, "data_segment.sent", there.data),
            // Only the first reset found a connection.
            (0, "segment.received", back.handed - back.resets + 1),
            (0, "segment.sent", there.packets),
            (0, "data.sent", there.bytes),
        ];
        assert_eq!(scene.compare(&after, "the path", witnesses), [""; 0]);
        for (series, total) in &before[0].counters {
            assert!(after[0].counters[series] >= *total, "{series}: {after:#?}");
        }
        assert!(after[1].counters["data.received"] >= scene.read as f64, "{after:#?}");
        scene.close(&after);
        if moved.is_empty() { Ok(()) } else { Err(moved.join("; ")) }
    });
}
