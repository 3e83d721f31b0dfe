//! What a congestion control algorithm reports of itself: replies to `TCP_CC_INFO`. Pure.

use std::time::Duration;

/// The congestion control of one socket: the algorithm's name and what it reports.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Congestion {
    /// The algorithm's name, `TCP_CONGESTION`: `cubic`, `bbr`, `reno`, ...
    pub algorithm: String,
    /// What it reports of itself, `None` if that is nothing, as for cubic and reno.
    pub info: Option<CongestionInfo>,
}

/// What an algorithm reports: `union tcp_cc_info`. The algorithm's name decides which it is.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CongestionInfo {
    /// BBR of any version. Since Linux 4.9.
    Bbr(Bbr),
    /// DCTCP. Since Linux 3.18.
    Dctcp(Dctcp),
    /// Vegas, or yeah, illinois, westwood or nv, which use its structure.
    Vegas(Vegas),
    /// Bytes of an algorithm or a version that has no decoder here.
    Other(Vec<u8>),
}

/// `struct tcp_bbr_info`, and what BBRv2 and v3 append to it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Bbr {
    /// Estimated bottleneck bandwidth in bytes per second. Absent without a sample.
    pub bandwidth: Option<u64>,
    /// Least round-trip time of the model. Absent without a sample.
    #[cfg_attr(feature = "serde", serde(serialize_with = "seconds"))]
    pub min_rtt: Option<Duration>,
    /// Gain applied to the pacing rate. Absent before the algorithm set one.
    pub pacing_gain: Option<f64>,
    /// Gain applied to the congestion window. Absent before the algorithm set one.
    pub cwnd_gain: Option<f64>,
    /// What BBRv2 and v3 report in addition.
    pub extension: Option<BbrExtension>,
}

/// What BBRv2 and v3 (out of tree) append to `struct tcp_bbr_info`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BbrExtension {
    /// Long-term upper bound of the bandwidth in bytes per second. Absent while there is none.
    pub bandwidth_high: Option<u64>,
    /// Short-term lower bound of the bandwidth in bytes per second. Absent while there is none.
    pub bandwidth_low: Option<u64>,
    /// The algorithm's mode, its own number.
    pub mode: u8,
    /// Phase of bandwidth probing, its own number.
    pub phase: u8,
    /// Version of the algorithm.
    pub version: u8,
    /// Short-term bound of data in flight in segments. Absent while there is none.
    pub inflight_low: Option<u32>,
    /// Long-term bound of data in flight in segments. Absent while there is none.
    pub inflight_high: Option<u32>,
    /// Estimated excess of acknowledged segments, an allowance for ACK aggregation.
    pub extra_acked: u32,
}

/// `struct tcp_dctcp_info`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Dctcp {
    /// Whether it works as DCTCP. Without ECN it falls back to reno, and reports zeros.
    pub enabled: bool,
    /// Whether the last segment carried a congestion mark.
    pub ce_state: bool,
    /// Estimated share of marked bytes, in 1/1024.
    pub alpha: u32,
    /// Bytes acknowledged with a congestion mark in the current window.
    pub ab_ecn: u32,
    /// Bytes acknowledged in the current window.
    pub ab_tot: u32,
}

/// `struct tcpvegas_info`. Each algorithm that uses it gives the members its own meaning.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Vegas {
    /// Whether the algorithm is active.
    pub enabled: bool,
    /// Round trips measured, or the algorithm's own count.
    pub rttcnt: u32,
    /// Last or average round-trip time. Absent without a sample.
    #[cfg_attr(feature = "serde", serde(serialize_with = "seconds"))]
    pub rtt: Option<Duration>,
    /// Least round-trip time. Absent without a sample.
    #[cfg_attr(feature = "serde", serde(serialize_with = "seconds"))]
    pub min_rtt: Option<Duration>,
}

impl Congestion {
    /// Decodes a reply to `TCP_CC_INFO` of the named algorithm.
    ///
    /// The name decides how, because replies of vegas and dctcp are both 16 bytes. A reply that
    /// does not fit the name is kept as bytes.
    pub fn decode(algorithm: &str, reply: &[u8]) -> Self {
        let words = |at: usize| word(reply, at);
        let info = match (algorithm, reply.len()) {
            (_, 0) => None,
            ("bbr" | "bbr2" | "bbr3" | "bbr1", 20 | 52) => Some(CongestionInfo::Bbr(Bbr {
                bandwidth: Some(long(words(0), words(4))).filter(|bandwidth| *bandwidth > 0),
                min_rtt: sample(words(8)),
                pacing_gain: gain(words(12)),
                cwnd_gain: gain(words(16)),
                extension: (reply.len() == 52).then(|| extension(reply)),
            })),
            ("dctcp" | "dctcp-reno", 16) => Some(CongestionInfo::Dctcp(Dctcp {
                enabled: half(reply, 0) != 0,
                ce_state: half(reply, 2) != 0,
                alpha: words(4),
                ab_ecn: words(8),
                ab_tot: words(12),
            })),
            ("vegas" | "yeah" | "illinois" | "westwood" | "nv", 16) => {
                Some(CongestionInfo::Vegas(Vegas {
                    enabled: words(0) != 0,
                    rttcnt: words(4),
                    rtt: sample(words(8)),
                    min_rtt: sample(words(12)),
                }))
            }
            _ => Some(CongestionInfo::Other(reply.to_vec())),
        };
        Self { algorithm: algorithm.to_owned(), info }
    }
}

