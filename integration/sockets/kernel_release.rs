//! What a reply's length cannot prove and the kernel's release decides: bits in former padding, a
//! word whose layout changed, options, and impostors.

use tcpinfo::{
    AccEcnOption, EcnMode, FIELDS, FastOpenClientFail, Kernel, KernelVersion, TcpInfo, TcpOption,
    TcpOptions,
};

use support::loopback::names;
use support::replies::{decode, field, kernel, plausible, with};

/// Two bytes at 276, two at 278: not valid AccECN numbers, but distinct ones in either layout.
fn last_word(word: u32) -> Vec<u8> {
    with(plausible(280), 276, &word.to_ne_bytes())
}

/// The members at 276: mode, option seen, fail bits, further options.
fn last_members(
    info: &TcpInfo,
) -> (Option<EcnMode>, Option<AccEcnOption>, Option<u8>, Option<u32>) {
    let fail = info.accecn_fail_mode.map(|mode| mode.bits());
    (info.ecn_mode, info.accecn_opt_seen, fail, info.options2)
}

#[test]
fn fast_open_bits_are_proved_by_length_or_release() {
    // In either byte order the two bits hold 1.
    let byte = if cfg!(target_endian = "big") { 0x20 } else { 0x02 };
    let fails = |len, release| {
        let info = decode(&with(plausible(len), 7, &[byte]), release);
        assert_eq!(
            info.supports(field("fastopen_client_fail")),
            info.fastopen_client_fail.is_some()
        );
        info.fastopen_client_fail
    };
    let failed = Some(FastOpenClientFail::CookieUnavailable);
    for (len, release, expected) in [
        (232, "5.4.0", None),
        (232, "5.4.0-200-generic", None),
        (232, "5.4.17-2136.335.4.el8uek.x86_64", None),
        (232, "5.4.279", None),
        (231, "5.4.280", None),
        (232, "5.4.280", failed),
        (232, "5.5.0", failed),
        (232, "5.10.223", failed),
        (232, "6.1.0-56-cloud-amd64", failed),
        (224, "6.1.0", None),
        (231, "6.1.0", None),
        (231, "garbage", None),
        (232, "garbage", None),
        (239, "garbage", None),
        (240, "garbage", failed),
        (240, "5.4.0", failed),
    ] {
        assert_eq!(fails(len, release), expected, "{len} bytes of {release}");
    }
}

#[test]
fn the_app_limited_bit_came_with_the_delivery_rate() {
    for release in ["4.4.0-generic", "4.9.0", "7.3.0", "garbage"] {
        for (len, expected) in [(8, None), (160, None), (167, None), (168, Some(true))] {
            let both = if cfg!(target_endian = "big") { 0x80 } else { 0x01 };
            let info = decode(&with(plausible(len), 7, &[both]), release);
            assert_eq!(info.delivery_rate_app_limited, expected, "{len} bytes of {release}");
        }
    }
}

#[test]
#[cfg(target_endian = "little")]
fn the_word_at_276_has_the_layout_of_its_kernel() {
    // 7.0: mode 2, option seen 1, fail bits 9, further options 0xabcdef; 6.18: two shorts.
    let word = 2 | 1 << 2 | 9 << 4 | 0xabcdef << 8;
    let new = (Some(EcnMode::AccEcn), Some(AccEcnOption::EmptySeen), Some(9), Some(0xabcdef));
    let nothing = (None, None, None, None);
    for release in ["7.0.0", "7.0-rc1", "7.3.4", "8.0.0", "garbage", "2.6.80"] {
        assert_eq!(last_members(&decode(&last_word(word), release)), new, "{release}");
    }
    for release in ["6.18.0", "6.18.44-fc-v669", "6.19.99"] {
        let old = (None, Some(AccEcnOption::FailSeen), Some(9), None);
        assert_eq!(last_members(&decode(&last_word(9 | 3 << 16), release)), old, "{release}");
    }
    // A kernel that had no such member in mainline copied it from one of two.
    for release in ["5.14.0-611.el9.x86_64", "6.12.117", "6.17.13"] {
        assert_eq!(last_members(&decode(&last_word(word), release)), nothing, "{release}");
        assert_eq!(last_members(&decode(&last_word(0), release)), nothing, "{release}");
    }
    assert_eq!(last_members(&decode(&last_word(word)[..279], "7.0.0")), nothing);
}

