//! Replies captured from a real 6.18 kernel, each decoded to everything it says.

use std::collections::BTreeSet;
use std::time::Duration;

use tcpinfo::{CaState, FIELDS, FastOpenClientFail, State, TcpInfo, TcpOption};

use support::replies::{bytes_of, data, decode};

/// The kernel that wrote them.
const RELEASE: &str = "6.18.44-fc-v669";

fn captured(case: &str) -> TcpInfo {
    let reply = bytes_of(&format!("k6.18_{case}.hex"));
    assert_eq!(reply.len(), 280);
    decode(&reply, RELEASE)
}

#[test]
fn every_captured_reply_says_what_its_bytes_say() {
    for (case, expected) in CASES {
        let said: Vec<String> = captured(case)
            .fields()
            .map(|(field, value)| format!("{}={value}", field.name))
            .collect();
        assert_eq!(said, expected.split(' ').collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn every_captured_reply_has_a_case() {
    let names = std::fs::read_dir(data()).expect("the data lie beside this file").map(|entry| {
        entry.expect("the directory can be read").file_name().into_string().expect("ASCII names")
    });
    let files: BTreeSet<String> = names
        .filter_map(|name| Some(name.strip_prefix("k6.18_")?.strip_suffix(".hex")?.to_owned()))
        .collect();
    let cases: BTreeSet<String> = CASES.iter().map(|(case, _)| (*case).to_owned()).collect();
    assert_eq!(files, cases, "files in integration/data (left), CASES in captures.rs (right)");
    assert_eq!(CASES.len(), 15);
}

#[test]
fn every_captured_reply_prints_one_line_and_a_list() {
    for (case, expected) in CASES {
        let info = captured(case);
        assert_eq!(info.to_string().lines().count(), 1, "{case}");
        assert_eq!(format!("{info:#}").lines().count(), expected.split(' ').count(), "{case}");
    }
}

#[test]
fn a_client_that_sent_5000_bytes() {
    let info = captured("estab_client_sent5000");
    assert_eq!(info.state, State::Established);
    assert_eq!(info.rtt, Some(Duration::from_micros(37)));
    assert_eq!(info.rttvar, Some(Duration::from_micros(14)));
    assert_eq!(info.min_rtt, Some(Duration::from_micros(37)));
    assert_eq!(info.bytes_sent, Some(5000));
    assert_eq!(info.bytes_acked, Some(5001));
    assert_eq!(info.delivered, Some(2));
    assert_eq!(info.delivery_rate, Some(1_452_972_972));
    assert_eq!(info.last_data_sent, Some(Duration::from_millis(20)));
    assert_eq!((info.snd_ssthresh, info.max_pacing_rate, info.ato), (None, None, None));
    let line = "established ca_state:open options:timestamps,sack,window_scale snd_wscale:10 \
                rcv_wscale:10 delivery_rate_app_limited:true fastopen_client_fail:unspecified \
                rto:204ms snd_mss:53760 rcv_mss:536 last_data_sent:20ms last_data_recv:40ms \
                last_ack_recv:20ms pmtu:65535 rcv_ssthresh:65495 rtt:37us rttvar:14us snd_cwnd:11 \
                advmss:65483 reordering:3 rcv_space:65495 pacing_rate:24623394779 \
                bytes_acked:5001 segs_out:3 segs_in:2 min_rtt:37us data_segs_out:1 \
                delivery_rate:1452972972 delivered:2 bytes_sent:5000 snd_wnd:107520 \
                rcv_wnd:65536 accecn_opt_seen:not_seen accecn_fail_mode:none";
    assert_eq!(info.to_string(), line);
}

#[test]
fn a_listener_says_only_what_the_kernel_fills_there() {
    let info = captured("listen_2pending");
    assert_eq!((info.accept_queue, info.backlog), (Some(2), Some(5)));
    assert_eq!((info.unacked, info.sacked), (None, None));
    assert_eq!(captured("listen_empty").accept_queue, Some(0));
}

#[test]
fn a_client_that_the_receive_window_stalled() {
    let info = captured("estab_client_rwnd_limited");
    assert_eq!(info.snd_wnd, Some(0));
    assert_eq!(info.busy_time, Some(Duration::from_millis(304)));
    assert_eq!(info.rwnd_limited, info.busy_time);
    assert_eq!(info.sndbuf_limited, Some(Duration::ZERO));
    assert_eq!(info.notsent_bytes, Some(3_887_264));
}

#[test]
fn a_server_that_was_sent_data() {
    let info = captured("estab_server_unread5000");
    assert_eq!(info.bytes_received, Some(5000));
    assert_eq!(info.ato, Some(Duration::from_millis(40)));
    assert_eq!(info.rcv_rtt, Some(Duration::from_millis(20)));
    let idle = captured("estab_server_idle");
    assert_eq!((idle.bytes_received, idle.ato, idle.rcv_rtt), (Some(0), None, None));
}

#[test]
fn a_reset_keeps_the_last_counters_but_not_what_waited() {
    let (before, after) = (captured("estab_client_rwnd_limited"), captured("close_after_rst"));
    assert_eq!(after.state, State::Close);
    assert_eq!(after.bytes_sent, before.bytes_sent);
    assert_eq!(after.busy_time, Some(Duration::from_millis(324)));
    assert_eq!(after.notsent_bytes, None);
}

#[test]
fn a_disconnect_leaves_garbage_that_is_not_reported() {
    let info = captured("close_after_disconnect");
    assert_eq!((info.state, info.rtt, info.min_rtt), (State::Close, None, None));
    assert_eq!((info.notsent_bytes, info.last_data_recv), (None, None));
    assert_eq!((info.delivery_rate, info.snd_wnd, info.rcv_wnd), (None, None, None));
    let unsupported: Vec<&str> =
        FIELDS.iter().filter(|field| !info.supports(field)).map(|field| field.name).collect();
    assert_eq!(unsupported, ["fackets", "last_ack_sent", "ecn_mode", "options2"]);
}

#[test]
fn a_socket_that_was_never_connected() {
    let info = captured("fresh_close");
    assert_eq!((info.state, info.snd_cwnd), (State::Close, Some(10)));
    assert_eq!((info.last_data_sent, info.bytes_sent, info.pacing_rate), (None, None, None));
}

#[test]
fn a_syn_that_nobody_answers() {
    let info = captured("syn_sent_retrans");
    assert_eq!((info.state, info.ca_state), (State::SynSent, Some(CaState::Loss)));
    assert_eq!((info.total_retrans, info.rehash), (Some(2), Some(2)));
    assert_eq!((info.total_rto, info.total_rto_recoveries), (Some(2), Some(1)));
    assert_eq!(info.total_rto_time, Some(Duration::from_millis(1488)));
    assert_eq!((info.rtt, info.rttvar, info.min_rtt, info.options), (None, None, None, None));
}

#[test]
fn fast_open_with_and_without_a_cookie() {
    let fast_open = |case: &str| {
        let info = captured(case);
        let options = info.options.expect("options are known once connected");
        let on = |option| options.has(option).expect("6.18 maintains every bit");
        (on(TcpOption::SynData), on(TcpOption::TfoChild), info.fastopen_client_fail)
    };
    let unspecified = Some(FastOpenClientFail::Unspecified);
    let no_cookie = Some(FastOpenClientFail::CookieUnavailable);
    assert_eq!(fast_open("tfo_client_syndata"), (true, false, unspecified));
    assert_eq!(fast_open("tfo_server_child"), (true, true, unspecified));
    assert_eq!(fast_open("tfo_client_nocookie"), (false, false, no_cookie));
    assert_eq!(fast_open("tfo_server_nocookie"), (false, false, unspecified));
}

/// Every present field as text, in the order of the struct. Worked out from the bytes by the
/// kernel's header and what it means in each state, not by printing what this crate makes of them.
const CASES: &[(&str, &str)] = &[
    (
        "close_after_disconnect",
        "state=closed ca_state=open retransmits=0 probes=0 backoff=0 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=1s snd_mss=35328 \
         unacked=0 sacked=0 lost=0 retrans=0 snd_cwnd=10 reordering=3 total_retrans=0 \
         pacing_rate=25288892839",
    ),
    (
        "close_after_rst",
        "state=closed ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=53760 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=116ms \
         last_data_recv=364ms last_ack_recv=116ms pmtu=65535 rcv_ssthresh=65495 rtt=40us \
         rttvar=13us snd_cwnd=14 advmss=65483 reordering=3 rcv_space=65495 total_retrans=0 \
         pacing_rate=24623394779 bytes_acked=134697 bytes_received=0 segs_out=6 segs_in=6 \
         min_rtt=5us data_segs_in=0 data_segs_out=4 delivery_rate=2108235294 busy_time=324ms \
         rwnd_limited=324ms sndbuf_limited=0us delivered=5 delivered_ce=0 bytes_sent=134696 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=0 rcv_wnd=65536 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "estab_client_idle",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=32741 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=20ms \
         last_data_recv=20ms last_ack_recv=20ms pmtu=65535 rcv_ssthresh=65495 rtt=38us \
         rttvar=19us snd_cwnd=10 advmss=65483 reordering=3 rcv_space=65495 total_retrans=0 \
         pacing_rate=24623394779 bytes_acked=1 bytes_received=0 segs_out=2 segs_in=1 \
         notsent_bytes=0 min_rtt=38us data_segs_in=0 data_segs_out=0 busy_time=0us \
         rwnd_limited=0us sndbuf_limited=0us delivered=1 delivered_ce=0 bytes_sent=0 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=65483 rcv_wnd=65536 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "estab_client_rwnd_limited",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=53760 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=96ms \
         last_data_recv=344ms last_ack_recv=96ms pmtu=65535 rcv_ssthresh=65495 rtt=40us \
         rttvar=13us snd_cwnd=14 advmss=65483 reordering=3 rcv_space=65495 total_retrans=0 \
         pacing_rate=24623394779 bytes_acked=134697 bytes_received=0 segs_out=6 segs_in=5 \
         notsent_bytes=3887264 min_rtt=5us data_segs_in=0 data_segs_out=4 \
         delivery_rate=2108235294 busy_time=304ms rwnd_limited=304ms sndbuf_limited=0us \
         delivered=5 delivered_ce=0 bytes_sent=134696 bytes_retrans=0 dsack_dups=0 reord_seen=0 \
         rcv_ooopack=0 snd_wnd=0 rcv_wnd=65536 rehash=0 total_rto=0 total_rto_recoveries=0 \
         total_rto_time=0us received_ce=0 delivered_e1_bytes=0 delivered_e0_bytes=0 \
         delivered_ce_bytes=0 received_e1_bytes=0 received_e0_bytes=0 received_ce_bytes=0 \
         accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "estab_client_sent5000",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=53760 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=20ms \
         last_data_recv=40ms last_ack_recv=20ms pmtu=65535 rcv_ssthresh=65495 rtt=37us \
         rttvar=14us snd_cwnd=11 advmss=65483 reordering=3 rcv_space=65495 total_retrans=0 \
         pacing_rate=24623394779 bytes_acked=5001 bytes_received=0 segs_out=3 segs_in=2 \
         notsent_bytes=0 min_rtt=37us data_segs_in=0 data_segs_out=1 delivery_rate=1452972972 \
         busy_time=0us rwnd_limited=0us sndbuf_limited=0us delivered=2 delivered_ce=0 \
         bytes_sent=5000 bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=107520 \
         rcv_wnd=65536 rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us \
         received_ce=0 delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 \
         received_e1_bytes=0 received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen \
         accecn_fail_mode=none",
    ),
    (
        "estab_server_idle",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=32768 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=20ms \
         last_data_recv=20ms last_ack_recv=20ms pmtu=65535 rcv_ssthresh=65483 rtt=25us \
         rttvar=12us snd_cwnd=10 advmss=65483 reordering=3 rcv_space=65483 total_retrans=0 \
         pacing_rate=37458429767 bytes_acked=0 bytes_received=0 segs_out=0 segs_in=2 \
         notsent_bytes=0 min_rtt=25us data_segs_in=0 data_segs_out=0 busy_time=0us \
         rwnd_limited=0us sndbuf_limited=0us delivered=1 delivered_ce=0 bytes_sent=0 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=65536 rcv_wnd=65483 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "estab_server_unread5000",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms ato=40ms \
         snd_mss=32768 rcv_mss=5000 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=40ms \
         last_data_recv=20ms last_ack_recv=20ms pmtu=65535 rcv_ssthresh=107138 rtt=25us \
         rttvar=12us snd_cwnd=10 advmss=65483 reordering=3 rcv_rtt=20ms rcv_space=65483 \
         total_retrans=0 pacing_rate=37458429767 bytes_acked=0 bytes_received=5000 segs_out=1 \
         segs_in=3 notsent_bytes=0 min_rtt=25us data_segs_in=1 data_segs_out=0 busy_time=0us \
         rwnd_limited=0us sndbuf_limited=0us delivered=1 delivered_ce=0 bytes_sent=0 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=65536 rcv_wnd=107520 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "fresh_close",
        "state=closed ca_state=open retransmits=0 probes=0 backoff=0 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=1s snd_mss=536 \
         unacked=0 sacked=0 lost=0 retrans=0 snd_cwnd=10 reordering=3 total_retrans=0",
    ),
    ("listen_2pending", "state=listen accept_queue=2 backlog=5 snd_cwnd=10 reordering=3"),
    ("listen_empty", "state=listen accept_queue=0 backlog=5 snd_cwnd=10 reordering=3"),
    (
        "syn_sent_retrans",
        "state=syn_sent ca_state=loss retransmits=2 probes=0 backoff=0 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=1s snd_mss=524 \
         unacked=1 sacked=0 lost=1 retrans=1 pmtu=65535 snd_cwnd=1 advmss=65495 reordering=3 \
         total_retrans=2 bytes_acked=0 bytes_received=0 segs_out=3 segs_in=0 data_segs_in=0 \
         data_segs_out=0 busy_time=0us rwnd_limited=0us sndbuf_limited=0us delivered=0 \
         delivered_ce=0 bytes_sent=0 bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 \
         rehash=2 total_rto=2 total_rto_recoveries=1 total_rto_time=1.488s received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0",
    ),
    (
        "tfo_client_nocookie",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=cookie_unavailable rto=204ms \
         ato=40ms snd_mss=32768 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 \
         last_data_sent=60ms last_data_recv=60ms last_ack_recv=60ms pmtu=65535 \
         rcv_ssthresh=65495 rtt=31us rttvar=16us snd_cwnd=11 advmss=65483 reordering=3 \
         rcv_space=65495 total_retrans=0 pacing_rate=28354212845 bytes_acked=6 bytes_received=0 \
         segs_out=2 segs_in=2 notsent_bytes=0 min_rtt=17us data_segs_in=0 data_segs_out=1 \
         delivery_rate=1927529411 busy_time=0us rwnd_limited=0us sndbuf_limited=0us delivered=2 \
         delivered_ce=0 bytes_sent=5 bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 \
         snd_wnd=65536 rcv_wnd=65536 rehash=0 total_rto=0 total_rto_recoveries=0 \
         total_rto_time=0us received_ce=0 delivered_e1_bytes=0 delivered_e0_bytes=0 \
         delivered_ce_bytes=0 received_e1_bytes=0 received_e0_bytes=0 received_ce_bytes=0 \
         accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "tfo_client_syndata",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale,syn_data snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=32741 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=60ms \
         last_data_recv=60ms last_ack_recv=60ms pmtu=65535 rcv_ssthresh=65495 rtt=20us \
         rttvar=10us snd_cwnd=10 advmss=65483 reordering=3 rcv_space=65495 total_retrans=0 \
         pacing_rate=46784459003 bytes_acked=6 bytes_received=0 segs_out=2 segs_in=1 \
         notsent_bytes=0 min_rtt=20us data_segs_in=0 data_segs_out=1 busy_time=0us \
         rwnd_limited=0us sndbuf_limited=0us delivered=1 delivered_ce=0 bytes_sent=5 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=65483 rcv_wnd=65536 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "tfo_server_child",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale,syn_data,tfo_child snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms \
         snd_mss=32768 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=60ms \
         last_data_recv=60ms last_ack_recv=60ms pmtu=65535 rcv_ssthresh=65483 rtt=11us \
         rttvar=5us snd_cwnd=10 advmss=65483 reordering=3 rcv_space=65483 total_retrans=0 \
         pacing_rate=1871405153 bytes_acked=0 bytes_received=5 segs_out=0 segs_in=2 \
         notsent_bytes=0 min_rtt=11us data_segs_in=1 data_segs_out=0 busy_time=0us \
         rwnd_limited=0us sndbuf_limited=0us delivered=1 delivered_ce=0 bytes_sent=0 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=65536 rcv_wnd=65483 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
    (
        "tfo_server_nocookie",
        "state=established ca_state=open retransmits=0 probes=0 backoff=0 \
         options=timestamps,sack,window_scale snd_wscale=10 rcv_wscale=10 \
         delivery_rate_app_limited=true fastopen_client_fail=unspecified rto=204ms ato=40ms \
         snd_mss=32768 rcv_mss=536 unacked=0 sacked=0 lost=0 retrans=0 last_data_sent=60ms \
         last_data_recv=60ms last_ack_recv=60ms pmtu=65535 rcv_ssthresh=65483 rtt=24us \
         rttvar=12us snd_cwnd=10 advmss=65483 reordering=3 rcv_space=65483 total_retrans=0 \
         pacing_rate=39019196278 bytes_acked=0 bytes_received=5 segs_out=1 segs_in=2 \
         notsent_bytes=0 min_rtt=24us data_segs_in=1 data_segs_out=0 busy_time=0us \
         rwnd_limited=0us sndbuf_limited=0us delivered=1 delivered_ce=0 bytes_sent=0 \
         bytes_retrans=0 dsack_dups=0 reord_seen=0 rcv_ooopack=0 snd_wnd=65536 rcv_wnd=65536 \
         rehash=0 total_rto=0 total_rto_recoveries=0 total_rto_time=0us received_ce=0 \
         delivered_e1_bytes=0 delivered_e0_bytes=0 delivered_ce_bytes=0 received_e1_bytes=0 \
         received_e0_bytes=0 received_ce_bytes=0 accecn_opt_seen=not_seen accecn_fail_mode=none",
    ),
];
