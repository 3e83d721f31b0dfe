//! `list --json` beside `ss` of iproute2: the same socket, word by word.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::Command;

use serde_json::{Map, Value};
use support::loopback::{Pair, until};
use support::printf::g;

use crate::program::objects;

/// What `ss` prints of each socket with this port, by its cookie: words by name.
fn ss(port: u16) -> BTreeMap<u64, BTreeMap<String, String>> {
    let filter = format!("sport = :{port} or dport = :{port}");
    let mut command = Command::new("ss");
    command.args(["-tinaeOHm"]).args(filter.split(' '));
    let output = command.output().unwrap_or_else(|error| panic!("ss, of iproute2: {error}"));
    let text = String::from_utf8(output.stdout).expect("ss prints text");
    text.lines().map(words).collect()
}

fn words(line: &str) -> (u64, BTreeMap<String, String>) {
    let mut all = line.split_whitespace();
    let mut named = BTreeMap::new();
    for column in ["state", "receive_queue", "send_queue", "local", "peer"] {
        named.insert(column.to_owned(), all.next().expect("five columns").to_owned());
    }
    while let Some(word) = all.next() {
        let (name, value) = match word {
            "send" | "pacing_rate" | "delivery_rate" => (word, all.next().expect("a rate")),
            _ if word.starts_with("bbr:(") => ("its numbers", word),
            _ => word.split_once(':').unwrap_or((word, "")),
        };
        named.insert(name.to_owned(), value.to_owned());
    }
    let cookie = named.remove("sk").expect("option -e");
    (u64::from_str_radix(&cookie, 16).expect("a number"), named)
}

/// What `ss` prints for each of its words that stands for fields, by ours.
fn expected(object: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let mut word = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| (name.to_owned(), value)));
    };
    let number = |name: &str| object[name].as_u64();
    let text = |name: &str| object[name].as_str().map(str::to_owned);
    let millis = |name: &str| Some(g(object[name].as_f64()? * 1000.0));
    let state = match &text("state").expect("a text")[..] {
        "established" => "ESTAB",
        "listen" => "LISTEN",
        other => panic!("a word for {other}"),
    };
    word("state", Some(state.to_owned()));
    for name in ["receive_queue", "send_queue"] {
        word(name, number(name).map(|number| number.to_string()));
    }
    word("local", text("local"));
    word("peer", text("peer").map(|peer| peer.replace("0.0.0.0:0", "0.0.0.0:*")));
    word("ino", number("inode").map(|number| number.to_string()));
    word("uid", number("uid").filter(|uid| *uid > 0).map(|number| number.to_string()));
    let memory = |name: &str| object["memory"][name].as_i64().expect("it was asked for");
    let memory = [
        ("r", "rmem_alloc"),
        ("rb", "rcvbuf"),
        ("t", "wmem_alloc"),
        ("tb", "sndbuf"),
        ("f", "fwd_alloc"),
        ("w", "wmem_queued"),
        ("o", "optmem"),
        ("bl", "backlog"),
        ("d", "drops"),
    ]
    .map(|(short, name)| format!("{short}{}", memory(name)));
    word("skmem", Some(format!("({})", memory.join(","))));
    word(object["congestion"]["algorithm"].as_str().expect("it was asked for"), Some("".into()));
    let options = object["options"].as_array().cloned().unwrap_or_default();
    for (option, name) in [("timestamps", "ts"), ("sack", "sack"), ("ecn", "ecn")] {
        word(name, options.contains(&Value::from(option)).then(String::new));
    }
    let shifts = number("snd_wscale").zip(number("rcv_wscale"));
    word("wscale", shifts.map(|(send, receive)| format!("{send},{receive}")));
    let rtt = millis("rtt").zip(millis("rttvar"));
    word("rtt", rtt.map(|(rtt, var)| format!("{rtt}/{var}")));
    for (name, field) in
        [("rto", "rto"), ("ato", "ato"), ("rcv_rtt", "rcv_rtt"), ("minrtt", "min_rtt")]
    {
        word(name, millis(field));
    }
    for (name, field) in [
        ("mss", "snd_mss"),
        ("rcvmss", "rcv_mss"),
        ("cwnd", "snd_cwnd"),
        ("segs_out", "segs_out"),
        ("notsent", "notsent_bytes"),
        ("unacked", "unacked"),
    ]
    .into_iter()
    .chain(SAME.iter().map(|name| (*name, *name)))
    {
        word(name, number(field).filter(|number| *number > 0).map(|number| number.to_string()));
    }
    // Like every number above, `ss` prints these only where they are worth printing.
    let threshold = number("snd_ssthresh").filter(|number| *number < 0xffff);
    word("ssthresh", threshold.map(|number| number.to_string()));
    let reordering = number("reordering").filter(|number| *number != 3);
    word("reordering", reordering.map(|number| number.to_string()));
    // `ss` also says how many connections wait, and its limit, in columns of its own.
    word("unacked", number("accept_queue").filter(|n| *n > 0).map(|number| number.to_string()));
    for name in ["pacing_rate", "delivery_rate"] {
        word(name, number(name).map(|rate| format!("{}bps", rate as f64 * 8.0)));
    }
    word("app_limited", (object["delivery_rate_app_limited"] == true).then(String::new));
    words
}

/// Words that have the field's name.
const SAME: &[&str] = &[
    "pmtu",
    "advmss",
    "bytes_sent",
    "bytes_retrans",
    "bytes_acked",
    "bytes_received",
    "segs_in",
    "data_segs_out",
    "data_segs_in",
    "delivered",
    "delivered_ce",
    "lost",
    "sacked",
    "dsack_dups",
    "reord_seen",
    "rcv_space",
    "rcv_ssthresh",
    "rcv_ooopack",
    "snd_wnd",
];

#[test]
#[ignore = "needs ss: integration/test.sh"]
fn every_word_of_ss_is_in_the_object() {
    let Pair { mut client, mut server, listener } = Pair::connect();
    client.write_all(&[1; 200_000]).expect("it is connected");
    server.read_exact(&mut [0; 150_000]).expect("as much was sent");
    server.write_all(&[1; 5000]).expect("it is connected");
    let port = listener.local_addr().expect("it is bound").port();
    let ours = || -> BTreeMap<u64, BTreeMap<String, String>> {
        let all = objects(&["--port", &port.to_string()]);
        let cookie = |object: &Map<_, _>| object["cookie"].as_u64().expect("a number");
        all.iter().map(|object| (cookie(object), expected(object))).collect()
    };
    let (mut theirs, ours) = until("a moment in which nothing happens", || {
        let before = ours();
        let theirs = ss(port);
        (before == ours()).then_some((theirs, before))
    });
    // What grows while nothing happens, what `ss` works out itself, and what is compared elsewhere.
    let apart = [
        "lastsnd",
        "lastrcv",
        "lastack",
        "busy",
        "send",
        "<->",
        "cgroup",
        "rwnd_limited",
        "sndbuf_limited",
        "its numbers",
    ];
    for words in theirs.values_mut() {
        words.retain(|name, _| !apart.contains(&&**name));
    }
    // Another test's connection, in TIME_WAIT, can have had this port.
    theirs.retain(|cookie, _| ours.contains_key(cookie));
    assert!(theirs.len() >= 3, "{theirs:?}");
    assert_eq!(theirs, ours, "ss on the left, tcpinfo on the right");
}
