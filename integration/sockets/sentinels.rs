//! What "nothing to report" looks like in the bytes: the kernel's own sentinels, and the states in
//! which it fills little.

use std::collections::BTreeSet;
use std::time::Duration;

use tcpinfo::{CaState, FIELDS, State, TcpInfo};

use support::loopback::names;
use support::replies::{decode, field, plausible, with};

const RELEASE: &str = "7.3.0";

/// An established connection whose bytes at `offset` are these.
fn established(offset: usize, bytes: &[u8]) -> TcpInfo {
    decode(&with(plausible(280), offset, bytes), RELEASE)
}

/// A socket in a state, every other byte as in an established connection.
fn in_state(number: u8) -> TcpInfo {
    decode(&with(plausible(280), 0, &[number]), RELEASE)
}

/// The fields of an established connection that this one lacks.
fn lacks(info: &TcpInfo) -> BTreeSet<&'static str> {
    let full = decode(&plausible(280), RELEASE);
    let (all, here): (BTreeSet<_>, BTreeSet<_>) =
        (names(&full).into_iter().collect(), names(info).into_iter().collect());
    assert_eq!(here.difference(&all).next(), None, "{info}");
    all.difference(&here).copied().collect()
}

#[test]
fn a_sentinel_is_nothing_to_report() {
    let cases: &[(usize, &[u8], &[&str])] = &[
        (12, &[0; 4], &["ato"]),
        (60, &[0; 4], &["pmtu"]),
        (68, &[0; 4], &["rtt", "rttvar"]),
        (76, &0x7fff_ffff_u32.to_ne_bytes(), &["snd_ssthresh"]),
        (92, &[0; 4], &["rcv_rtt"]),
        (104, &[0xff; 8], &["pacing_rate"]),
        (112, &[0xff; 8], &["max_pacing_rate"]),
        (148, &[0xff; 4], &["min_rtt"]),
        (160, &[0; 8], &["delivery_rate"]),
        (5, &[!4], &["snd_wscale", "rcv_wscale"]),
    ];
    for (offset, bytes, absent) in cases {
        let info = established(*offset, bytes);
        assert_eq!(lacks(&info), absent.iter().copied().collect(), "{bytes:?} at {offset}");
        for name in *absent {
            assert!(info.supports(field(name)), "{name} is supported, it has nothing to report");
        }
    }
}

#[test]
fn the_neighbours_of_a_sentinel_are_measurements() {
    let micros = |n| Some(Duration::from_micros(n));
    assert_eq!(established(12, &1_u32.to_ne_bytes()).ato, micros(1));
    assert_eq!(established(68, &1_u32.to_ne_bytes()).rtt, micros(1));
    assert_eq!(established(68, &[0xff; 4]).rtt, micros(0xffff_ffff));
    assert_eq!(established(72, &[0; 4]).rttvar, micros(0));
    assert_eq!(established(76, &0x7fff_fffe_u32.to_ne_bytes()).snd_ssthresh, Some(0x7fff_fffe));
    assert_eq!(established(76, &[0; 4]).snd_ssthresh, Some(0));
    assert_eq!(established(104, &[0; 8]).pacing_rate, Some(0));
    assert_eq!(established(104, &(u64::MAX - 1).to_ne_bytes()).pacing_rate, Some(u64::MAX - 1));
    assert_eq!(established(148, &[0; 4]).min_rtt, micros(0));
    assert_eq!(established(148, &0xffff_fffe_u32.to_ne_bytes()).min_rtt, micros(0xffff_fffe));
    assert_eq!(established(160, &1_u64.to_ne_bytes()).delivery_rate, Some(1));
    assert_eq!(established(228, &[0; 4]).snd_wnd, Some(0));
    assert_eq!(established(144, &[0xff; 4]).notsent_bytes, Some(u32::MAX));
    assert_eq!(established(44, &[0; 4]).last_data_sent, Some(Duration::ZERO));
}

#[test]
fn zeros_of_a_connection_with_a_sample_are_measurements() {
    let mut reply = vec![0; 280];
    reply[0] = 1;
    let reply = with(reply, 68, &1_u32.to_ne_bytes());
    let info = decode(&reply, RELEASE);
    let absent = ["snd_wscale", "rcv_wscale", "ato", "pmtu", "rcv_rtt", "delivery_rate"];
    assert_eq!(lacks(&info), BTreeSet::from(absent));
    assert_eq!((info.ca_state, info.total_rto), (Some(CaState::Open), Some(0)));
    assert_eq!((info.bytes_acked, info.busy_time), (Some(0), Some(Duration::ZERO)));
}

#[test]
fn a_listener_reports_seven_fields_and_connections_none_of_its_own() {
    let listener = in_state(10);
    let expected = [
        "state",
        "accept_queue",
        "backlog",
        "snd_cwnd",
        "reordering",
        "pacing_rate",
        "max_pacing_rate",
    ];
    assert_eq!(names(&listener), expected);
    assert_eq!(listener.state, State::Listen);
    assert_eq!((listener.accept_queue, listener.backlog), (Some(0x0101_0101), Some(0x0101_0101)));
    for number in (0..=u8::MAX).filter(|number| *number != 10) {
        let info = in_state(number);
        assert_eq!((info.accept_queue, info.backlog), (None, None), "{}", info.state);
        assert_eq!(info.unacked, Some(0x0101_0101), "{}", info.state);
    }
}

