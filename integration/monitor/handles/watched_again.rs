//! A socket with series of its own that is watched once more: to nobody who collects does a counter
//! of it fall.

use std::net::TcpStream;

use opentelemetry::KeyValue;

use super::{Scene, connected, cookie, send, sent_by};

/// The labels under which `monitor.watch(socket, [])` reports it.
fn series(client: &TcpStream) -> String {
    format!("{{{}}}", cookie(client))
}

/// What the snapshot says that the one socket sent.
#[track_caller]
fn snapshot(scene: &Scene) -> u64 {
    let snapshot = scene.monitor.snapshot();
    let [socket] = &snapshot.sockets[..] else { panic!("one socket: {:#?}", snapshot.sockets) };
    sent_by(socket)
}

#[test]
fn watched_again_before_anybody_missed_it_it_goes_on() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let series = series(&client);
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 1_000);
    scene.collect();
    scene.latest(&series, Some(1_000.0), Some(1_000.0));
    let client = client.into_inner();
    send(&client, &server, 5_000);
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 10);
    // Sweeps of nobody who collects are no collection without it.
    assert_eq!(snapshot(&scene), 1_010);
    scene.collect();
    scene.latest(&series, Some(1_010.0), Some(10.0));
    send(&client, &server, 1);
    scene.collect();
    scene.latest(&series, Some(1_011.0), Some(1.0));
}

#[test]
fn watched_again_after_everybody_missed_it_it_starts_with_its_present_watch() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let series = series(&client);
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 1_000);
    scene.collect();
    let client = client.into_inner();
    send(&client, &server, 5_000);
    scene.collect();
    scene.latest(&series, None, None);
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 10);
    scene.collect();
    scene.latest(&series, Some(10.0), Some(10.0));
    // Since its first watch, and without what it sent meanwhile.
    assert_eq!(snapshot(&scene), 1_010);
    send(&client, &server, 2);
    scene.collect();
    scene.latest(&series, Some(12.0), Some(2.0));
}

#[test]
fn each_who_collects_goes_by_what_it_missed_itself() {
    for missed in [0, 1] {
        let mut scene = Scene::new();
        let (client, server) = connected();
        let series = series(&client);
        let client = scene.monitor.watch(client, []);
        send(&client, &server, 1_000);
        scene.collect();
        let client = client.into_inner();
        scene.exports[missed].collect();
        let client = scene.monitor.watch(client, []);
        send(&client, &server, 10);
        scene.collect();
        let total = if missed == 0 { 10.0 } else { 1_010.0 };
        scene.latest(&series, Some(total), Some(10.0));
    }
}

#[test]
fn lent_again_it_does_not_fall() {
    for collects in [false, true] {
        let mut scene = Scene::new();
        let (client, server) = connected();
        let series = series(&client);
        send(&client, &server, 500);
        let loan = scene.monitor.watch_borrowed(&client, []);
        send(&client, &server, 100);
        scene.collect();
        scene.latest(&series, Some(600.0), Some(600.0));
        let mut total = 600.0;
        drop(loan);
        for bytes in [10, 20, 30] {
            send(&client, &server, 7);
            if collects {
                scene.collect();
                scene.latest(&series, None, None);
                total = 0.0;
            }
            let loan = scene.monitor.watch_borrowed(&client, []);
            send(&client, &server, bytes);
            total += bytes as f64;
            scene.collect();
            scene.latest(&series, Some(total), Some(bytes as f64));
            drop(loan);
        }
    }
}

#[test]
fn what_a_watch_sent_after_the_last_collection_is_in_the_next_one_that_has_the_series() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let series = series(&client);
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 100);
    scene.collect();
    send(&client, &server, 20);
    // The last read counts these.
    let client = client.into_inner();
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 3);
    scene.collect();
    scene.latest(&series, Some(123.0), Some(23.0));
}

#[test]
fn under_other_attributes_it_is_another_series() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let cookie = cookie(&client);
    let series = |side: &str| format!("{{side={side},{cookie}}}");
    let client = scene.monitor.watch(client, [KeyValue::new("side", "a")]);
    send(&client, &server, 1_000);
    scene.collect();
    scene.latest(&series("a"), Some(1_000.0), Some(1_000.0));
    let client = client.into_inner();
    let client = scene.monitor.watch(client, [KeyValue::new("side", "b")]);
    send(&client, &server, 10);
    scene.collect();
    scene.latest(&series("a"), None, None);
    scene.latest(&series("b"), Some(10.0), Some(10.0));
}

#[test]
fn three_handles_of_one_socket_are_one_series() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let series = series(&client);
    let [one, two, three] = [(); 3].map(|()| scene.monitor.watch(&client, []));
    send(&client, &server, 300);
    scene.collect();
    scene.latest(&series, Some(300.0), Some(300.0));
    assert_eq!(scene.monitor.snapshot().sockets.len(), 1);
    drop((one, two));
    send(&client, &server, 10);
    scene.collect();
    scene.latest(&series, Some(310.0), Some(10.0));
    drop(three);
    scene.collect();
    scene.latest(&series, None, None);
}

/// Watches that come and go at random to one who collects and to the other.
#[test]
fn through_many_watches_no_export_falls_and_no_byte_is_twice_in_the_differences() {
    let mut scene = Scene::new();
    let (mut client, server) = connected();
    let series = series(&client);
    let mut all = 0;
    for round in 0..200_usize {
        let watched = scene.monitor.watch(client, []);
        let bytes = round * round % 31;
        send(&watched, &server, bytes);
        // A watch that nobody collects from is in no difference where its series is missed.
        scene.exports[1].collect();
        all += bytes;
        if round % 3 == 0 {
            scene.exports[0].collect();
        }
        client = watched.into_inner();
        if round % 5 == 0 {
            scene.exports[1].collect();
        }
        if round % 7 == 0 {
            scene.exports[0].collect();
        }
        send(&client, &server, 13);
    }
    assert_eq!(scene.exports[1].sent("tcp.socket", &series), all as f64);
}
