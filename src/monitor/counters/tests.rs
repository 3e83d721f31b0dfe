//! Wraps, restarts and rebasing, case by case.

use super::*;

mod model;

fn rank(name: &str) -> usize {
    crate::info::rows(FieldKind::Counter).position(|row| row.name == name).expect("a counter")
}

fn raw(values: &[(&str, u64)]) -> CounterNumbers {
    let mut raw = CounterNumbers::NONE;
    for (name, value) in values {
        raw.present |= 1 << rank(name);
        raw.values[rank(name)] = *value;
    }
    raw
}

/// The totals after each reading.
fn totals(name: &str, readings: &[u64]) -> Vec<u64> {
    let mut counters = Counters::new();
    let each = readings.iter().map(|reading| {
        counters.advance(&raw(&[(name, *reading)]));
        counters.totals().values[rank(name)]
    });
    each.collect()
}

#[test]
fn narrow_counters_widen_across_wraps() {
    let range = 1 << 32;
    assert_eq!(
        totals("segs_in", &[range - 2, 1, range / 2, range - 1, 4]),
        [range - 2, range + 1, range + range / 2, 2 * range - 1, 2 * range + 4]
    );
    assert_eq!(totals("total_rto", &[60_000, 5, 30_000]), [60_000, 65_541, 95_536]);
}

#[test]
fn a_new_connection_on_the_socket_adds_to_the_old() {
    assert_eq!(totals("bytes_sent", &[5_000, 3, 9, 2]), [5_000, 5_003, 5_009, 5_011]);
    assert_eq!(totals("segs_out", &[5, 2, 4]), [5, 7, 9]);
}

#[test]
fn one_counter_going_back_restarts_those_that_did_not() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("bytes_sent", 100), ("segs_in", 7), ("busy_time", 40)]));
    let step = counters.advance(&raw(&[("bytes_sent", 30), ("segs_in", 9), ("busy_time", 44)]));
    assert_eq!(step.values[rank("bytes_sent")], 30);
    assert_eq!(step.values[rank("segs_in")], 9);
    // The chronographs outlive a disconnect.
    assert_eq!(step.values[rank("busy_time")], 4);
    counters.advance(&raw(&[("bytes_sent", 31), ("segs_in", 10), ("busy_time", 44)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 131);
    assert_eq!(counters.totals().values[rank("segs_in")], 17);
    assert_eq!(counters.totals().values[rank("busy_time")], 44);
}

#[test]
fn a_known_restart_counts_everything_again() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("bytes_sent", 100)]));
    counters.restart();
    counters.advance(&raw(&[("bytes_sent", 250)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 350);
}

#[test]
fn half_of_rehash_wraps_alone() {
    // 65,530 timeouts' rehashes and 3 by PLB, then 10 more timeouts.
    assert_eq!(totals("rehash", &[65_533, 7, 8]), [65_533, 65_543, 65_544]);
}

#[test]
fn ecn_bytes_that_race_around_are_no_restart() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("received_e0_bytes", 100), ("bytes_received", 100)]));
    let jump = u64::from(u32::MAX) - 100;
    counters.advance(&raw(&[("received_e0_bytes", jump), ("bytes_received", 1 << 40)]));
    assert_eq!(counters.totals().values[rank("received_e0_bytes")], jump);
}

#[test]
fn ecn_bytes_that_went_back_start_again_alone() {
    let mut counters = Counters::new();
    let reading = |marked, bytes| {
        raw(&[("received_ce_bytes", marked), ("bytes_acked", 0), ("bytes_received", bytes)])
    };
    counters.advance(&reading(100, 1 << 20));
    counters.advance(&reading(60, 1 << 21));
    assert_eq!(counters.totals().values[rank("received_ce_bytes")], 160);
    // As many bytes as a wrap needs, but a wrap of marks would need 10,000 times as many.
    counters.advance(&reading(50, 1 << 33));
    assert_eq!(counters.totals().values[rank("received_ce_bytes")], 210);
    assert_eq!(counters.totals().values[rank("bytes_received")], 1 << 33);
}

