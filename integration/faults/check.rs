//! Everything that was told of a connection, compared: with what a fault should do, with what the
//! path counted, with the kernel's own counters and with `ss`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use tcpinfo::{FIELDS, Field, FieldKind, Watched};

use super::relay::Both;
use super::scene::{ENDS, End, Scene};
use super::tally::Tally;
use crate::sockets::ss::leading;

type Range = RangeInclusive<f64>;
type Named<T> = Vec<(&'static str, T)>;

/// What moves beside what every transfer moves. All that is not named here must not.
#[derive(Clone, Default)]
pub(crate) struct Expected {
    /// Counters, for the sender and for the receiver.
    counters: Both<Named<Range>>,
    /// Between which bounds the middle sample of the sender's histograms lies.
    middles: Named<(f64, f64)>,
    /// Histograms of the sender without any sample.
    empty: Vec<&'static str>,
    /// Gauges of the sender.
    gauges: Named<f64>,
}

impl Expected {
    pub(crate) fn sender(mut self, series: &'static str, range: Range) -> Self {
        self.counters[0].push((series, range));
        self
    }

    pub(crate) fn receiver(mut self, series: &'static str, range: Range) -> Self {
        self.counters[1].push((series, range));
        self
    }

    /// Most samples are above the one and at most the other, both of them bounds of buckets.
    pub(crate) fn middle(mut self, series: &'static str, above: f64, most: f64) -> Self {
        self.middles.push((series, (above, most)));
        self
    }

    pub(crate) fn empty(mut self, series: &'static str) -> Self {
        self.empty.push(series);
        self
    }

    pub(crate) fn gauge(mut self, name: &'static str, value: f64) -> Self {
        self.gauges.push((name, value));
        self
    }
}

/// Exactly this many.
pub(crate) fn just(count: u64) -> Range {
    count as f64..=count as f64
}

/// Any number up to this.
pub(crate) fn up_to(count: u64) -> Range {
    0.0..=count as f64
}

/// What every transfer moves: compared with other witnesses below.
const TRAFFIC: Both<&[&str]> = [
    &[
        "data.acked",
        "busy.time{network}",
        "connection.opened",
        "data_segment.sent",
        "segment.delivered",
        "segment.received",
        "segment.sent",
        "data.sent",
    ],
    &[
        "connection.opened",
        "data_segment.received",
        "data.received",
        // The SYN-ACK.
        "segment.delivered",
        "segment.received",
        "segment.sent",
    ],
];

/// Where the middle sample lies unless a fault moves it. The relay of a machine that is busy is
/// late by tens of milliseconds, which is a queue too.
const CALM: &[(&str, (f64, f64))] =
    &[("min_rtt", (0.0, 0.025)), ("queueing_delay", (0.0, 0.1)), ("rtt", (0.0, 0.1))];

/// Gauges that stay as they are unless a fault moves them.
const STEADY: &[(&str, f64)] = &[
    ("advertised_mss", 1448.0),
    ("backoff", 0.0),
    ("consecutive_timeouts", 0.0),
    ("path_mtu", 1500.0),
    ("send_mss", 1448.0),
    ("unanswered_probes", 0.0),
];

impl Scene {
    /// Compares once nothing is under way any more. All witnesses agree, however late the machine
    /// is; what a late one can bring about is an error.
    #[track_caller]
    pub(crate) fn check(mut self, expected: &Expected) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let (exported, tallies) = (self.collect(), self.tallies());
            let mut wrong = self.agrees_with_path(&exported, &tallies);
            wrong.extend(self.agrees_with_kernel(&exported));
            wrong.extend(self.agrees_with_ss(&exported));
            wrong.extend(self.levels_are_steady(&exported, expected));
            let mut late = self.moved(&exported, expected);
            late.extend(middles(&exported[0], expected));
            let is_still = self.tallies() == tallies;
            // Some acknowledgement was delayed, and came between two of the questions.
            let waited = start.elapsed() > Duration::from_secs(2);
            if wrong.is_empty() && (late.is_empty() || waited && is_still) {
                self.say_what_is_missing();
                self.close(&exported);
                return if late.is_empty() { Ok(()) } else { Err(late.join("; ")) };
            }
            assert!(
                !waited || !is_still,
                "\n  {}\n{exported:#?}\n{tallies:#?}",
                wrong.join("\n  ")
            );
        }
    }

    /// Says which counters this kernel does not have.
    fn say_what_is_missing(&mut self) {
        let info = self.sender().info().expect("it is open");
        let counters = FIELDS.iter().filter(|field| field.kind == FieldKind::Counter);
        let missing: Vec<_> =
            counters.filter(|field| !info.supports(field)).map(|field| field.name).collect();
        if !missing.is_empty() {
            println!("SKIPPED: not on this kernel: {}", missing.join(" "));
        }
    }

    /// Counters are where they are expected, and 0 where nothing is.
    pub(crate) fn moved(&self, exported: &Both<End>, expected: &Expected) -> Vec<String> {
        let mut findings = Vec::new();
        for end in 0..2 {
            let named = &expected.counters[end];
            for (series, value) in &exported[end].counters {
                let range = named.iter().find(|(name, _)| name == series);
                let is_right = match range {
                    Some((_, range)) => range.contains(value),
                    None => *value == 0.0 || TRAFFIC[end].contains(&series.as_str()),
                };
                let range = range.map(|(_, range)| range);
                if !is_right {
                    findings.push(format!("{} {series}: {value}, not {range:?}", ENDS[end]));
                }
            }
            for (series, _) in named {
                self.look_up(exported, end, series, &mut findings);
            }
        }
        findings
    }

    /// A counter's value; it may only be absent where the kernel does not have it.
    fn look_up(
        &self,
        exported: &Both<End>,
        end: usize,
        series: &str,
        findings: &mut Vec<String>,
    ) -> Option<f64> {
        let value = exported[end].counters.get(series).copied();
        let stem = series.split('{').next();
        let field = FIELDS.iter().find(|field| field.stem == stem);
        let is_known = |field: &Field| {
            let info = self.sockets[end].as_ref().map(Watched::info);
            info.is_some_and(|info| info.expect("it is open").supports(field))
        };
        if value.is_none() && field.is_none_or(is_known) {
            findings.push(format!("{} {series} is absent", ENDS[end]));
        }
        value
    }

    /// Compares counters, each a series of an end with the number of a witness.
    pub(crate) fn compare(
        &self,
        exported: &Both<End>,
        witness: &str,
        all: impl IntoIterator<Item = (usize, &'static str, u64)>,
    ) -> Vec<String> {
        let mut findings = Vec::new();
        for (end, series, told) in all {
            let value = self.look_up(exported, end, series, &mut findings);
            if value.is_some_and(|value| value != told as f64) {
                let end = ENDS[end];
                findings.push(format!("{end} {series}: {value:?}, {told} says {witness}"));
            }
        }
        findings
    }

    fn agrees_with_path(&self, exported: &Both<End>, tallies: &Both<Tally>) -> Vec<String> {
        let [there, back] = tallies;
        let all = [
            // The SYN counts 1.
            (0, "data.acked", there.fresh.all + 1),
            (0, "data_segment.sent", there.data),
            (0, "data.retransmitted", there.again_bytes),
            (0, "segment.received", back.handed),
            (0, "segment.retransmitted", there.again),
            (0, "segment.sent", there.packets),
            (0, "data.sent", there.bytes),
            (1, "data_segment.received", there.handed_data),
            (1, "data.received", there.fresh.all),
            (1, "ecn.data.received{ce}", there.fresh.ce),
            (1, "ecn.data.received{ect0}", there.fresh.ect0),
            (1, "segment.out_of_order", there.out_of_order),
            (1, "segment.received", there.handed),
            // The SYN-ACK was the listener's.
            (1, "segment.sent", back.packets - 1),
            (1, "ecn.segment.received", there.ce),
        ];
        let mut findings = self.compare(exported, "the path", all);
        if [self.written, self.read] != [there.fresh.all; 2] {
            findings.push(format!("{} bytes written, {} read", self.written, self.read));
        }
        findings
    }

    fn agrees_with_kernel(&self, exported: &Both<End>) -> Vec<String> {
        let nstat = self.nstat();
        let all = [
            (0, "reorderings", &["TcpExtTCPTSReorder", "TcpExtTCPSACKReorder"][..]),
            (0, "segment.delivered", &["TcpExtTCPDelivered"]),
            (0, "ecn.segment.delivered", &["TcpExtTCPDeliveredCE"]),
            (0, "segment.received", &["TcpInSegs"]),
            (0, "segment.retransmitted", &["TcpRetransSegs"]),
            (0, "segment.sent", &["TcpOutSegs", "TcpRetransSegs"]),
            (0, "segment.spurious", &["TcpExtTCPDSACKRecv", "TcpExtTCPDSACKOfoRecv"]),
            (0, "timeouts", &["TcpExtTCPTimeouts"]),
            (1, "segment.out_of_order", &["TcpExtTCPOFOQueue"]),
            (1, "ecn.segment.received", &["IpExtInCEPkts"]),
        ];
        let sum = |end: usize, names: &[&str]| names.iter().map(|name| nstat[end][*name]).sum();
        self.compare(
            exported,
            "nstat",
            all.map(|(end, series, names)| (end, series, sum(end, names))),
        )
    }

    fn agrees_with_ss(&self, exported: &Both<End>) -> Vec<String> {
        let mut findings = Vec::new();
        for (end, line) in self.ss().into_iter().enumerate() {
            let word = |name: &str| line.words.get(name).cloned();
            let busy = ["network", "receive_window", "send_buffer"]
                .map(|part| exported[end].counters.get(&format!("busy.time{{{part}}}")).copied());
            let busy: f64 = busy.into_iter().flatten().sum();
            let shown = leading(word("busy"));
            if (busy * 1000.0 - shown as f64).abs() > 1.0 {
                findings.push(format!("{} busy.time: {busy}, {shown}ms says ss", ENDS[end]));
            }
            let now_and_ever = word("retrans").unwrap_or_else(|| "0/0".into());
            let ever = now_and_ever.split('/').nth(1).map(str::to_owned);
            let all = [
                ("data.acked", word("bytes_acked")),
                ("data_segment.received", word("data_segs_in")),
                ("data_segment.sent", word("data_segs_out")),
                ("data.received", word("bytes_received")),
                ("reorderings", word("reord_seen")),
                ("data.retransmitted", word("bytes_retrans")),
                ("segment.delivered", word("delivered")),
                ("ecn.segment.delivered", word("delivered_ce")),
                ("segment.out_of_order", word("rcv_ooopack")),
                ("segment.received", word("segs_in")),
                ("segment.retransmitted", ever),
                ("segment.sent", word("segs_out")),
                ("segment.spurious", word("dsack_dups")),
                ("data.sent", word("bytes_sent")),
            ];
            let all = all.map(|(series, word)| (end, series, leading(word)));
            findings.extend(self.compare(exported, "ss", all));
        }
        findings
    }

    fn levels_are_steady(&self, exported: &Both<End>, expected: &Expected) -> Vec<String> {
        let mut findings = Vec::new();
        for (end, gauges) in self.gauges().into_iter().enumerate() {
            let mut want: BTreeMap<_, _> = STEADY.iter().copied().collect();
            want.extend(expected.gauges.iter().filter(|_| end == 0).copied());
            for (name, want) in want {
                if gauges.get(name) != Some(&want) {
                    findings.push(format!(
                        "{} {name}: {:?}, not {want}",
                        ENDS[end],
                        gauges.get(name)
                    ));
                }
            }
            let levels = exported[end].levels.iter();
            let is_verdict = |name: &&String| name.starts_with("connection.verdict{");
            let judged: f64 = levels.clone().filter(|(it, _)| is_verdict(it)).map(|it| it.1).sum();
            assert_eq!(judged, 1.0, "{:?}", exported[end].levels);
            let wrong = levels.filter(|(name, _)| !is_verdict(name)).filter(|(name, value)| {
                let want = if *name == "connection.count{established}" { 1.0 } else { 0.0 };
                **value != want
            });
            findings.extend(wrong.map(|(name, value)| format!("{} {name}: {value}", ENDS[end])));
        }
        findings
    }

    /// Totals outlive the connection: the path is shut, so that its end is no traffic.
    pub(crate) fn close(&mut self, exported: &Both<End>) {
        self.relay.set_hole(true);
        self.sockets = [None, None];
        for (after, before) in self.collect().into_iter().zip(exported) {
            let mut want = before.counters.clone();
            want.insert("connection.closed".to_owned(), 1.0);
            assert_eq!(after.counters, want);
            assert_eq!(after.levels.values().sum::<f64>(), 0.0);
            assert_eq!(after.buckets["connection.duration"].iter().map(|(_, n)| n).sum::<u64>(), 1);
        }
    }
}

fn middles(sender: &End, expected: &Expected) -> Vec<String> {
    let mut want: BTreeMap<_, _> = CALM.iter().copied().collect();
    want.extend(expected.middles.iter().copied());
    let wrong = want.into_iter().filter_map(|(name, (above, most))| {
        let buckets = sender.buckets.get(name).map_or(&[][..], Vec::as_slice);
        let within = |(bound, _): &&(f64, u64)| *bound > above && *bound <= most;
        let inside: u64 = buckets.iter().filter(within).map(|(_, count)| count).sum();
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        let text = || format!("{inside} of {all} samples of {name} within {above}..={most}");
        (2 * inside <= all).then(text)
    });
    let full = expected.empty.iter().filter(|name| sender.buckets.contains_key(**name));
    wrong.chain(full.map(|name| format!("{name} has samples"))).collect()
}
