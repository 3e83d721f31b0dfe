//! Replies of every kernel that `integration/kernels.sh` booted, against that kernel's own header.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use support::replies::{bytes_of, data, decode, kernel, with};

#[path = "../src/truth.rs"]
mod truth;

use truth::Truth;

/// What lies in `integration/data/<release>/`.
struct Captured {
    release: String,
    truth: Truth,
    replies: Vec<Vec<u8>>,
}

/// Every folder of captures, big-endian ones too, oldest kernel first.
fn captured() -> Vec<Captured> {
    let folders = fs::read_dir(data()).expect("the data lie beside this file");
    let mut all: Vec<Captured> = folders
        .filter_map(|entry| {
            let folder = entry.expect("the directory can be read");
            let text = fs::read_to_string(folder.path().join("truth.txt")).ok()?;
            let truth = Truth::parse(&text);
            let release = folder.file_name().into_string().expect("a release is text");
            let reply = |(case, _): &(String, Vec<u64>)| bytes_of(&format!("{release}/{case}.hex"));
            let replies = truth.cases.iter().map(reply).collect();
            Some(Captured { release, truth, replies })
        })
        .collect();
    all.sort_by_key(|captured| kernel(&captured.release).version());
    all
}

/// Fails with the first of the differences.
#[track_caller]
fn none(release: &str, found: Vec<String>) {
    let some: Vec<&str> = found.iter().take(20).map(String::as_str).collect();
    assert!(found.is_empty(), "{release}: {} differences\n  {}\n", found.len(), some.join("\n  "));
}

/// Those in another byte order are replayed by a test of the decoder, in `src/info/tests.rs`, and
/// by a big-endian build, in `integration/kernels.sh`.
#[test]
fn every_reply_and_all_its_beginnings_say_what_the_header_says() {
    let big = cfg!(target_endian = "big");
    let (mut replayed, mut structs) = (0, BTreeSet::new());
    for Captured { release, truth, replies } in captured() {
        if truth.big_endian == big {
            none(&release, truth.judge(&release, &replies));
            replayed += replies.len();
            let members = truth.members.iter().map(|member| member.name.clone());
            if structs.insert(members.collect::<Vec<_>>()) {
                none(&release, truth.differences_of_probes(&release));
            }
        }
    }
    println!("{replayed} replies");
    assert_ne!(replayed, 0, "no kernel of this byte order was captured");
}

#[test]
fn every_size_and_layout_that_debian_boots_was_captured() {
    let layouts: BTreeSet<(usize, bool, bool)> = captured()
        .iter()
        .map(|captured| {
            let version = kernel(&captured.release).version().expect("a folder is a release");
            (captured.truth.size, version.major >= 7, captured.truth.big_endian)
        })
        .collect();
    for layout in [(232, false), (248, false), (280, false), (280, true)] {
        assert!(layouts.contains(&(layout.0, layout.1, false)), "{layout:?}");
    }
    assert!(layouts.iter().any(|(_, _, big)| *big), "no big-endian kernel");
}

#[test]
fn every_captured_file_is_a_case_and_every_case_a_file() {
    for Captured { release, truth, .. } in captured() {
        let files: BTreeSet<String> = fs::read_dir(data().join(&release))
            .expect("it was read before")
            .map(|entry| entry.expect("the directory can be read").file_name())
            .map(|name| name.into_string().expect("ASCII names"))
            .collect();
        let mut cases: BTreeSet<String> =
            truth.cases.iter().map(|(case, _)| format!("{case}.hex")).collect();
        assert_eq!(cases.len(), truth.cases.len(), "{release} has a case twice");
        cases.insert("truth.txt".to_owned());
        assert_eq!(files, cases, "{release}");
    }
}