fn extension(reply: &[u8]) -> BbrExtension {
    let bound = |value: u64| Some(value).filter(|value| *value != u64::MAX);
    let inflight = |value: u32| Some(value).filter(|value| *value != u32::MAX);
    BbrExtension {
        bandwidth_high: bound(long(word(reply, 20), word(reply, 24))),
        bandwidth_low: bound(long(word(reply, 28), word(reply, 32))),
        mode: reply[36],
        phase: reply[37],
        version: reply[39],
        inflight_low: inflight(word(reply, 40)),
        inflight_high: inflight(word(reply, 44)),
        extra_acked: word(reply, 48),
    }
}

/// A 32-bit word. The caller has checked the length.
fn word(reply: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]])
}

fn half(reply: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([reply[at], reply[at + 1]])
}

fn long(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// A round-trip time in microseconds: 0 before the first sample, `!0` or 0x7fffffff at the start.
fn sample(micros: u32) -> Option<Duration> {
    (micros != 0 && micros < 0x7fff_ffff).then(|| Duration::from_micros(micros.into()))
}

/// A gain in 1/256. No gain of the algorithm is 0.
fn gain(raw: u32) -> Option<f64> {
    (raw != 0).then(|| f64::from(raw) / 256.0)
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&time.map(|time| time.as_secs_f64()), serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn bbr_of_mainline() {
        let reply = words(&[0x1234_5678, 1, 38, 739, 512]);
        let bbr = Bbr {
            bandwidth: Some(0x1_1234_5678),
            min_rtt: Some(Duration::from_micros(38)),
            pacing_gain: Some(739.0 / 256.0),
            cwnd_gain: Some(2.0),
            extension: None,
        };
        let expected = Congestion { algorithm: "bbr".into(), info: Some(CongestionInfo::Bbr(bbr)) };
        assert_eq!(Congestion::decode("bbr", &reply), expected);
    }

    #[test]
    fn bbr_before_its_first_sample_has_no_bandwidth() {
        let Some(CongestionInfo::Bbr(bbr)) = Congestion::decode("bbr", &[0; 20]).info else {
            panic!("20 bytes of bbr are its mainline reply")
        };
        assert_eq!((bbr.bandwidth, bbr.min_rtt, bbr.extension), (None, None, None));
    }

    #[test]
    fn bbr_of_google() {
        let mut reply = words(&[10, 0, 20, 256, 512, 30, 1, u32::MAX, u32::MAX, 0, 7, u32::MAX, 9]);
        reply[36..40].copy_from_slice(&[2, 5, 0, 3]);
        let Some(CongestionInfo::Bbr(bbr)) = Congestion::decode("bbr3", &reply).info else {
            panic!("52 bytes of bbr are BBRv3's reply")
        };
        let extension = BbrExtension {
            bandwidth_high: Some(0x1_0000_001e),
            bandwidth_low: None,
            mode: 2,
            phase: 5,
            version: 3,
            inflight_low: Some(7),
            inflight_high: None,
            extra_acked: 9,
        };
        assert_eq!(bbr.extension, Some(extension));
    }

    #[test]
    fn the_name_tells_dctcp_from_vegas() {
        let reply = words(&[1, 2, 3, 4]);
        let dctcp = Congestion::decode("dctcp", &reply).info;
        assert!(matches!(dctcp, Some(CongestionInfo::Dctcp(Dctcp { alpha: 2, ab_tot: 4, .. }))));
        let vegas = Congestion::decode("vegas", &reply).info;
        assert!(matches!(vegas, Some(CongestionInfo::Vegas(Vegas { rttcnt: 2, .. }))));
    }

    #[test]
    fn what_does_not_fit_the_name_is_kept_raw() {
        assert_eq!(Congestion::decode("cubic", &[]).info, None);
        for (algorithm, len) in [("bbr", 19), ("bbr", 24), ("dctcp", 15), ("mystery", 3)] {
            let reply = vec![7; len];
            let info = Congestion::decode(algorithm, &reply).info;
            assert_eq!(info, Some(CongestionInfo::Other(reply)), "{algorithm} {len}");
        }
    }
}
