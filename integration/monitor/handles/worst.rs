//! The worst connections of a group: their series start at zero when they are chosen, and do not
//! fall until a collection is without them.

use std::net::TcpStream;

use opentelemetry::KeyValue;
use tcpinfo::Worst;

use super::{Scene, connected, cookie, counted, send, sent_by, sent_in, stall, stalled};
use support::loopback::until;

const MUCH: usize = 3_000_000;

fn series(group: &str, client: &TcpStream) -> String {
    format!("{{group={group},{}}}", cookie(client))
}

#[test]
fn watched_again_it_goes_on_from_where_it_was() {
    for collects in [false, true] {
        let mut scene = Scene::new();
        let group = scene.group("a");
        group.show_worst(Worst::Stalled, 1);
        let (client, server) = connected();
        let series = series("a", &client);
        let client = group.watch(client);
        let much = stall(&client, &server, MUCH);
        scene.collect();
        scene.latest(&series, Some(0.0), Some(0.0));
        let client = client.into_inner();
        if collects {
            scene.collect();
            scene.latest(&series, None, None);
        }
        let client = group.watch(client);
        send(&client, &server, 10);
        scene.collect();
        // Chosen anew it starts at zero, whatever it sent before.
        let first = if collects { 0.0 } else { 10.0 };
        scene.latest(&series, Some(first), Some(first));
        send(&client, &server, 5);
        scene.collect();
        scene.latest(&series, Some(first + 5.0), Some(5.0));
        // A snapshot has totals since the first watch.
        let snapshot = scene.monitor.snapshot();
        assert_eq!(snapshot.sockets.iter().map(sent_by).collect::<Vec<_>>(), [much + 15]);
        assert_eq!(scene.counted("a"), counted(1, 0, 1, much + 15));
    }
}

#[test]
fn given_to_another_group_it_carries_that_groups_attributes() {
    for collects in [false, true] {
        let mut scene = Scene::new();
        let (a, b) = (scene.group("a"), scene.group("b"));
        a.show_worst(Worst::Stalled, 3);
        b.show_worst(Worst::Stalled, 3);
        let (client, server) = connected();
        let of = ["a", "b"].map(|group| series(group, &client));
        let client = a.watch(client);
        stall(&client, &server, MUCH);
        scene.collect();
        scene.latest(&of[0], Some(0.0), Some(0.0));
        let client = client.into_inner();
        if collects {
            scene.collect();
        }
        let client = b.watch(client);
        send(&client, &server, 10);
        scene.collect();
        scene.latest(&of[0], None, None);
        scene.latest(&of[1], Some(0.0), Some(0.0));
        send(&client, &server, 4);
        scene.collect();
        scene.latest(&of[0], None, None);
        scene.latest(&of[1], Some(4.0), Some(4.0));
    }
}

/// Whoever else sweeps: what one exports goes by what it exported itself.
#[test]
fn a_choice_that_only_others_saw_end_goes_on() {
    type Sweep = fn(&mut Scene);
    let others: [Sweep; 2] =
        [|scene| drop(scene.monitor.snapshot()), |scene| scene.exports[1].collect()];
    for other in others {
        let mut scene = Scene::new();
        let group = scene.group("a");
        group.show_worst(Worst::Stalled, 1);
        let (client, server) = connected();
        let series = series("a", &client);
        let client = group.watch(client);
        stall(&client, &server, MUCH);
        scene.collect();
        send(&client, &server, 100);
        scene.exports[0].collect();
        assert_eq!(scene.exports[0].latest_sent("tcp.socket", &series), Some(100.0));
        group.show_worst(Worst::Stalled, 0);
        other(&mut scene);
        group.show_worst(Worst::Stalled, 1);
        other(&mut scene);
        scene.exports[0].collect();
        assert_eq!(scene.exports[0].latest_sent("tcp.socket", &series), Some(100.0));
        send(&client, &server, 20);
        scene.exports[0].collect();
        assert_eq!(scene.exports[0].latest_sent("tcp.socket", &series), Some(120.0));
        // Now it sees the end itself.
        group.show_worst(Worst::Stalled, 0);
        scene.exports[0].collect();
        assert_eq!(scene.exports[0].latest_sent("tcp.socket", &series), None);
        group.show_worst(Worst::Stalled, 1);
        scene.exports[0].collect();
        assert_eq!(scene.exports[0].latest_sent("tcp.socket", &series), Some(0.0));
    }
}

