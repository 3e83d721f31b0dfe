//! Verdicts from replies made up value by value.

use std::time::Duration;

use super::*;
use crate::info::FIELDS;
use crate::kernel::Kernel;

const SECOND: Duration = Duration::from_secs(1);

/// A connection of Linux 6.18 that sends: two seconds old, 20 ms away, 40 segments under way.
const SENDER: &[(&str, u64)] = &[
    ("state", 1),
    ("snd_mss", 1448),
    ("unacked", 40),
    ("snd_cwnd", 40),
    ("rto", 220_000),
    ("rtt", 21_000),
    ("min_rtt", 20_000),
    ("pmtu", 1500),
    ("rcv_ssthresh", 64_000),
    ("rcv_wnd", 64_000),
    ("snd_wnd", 400_000),
    ("notsent_bytes", 100_000),
    ("segs_out", 1),
    ("segs_in", 1),
];

/// A second of it.
const SENT: &[(&str, u64)] = &[
    ("busy_time", 1_000_000),
    ("bytes_sent", 1_448_000),
    ("bytes_acked", 1_448_000),
    ("segs_out", 1_001),
    ("data_segs_out", 1_000),
    ("delivered", 1_000),
];

/// The reply with these values on top of others, the last one of a field counts.
fn info_of(len: usize, values: &[&[(&str, u64)]]) -> TcpInfo {
    let mut reply = vec![0; len.max(280)];
    for (name, value) in values.iter().copied().flatten() {
        let (at, size) = match *name {
            // The bit-field of byte 7.
            "delivery_rate_app_limited" => (7, 1),
            name => {
                let field = FIELDS.iter().find(|field| field.name == name).expect(name);
                (field.offset, field.size)
            }
        };
        let bytes = value.to_ne_bytes();
        let bytes = if cfg!(target_endian = "big") { &bytes[8 - size..] } else { &bytes[..size] };
        reply[at..at + size].copy_from_slice(bytes);
    }
    reply.truncate(len);
    TcpInfo::decode(&reply, &Kernel::from_release("6.18.0")).expect("it is not empty")
}

fn verdict_of(earlier: &[(&str, u64)], later: &[&[(&str, u64)]]) -> Verdict {
    Verdict::between(&info_of(280, &[SENDER, earlier]), &info_of(280, later), SECOND)
}

/// What is said of a second in which the sender also did this.
#[track_caller]
fn says(more: &[(&str, u64)], cause: Cause, text: &str) {
    let verdict = verdict_of(&[], &[SENDER, SENT, more]);
    assert_eq!(verdict.cause, cause, "{verdict}");
    assert_eq!(verdict.to_string(), text);
}

#[test]
fn a_full_congestion_window_is_the_network() {
    says(
        &[],
        Cause::Network,
        "the network: it takes no more, without loss or queue; data was under way for 100 % of the \
         time, rtt 21 ms, nothing lost",
    );
}

#[test]
fn a_closed_window_is_the_receiver() {
    says(
        &[("rwnd_limited", 920_000)],
        Cause::ReceiveWindow,
        "the receiver: its window was closed for 92 % of the time that data waited; rtt 21 ms, \
         nothing lost",
    );
}

#[test]
fn nobody_is_slow_who_reads_a_hundred_megabytes_a_second() {
    let bytes = [("rwnd_limited", 920_000), ("bytes_acked", 100_000_000)];
    let verdict = verdict_of(&[], &[SENDER, SENT, &bytes]);
    assert_eq!(verdict.cause, Cause::Healthy, "{verdict}");
}

#[test]
fn an_empty_send_buffer_is_the_send_buffer() {
    says(
        &[("sndbuf_limited", 450_000)],
        Cause::SendBuffer,
        "the send buffer: it was too small for 45 % of the time that data was under way; rtt 21 \
         ms, nothing lost",
    );
}

#[test]
fn the_larger_of_two_limits_is_the_cause() {
    let both = [("sndbuf_limited", 450_000), ("rwnd_limited", 430_000)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &both]).cause, Cause::SendBuffer);
    let both = [("sndbuf_limited", 430_000), ("rwnd_limited", 450_000)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &both]).cause, Cause::ReceiveWindow);
}

#[test]
fn two_percent_sent_again_are_loss() {
    says(
        &[("bytes_retrans", 28_960), ("total_retrans", 20), ("total_rto", 1)],
        Cause::Loss,
        "loss: 2.0 % of what was sent was lost and sent again; rtt 21 ms, 20 segments sent again, \
         1 timeouts",
    );
}

