//! What a kernel's own header says of its replies, and whether our decoder says the same.
//!
//! The rules below are written against the C members and their values; our table is not asked.

use std::collections::BTreeMap;

use tcpinfo::{FIELDS, FieldValue, Kernel, KernelVersion, TcpInfo};

/// The output of `truth.c` for one kernel.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) big_endian: bool,
    /// `sizeof(struct tcp_info)`.
    pub(crate) size: usize,
    pub(crate) members: Vec<Member>,
    /// Each captured case with its values, in the members' order.
    pub(crate) cases: Vec<(String, Vec<u64>)>,
}

/// Where a member's bits lie.
#[derive(Debug)]
pub(crate) struct Member {
    /// Without `tcpi_`.
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) mask: Vec<u8>,
}

/// Members that only a connection has: zero or left over from another one before the handshake.
const OF_A_CONNECTION: &[&str] = &[
    "options",
    "snd_wscale",
    "rcv_wscale",
    "rcv_mss",
    "last_data_sent",
    "last_data_recv",
    "last_ack_recv",
    "rcv_ssthresh",
    "rtt",
    "rttvar",
    "rcv_rtt",
    "rcv_space",
    "min_rtt",
    "delivery_rate",
    "snd_wnd",
    "rcv_wnd",
    "accecn_opt_seen",
    "accecn_fail_mode",
];

/// Members of a socket that never tried to connect: all others were reset, or are left over.
const OF_ANY_SOCKET: &[&str] = &[
    "state",
    "ca_state",
    "retransmits",
    "probes",
    "backoff",
    "delivery_rate_app_limited",
    "fastopen_client_fail",
    "rto",
    "ato",
    "snd_mss",
    "unacked",
    "sacked",
    "lost",
    "retrans",
    "fackets",
    "snd_ssthresh",
    "snd_cwnd",
    "reordering",
    "total_retrans",
    "pacing_rate",
    "max_pacing_rate",
    "ecn_mode",
    "options2",
];

/// What `tcp_get_info()` fills of a listener, its two queues aside.
const OF_A_LISTENER: &[&str] =
    &["state", "snd_cwnd", "reordering", "pacing_rate", "max_pacing_rate"];

/// What depends on the kernel's age.
struct Rules {
    kernel: Kernel,
    /// Forward acknowledgement was there until 4.15.
    has_fackets: bool,
    /// Listeners say how many connections wait. A kernel that tells nothing of itself is not older.
    has_queues: bool,
}

impl Rules {
    fn of(release: &str) -> Self {
        let kernel = Kernel::from_release(release);
        let version = kernel.version();
        let has_fackets = version.is_some_and(|version| version < KernelVersion::new(4, 15));
        let queues = KernelVersion::new(2, 6).with_patch(24);
        Self { has_fackets, has_queues: version.is_none_or(|version| version >= queues), kernel }
    }

    fn is_dead(&self, member: &str) -> bool {
        member == "last_ack_sent" || member == "fackets" && !self.has_fackets
    }
}

/// Times in milliseconds; all others are in microseconds.
const IN_MILLISECONDS: &[&str] =
    &["last_data_sent", "last_data_recv", "last_ack_recv", "total_rto_time"];

const ESTABLISHED: u64 = 1;
const SYN_SENT: u64 = 2;
const CLOSE: u64 = 7;
const LISTEN: u64 = 10;
/// From the handshake to the end; no kernel shows a number beyond 11.
const CONNECTED: &[u64] = &[1, 3, 4, 5, 6, 8, 9, 11];
/// ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING: bytes can wait to be sent.
const SENDING: &[u64] = &[1, 4, 8, 9, 11];
const INFINITE_SSTHRESH: u64 = 0x7fff_ffff;
const WINDOW_SCALE: u64 = 4;

impl Member {
    fn new(name: &str, offset: &str, mask: &str) -> Self {
        Self {
            name: name.strip_prefix("tcpi_").expect("the struct's prefix").to_owned(),
            offset: offset.parse().expect("a number"),
            mask: bytes(mask),
        }
    }

    /// Length of a reply that has the whole of it.
    ///
    /// Bit-fields in former padding are proved by what came with them, and the last word, where
    /// bits of different members share bytes in one byte order only, as a whole.
    fn end(&self) -> usize {
        let last_word = self.offset >= 276 && self.mask.len() != 2;
        match self.name.as_str() {
            "delivery_rate_app_limited" => 168,
            "fastopen_client_fail" => 232,
            _ if last_word => 280,
            _ => self.offset + self.mask.len(),
        }
    }

    fn mask(&self, big: bool) -> u64 {
        integer(&self.mask, big)
    }

    fn load(&self, reply: &[u8], big: bool) -> u64 {
        let Some(bytes) = reply.get(self.offset..self.offset + self.mask.len()) else { return 0 };
        let mask = self.mask(big);
        (integer(bytes, big) & mask) >> mask.trailing_zeros()
    }