/// Group and socket have the same attributes: one series, in which no byte is twice.
#[test]
fn watched_by_itself_under_the_same_attributes_it_is_not_counted_twice() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    group.show_worst(Worst::Stalled, 1);
    let (client, server) = connected();
    let series = series("a", &client);
    let _watched = group.watch(&client);
    stall(&client, &server, MUCH);
    scene.collect();
    for _ in 0..3 {
        send(&client, &server, 100);
        scene.collect();
        let own = scene.monitor.watch(&client, [KeyValue::new("group", "a")]);
        scene.collect();
        send(&client, &server, 10);
        scene.collect();
        drop(own);
        scene.collect();
    }
    for exports in &scene.exports {
        assert_eq!(exports.sent("tcp.socket", &series), 330.0);
    }
}

/// Three connections of which two are shown, for a hundred rounds of sweeps in many orders.
#[test]
fn through_many_rounds_of_several_who_sweep_no_total_falls() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let pairs: Vec<_> = (0..3).map(|_| connected()).collect();
    let all: Vec<_> = pairs.iter().map(|(client, _)| series("a", client)).collect();
    let mut clients = Vec::new();
    for (client, server) in &pairs {
        stall(client, server, 1);
        clients.push(Some(group.watch(client)));
    }
    let before: Vec<_> = pairs.iter().map(|(client, _)| sent(client)).collect();
    for round in 0..100_usize {
        for (number, (client, server)) in pairs.iter().enumerate() {
            send(client, server, (round * 7 + number * 13) % 50);
        }
        group.show_worst(Worst::Stalled, [2, 1, 2, 0, 2][round % 5]);
        let (client, watched) = (&pairs[round % 3].0, &mut clients[round % 3]);
        match round % 4 {
            0 => drop(scene.monitor.snapshot()),
            // It is watched without a break, or with one that only a snapshot sees.
            1 => *watched = Some(group.watch(client)),
            2 => {
                *watched = None;
                scene.monitor.snapshot();
                *watched = Some(group.watch(client));
            }
            _ => group.show_worst(Worst::RttInflation, 2),
        }
        // Neither collects always; that nothing falls is checked there.
        if round % 3 != 1 {
            scene.exports[0].collect();
        }
        if round % 7 != 2 {
            scene.exports[1].collect();
        }
    }
    for ((client, _), (series, before)) in pairs.iter().zip(all.iter().zip(before)) {
        for exports in &scene.exports {
            let sum = exports.sent("tcp.socket", series);
            assert!(sum <= sent(client) - before, "{series}: {sum}");
        }
    }
}

fn sent(client: &TcpStream) -> f64 {
    sent_in(&tcpinfo::read(client).expect("it is open")) as f64
}

#[test]
fn connections_that_take_turns_as_the_worst_each_start_at_zero() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    group.show_worst(Worst::Stalled, 1);
    let pairs = [connected(), connected()];
    let all = [0, 1].map(|number: usize| series("a", &pairs[number].0));
    let watched = [0, 1].map(|number: usize| group.watch(&pairs[number].0));
    for turn in 0..6 {
        let [(worse, server), (better, _)] = [&pairs[turn % 2], &pairs[1 - turn % 2]];
        until("the longer stall", || {
            stall(worse, server, 1);
            (stalled(worse) > stalled(better)).then_some(())
        });
        scene.collect();
        scene.latest(&all[turn % 2], Some(0.0), Some(0.0));
        scene.latest(&all[1 - turn % 2], None, None);
        send(worse, server, 40);
        scene.monitor.snapshot();
        scene.collect();
        scene.latest(&all[turn % 2], Some(40.0), Some(40.0));
    }
    drop(watched);
}