#[test]
fn what_was_sent_again_needlessly_is_no_loss() {
    let again = [("bytes_retrans", 28_960), ("total_retrans", 20), ("dsack_dups", 18)];
    let verdict = verdict_of(&[], &[SENDER, SENT, &again]);
    assert_eq!(verdict.cause, Cause::Network, "{verdict}");
    let later = info_of(280, &[SENDER, SENT, &again]);
    let again = Retransmits::between(&info_of(280, &[SENDER]), &later);
    assert_eq!((again.segments, again.needless, again.lost()), (Some(20), Some(18), Some(2)));
    assert_eq!((again.bytes, again.timeouts), (Some(28_960), Some(0)));
    let share = again.share().expect("something was sent");
    assert!((share - 0.002).abs() < 1e-9, "{share}");
}

#[test]
fn reordering_and_a_smaller_mtu_are_no_loss() {
    let again = [("bytes_retrans", 28_960), ("total_retrans", 20), ("reord_seen", 20)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &again]).cause, Cause::Network);
    let again = [("bytes_retrans", 28_960), ("total_retrans", 20), ("pmtu", 1400)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &again]).cause, Cause::Network);
}

#[test]
fn a_tail_loss_probe_is_no_loss() {
    let again = [("bytes_retrans", 14_480), ("total_retrans", 2)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &again]).cause, Cause::Network);
}

#[test]
fn a_long_round_trip_beside_the_least_one_is_a_queue() {
    says(
        &[("rtt", 164_000)],
        Cause::Queue,
        "a queue: it adds 144 ms to a round trip; least rtt 20 ms",
    );
    let verdict = verdict_of(&[], &[SENDER, SENT, &[("rtt", 69_000)]]);
    assert_eq!(verdict.cause, Cause::Network, "{verdict}");
}

#[test]
fn a_delayed_acknowledgement_is_no_queue() {
    // One segment at a time, each answered after up to 40 ms, or up to 200 ms.
    for rtt in [40_000, 60_000, 220_000] {
        let thin = [
            ("rtt", rtt),
            ("data_segs_out", 15),
            ("segs_out", 16),
            ("bytes_sent", 1_500),
            ("bytes_acked", 1_500),
            ("delivery_rate_app_limited", 1),
            ("notsent_bytes", 0),
            ("unacked", 1),
        ];
        let verdict = verdict_of(&[], &[SENDER, SENT, &thin]);
        assert_eq!(verdict.cause, Cause::Application, "{verdict}");
    }
}

#[test]
fn marks_are_the_network() {
    says(
        &[("delivered_ce", 80)],
        Cause::Network,
        "the network: 8.0 % of the segments were marked as congestion; rtt 21 ms, nothing lost",
    );
}

#[test]
fn timeouts_in_a_row_are_a_stall() {
    says(
        &[("retransmits", 3), ("backoff", 3), ("last_ack_recv", 1_900)],
        Cause::Stalled,
        "stalled: 3 timeouts in a row; last answer 1.9 s ago",
    );
    let one = [("retransmits", 1), ("rto", 440_000), ("last_ack_recv", 500)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &one]).cause, Cause::Network);
    let nearly_two = [("retransmits", 1), ("rto", 440_000), ("last_ack_recv", 600)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &nearly_two]).cause, Cause::Stalled);
}

#[test]
fn keep_alive_probes_without_an_answer_are_a_stall() {
    let idle = [("probes", 3), ("unacked", 0), ("notsent_bytes", 0), ("last_ack_recv", 3_000)];
    let verdict = verdict_of(&[], &[SENDER, &idle]);
    assert_eq!(verdict.cause, Cause::Stalled);
    assert_eq!(verdict.to_string(), "stalled: 3 probes without an answer; last answer 3.0 s ago");
}

#[test]
fn a_program_that_seldom_sends_is_the_application() {
    says(
        &[("busy_time", 300_000), ("notsent_bytes", 0), ("unacked", 0)],
        Cause::Application,
        "the program: it has little to send; data was under way for 30 % of the time, rtt 21 ms, \
         nothing lost",
    );
}

#[test]
fn a_quiet_second_says_nothing() {
    let quiet = [("busy_time", 30_000), ("data_segs_out", 2), ("segs_out", 3)];
    let verdict = verdict_of(&[], &[SENDER, &quiet]);
    assert_eq!(verdict.cause, Cause::TooLittle);
    let text = "nothing to judge: too little was sent or received; data was under way for 3.0 % of \
                the time";
    assert_eq!(verdict.to_string(), text);
}