#[test]
fn a_listener_before_2_6_24_says_nothing_of_its_queue() {
    let listener = |release| names(&decode(&with(plausible(104), 0, &[10]), release));
    assert_eq!(listener("2.6.23"), ["state", "snd_cwnd", "reordering"]);
    let queue = ["state", "accept_queue", "backlog", "snd_cwnd", "reordering"];
    assert_eq!(listener("2.6.24"), queue);
    assert_eq!(listener("garbage"), queue);
}

#[test]
fn a_connecting_socket_has_no_fields_of_a_connection() {
    let before_the_handshake = BTreeSet::from([
        "options",
        "snd_wscale",
        "rcv_wscale",
        "rcv_mss",
        "last_data_sent",
        "last_data_recv",
        "last_ack_recv",
        "rcv_ssthresh",
        "rtt",
        "rttvar",
        "rcv_rtt",
        "rcv_space",
        "notsent_bytes",
        "min_rtt",
        "delivery_rate",
        "snd_wnd",
        "rcv_wnd",
        "accecn_opt_seen",
        "accecn_fail_mode",
    ]);
    assert_eq!(lacks(&in_state(2)), before_the_handshake);
}

#[test]
fn what_waits_to_be_sent_is_known_where_something_can_wait() {
    for (number, lacking) in [
        (1, None),
        (3, Some("notsent_bytes")),
        (4, None),
        (5, Some("notsent_bytes")),
        (6, Some("notsent_bytes")),
        (7, Some("notsent_bytes")),
        (8, None),
        (9, None),
        (11, None),
    ] {
        let info = in_state(number);
        assert_eq!(lacks(&info), lacking.into_iter().collect(), "{}", info.state);
    }
}

/// A closed socket whose connection was reset by `tcp_disconnect()`, or never was.
fn blank() -> Vec<u8> {
    let closed = with(plausible(280), 0, &[7]);
    with(with(closed, 68, &[0; 4]), 136, &[0; 8])
}

#[test]
fn an_ended_connection_keeps_all_but_what_waited() {
    let ended = in_state(7);
    assert_eq!(lacks(&ended), BTreeSet::from(["notsent_bytes"]));
    assert_eq!((ended.state, ended.bytes_acked), (State::Close, Some(0x0101_0101_0101_0101)));
}

#[test]
fn a_failed_attempt_reports_what_an_attempt_does() {
    let refused = with(with(plausible(280), 0, &[7]), 68, &[0; 4]);
    let connecting = in_state(2);
    assert_eq!(names(&decode(&refused, RELEASE)), names(&connecting));
    // One segment, in either direction, proves the attempt.
    for offset in [136, 140] {
        let reply = with(blank(), offset, &1_u32.to_ne_bytes());
        assert_eq!(names(&decode(&reply, RELEASE)), names(&connecting), "{offset}");
    }
}

#[test]
fn a_closed_socket_without_connection_reports_no_counter_and_no_garbage() {
    let disconnected = decode(&blank(), RELEASE);
    let expected = [
        "state",
        "ca_state",
        "retransmits",
        "probes",
        "backoff",
        "delivery_rate_app_limited",
        "fastopen_client_fail",
        "rto",
        "ato",
        "snd_mss",
        "unacked",
        "sacked",
        "lost",
        "retrans",
        "snd_ssthresh",
        "snd_cwnd",
        "reordering",
        "total_retrans",
        "pacing_rate",
        "max_pacing_rate",
        "ecn_mode",
        "options2",
    ];
    assert_eq!(names(&disconnected), expected);
    for name in ["bytes_acked", "rtt", "min_rtt", "notsent_bytes", "last_data_recv"] {
        assert!(disconnected.supports(field(name)), "{name}");
    }
}

#[test]
fn an_unknown_state_reports_what_a_socket_without_connection_does() {
    let closed = decode(&blank(), RELEASE);
    for number in [0, 12, 13, 200, 255] {
        let unknown = in_state(number);
        assert_eq!(unknown.state, State::Unknown(number));
        assert_eq!(names(&unknown), names(&closed), "{number}");
    }
}

#[test]
fn dead_members_are_never_reported() {
    let info = decode(&plausible(280), RELEASE);
    assert_eq!((info.last_ack_sent, info.fackets), (None, None));
    let dead: Vec<_> =
        FIELDS.iter().filter(|field| !info.supports(field)).map(|field| field.name).collect();
    assert_eq!(dead, ["fackets", "last_ack_sent"]);
    for (release, len, fackets) in [
        ("2.6.32", 104, Some(0x0101_0101)),
        ("3.10.0-1160.el7.x86_64", 144, Some(0x0101_0101)),
        ("4.14.336", 192, Some(0x0101_0101)),
        ("4.15.0", 192, None),
        ("garbage", 192, None),
    ] {
        let info = decode(&plausible(len), release);
        assert_eq!((info.fackets, info.last_ack_sent), (fackets, None), "{release}");
        assert_eq!(info.supports(field("fackets")), fackets.is_some(), "{release}");
    }
}