    fn store(&self, reply: &mut [u8], value: u64, big: bool) {
        let bytes = &mut reply[self.offset..self.offset + self.mask.len()];
        let mask = self.mask(big);
        let all = integer(bytes, big) & !mask | value << mask.trailing_zeros() & mask;
        let count = bytes.len();
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (all >> (8 * if big { count - 1 - at } else { at })) as u8;
        }
    }

    /// Values that a decoder which reads other bits does not see: one, the highest bit, all of
    /// them, and bytes that differ.
    fn probes(&self, big: bool) -> Vec<u64> {
        let mask = self.mask(big);
        let most = mask >> mask.trailing_zeros();
        // Open enumerations keep a byte of what was a 16-bit member in 6.18 and 6.19.
        let most = if self.name.starts_with("accecn_") { most.min(0xff) } else { most };
        vec![0, 1, most - (most >> 1), most, most - 1, 0x0102_0304_0506_0708 & most]
    }
}

impl Truth {
    pub(crate) fn parse(text: &str) -> Self {
        let mut truth = Self { big_endian: false, size: 0, members: vec![], cases: vec![] };
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["endian", endian] => truth.big_endian = endian == "big",
                ["size", size] => truth.size = size.parse().expect("a number"),
                ["member", name, offset, mask] => {
                    truth.members.push(Member::new(name, offset, mask));
                }
                ["case", name, ref values @ ..] => {
                    let values = values.iter().map(|value| value.parse().expect("a number"));
                    truth.cases.push((name.to_owned(), values.collect()));
                }
                _ => panic!("truth: {line}"),
            }
        }
        truth
    }

    /// Every difference of a kernel's replies, in the order of the cases, from its header.
    pub(crate) fn judge(&self, release: &str, replies: &[Vec<u8>]) -> Vec<String> {
        let rules = Rules::of(release);
        let mut found = self.differences_of_the_table();
        for (index, ((case, values), reply)) in self.cases.iter().zip(replies).enumerate() {
            let mut differences = self.differences(&rules, reply, values);
            // Every beginning of some replies, not of each: they take their time.
            for len in (1..reply.len()).filter(|len| len % 16 == index % 16) {
                differences.extend(self.differences_of(&rules, &reply[..len]));
            }
            found.extend(differences.into_iter().map(|what| format!("{case}: {what}")));
        }
        if self.cases.is_empty() || self.cases.len() != replies.len() {
            found.push(format!("{} cases, {} replies", self.cases.len(), replies.len()));
        }
        found
    }

    /// Everything in which our table and the header differ, whatever a reply says.
    fn differences_of_the_table(&self) -> Vec<String> {
        let mut found = Vec::new();
        for Member { name, offset, mask } in &self.members {
            let Some(row) = FIELDS.iter().find(|field| field.name == name) else {
                found.push(format!("{name}: the table has no such row"));
                continue;
            };
            // The table's place of these is that of 6.18; 7.0 put them into the last word.
            let moved = name.starts_with("accecn_") && mask.len() == 1;
            let (bits, row) = (*offset..offset + mask.len(), row.offset..row.offset + row.size);
            let whole = mask.iter().all(|byte| *byte == 0xff) && bits.start != 6;
            let shares = bits.start >= row.start && bits.end <= row.end;
            if !moved && (!shares || whole && bits != row && row.start != 276) {
                found.push(format!("{name}: bytes {bits:?} in the header, {row:?} in the table"));
            }
        }
        found
    }

    /// Everything in which our decoder and the header differ about a reply.
    fn differences(&self, rules: &Rules, reply: &[u8], values: &[u64]) -> Vec<String> {
        let mut found = Vec::new();
        if reply.len() != self.size || values.len() != self.members.len() {
            found.push(format!("{} bytes, {} values", reply.len(), values.len()));
        }
        for (member, value) in self.members.iter().zip(values) {
            let loaded = member.load(reply, self.big_endian);
            if loaded != *value {
                found.push(format!("{}: {value} in C, {loaded} by its mask", member.name));
            }
        }
        found.extend(self.differences_of(rules, reply));
        found
    }

    /// The same for replies made of the header alone: every member at every telling value, in
    /// every state that has rules of its own. They are the same wherever the struct is.
    pub(crate) fn differences_of_probes(&self, release: &str) -> Vec<String> {
        let (rules, mut found) = (Rules::of(release), Vec::new());
        for state in [ESTABLISHED, SYN_SENT, CLOSE, LISTEN, 4, 5] {
            let mut base = vec![0; self.size];
            for (name, value) in [("state", state), ("options", 0xff), ("rtt", 1000)] {
                let member = self.members.iter().find(|member| member.name == name);
                member.expect("in every struct").store(&mut base, value, self.big_endian);
            }
            for member in &self.members {
                for value in member.probes(self.big_endian) {
                    let mut reply = base.clone();
                    member.store(&mut reply, value, self.big_endian);
                    let differences = self.differences_of(&rules, &reply);
                    let probe = format!("state {state}, {} {value}", member.name);
                    found.extend(differences.into_iter().map(|what| format!("{probe}: {what}")));
                }
            }
        }
        found
    }

    fn differences_of(&self, rules: &Rules, reply: &[u8]) -> Vec<String> {
        let expected = self.expected(rules, reply);
        let info = TcpInfo::decode(reply, &rules.kernel).expect("the reply is not empty");
        let len = reply.len();
        let ends: BTreeMap<&str, usize> =
            self.members.iter().map(|member| (member.name.as_str(), member.end())).collect();
        let mut found = Vec::new();
        for field in FIELDS {
            let ours = info.get(field).map(|value| raw(field.name, value));
            let theirs = expected.get(field.name).copied();
            if ours != theirs {
                let name = field.name;
                found.push(format!("{name} of {len} bytes: {ours:?} by us, {theirs:?} in C"));
            }
            let member = field.c_name.strip_prefix("tcpi_").expect("the struct's prefix");
            let reported = ends.get(member).is_some_and(|end| *end <= len);
            let of_a_listener = field.name != member;
            let dead = rules.is_dead(member) || of_a_listener && !rules.has_queues;
            if info.supports(field) != (reported && !dead) {
                let ours = info.supports(field);
                found.push(format!("{}: supports() says {ours} at {len} bytes", field.name));
            }
        }
        found
    }

    /// What a reply says by the header and the rules: present fields in the kernel's units.
    fn expected(&self, rules: &Rules, reply: &[u8]) -> BTreeMap<&str, u64> {
        let whole = self.members.iter().filter(|member| member.end() <= reply.len());
        let all: BTreeMap<&str, u64> = whole
            .map(|member| (member.name.as_str(), member.load(reply, self.big_endian)))
            .collect();
        let value = |name| all.get(name).copied().unwrap_or_default();
        let state = value("state");
        // Segments of both directions came with one kernel: half of them is no evidence.
        let tried = all.contains_key("segs_in") && (value("segs_in"), value("segs_out")) != (0, 0);
        let sampled = value("rtt") != 0;
        let connected = CONNECTED.contains(&state) || state == CLOSE && sampled;
        let attempted = connected || state == SYN_SENT || state == CLOSE && tried;
        let reports = |name: &str, value: u64| match name {
            _ if rules.is_dead(name) => false,
            _ if state == LISTEN && !OF_A_LISTENER.contains(&name) => false,
            _ if !connected && state != LISTEN && OF_A_CONNECTION.contains(&name) => false,
            _ if !attempted && state != LISTEN && !OF_ANY_SOCKET.contains(&name) => false,
            "notsent_bytes" => SENDING.contains(&state),
            "snd_wscale" | "rcv_wscale" => all["options"] & WINDOW_SCALE != 0,
            "ato" | "pmtu" | "rtt" | "rcv_rtt" | "delivery_rate" => value != 0,
            "rttvar" => sampled,
            "snd_ssthresh" => value < INFINITE_SSTHRESH,
            "pacing_rate" | "max_pacing_rate" => value != u64::MAX,
            "min_rtt" => value != u64::from(u32::MAX),
            _ => true,
        };
        let listener = [("accept_queue", "unacked"), ("backlog", "sacked")]
            .into_iter()
            .filter(|_| state == LISTEN && rules.has_queues)
            .filter_map(|(ours, member)| Some((ours, *all.get(member)?)));
        let members = all.iter().filter(|(name, value)| reports(name, **value));
        members.map(|(name, value)| (*name, *value)).chain(listener).collect()
    }
}