/// States, options and failures that the captures are for.
#[test]
fn the_captures_have_what_they_are_for() {
    for Captured { release, truth, .. } in captured() {
        let member = |name: &str| truth.members.iter().position(|member| member.name == name);
        let index = |name: &str| member(name).unwrap_or_else(|| panic!("{release}: no {name}"));
        let of: BTreeMap<&str, &Vec<u64>> =
            truth.cases.iter().map(|(case, values)| (case.as_str(), values)).collect();
        let value = |case: &str, name: &str| of[case][index(name)];
        let states: BTreeSet<u64> = of.keys().map(|case| value(case, "state")).collect();
        assert_eq!(states, BTreeSet::from([1, 2, 4, 5, 7, 8, 10]), "{release}");
        assert_eq!(value("listen_2pending", "unacked"), 2, "{release}");
        assert_eq!(value("zero_window_sender", "snd_wnd"), 0, "{release}");
        assert_ne!(value("zero_window_sender", "rwnd_limited"), 0, "{release}");
        assert_eq!(value("estab_client_sent5000", "bytes_sent"), 5000, "{release}");
        assert_eq!(value("close_after_rst", "bytes_acked"), 5001, "{release}");
        assert_eq!(value("close_after_disconnect", "bytes_acked"), 0, "{release}");
        assert_eq!(value("syn_sent_retrans", "total_retrans"), 1, "{release}");
        assert_eq!(value("no_options_client", "options"), 0, "{release}");
        // ECN, and seen.
        assert_eq!(value("ecn_server_received", "options") & 24, 24, "{release}");
        if kernel(&release).version().expect("a folder is a release").major >= 7 {
            assert_eq!(value("ecn_client_sent", "ecn_mode"), 1, "{release}");
            assert_eq!(value("accecn_client_sent", "ecn_mode"), 2, "{release}");
            assert_ne!(value("accecn_client_sent", "accecn_opt_seen"), 0, "{release}");
            assert_ne!(value("accecn_client_sent", "delivered_e0_bytes"), 0, "{release}");
        }
    }
}

/// Kernels that cannot be booted here, whose struct is documented: how long it is, and which
/// members it lacks of those that fit.
const DOCUMENTED: &[(&str, usize, &[&str])] = &[
    ("2.4.37", 92, NO_BITS),
    ("2.6.9", 100, NO_BITS),
    ("2.6.32-754.el6.x86_64", 104, NO_BITS),
    ("3.15.0", 120, NO_BITS),
    ("4.1.0", 136, NO_BITS),
    ("4.4.0-210-generic", 144, NO_BITS),
    ("4.6.0", 160, NO_BITS),
    ("4.9.337", 168, NO_FAST_OPEN),
    ("4.14.336", 192, NO_FAST_OPEN),
    ("4.18.0", 200, NO_FAST_OPEN),
    ("4.19.325", 224, NO_FAST_OPEN),
    ("5.4.279", 232, NO_FAST_OPEN),
    // Stable backport of the bits of 5.5, at the same length.
    ("5.4.280", 232, &[]),
    ("5.15.0", 232, &[]),
    ("6.6.56", 240, &[]),
    // Stable backport of the counters of timeouts of 6.7.
    ("6.6.57", 248, &[]),
    // Members of 3.15 to 4.2, in a 3.10.
    ("3.10.0-1160.el7.x86_64", 144, NO_BITS),
    ("5.14.0-427.el9.x86_64", 232, &[]),
    // Alibaba's: `rcv_ooopack` alone, and padding up to the next multiple of 8.
    ("4.19.91-26.al7.x86_64", 232, &["snd_wnd", "fastopen_client_fail"]),
];

const NO_FAST_OPEN: &[&str] = &["fastopen_client_fail"];
const NO_BITS: &[&str] = &["fastopen_client_fail", "delivery_rate_app_limited"];

#[test]
fn kernels_that_cannot_be_booted_decode_by_their_documented_members() {
    for (release, size, lacks) in DOCUMENTED {
        let newer = captured().into_iter().find(|captured| {
            captured.truth.big_endian == cfg!(target_endian = "big") && captured.truth.size >= 248
        });
        let mut truth = newer.expect("6.12 was captured").truth;
        truth.size = *size;
        truth.members.retain(|member| {
            let ends = member.offset + member.mask.len();
            ends <= *size && !lacks.contains(&member.name.as_str())
        });
        none(release, truth.differences_of_probes(release));
    }
}

/// What gVisor's `getsockopt` fills, of 224 bytes: the rest is zero and no measurement.
#[test]
fn gvisor_says_what_it_fills_and_no_zero_beside() {
    let mut reply = vec![0; 224];
    reply[0] = 1;
    for (offset, value) in [(8, 200_000), (68, 1234), (72, 567), (76, u32::MAX), (80, 10)] {
        reply = with(reply, offset, &u32::to_ne_bytes(value));
    }
    let reply = with(reply, 220, &1_u32.to_ne_bytes());
    for release in ["4.19.0-gvisor", "4.4.0"] {
        let said: Vec<String> = decode(&reply, release)
            .fields()
            .map(|(field, value)| format!("{}={value}", field.name))
            .collect();
        let expected = "state=established ca_state=open rto=200ms rtt=1.234ms rttvar=567us \
                        snd_cwnd=10 reord_seen=1";
        assert_eq!(said.join(" "), expected, "{release}");
    }
}
