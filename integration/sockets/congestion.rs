//! Congestion control of live sockets: the name, what it reports, and switching it meanwhile.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::sockopt::set_tcp_congestion;
use tcpinfo::{Bbr, Congestion, CongestionInfo, congestion};

use support::loopback::Pair;

fn bbr(congestion: Congestion) -> Bbr {
    match congestion {
        Congestion { algorithm, info: Some(CongestionInfo::Bbr(bbr)), .. }
            if algorithm == "bbr" =>
        {
            bbr
        }
        other => panic!("bbr reports of itself, not {other:?}"),
    }
}

#[test]
fn a_new_connection_has_the_default_algorithm() {
    let default = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let client = Pair::connect().client;
    let algorithm = congestion(&client).expect("it is connected").algorithm;
    assert_eq!(algorithm, default.expect("Linux has one").trim_end());
}

#[test]
fn a_switched_algorithm_is_named_and_reno_reports_nothing() {
    let Pair { client, listener, .. } = Pair::connect();
    set_tcp_congestion(&client, "reno").expect("reno is in every kernel");
    let now = congestion(&client).expect("it is connected");
    assert_eq!((now.algorithm.as_str(), now.info), ("reno", None));
    set_tcp_congestion(&listener, "reno").expect("reno is in every kernel");
    assert_eq!(congestion(&listener).expect("it listens").algorithm, "reno");
}

#[test]
fn a_socket_without_congestion_control_keeps_the_kernels_error() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    let error = congestion(&udp).expect_err("UDP has none");
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
}

#[test]
#[ignore = "needs tcp_bbr: integration/test.sh"]
fn bbr_reports_its_model_once_it_has_a_sample() {
    let Pair { mut client, mut server, .. } = Pair::connect();
    set_tcp_congestion(&client, "bbr").expect("modprobe tcp_bbr");
    let mut room = vec![0; 1 << 16];
    client.write_all(&room).expect("it is connected");
    server.read_exact(&mut room).expect("the client wrote as much");
    client.write_all(&[1]).expect("it is connected");
    server.read_exact(&mut [0]).expect("the client wrote as much");
    let bbr = bbr(congestion(&client).expect("it is connected"));
    let info = tcpinfo::read(&client).expect("it is connected");
    assert!(bbr.bandwidth.is_some_and(|bandwidth| bandwidth > 1_000_000), "{bbr:?}");
    assert_eq!(bbr.min_rtt, info.min_rtt);
    // The gain of its start-up phase, 2/ln 2, in the kernel's steps of 1/256.
    let gain = Some(739.0 / 256.0);
    assert_eq!((bbr.pacing_gain, bbr.cwnd_gain), (gain, gain));
    assert_eq!(bbr.extension, None);
}

#[test]
#[ignore = "needs tcp_bbr: integration/test.sh"]
fn bbr_of_a_listener_has_no_sample() {
    let listener = Pair::connect().listener;
    set_tcp_congestion(&listener, "bbr").expect("modprobe tcp_bbr");
    let bbr = bbr(congestion(&listener).expect("it listens"));
    assert_eq!((bbr.bandwidth, bbr.min_rtt, bbr.extension), (None, None, None));
    assert_eq!((bbr.pacing_gain, bbr.cwnd_gain), (None, None));
}

#[test]
#[ignore = "needs tcp_bbr: integration/test.sh"]
fn switching_meanwhile_puts_no_numbers_under_another_name() {
    let client = Pair::connect().client;
    let stop = AtomicBool::new(false);
    let mut seen = BTreeSet::new();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                set_tcp_congestion(&client, "reno").expect("reno is in every kernel");
                set_tcp_congestion(&client, "bbr").expect("modprobe tcp_bbr");
            }
        });
        for _ in 0..200_000 {
            seen.insert(match congestion(&client) {
                Ok(Congestion { algorithm, info, .. }) => match info {
                    None => format!("{algorithm} without numbers"),
                    Some(CongestionInfo::Bbr(_)) => format!("{algorithm} with bbr's"),
                    Some(other) => format!("{algorithm} with {other:?}"),
                },
                // Switched at every one of its attempts.
                Err(error) => format!("error {:?}", error.raw_os_error()),
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    seen.remove(&format!("error {:?}", Some(libc::EBUSY)));
    let expected = ["bbr with bbr's", "reno without numbers"].map(String::from);
    assert_eq!(seen, BTreeSet::from(expected));
}
