//! Verdicts from any bytes, and from replies that were kept of faults made for real.

use std::time::Duration;

use proptest::prelude::*;
use support::replies::{data, decode, field};
use tcpinfo::{Cause, Side, TcpInfo, Verdict};

const RELEASE: &str = "6.18.0";
const SECOND: Duration = Duration::from_secs(1);

/// What can be said of a socket that did nothing.
const WITHOUT_GROWTH: [Cause; 7] = [
    Cause::TooLittle,
    Cause::Stalled,
    Cause::ReceiveWindow,
    Cause::AcceptQueue,
    Cause::Healthy,
    Cause::Unreachable,
    Cause::Refused,
];

fn write(reply: &mut [u8], name: &str, value: u64) {
    let field = field(name);
    let bytes = value.to_ne_bytes();
    let from = if cfg!(target_endian = "big") { 8 - field.size } else { 0 };
    reply[field.offset..field.offset + field.size].copy_from_slice(&bytes[from..from + field.size]);
}

/// Everything that a verdict tells, looked at.
fn look_at(verdict: &Verdict) {
    assert!(!verdict.to_string().is_empty());
    assert!(verdict.missing().all(|field| !field.name.is_empty()));
    for evidence in verdict.evidence() {
        assert!(evidence.value.is_finite() && evidence.value >= 0.0, "{evidence:?}");
        let is_share = matches!(evidence.measure, tcpinfo::Measure::ShareOf(_));
        assert!(!is_share || evidence.value <= 1.0, "{evidence:?}");
    }
}

/// A connection that sent a thousand segments in a second, and three more numbers of it.
fn sender(rtt: u64, limited: u64, again: u64) -> [TcpInfo; 2] {
    let mut earlier = vec![0; 280];
    for (name, value) in [
        ("state", 1),
        ("unacked", 40),
        ("snd_cwnd", 40),
        ("rtt", 20_000),
        ("min_rtt", 20_000),
        ("snd_wnd", 100_000),
        ("notsent_bytes", 10_000),
        ("rcv_wnd", 60_000),
        ("rcv_ssthresh", 60_000),
        ("pmtu", 1500),
    ] {
        write(&mut earlier, name, value);
    }
    let mut later = earlier.clone();
    for (name, value) in [
        ("busy_time", 1_000_000),
        ("bytes_sent", 1_000_000),
        ("bytes_acked", 1_000_000),
        ("segs_out", 1_000),
        ("data_segs_out", 1_000),
        ("rtt", rtt),
        ("rwnd_limited", limited),
        ("total_retrans", again),
        ("bytes_retrans", again * 1_000),
    ] {
        write(&mut later, name, value);
    }
    [earlier, later].map(|reply| decode(&reply, RELEASE))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_two_replies_have_a_verdict(
        earlier in prop::collection::vec(any::<u8>(), 1..300),
        later in prop::collection::vec(any::<u8>(), 1..300),
        state in 0..14_u8,
        nanos in any::<u64>(),
    ) {
        let read = |reply: &[u8]| decode(reply, RELEASE);
        let elapsed = Duration::from_nanos(nanos);
        look_at(&Verdict::between(&read(&earlier), &read(&later), elapsed));
        look_at(&Verdict::between(&read(&earlier), &read(&later), Duration::MAX));
        // The same with few differences: more often the counters only grow.
        let mut states = earlier.clone();
        states[0] = state;
        look_at(&Verdict::between(&read(&states), &read(&states), elapsed));
        let grown: Vec<u8> = states.iter().enumerate().map(|(at, byte)| {
            if at > 100 { byte.saturating_add(later[at % later.len()] / 64) } else { *byte }
        }).collect();
        look_at(&Verdict::between(&read(&states), &read(&grown), elapsed));
    }

    #[test]
    fn nothing_is_accused_that_did_nothing(
        mut reply in prop::collection::vec(any::<u8>(), 1..300),
        state in 0..14_u8,
    ) {
        reply[0] = state;
        let info = decode(&reply, RELEASE);
        let verdict = Verdict::between(&info, &info, SECOND);
        prop_assert!(WITHOUT_GROWTH.contains(&verdict.cause), "{verdict}");
        prop_assert!(
            verdict.cause != Cause::ReceiveWindow || verdict.side == Side::Receiving,
            "{verdict}"
        );
    }

    #[test]
    fn more_of_a_trouble_is_the_same_trouble(
        rtt in 20_000..2_000_000_u64,
        limited in 0..1_000_000_u64,
        again in 0..500_u64,
        more in 0..500_000_u64,
    ) {
        let cause = |rtt, limited, again| {
            let [earlier, later] = sender(rtt, limited, again);
            Verdict::between(&earlier, &later, SECOND).cause
        };
        let now = cause(rtt, limited, again);
        // Each of them once, unless the one that is asked for earlier comes up.
        match now {
            Cause::ReceiveWindow => {
                prop_assert_eq!(cause(rtt, (limited + more).min(1_000_000), again), now);
                prop_assert_eq!(cause(rtt + more, limited, again + more % 500), now);
            }
            Cause::Loss => {
                prop_assert_eq!(cause(rtt, limited, (again + more % 500).min(1_000)), now);
                prop_assert_eq!(cause(rtt + more, limited, again), now);
            }
            Cause::Queue => prop_assert_eq!(cause(rtt + more, limited, again), now),
            other => prop_assert_eq!(other, Cause::Network),
        }
    }
}

