//! Which fields a reply proves by its length, and the table against the kernel's own layout.

use std::collections::BTreeMap;
use std::mem::offset_of;

use linux_raw_sys::net::tcp_info;
use tcpinfo::{FIELDS, KernelVersion, TcpInfo};

use support::loopback::names;
use support::replies::{data, decode, field, kernel, plausible};

/// At which length which fields of an established connection appear on Linux 7.3.
const LADDER: &[(usize, &str)] = &[
    (1, "state"),
    (2, "ca_state"),
    (3, "retransmits"),
    (4, "probes"),
    (5, "backoff"),
    (6, "options"),
    (7, "snd_wscale rcv_wscale"),
    (12, "rto"),
    (16, "ato"),
    (20, "snd_mss"),
    (24, "rcv_mss"),
    (28, "unacked"),
    (32, "sacked"),
    (36, "lost"),
    (40, "retrans"),
    (48, "last_data_sent"),
    (56, "last_data_recv"),
    (60, "last_ack_recv"),
    (64, "pmtu"),
    (68, "rcv_ssthresh"),
    (72, "rtt"),
    (76, "rttvar"),
    (80, "snd_ssthresh"),
    (84, "snd_cwnd"),
    (88, "advmss"),
    (92, "reordering"),
    (96, "rcv_rtt"),
    (100, "rcv_space"),
    (104, "total_retrans"),
    (112, "pacing_rate"),
    (120, "max_pacing_rate"),
    (128, "bytes_acked"),
    (136, "bytes_received"),
    (140, "segs_out"),
    (144, "segs_in"),
    (148, "notsent_bytes"),
    (152, "min_rtt"),
    (156, "data_segs_in"),
    (160, "data_segs_out"),
    (168, "delivery_rate delivery_rate_app_limited"),
    (176, "busy_time"),
    (184, "rwnd_limited"),
    (192, "sndbuf_limited"),
    (196, "delivered"),
    (200, "delivered_ce"),
    (208, "bytes_sent"),
    (216, "bytes_retrans"),
    (220, "dsack_dups"),
    (224, "reord_seen"),
    (228, "rcv_ooopack"),
    (232, "snd_wnd fastopen_client_fail"),
    (236, "rcv_wnd"),
    (240, "rehash"),
    (242, "total_rto"),
    (244, "total_rto_recoveries"),
    (248, "total_rto_time"),
    (252, "received_ce"),
    (256, "delivered_e1_bytes"),
    (260, "delivered_e0_bytes"),
    (264, "delivered_ce_bytes"),
    (268, "received_e1_bytes"),
    (272, "received_e0_bytes"),
    (276, "received_ce_bytes"),
    (280, "accecn_opt_seen accecn_fail_mode ecn_mode options2"),
];

/// The end of the struct in each kernel that made it longer.
const GROWTH: &[(&str, usize)] = &[
    ("2.4", 92),
    ("2.6.9", 100),
    ("2.6.11", 104),
    ("3.15", 120),
    ("4.1", 136),
    ("4.2", 144),
    ("4.6", 160),
    ("4.9", 168),
    ("4.10", 192),
    ("4.18", 200),
    ("4.19", 224),
    ("5.4", 232),
    ("6.2", 240),
    ("6.7", 248),
    ("6.18", 280),
];

fn version(text: &str) -> KernelVersion {
    kernel(text).version().unwrap_or_else(|| panic!("{text} is a version"))
}

/// What the ladder has up to `len`, in the alphabet's order.
fn ladder(len: usize) -> Vec<&'static str> {
    let mut names: Vec<_> = LADDER
        .iter()
        .filter(|(end, _)| *end <= len)
        .flat_map(|(_, names)| names.split(' '))
        .collect();
    names.sort_unstable();
    names
}

fn sorted(mut names: Vec<&'static str>) -> Vec<&'static str> {
    names.sort_unstable();
    names
}

fn supported(info: &TcpInfo) -> Vec<&'static str> {
    FIELDS.iter().filter(|field| info.supports(field)).map(|field| field.name).collect()
}

#[test]
fn presence_follows_reply_length() {
    for len in 1..=512 {
        let info = decode(&plausible(len), "7.3.0");
        assert_eq!(sorted(names(&info)), ladder(len), "{len} bytes");
        assert_eq!(info.reply_len, len);
    }
}