#[test]
fn any_first_reading_counts_in_full() {
    assert_eq!(totals("segs_in", &[4_000_000_000, 4_000_000_001])[1], 4_000_000_001);
}

#[test]
fn an_absent_counter_keeps_its_total() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("bytes_sent", 100), ("segs_in", 3)]));
    counters.advance(&raw(&[("segs_in", 4)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 100);
    counters.advance(&raw(&[("bytes_sent", 160)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 160);
}

const RANGE: u64 = 1 << 32;

#[test]
fn a_far_step_of_one_counter_restarts_no_other() {
    let mut counters = Counters::new();
    let sent = 3_100_000_000_000;
    counters.advance(&raw(&[("bytes_sent", sent), ("segs_out", 10), ("dsack_dups", 9)]));
    let far = raw(&[("bytes_sent", sent), ("segs_out", RANGE / 2 + 11), ("dsack_dups", 8)]);
    assert!(counters.differs(&far));
    counters.advance(&far);
    assert_eq!(counters.totals().values[rank("bytes_sent")], sent);
    assert_eq!(counters.totals().values[rank("segs_out")], RANGE / 2 + 11);
    assert_eq!(counters.totals().values[rank("dsack_dups")], 9 + 8);
}

/// What 3,000,000,000 segments become, with some bytes each, when `next` is read with `bytes`
/// more.
fn segments_after(next: u64, bytes: u64) -> u64 {
    let mut counters = Counters::new();
    let start = 3_000_000_000;
    counters.advance(&raw(&[
        ("bytes_acked", 0),
        ("bytes_received", 1_000 * start),
        ("data_segs_in", start),
        ("total_retrans", start),
    ]));
    counters.advance(&raw(&[
        ("bytes_acked", 0),
        ("bytes_received", 1_000 * start + bytes),
        ("data_segs_in", next),
        ("total_retrans", next),
    ]));
    // Nothing is in proportion to this one.
    assert_eq!(counters.totals().values[rank("total_retrans")], start + next);
    counters.totals().values[rank("data_segs_in")]
}

#[test]
fn bytes_tell_a_wrap_from_a_restart() {
    let next = 2_500_000_000;
    let step = next + RANGE - 3_000_000_000;
    assert_eq!(segments_after(next, 1_000 * step), RANGE + next);
    assert_eq!(segments_after(next, 500 * step), RANGE + next);
    assert_eq!(segments_after(next, 499 * step), 3_000_000_000 + next);
    assert_eq!(segments_after(next, 0), 3_000_000_000 + next);
}

#[test]
fn a_direction_without_traffic_has_no_say() {
    let mut counters = Counters::new();
    let reading = |acked, received, segments| {
        raw(&[("bytes_acked", acked), ("bytes_received", received), ("segs_in", segments)])
    };
    counters.advance(&reading(500, 3_000_000_000_000, 3_000_000_000));
    counters.advance(&reading(500, 7_000_000_000_000, 2_500_000_000));
    assert_eq!(counters.totals().values[rank("segs_in")], RANGE + 2_500_000_000);
}

#[test]
fn without_bytes_a_counter_that_went_back_starts_again_alone() {
    assert_eq!(totals("total_retrans", &[5, 2, 4]), [5, 7, 9]);
    assert_eq!(totals("segs_out", &[5, 2, 4]), [5, 7, 9]);
    assert_eq!(totals("total_rto", &[3, 1, 2]), [3, 4, 5]);
}

#[test]
fn rehashes_outlive_a_disconnect_in_part() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("rehash", 9), ("bytes_acked", 7)]));
    counters.restart();
    counters.advance(&raw(&[("rehash", 11), ("bytes_acked", 7)]));
    assert_eq!(counters.totals().values[rank("rehash")], 11);
    assert_eq!(counters.totals().values[rank("bytes_acked")], 14);
    // Those by PLB are gone with the connection, and how many of these are new nobody knows.
    counters.advance(&raw(&[("rehash", 8), ("bytes_acked", 6)]));
    assert_eq!(counters.totals().values[rank("rehash")], 11);
    counters.advance(&raw(&[("rehash", 10), ("bytes_acked", 8)]));
    assert_eq!(counters.totals().values[rank("rehash")], 13);
    // Nor whether they are, if no byte count fell: this is no wrap of 16 bits.
    counters.advance(&raw(&[("rehash", 7), ("bytes_acked", 9)]));
    assert_eq!(counters.totals().values[rank("rehash")], 13);
    counters.advance(&raw(&[("rehash", 40_007), ("bytes_acked", 10)]));
    counters.advance(&raw(&[("rehash", 7), ("bytes_acked", 1)]));
    assert_eq!(counters.totals().values[rank("rehash")], 40_013);
}

