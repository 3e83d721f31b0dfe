//! Groups and series of sockets are accounted apart: a socket that is in both is in both in full.

use std::net::TcpStream;

use super::{Scene, connected, cookie, counted, send};

fn series(client: &TcpStream) -> String {
    format!("{{{}}}", cookie(client))
}

#[test]
fn a_socket_of_its_own_and_then_of_a_group_has_its_whole_history_in_the_group() {
    for collects in [false, true] {
        let mut scene = Scene::new();
        let group = scene.group("a");
        let (client, server) = connected();
        let client = scene.monitor.watch(client, []);
        send(&client, &server, 1_000);
        if collects {
            scene.collect();
        }
        let client = client.into_inner();
        send(&client, &server, 20);
        let client = group.watch(client);
        send(&client, &server, 3);
        assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_023));
        drop(client);
        assert_eq!(scene.counted("a"), counted(1, 1, 0, 1_023));
    }
}

#[test]
fn a_socket_of_a_group_and_then_of_its_own_has_its_whole_history_in_its_series() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let series = series(&client);
    let client = group.watch(client);
    send(&client, &server, 1_000);
    scene.collect();
    let client = client.into_inner();
    send(&client, &server, 20);
    let client = scene.monitor.watch(client, []);
    send(&client, &server, 3);
    scene.collect();
    scene.latest(&series, Some(1_023.0), Some(1_023.0));
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 1_000));
}

#[test]
fn a_socket_of_both_at_once_is_in_both_in_full() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let series = series(&client);
    let client = group.watch(scene.monitor.watch(client, []));
    send(&client, &server, 100);
    scene.collect();
    scene.latest(&series, Some(100.0), Some(100.0));
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 100));
    // The group's handle ends, the other stays.
    let client = client.into_inner();
    send(&client, &server, 20);
    scene.collect();
    scene.latest(&series, Some(120.0), Some(20.0));
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 100));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 100));
}
