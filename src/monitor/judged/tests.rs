//! Random lives of a connection, judged reading by reading, beside a model that has whole replies.

use super::super::progress::Progress;
use super::super::sample::Rng;
use super::*;
use crate::info::{FIELDS, Reply, TcpInfo};
use crate::kernel::Kernel;
use crate::wire::LEN;

pub(in crate::monitor) type Bytes = [u8; LEN];

fn get(reply: &Bytes, name: &str) -> u64 {
    let field = FIELDS.iter().find(|field| field.name == name).expect(name);
    let mut bytes = [0; 8];
    let from = if cfg!(target_endian = "big") { 8 - field.size } else { 0 };
    bytes[from..from + field.size].copy_from_slice(&reply[field.offset..field.offset + field.size]);
    u64::from_ne_bytes(bytes)
}

pub(in crate::monitor) fn put(reply: &mut Bytes, name: &str, value: u64) {
    let field = FIELDS.iter().find(|field| field.name == name).expect(name);
    let bytes = value.to_ne_bytes();
    let from = if cfg!(target_endian = "big") { 8 - field.size } else { 0 };
    reply[field.offset..field.offset + field.size].copy_from_slice(&bytes[from..from + field.size]);
}

fn add(reply: &mut Bytes, name: &str, more: u64) {
    put(reply, name, get(reply, name).wrapping_add(more));
}

/// A connection that is new and idle.
pub(in crate::monitor) fn connection() -> Bytes {
    let mut reply = [0; LEN];
    for (name, value) in [
        ("state", 1),
        ("rto", 220_000),
        ("rtt", 20_000),
        ("min_rtt", 20_000),
        ("snd_cwnd", 40),
        ("pmtu", 1_500),
        ("rcv_ssthresh", 64_000),
        ("rcv_wnd", 64_000),
        ("snd_wnd", 60_000),
        ("segs_out", 2),
        ("segs_in", 1),
    ] {
        put(&mut reply, name, value);
    }
    reply
}

/// What the connection does until its next reading, some milliseconds later.
fn live_on(reply: &mut Bytes, random: &mut Rng, millis: u64) {
    match random.below(12) {
        // Nothing, as most of them.
        0..4 => {}
        4 => add(reply, "segs_out", 1),
        5..8 => {
            let segments = random.below(400);
            let busy = millis * 1_000 * random.below(100) / 100;
            add(reply, "segs_out", segments);
            add(reply, "data_segs_out", segments);
            add(reply, "bytes_sent", segments * 1_448);
            add(reply, "bytes_acked", segments * 1_448);
            add(reply, "busy_time", busy);
            add(reply, "rwnd_limited", busy * random.below(100) / 100);
            let again = random.below(8);
            add(reply, "total_retrans", again);
            add(reply, "bytes_retrans", again * 1_448);
        }
        8 => add(reply, "data_segs_in", random.below(400)),
        9 => {
            put(reply, "retransmits", random.below(4));
            put(reply, "unacked", random.below(2) * 30);
            put(reply, "probes", random.below(4));
            put(reply, "rcv_wnd", random.below(64_000));
            put(reply, "rtt", 20_000 + random.below(200_000));
        }
        // A wrap, or another connection.
        10 => put(reply, "total_retrans", u64::from(u32::MAX) - random.below(10)),
        _ => match random.below(6) {
            0 => *reply = connection(),
            1 => put(reply, "state", 8),
            2 => put(reply, "state", 7),
            3 => *reply = [&[7_u8][..], &[0; LEN - 1]].concat().try_into().expect("as long"),
            4 => add(reply, "bytes_received", 1 << 40),
            _ => put(reply, "busy_time", get(reply, "busy_time").saturating_sub(5_000)),
        },
    }
}

#[test]
fn each_verdict_is_that_of_two_whole_replies_a_second_apart() {
    let kernel = Kernel::from_release("6.18.0");
    let mut random = Rng::new(0x9e37_79b9_7f4a_7c15);
    let (mut judged, mut held, mut complaints) = (0, 0, 0);
    for _ in 0..3_000 {
        let mut progress = Progress::new();
        let mut reply = connection();
        // The model: the reply that the next verdict begins with, and the latest verdict.
        let mut base: Option<(TcpInfo, u32)> = None;
        let mut latest: Option<Verdict> = None;
        let mut now = random.below(1 << 32) as u32;
        for _ in 0..30 {
            let millis = [0, 10, 400, 999, 1_000, 1_400, 15_000][random.below(7) as usize];
            now = now.wrapping_add(millis as u32);
            live_on(&mut reply, &mut random, millis);
            let info = TcpInfo::decode(&reply, &kernel).expect("it is not empty");
            let is_last = random.below(20) == 0;
            if random.below(30) == 0 {
                progress.life.resume();
                (base, latest) = (None, None);
            }
            let at = (!is_last).then_some(Moment::at(now));
            let whole = Reply::new(&reply, LEN, &kernel);
            progress.take_in(&Answer::new(whole, at));
            match base {
                _ if is_last => base = None,
                None => base = Some((info, now)),
                Some((ref earlier, began)) => {
                    let elapsed = Duration::from_millis(now.wrapping_sub(began).into());
                    if elapsed >= LEAST {
                        let verdict = Verdict::between(earlier, &info, elapsed);
                        complaints += usize::from(verdict.cause != Cause::TooLittle);
                        (base, latest) = (Some((info, now)), Some(verdict));
                        judged += 1;
                    } else {
                        held += 1;
                    }
                }
            }
            let known = progress.verdict();
            let cause = latest.map_or(Cause::TooLittle, |verdict| verdict.cause);
            assert_eq!(progress.judged.cause(), cause, "{latest:?}\n{known:?}");
            // A verdict that is a short cut has no numbers.
            match (latest, known) {
                (Some(latest), Some(known)) if known == Verdict::quiet() => {
                    assert_eq!(latest.cause, Cause::TooLittle);
                }
                (latest, known) => assert_eq!(latest, known),
            }
        }
    }
    assert!(judged > 20_000 && held > 20_000 && complaints > 5_000, "{judged} {held} {complaints}");
}

#[test]
fn a_quiet_connection_keeps_nothing_beside_its_slot() {
    let kernel = Kernel::from_release("6.18.0");
    let mut progress = Progress::new();
    let reply = connection();
    for second in 0..100 {
        let whole = Reply::new(&reply, LEN, &kernel);
        progress.take_in(&Answer::new(whole, Some(Moment::at(second * 400))));
        assert!(progress.counters.extra.is_none());
    }
    assert_eq!(progress.verdict(), Some(Verdict::quiet()));
}