#[test]
fn presence_on_6_18_lacks_what_came_with_7_0() {
    for len in 1..=512 {
        let info = decode(&plausible(len), "6.18.44-fc-v669");
        let mut expected = ladder(len);
        expected.retain(|name| !["ecn_mode", "options2"].contains(name));
        // Two shorts there, of which the first ends earlier; one word of bits since 7.0.
        expected.extend((278..280).contains(&len).then_some("accecn_fail_mode"));
        assert_eq!(sorted(names(&info)), sorted(expected), "{len} bytes");
    }
}

#[test]
fn an_established_connection_shows_all_that_is_supported_but_the_listeners_fields() {
    for len in 1..=512 {
        let info = decode(&plausible(len), "7.3.0");
        let mut expected = ladder(len);
        expected.extend((len >= 28).then_some("accept_queue"));
        expected.extend((len >= 32).then_some("backlog"));
        assert_eq!(sorted(supported(&info)), sorted(expected), "{len} bytes");
    }
}

#[test]
fn a_listener_supports_what_a_connection_of_the_same_kernel_does() {
    for len in 1..=512 {
        let mut listening = vec![0; len];
        listening[0] = 10;
        let connection = decode(&plausible(len), "7.3.0");
        let listener = decode(&listening, "7.3.0");
        assert_eq!(supported(&listener), supported(&connection), "{len} bytes");
    }
}

#[test]
fn every_row_but_the_dead_and_the_listeners_is_on_the_ladder() {
    let mut table: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
    table.retain(|name| !["accept_queue", "backlog", "fackets", "last_ack_sent"].contains(name));
    assert_eq!(sorted(table), ladder(280));
}

#[test]
fn the_struct_grew_as_the_kernels_headers_did() {
    for (since, end) in GROWTH {
        let rows = FIELDS.iter().filter(|field| field.since <= version(since));
        assert_eq!(rows.map(|field| field.offset + field.size).max(), Some(*end), "{since}");
    }
    let steps: Vec<KernelVersion> = GROWTH.iter().map(|(since, _)| version(since)).collect();
    let others: BTreeMap<KernelVersion, Vec<&str>> = FIELDS
        .iter()
        .filter(|field| !steps.contains(&field.since))
        .fold(BTreeMap::new(), |mut others, field| {
            others.entry(field.since).or_default().push(field.name);
            others
        });
    let expected = [
        (version("2.6.24"), vec!["accept_queue", "backlog"]),
        (version("5.5"), vec!["fastopen_client_fail"]),
        (version("7.0"), vec!["ecn_mode", "options2"]),
    ];
    assert_eq!(others, BTreeMap::from(expected));
}

#[test]
fn the_table_is_the_reference_table() {
    let text = std::fs::read_to_string(data().join("tcp_info_fields.csv")).expect("it lies there");
    let mut moved = Vec::new();
    let mut members = Vec::new();
    for line in text.lines().skip(1) {
        let [c_name, offset, size, since] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        if members.contains(&c_name) {
            moved.push(line);
            continue;
        }
        members.push(c_name);
        let row = field(c_name.strip_prefix("tcpi_").expect("a member of the struct"));
        assert_eq!(row.c_name, c_name);
        assert_eq!((row.offset.to_string(), row.size.to_string()), (offset.into(), size.into()));
        assert_eq!(row.since, version(since), "{c_name}");
    }
    let moved_by_7_0 = ["tcpi_accecn_opt_seen,276,4,7.0", "tcpi_accecn_fail_mode,276,4,7.0"];
    assert_eq!(moved, moved_by_7_0);
    let without_member_of_their_own: Vec<_> = FIELDS
        .iter()
        .filter(|field| field.c_name.strip_prefix("tcpi_") != Some(field.name))
        .map(|field| (field.name, field.c_name))
        .collect();
    let listeners = [("accept_queue", "tcpi_unacked"), ("backlog", "tcpi_sacked")];
    assert_eq!(without_member_of_their_own, listeners);
    assert_eq!(FIELDS.len(), members.len() + listeners.len());
}