#[test]
fn a_receiver_knows_its_own_window_and_gaps_alone() {
    let idle = [("unacked", 0), ("notsent_bytes", 0)];
    let received = [("bytes_received", 1_448_000), ("data_segs_in", 1_000), ("segs_in", 1_000)];
    let verdict = verdict_of(&idle, &[SENDER, &idle, &received]);
    assert_eq!((verdict.cause, verdict.side), (Cause::Healthy, Side::Receiving));
    assert_eq!(verdict.to_string(), "healthy: what comes here comes in order");

    let gaps = [("rcv_ooopack", 100)];
    let verdict = verdict_of(&idle, &[SENDER, &idle, &received, &gaps]);
    assert_eq!((verdict.cause, verdict.side), (Cause::Network, Side::Receiving));
    let text = "the network: 10 % of what came here came after a gap, by loss or reordering";
    assert_eq!(verdict.to_string(), text);

    let shut = [("rcv_wnd", 0)];
    let verdict = verdict_of(&shut, &[SENDER, &idle, &shut]);
    assert_eq!((verdict.cause, verdict.side), (Cause::ReceiveWindow, Side::Receiving));
    let text = "this program reads too slowly: its window is 0.0 % of what it could be";
    assert_eq!(verdict.to_string(), text);
}

#[test]
fn a_full_accept_queue_is_the_program() {
    let listener = |queue, backlog| {
        info_of(280, &[&[("state", 10), ("accept_queue", queue), ("backlog", backlog)]])
    };
    let between = |before, now, backlog| {
        Verdict::between(&listener(before, backlog), &listener(now, backlog), SECOND)
    };
    let verdict = between(129, 129, 128);
    assert_eq!((verdict.cause, verdict.confidence), (Cause::AcceptQueue, Confidence::High));
    assert_eq!(verdict.to_string(), "the program accepts too slowly: 129 wait; backlog 128");
    let causes = [
        (between(0, 128, 128), Cause::AcceptQueue),
        (between(64, 64, 128), Cause::AcceptQueue),
        (between(0, 64, 128), Cause::Healthy),
        (between(63, 63, 128), Cause::Healthy),
        (between(0, 1, 0), Cause::AcceptQueue),
        (between(1, 1, 2), Cause::Healthy),
        (between(0, 0, 128), Cause::Healthy),
    ];
    for (verdict, cause) in causes {
        assert_eq!(verdict.cause, cause, "{verdict}");
    }
}

#[test]
fn attempts_to_connect_have_causes_of_their_own() {
    let fresh = info_of(280, &[&[("state", 7)]]);
    let after = |values: &[(&str, u64)]| Verdict::between(&fresh, &info_of(280, &[values]), SECOND);
    let verdict = after(&[("state", 2), ("segs_out", 3), ("total_retrans", 2), ("unacked", 1)]);
    assert_eq!(verdict.cause, Cause::Unreachable);
    assert_eq!(verdict.to_string(), "nobody answers: the SYN was sent 3 times");
    let verdict = after(&[("state", 7), ("segs_out", 3), ("total_retrans", 2)]);
    assert_eq!(verdict.cause, Cause::Unreachable);
    let verdict = after(&[("state", 7), ("segs_out", 1), ("segs_in", 1)]);
    assert_eq!(verdict.cause, Cause::Refused);
    assert_eq!(verdict.to_string(), "refused: a reset answered the SYN");
    let verdict = after(&[("state", 2), ("segs_out", 1), ("unacked", 1)]);
    assert_eq!(verdict.cause, Cause::TooLittle);
    assert_eq!(verdict.to_string(), "nothing to judge: there is no connection yet");
}

#[test]
fn what_was_never_acknowledged_was_cut_off() {
    let closed = [("state", 7), ("unacked", 0), ("bytes_acked", 1_000_000)];
    says(&closed, Cause::Reset, "cut off by a reset");
    let timed_out = [("state", 7), ("unacked", 0), ("bytes_acked", 1_000_000), ("retransmits", 9)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &timed_out]).cause, Cause::Stalled);
    // The SYN and the FIN count 1 each.
    let before = [("unacked", 0), ("bytes_acked", 1)];
    let ended = [("state", 7), ("unacked", 0), ("bytes_acked", 1_448_002)];
    assert_ne!(verdict_of(&before, &[SENDER, SENT, &ended]).cause, Cause::Reset);
    let no_fin = [("state", 7), ("unacked", 0), ("bytes_acked", 1_448_001)];
    assert_eq!(verdict_of(&before, &[SENDER, SENT, &no_fin]).cause, Cause::Reset);
}