/// What we decoded, back in the kernel's units.
fn raw(name: &str, value: FieldValue) -> u64 {
    match value {
        FieldValue::Integer(integer) => integer,
        FieldValue::Duration(time) => {
            let unit = if IN_MILLISECONDS.contains(&name) { 1_000_000 } else { 1_000 };
            assert_eq!(time.as_nanos() % unit, 0, "{name}: {time:?}");
            (time.as_nanos() / unit) as u64
        }
        FieldValue::Flag(flag) => flag.into(),
        FieldValue::State(state) => state.number().into(),
        FieldValue::CaState(state) => state.number().into(),
        FieldValue::Options(options) => options.bits().into(),
        FieldValue::FastOpenClientFail(fail) => fail.number().into(),
        FieldValue::EcnMode(mode) => mode.number().into(),
        FieldValue::AccEcnOption(seen) => seen.number().into(),
        FieldValue::AccEcnFailMode(mode) => mode.bits().into(),
        other => panic!("{name}: {other:?} is of a kind that this file does not know"),
    }
}

/// Up to eight bytes as the machine that wrote them reads them.
fn integer(bytes: &[u8], big: bool) -> u64 {
    let add = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
    if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
}

/// The bytes that hexadecimal digits say.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| letter.to_digit(16).expect("hexadecimal digits"))
        .collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