#[test]
fn a_word_of_zero_means_nothing_unless_the_kernel_is_known() {
    let nothing = (None, None, None, None);
    let not_seen = Some(AccEcnOption::NotSeen);
    assert_eq!(last_members(&decode(&last_word(0), "garbage")), nothing);
    let old = (None, not_seen, Some(0), None);
    assert_eq!(last_members(&decode(&last_word(0), "6.18.44-fc-v669")), old);
    let new = (Some(EcnMode::Disabled), not_seen, Some(0), Some(0));
    assert_eq!(last_members(&decode(&last_word(0), "7.0.0")), new);
}

#[test]
fn support_follows_the_layout_of_the_last_word() {
    let supported = |release| {
        let info = decode(&last_word(0), release);
        let names: Vec<_> = FIELDS
            .iter()
            .filter(|field| field.offset >= 276 && info.supports(field))
            .map(|field| field.name)
            .collect();
        names
    };
    let old = ["accecn_opt_seen", "accecn_fail_mode"];
    let new = ["ecn_mode", "accecn_opt_seen", "accecn_fail_mode", "options2"];
    assert_eq!(supported("6.18.44-fc-v669"), old);
    assert_eq!(supported("7.3.4"), new);
    assert_eq!(supported("garbage"), [""; 0]);
    assert_eq!(supported("5.14.0-611.el9.x86_64"), [""; 0]);
}

#[test]
fn gvisor_reports_the_eight_members_it_fills() {
    let filled =
        ["state", "ca_state", "rto", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "reord_seen"];
    for (release, len) in [("4.19.0-gvisor", 224), ("4.4.0", 224)] {
        let info = decode(&plausible(len), release);
        assert_eq!(names(&info), filled, "{release}");
        let supported: Vec<_> =
            FIELDS.iter().filter(|field| info.supports(field)).map(|field| field.name).collect();
        assert_eq!(supported, filled, "{release}");
        let listener = decode(&with(plausible(len), 0, &[10]), release);
        assert_eq!(names(&listener), filled, "{release}");
    }
    // An older gVisor ended before `reord_seen`.
    assert_eq!(names(&decode(&plausible(192), "4.4.0")), filled[..7]);
    let infinite = with(plausible(224), 76, &0xffff_ffff_u32.to_ne_bytes());
    assert_eq!(decode(&infinite, "4.19.0-gvisor").snd_ssthresh, None);
}

#[test]
fn a_kernel_that_shares_gvisors_number_is_linux() {
    let linux = decode(&plausible(144), "4.4.0-210-generic");
    assert_eq!(names(&linux), names(&decode(&plausible(144), "4.5.0")));
    assert_eq!(linux.segs_in, Some(0x0101_0101));
    assert_eq!(decode(&plausible(224), "4.19.0").bytes_sent, Some(0x0101_0101_0101_0101));
}

#[test]
fn alibabas_4_19_pads_where_snd_wnd_would_be() {
    let info = decode(&plausible(232), "4.19.91-26.al7.x86_64");
    assert_eq!(info.rcv_ooopack, Some(0x0101_0101));
    assert_eq!((info.snd_wnd, info.fastopen_client_fail), (None, None));
    assert!(!info.supports(field("snd_wnd")));
    let mainline = decode(&plausible(232), "5.4.0");
    assert_eq!(mainline.snd_wnd, Some(0x0101_0101));
}

#[test]
fn backports_show_by_length() {
    let last = |len, release| names(&decode(&plausible(len), release)).pop();
    assert_eq!(last(144, "3.10.0-1160.el7.x86_64"), Some("segs_in"));
    assert_eq!(last(248, "6.6.57"), Some("total_rto_time"));
    assert_eq!(last(240, "6.6.56"), Some("rehash"));
    assert_eq!(last(232, "5.14.0-427.el9.x86_64"), Some("snd_wnd"));
    assert_eq!(last(104, "7.3.0"), Some("total_retrans"));
    let rhel_7 = decode(&plausible(144), "3.10.0-1160.el7.x86_64");
    assert_eq!(rhel_7.pacing_rate, Some(0x0101_0101_0101_0101));
    assert_eq!((rhel_7.min_rtt, rhel_7.delivery_rate_app_limited), (None, None));
    assert!(!rhel_7.supports(field("min_rtt")));
}