#[test]
fn clocks_that_fall_add_no_more_than_they_ran() {
    assert_eq!(totals("busy_time", &[9_000, 4_000, 5_000]), [9_000, 13_000, 14_000]);
    // Fifty days at 1,000 ticks a second: the kernel's own 32 bits wrapped, of one of three parts.
    let wrapped = CLOCK_RANGE + 1_000_000 - CLOCK_RANGE;
    assert_eq!(
        totals("busy_time", &[CLOCK_RANGE + 700_000, wrapped, wrapped + 50])[1..],
        [CLOCK_RANGE + 700_000, CLOCK_RANGE + 700_050]
    );
}

#[test]
fn what_a_stall_adds_is_busy_time_even_as_a_clock_wraps() {
    let clocks = |busy, stalled| raw(&[("busy_time", busy), ("rwnd_limited", stalled)]);
    let mut counters = Counters::new();
    let mut added = |busy, stalled| {
        let added = counters.advance(&clocks(busy, stalled)).values;
        [added[rank("busy_time")], added[rank("rwnd_limited")]]
    };
    added(CLOCK_RANGE + 700_000, 300_000);
    // The clock of neither stall wrapped. What is left of the busy time must not fall.
    assert_eq!(added(1_000_000, 450_000), [150_000, 150_000]);
    assert_eq!(added(1_000_070, 450_050), [70, 50]);
}

#[test]
fn rebasing_adds_nothing_of_what_it_reads() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("bytes_sent", 100), ("segs_in", 7)]));
    counters.rebase(&raw(&[("bytes_sent", 900), ("segs_in", 3)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 100);
    assert!(!counters.differs(&raw(&[("bytes_sent", 900), ("segs_in", 3)])));
    counters.advance(&raw(&[("bytes_sent", 950), ("segs_in", 4)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 150);
    assert_eq!(counters.totals().values[rank("segs_in")], 8);
}

#[test]
fn what_rebasing_did_not_read_starts_where_it_is_first_reported() {
    let mut counters = Counters::new();
    counters.advance(&raw(&[("bytes_sent", 100)]));
    counters.rebase(&raw(&[]));
    let readings = [raw(&[("bytes_sent", 30)]), raw(&[("bytes_sent", 31), ("busy_time", 9)])];
    assert_eq!(readings.map(|raw| counters.advance(&raw).values[rank("bytes_sent")]), [0, 1]);
    assert_eq!(counters.totals().values[rank("busy_time")], 0);
    assert_eq!(counters.totals().present, 1 << rank("bytes_sent") | 1 << rank("busy_time"));
}

#[test]
fn a_connection_begun_after_rebasing_counts_in_full() {
    let mut counters = Counters::new();
    counters.rebase(&raw(&[]));
    counters.restart();
    counters.advance(&raw(&[("bytes_sent", 30), ("busy_time", 9)]));
    assert_eq!(counters.totals().values[rank("bytes_sent")], 30);
    // What the clock had from connections before is not known.
    assert_eq!(counters.totals().values[rank("busy_time")], 0);
}