#[test]
fn names_and_descriptions_stand_once() {
    let mut names: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
    let mut descriptions: Vec<_> = FIELDS.iter().map(|field| field.description).collect();
    names.sort_unstable();
    descriptions.sort_unstable();
    names.dedup();
    descriptions.dedup();
    assert_eq!((names.len(), descriptions.len()), (FIELDS.len(), FIELDS.len()));
}

/// The size of the member that a projection of the struct reaches.
const fn size_behind<T>(_: fn(&tcp_info) -> &T) -> usize {
    size_of::<T>()
}

macro_rules! members {
    ($($name:ident)+) => {
        [$((stringify!($name), offset_of!(tcp_info, $name), size_behind(|info| &info.$name))),+]
    };
}

#[test]
fn offsets_are_those_of_the_kernels_header() {
    let members = members! {
        tcpi_state tcpi_ca_state tcpi_retransmits tcpi_probes tcpi_backoff tcpi_options tcpi_rto
        tcpi_ato tcpi_snd_mss tcpi_rcv_mss tcpi_unacked tcpi_sacked tcpi_lost tcpi_retrans
        tcpi_fackets tcpi_last_data_sent tcpi_last_ack_sent tcpi_last_data_recv tcpi_last_ack_recv
        tcpi_pmtu tcpi_rcv_ssthresh tcpi_rtt tcpi_rttvar tcpi_snd_ssthresh tcpi_snd_cwnd
        tcpi_advmss tcpi_reordering tcpi_rcv_rtt tcpi_rcv_space tcpi_total_retrans tcpi_pacing_rate
        tcpi_max_pacing_rate tcpi_bytes_acked tcpi_bytes_received tcpi_segs_out tcpi_segs_in
        tcpi_notsent_bytes tcpi_min_rtt tcpi_data_segs_in tcpi_data_segs_out tcpi_delivery_rate
        tcpi_busy_time tcpi_rwnd_limited tcpi_sndbuf_limited tcpi_delivered tcpi_delivered_ce
        tcpi_bytes_sent tcpi_bytes_retrans tcpi_dsack_dups tcpi_reord_seen tcpi_rcv_ooopack
        tcpi_snd_wnd tcpi_rcv_wnd tcpi_rehash tcpi_total_rto tcpi_total_rto_recoveries
        tcpi_total_rto_time
    };
    let end_of_its_kernel = size_of::<tcp_info>();
    let rows: Vec<_> = FIELDS
        .iter()
        .filter(|field| field.c_name.strip_prefix("tcpi_") == Some(field.name))
        .filter(|field| field.offset + field.size <= end_of_its_kernel)
        .filter(|field| !(6..8).contains(&field.offset))
        .map(|field| (field.c_name, field.offset, field.size))
        .collect();
    assert_eq!(rows, members);
    // The bit-fields of bytes 6 and 7 have no offset of their own: they fill this gap.
    assert_eq!(offset_of!(tcp_info, tcpi_options) + 1, 6);
    assert_eq!(offset_of!(tcp_info, tcpi_rto), 8);
    let bits: Vec<_> = FIELDS
        .iter()
        .filter(|field| (6..8).contains(&field.offset))
        .map(|field| (field.name, field.offset))
        .collect();
    let expected = [
        ("snd_wscale", 6),
        ("rcv_wscale", 6),
        ("delivery_rate_app_limited", 7),
        ("fastopen_client_fail", 7),
    ];
    assert_eq!(bits, expected);
}

#[test]
fn replies_longer_than_the_table_decode_their_known_part() {
    let known = decode(&plausible(280), "7.3.0");
    let mut longer = decode(&plausible(512), "7.3.0");
    assert_eq!(longer.reply_len, 512);
    assert_ne!(longer, known);
    assert_eq!(longer.fields().collect::<Vec<_>>(), known.fields().collect::<Vec<_>>());
    assert_eq!(names(&longer), names(&known));
    longer.reply_len = 280;
    assert_eq!(longer.to_string(), known.to_string());
}

#[test]
fn an_empty_reply_is_the_only_error() {
    let error = TcpInfo::decode(&[], &kernel("7.3.0")).expect_err("it does not even say the state");
    assert_eq!(error.to_string(), "tcp_info reply of 0 bytes");
    assert_eq!(error.reply_len, 0);
}