/// What a kernel says of an option whose bit is clear.
fn clear(len: usize, release: &str, option: TcpOption) -> Option<bool> {
    options(len, release, 0).has(option)
}

fn options(len: usize, release: &str, bits: u8) -> TcpOptions {
    let info = decode(&with(plausible(len), 5, &[bits]), release);
    info.options.expect("six bytes prove the options of a connection")
}

#[test]
fn a_clear_option_is_an_answer_only_where_the_kernel_maintains_it() {
    use TcpOption::{
        Ecn, EcnSeen, Sack, SynData, TfoChild, Timestamps, UsecTimestamps, WindowScale,
    };
    for option in [Timestamps, Sack, WindowScale, Ecn] {
        assert_eq!(clear(92, "2.4.37", option), Some(false), "{option:?}");
    }
    for (len, release, option, expected) in [
        (104, "3.6.11", SynData, None),
        (104, "3.7.0", SynData, Some(false)),
        (104, "2.6.32", EcnSeen, None),
        (104, "garbage", SynData, None),
        (136, "garbage", SynData, Some(false)),
        (144, "3.10.0-1160.el7.x86_64", SynData, Some(false)),
        (240, "6.6.0", UsecTimestamps, None),
        (248, "6.6.57", UsecTimestamps, None),
        (248, "6.7.0", UsecTimestamps, Some(false)),
        (248, "garbage", UsecTimestamps, None),
        (232, "5.14.0-427.el9.x86_64", UsecTimestamps, None),
        (248, "6.15.0", TfoChild, None),
        (248, "6.16.0", TfoChild, Some(false)),
        (280, "6.18.44-fc-v669", TfoChild, Some(false)),
        (280, "garbage", TfoChild, Some(false)),
    ] {
        assert_eq!(clear(len, release, option), expected, "{option:?} in {len} of {release}");
    }
}

#[test]
fn a_set_option_is_an_answer_unless_bbr3_owns_the_bit() {
    let all = "timestamps,sack,window_scale,ecn,ecn_seen,syn_data,usec_timestamps";
    assert_eq!(options(104, "2.6.32", 0xff).to_string(), all);
    assert_eq!(options(248, "6.13.7-2-cachyos", 0xff).to_string(), all);
    assert_eq!(options(280, "6.18.0", 0xff).to_string(), format!("{all},tfo_child"));
    assert_eq!(options(104, "2.6.32", 0).to_string(), "none");
    assert_eq!(options(104, "2.6.32", 0xff).bits(), 0xff);
}

#[test]
fn gvisor_answers_for_no_option() {
    assert_eq!(decode(&plausible(224), "4.19.0-gvisor").options, None);
}

#[test]
fn a_release_that_says_nothing_costs_only_what_length_cannot_prove() {
    let known = decode(&last_word(0), "7.3.0");
    let unknown = decode(&last_word(0), "mystery");
    let missing: Vec<_> =
        names(&known).into_iter().filter(|name| !names(&unknown).contains(name)).collect();
    assert_eq!(missing, ["ecn_mode", "accecn_opt_seen", "accecn_fail_mode", "options2"]);
    let at_232 = |release| names(&decode(&plausible(232), release));
    let mut known = at_232("6.1.0");
    known.retain(|name| *name != "fastopen_client_fail");
    assert_eq!(at_232("mystery"), known);
}

#[test]
fn the_release_is_kept_as_it_was_given() {
    for release in ["6.18.44-fc-v669", "", "mystery", "5.15.153.1-microsoft-standard-WSL2"] {
        assert_eq!(kernel(release).release(), release);
        assert_eq!(kernel(release).to_string(), release);
    }
    assert_eq!(Kernel::running().release(), Kernel::running().to_string());
    assert_eq!(kernel("2.6.39").version(), Some(KernelVersion::new(2, 6).with_patch(39)));
    assert_eq!(kernel("2.6.40").version(), None);
    let masked = kernel("2.6.78-fc-v669");
    assert_eq!((masked.version(), masked.release()), (None, "2.6.78-fc-v669"));
    assert_eq!(kernel("6.6.57").version(), Some(KernelVersion::new(6, 6).with_patch(57)));
}