/// One line of the file: what was made, and what both ends' kernels said of it.
struct Kept<'t> {
    line: &'t str,
    cause: &'t str,
    elapsed: Duration,
    replies: [TcpInfo; 2],
}

fn reply(words: &str) -> TcpInfo {
    let words = words.split_terminator(',');
    let bytes: Vec<u8> = words
        .flat_map(|word| match word {
            "" => [0; 4],
            word => u32::from_str_radix(word, 16).expect("hexadecimal digits").to_le_bytes(),
        })
        .collect();
    decode(&bytes, RELEASE)
}

fn kept(line: &str) -> Kept<'_> {
    let [_, _, _, elapsed, cause, earlier, later] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("seven words: {line}")
    };
    let elapsed = Duration::from_millis(elapsed.parse().expect("milliseconds"));
    Kept { line, cause, elapsed, replies: [earlier, later].map(reply) }
}

/// `integration/verdicts.sh --save` kept them: a scene is judged without being played.
#[test]
fn faults_of_the_past_are_judged_as_they_were() {
    if cfg!(target_endian = "big") {
        println!("SKIPPED: replies of faults: they were kept on a little-endian machine");
        return;
    }
    let text = std::fs::read_to_string(data().join("verdicts.txt")).expect("it lies there");
    let mut judged = 0;
    for Kept { line, cause, elapsed, replies: [earlier, later] } in text.lines().map(kept) {
        let verdict = Verdict::between(&earlier, &later, elapsed);
        let scene: String = line.split(' ').take(4).collect::<Vec<_>>().join(" ");
        assert_eq!(verdict.cause.text(), cause, "{scene}: {verdict}");
        judged += 1;
    }
    assert!(judged >= 100, "{judged} replies");
}

#[test]
#[cfg(feature = "serde")]
fn a_verdict_is_json() {
    let [earlier, later] = sender(21_000, 500_000, 0);
    let verdict = Verdict::between(&earlier, &later, SECOND);
    let json = serde_json::to_value(verdict).expect("it is no map with odd keys");
    let level = |field: &str, value: f64| {
        serde_json::json!({
            "field": field, "measure": "level", "of": null, "value": value, "threshold": null,
        })
    };
    let expected = serde_json::json!({
        "cause": "receive_window",
        "confidence": "low",
        "side": "sending",
        "evidence": [
            {
                "field": "rwnd_limited",
                "measure": "share_of",
                "of": "busy_time",
                "value": 0.5,
                "threshold": 0.4,
            },
            level("snd_wnd", 100_000.0),
            level("rtt", 0.021),
            {
                "field": "total_retrans",
                "measure": "growth",
                "of": null,
                "value": 0.0,
                "threshold": null,
            },
        ],
        "missing": [],
    });
    assert_eq!(json, expected);
    let again = tcpinfo::Retransmits::between(&earlier, &later);
    let json = serde_json::to_value(again).expect("it is no map with odd keys");
    let expected = serde_json::json!({
        "bytes": 0, "bytes_sent": 1_000_000, "segments": 0, "needless": 0, "timeouts": 0,
    });
    assert_eq!(json, expected);
}