#[test]
fn another_connection_gives_no_verdict() {
    let other = [("bytes_acked", 5_000_000), ("bytes_sent", 5_000_000)];
    let verdict = verdict_of(&other, &[SENDER, SENT]);
    assert_eq!(verdict.cause, Cause::TooLittle);
    let text = "nothing to judge: the counters are of another connection";
    assert_eq!(verdict.to_string(), text);
    let other = [("total_retrans", 9)];
    assert_eq!(verdict_of(&other, &[SENDER, SENT]).to_string(), text);
    let earlier = info_of(280, &[SENDER, &other]);
    let again = Retransmits::between(&earlier, &info_of(280, &[SENDER, SENT]));
    assert_eq!(again, Retransmits::default());
}

#[test]
fn a_counter_that_wrapped_goes_on() {
    let before = [("total_retrans", u32::MAX.into()), ("segs_out", u64::from(u32::MAX) - 499)];
    let again = [("total_retrans", 19), ("bytes_retrans", 28_960), ("segs_out", 500)];
    let verdict = verdict_of(&before, &[SENDER, SENT, &again]);
    assert_eq!(verdict.cause, Cause::Loss, "{verdict}");
    let total = verdict.evidence().find(|it| it.measure == Measure::Growth).expect("it counted");
    assert_eq!((total.field.name, total.value), ("total_retrans", 20.0));
}

#[test]
fn readings_that_contradict_each_other_give_no_verdict() {
    let text = "nothing to judge: the readings contradict each other";
    let busy = [("busy_time", 3_000_000)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &busy]).to_string(), text);
    let again = [("state", 7), ("bytes_retrans", 2_000_000), ("total_retrans", 2_000)];
    assert_eq!(verdict_of(&[], &[SENDER, SENT, &again]).to_string(), text);
    let info = info_of(280, &[SENDER]);
    assert_eq!(Verdict::between(&info, &info, Duration::ZERO).to_string(), text);
}

#[test]
fn older_kernels_are_judged_by_what_they_say() {
    // Linux 3.10, 4.9, 4.18, 5.10: each with what its reply has.
    for (len, cause, missing) in [
        (104, Cause::TooLittle, 14),
        (168, Cause::Network, 9),
        (200, Cause::ReceiveWindow, 6),
        (232, Cause::ReceiveWindow, 1),
        (280, Cause::ReceiveWindow, 0),
    ] {
        let closed = [("rwnd_limited", 920_000)];
        let later = info_of(len, &[SENDER, SENT, &closed]);
        let verdict = Verdict::between(&info_of(len, &[SENDER]), &later, SECOND);
        assert_eq!((verdict.cause, verdict.missing().count()), (cause, missing), "{len} {verdict}");
    }
    let again = [("total_retrans", 20)];
    let later = info_of(160, &[SENDER, SENT, &again]);
    let verdict = Verdict::between(&info_of(160, &[SENDER]), &later, SECOND);
    assert_eq!((verdict.cause, verdict.confidence), (Cause::Loss, Confidence::Low), "{verdict}");
    let shut = [("snd_wnd", 0), ("rwnd_limited", 1_000_000)];
    let verdict = verdict_of(&[], &[SENDER, SENT, &shut]);
    assert_eq!(verdict.missing().count(), 0);
    assert_eq!(verdict.evidence().count(), 4);
}

#[test]
fn evidence_names_fields_values_and_thresholds() {
    let verdict = verdict_of(&[], &[SENDER, SENT, &[("rwnd_limited", 920_000)]]);
    let first = verdict.evidence().next().expect("the number that decided");
    let busy = FIELDS.iter().find(|field| field.name == "busy_time").expect("it has a row");
    assert_eq!((first.field.name, first.measure), ("rwnd_limited", Measure::ShareOf(busy)));
    assert_eq!((first.value, first.threshold), (0.92, Some(0.4)));
    let again = verdict_of(&[], &[SENDER, SENT, &[("rwnd_limited", 920_000)]]);
    assert_eq!(verdict, again);
    assert!(size_of::<Verdict>() <= 144, "{} bytes", size_of::<Verdict>());
}
