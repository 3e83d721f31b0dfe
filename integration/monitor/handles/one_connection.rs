//! One connection under several handles at once, or under one after the other.

use std::sync::Arc;

use super::{Scene, connected, counted, send};

#[test]
fn watched_given_back_lent_and_watched_again_it_counts_once() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let client = group.watch(client);
    send(&client, &server, 1_000);
    let client = client.into_inner();
    let loan = group.watch_borrowed(&client);
    send(&client, &server, 10);
    drop(loan);
    let client = group.watch(client);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_010));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 1_010));
}

#[test]
fn lent_and_then_watched_it_counts_all_it_did_once() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    send(&client, &server, 1_000);
    drop(group.watch_borrowed(&client));
    let client = group.watch(client);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_000));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 1_000));
}

#[test]
fn the_first_loan_counts_what_the_connection_did_before() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    send(&client, &server, 700);
    let loan = group.watch_borrowed(&client);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 700));
    drop(loan);
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 700));
}

#[test]
fn what_it_sends_between_two_loans_is_not_counted() {
    for collects in [false, true] {
        let mut scene = Scene::new();
        let group = scene.group("a");
        let (client, server) = connected();
        for _ in 0..10 {
            let loan = group.watch_borrowed(&client);
            send(&client, &server, 10);
            drop(loan);
            if collects {
                scene.collect();
            }
            send(&client, &server, 7);
        }
        assert_eq!(scene.counted("a"), counted(1, 0, 0, 100));
        drop(client);
        assert_eq!(scene.counted("a"), counted(1, 1, 0, 100));
    }
}

#[test]
fn what_it_sends_while_it_is_given_back_is_not_counted() {
    for collects in [false, true] {
        let mut scene = Scene::new();
        let group = scene.group("a");
        let (client, server) = connected();
        let client = group.watch(client);
        send(&client, &server, 100);
        let client = client.into_inner();
        send(&client, &server, 20);
        if collects {
            scene.collect();
        }
        let client = group.watch(client);
        send(&client, &server, 3);
        assert_eq!(scene.counted("a"), counted(1, 0, 1, 103));
    }
}

#[test]
fn three_references_to_one_socket_are_one_connection() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    send(&client, &server, 1_000);
    let [one, two, three] = [(); 3].map(|()| group.watch(&client));
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_000));
    send(&client, &server, 500);
    drop(one);
    drop(three);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_500));
    send(&client, &server, 30);
    drop(two);
    send(&client, &server, 4);
    // Nobody watches it, and it is open.
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 1_530));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 1_530));
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 1_530));
}

#[test]
fn three_shared_handles_to_one_socket_are_one_connection() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let client = Arc::new(client);
    let [one, two, three] = [(); 3].map(|()| group.watch(Arc::clone(&client)));
    send(&client, &server, 800);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 800));
    drop((one, client));
    send(&two, &server, 50);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 850));
    drop(two);
    send(&three, &server, 6);
    // The last owner: it closes.
    drop(three);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 856));
}

#[test]
fn watched_and_lent_at_once_it_is_one_connection() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let client = group.watch(client);
    let loans = (group.watch_borrowed(&*client), group.watch_borrowed(&client));
    send(&client, &server, 400);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 400));
    drop(loans);
    send(&client, &server, 20);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 420));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 420));
}

#[test]
fn a_second_descriptor_of_a_connection_is_not_a_second_connection() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let clone = client.try_clone().expect("a descriptor is free");
    let (client, clone) = (group.watch(client), group.watch(clone));
    send(&client, &server, 300);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 300));
    // The first descriptor closes, the connection does not.
    drop(client);
    send(&clone, &server, 10);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 310));
    drop(clone);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 310));
}

#[test]
fn a_watched_socket_watched_again_is_one_connection() {
    let mut scene = Scene::new();
    let group = scene.group("a");
    let (client, server) = connected();
    let client = group.watch(group.watch(client));
    send(&client, &server, 200);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 200));
    let client = client.into_inner();
    send(&client, &server, 20);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 220));
    let client = group.watch(client);
    send(&client, &server, 2);
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 222));
}

#[test]
fn of_two_groups_the_first_keeps_a_connection_while_anybody_watches_it() {
    let mut scene = Scene::new();
    let (a, b) = (scene.group("a"), scene.group("b"));
    let (client, server) = connected();
    send(&client, &server, 1_000);
    let first = a.watch(&client);
    let second = b.watch(&client);
    send(&client, &server, 100);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_100));
    assert_eq!(scene.counted("b"), counted(0, 0, 0, 0));
    // Its first handle goes, and another stays.
    drop(first);
    send(&client, &server, 10);
    assert_eq!(scene.counted("a"), counted(1, 0, 1, 1_110));
    assert_eq!(scene.counted("b"), counted(0, 0, 0, 0));
    drop(second);
    send(&client, &server, 5_000);
    // From then on it is whose it is watched for next.
    let third = b.watch(&client);
    send(&client, &server, 1);
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 1_110));
    assert_eq!(scene.counted("b"), counted(0, 0, 1, 1));
    drop(third);
    drop(client);
    // It opened in one group and closed in the same.
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 1_110));
    assert_eq!(scene.counted("b"), counted(0, 0, 0, 1));
}

#[test]
fn given_from_group_to_group_it_is_one_connection() {
    let mut scene = Scene::new();
    let (client, server) = connected();
    let mut client = client;
    for (name, bytes) in [("a", 100), ("b", 20), ("c", 3)] {
        let watched = scene.group(name).watch(client);
        send(&watched, &server, bytes);
        client = watched.into_inner();
    }
    assert_eq!(scene.counted("a"), counted(1, 0, 0, 100));
    assert_eq!(scene.counted("b"), counted(0, 0, 0, 20));
    assert_eq!(scene.counted("c"), counted(0, 0, 0, 3));
    drop(client);
    assert_eq!(scene.counted("a"), counted(1, 1, 0, 100));
    assert_eq!(scene.counted("b"), counted(0, 0, 0, 20));
    assert_eq!(scene.counted("c"), counted(0, 0, 0, 3));
}
