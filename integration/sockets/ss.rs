//! `ss -tie` of iproute2 6.1 for the same socket: everything it prints, compared with `read`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_congestion;
use tcpinfo::{Congestion, CongestionInfo, State, TcpInfo, TcpOption, congestion, read};

use support::loopback::{Pair, until};
use support::printf::g;

/// One line of `ss`: its columns, and the words behind the arrow by name.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) state: String,
    pub(crate) receive_queue: u64,
    pub(crate) send_queue: u64,
    /// The local address and the peer's.
    pub(crate) addresses: [String; 2],
    /// Who has the socket, and the arrow, which says what was shut down.
    pub(crate) details: Vec<String>,
    pub(crate) words: BTreeMap<String, String>,
}

impl Line {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let mut next = || words.next().unwrap_or_else(|| panic!("a short line: {text}"));
        let state = next().to_owned();
        let [receive_queue, send_queue] =
            [next(), next()].map(|n| n.parse().expect("a queue's length"));
        let addresses = [next(), next()].map(str::to_owned);
        let mut details = Vec::new();
        for word in words.by_ref() {
            details.push(word.to_owned());
            if is_arrow(word) {
                break;
            }
        }
        let mut named = BTreeMap::new();
        while let Some(word) = words.next() {
            let (name, value) = match word {
                "send" | "pacing_rate" | "delivery_rate" => (word, words.next().expect("a rate")),
                _ if word.starts_with("bbr:") => ("its numbers", &word[4..]),
                _ => word.split_once(':').unwrap_or((word, "")),
            };
            let before = named.insert(name.to_owned(), value.to_owned());
            assert_eq!(before, None, "{name} twice: {text}");
        }
        Self { state, receive_queue, send_queue, addresses, details, words: named }
    }
}

/// What `ss` shows of the only socket that `filter` selects.
pub(crate) fn ss(filter: &str) -> Line {
    let command = Command::new("ss").arg("-tieOHn").args(filter.split(' ')).output();
    let output = command.unwrap_or_else(|error| panic!("ss, of iproute2: {error}"));
    let text = String::from_utf8(output.stdout).expect("ss prints text");
    assert_eq!(text.lines().count(), 1, "ss {filter}: {text}");
    Line::parse(&text)
}

fn is_arrow(word: &str) -> bool {
    ["<->", "-->", "<--", "---"].contains(&word)
}

fn millis(time: Duration) -> String {
    g(time.as_micros() as f64 / 1000.0)
}

fn bits(rate: u64) -> String {
    format!("{}bps", rate as f64 * 8.0)
}

/// What `ss` has to print of a socket, apart from what grows while nothing happens.
pub(crate) fn expected(congestion: &Congestion, info: &TcpInfo) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let mut word = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| (name.to_owned(), value)));
    };
    for (option, name) in [
        (TcpOption::Timestamps, "ts"),
        (TcpOption::Sack, "sack"),
        (TcpOption::Ecn, "ecn"),
        (TcpOption::EcnSeen, "ecnseen"),
        (TcpOption::SynData, "fastopen"),
    ] {
        let on = info.options.and_then(|options| options.has(option)) == Some(true);
        word(name, on.then(String::new));
    }
    word(&congestion.algorithm, Some(String::new()));
    // The kernel gives `ss` an algorithm's numbers only in the states before TIME_WAIT.
    let told = congestion.info.as_ref();
    let told = told.filter(|_| info.state.number() < State::TimeWait.number());
    word("its numbers", bbr(told));
    let shifts = info.snd_wscale.zip(info.rcv_wscale);
    word("wscale", shifts.map(|(send, receive)| format!("{send},{receive}")));
    word("rto", info.rto.map(millis));
    let rtt = info.rtt.zip(info.rttvar);
    word("rtt", rtt.map(|(rtt, var)| format!("{}/{}", millis(rtt), millis(var))));
    word("ato", info.ato.map(millis));
    word("rcv_rtt", info.rcv_rtt.map(millis));
    word("minrtt", info.min_rtt.map(millis));
    // Like every number below, `ss` prints a threshold only where it is worth printing.
    word("ssthresh", info.snd_ssthresh.filter(|n| *n < 0xffff).map(|n| n.to_string()));
    word("reordering", info.reordering.filter(|n| *n != 3).map(|n| n.to_string()));
    for (name, number) in [
        ("backoff", info.backoff.map(u64::from)),
        ("mss", info.snd_mss.map(u64::from)),
        ("pmtu", info.pmtu.map(u64::from)),
        ("rcvmss", info.rcv_mss.map(u64::from)),
        ("advmss", info.advmss.map(u64::from)),
        ("cwnd", info.snd_cwnd.map(u64::from)),
        ("bytes_sent", info.bytes_sent),
        ("bytes_retrans", info.bytes_retrans),
        ("bytes_acked", info.bytes_acked),
        ("bytes_received", info.bytes_received),
        ("segs_out", info.segs_out.map(u64::from)),
        ("segs_in", info.segs_in.map(u64::from)),
        ("data_segs_out", info.data_segs_out.map(u64::from)),
        ("data_segs_in", info.data_segs_in.map(u64::from)),
        ("delivered", info.delivered.map(u64::from)),
        ("delivered_ce", info.delivered_ce.map(u64::from)),
        ("unacked", info.unacked.or(info.accept_queue).map(u64::from)),
        ("lost", info.lost.map(u64::from)),
        ("sacked", info.sacked.map(u64::from)),
        ("dsack_dups", info.dsack_dups.map(u64::from)),
        ("fackets", info.fackets.map(u64::from)),
        ("reord_seen", info.reord_seen.map(u64::from)),
        ("rcv_space", info.rcv_space.map(u64::from)),
        ("rcv_ssthresh", info.rcv_ssthresh.map(u64::from)),
        ("notsent", info.notsent_bytes.map(u64::from)),
        ("rcv_ooopack", info.rcv_ooopack.map(u64::from)),
        ("snd_wnd", info.snd_wnd.map(u64::from)),
    ] {
        word(name, number.filter(|number| *number > 0).map(|number| number.to_string()));
    }
    let retransmits = info.retrans.zip(info.total_retrans).filter(|both| *both != (0, 0));
    word("retrans", retransmits.map(|(now, total)| format!("{now}/{total}")));
    word("send", send_rate(info).map(|rate| format!("{rate:.0}bps")));
    let pacing = info.pacing_rate.map(bits);
    let ceiling = info.max_pacing_rate.map(|rate| format!("/{}", bits(rate)));
    word("pacing_rate", pacing.map(|rate| rate + ceiling.as_deref().unwrap_or_default()));
    word("delivery_rate", info.delivery_rate.map(bits));
    word("app_limited", (info.delivery_rate_app_limited == Some(true)).then(String::new));
    words
}

fn bbr(info: Option<&CongestionInfo>) -> Option<String> {
    let Some(CongestionInfo::Bbr(bbr)) = info else { return None };
    let bandwidth = bits(bbr.bandwidth.unwrap_or(0));
    let rtt = millis(bbr.min_rtt.unwrap_or_default());
    let gains: String = [("pacing_gain", bbr.pacing_gain), ("cwnd_gain", bbr.cwnd_gain)]
        .into_iter()
        .filter_map(|(name, gain)| Some(format!(",{name}:{}", g(gain?))))
        .collect();
    Some(format!("(bw:{bandwidth},mrtt:{rtt}{gains})"))
}

/// What `ss` works out itself: a window of full segments each round trip, in bits per second.
fn send_rate(info: &TcpInfo) -> Option<f64> {
    let rtt = info.rtt?.as_micros() as f64;
    Some(8_000_000.0 * f64::from(info.snd_mss?) * f64::from(info.snd_cwnd?) / rtt)
}

/// What grows by itself, in the milliseconds that `ss` prints.
pub(crate) fn growing(info: &TcpInfo) -> [(&'static str, Option<u64>); 6] {
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    [
        ("lastsnd", millis(info.last_data_sent)),
        ("lastrcv", millis(info.last_data_recv)),
        ("lastack", millis(info.last_ack_recv)),
        ("busy", millis(info.busy_time)),
        ("rwnd_limited", millis(info.rwnd_limited)),
        ("sndbuf_limited", millis(info.sndbuf_limited)),
    ]
}

/// The number at the front of `508ms(100.0%)`; a word that `ss` leaves out is a 0.
pub(crate) fn leading(word: Option<String>) -> u64 {
    let word = word.unwrap_or_else(|| "0".into());
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    word[..digits].parse().unwrap_or_else(|error| panic!("{word}: {error}"))
}

/// Compares every word of `ss` with the socket at a moment when two reads around it agree.
fn agrees(socket: impl AsFd, filter: &str, state: &str) -> (Line, TcpInfo) {
    let socket = socket.as_fd();
    let sample = || {
        let info = read(socket).expect("it is a TCP socket");
        let congestion = congestion(socket).expect("a TCP socket has an algorithm");
        (expected(&congestion, &info), info)
    };
    let (want, mut line, before, after) = until("a moment in which nothing happens", || {
        let (want, before) = sample();
        let line = ss(filter);
        let (still, after) = sample();
        (want == still && before.state == after.state).then_some((want, line, before, after))
    });
    for ((name, least), (_, most)) in growing(&before).into_iter().zip(growing(&after)) {
        let shown = leading(line.words.remove(name));
        let range = least.unwrap_or(0)..=most.unwrap_or(0);
        assert!(range.contains(&shown), "{name}: {shown} is not in {range:?}");
    }
    assert_eq!(line.words, want, "ss on the left, tcpinfo on the right");
    assert_eq!(line.state, state);
    (line, after)
}

/// The filter that selects one end of a connection.
pub(crate) fn ends(socket: &TcpStream) -> String {
    let local = socket.local_addr().expect("it is connected").port();
    let peer = socket.peer_addr().expect("it is connected").port();
    format!("sport = :{local} and dport = :{peer}")
}

/// Sends `len` bytes and has them read.
fn transfer(from: &mut TcpStream, to: &mut TcpStream, len: usize) {
    let mut room = vec![1; 30_000.min(len)];
    for start in (0..len).step_by(room.len()) {
        let part = room.len().min(len - start);
        from.write_all(&room[..part]).expect("it is connected");
        to.read_exact(&mut room[..part]).expect("as much was sent");
    }
}

#[test]
#[ignore = "needs ss and tcp_bbr: integration/test.sh"]
fn ss_shows_what_read_does_for_each_algorithm() {
    for algorithm in ["reno", "cubic", "bbr"] {
        let Pair { mut client, mut server, .. } = Pair::connect();
        for socket in [&client, &server] {
            set_tcp_congestion(socket, algorithm).expect("modprobe tcp_bbr");
        }
        let (line, _) = agrees(&client, &ends(&client), "ESTAB");
        assert!(line.words.contains_key(algorithm), "{line:?}");
        transfer(&mut client, &mut server, 5000);
        transfer(&mut server, &mut client, 1_000_000);
        transfer(&mut client, &mut server, 200_000);
        for (socket, sent, received) in
            [(&client, 205_000, 1_000_000), (&server, 1_000_000, 205_000)]
        {
            let (line, info) = agrees(socket, &ends(socket), "ESTAB");
            let retransmitted = info.bytes_retrans.expect("an established connection counts them");
            assert_eq!(info.bytes_sent, Some(sent + retransmitted), "{algorithm}");
            assert_eq!(info.bytes_received, Some(received), "{algorithm}");
            assert_eq!((line.receive_queue, line.send_queue), (0, 0), "{algorithm}");
        }
    }
}

#[test]
#[ignore = "needs ss: integration/test.sh"]
fn ss_shows_what_read_does_of_a_peer_that_does_not_read() {
    let Pair { mut client, server, .. } = Pair::connect();
    client.set_nonblocking(true).expect("it is open");
    let full = until("a full send buffer", || client.write(&[0; 1 << 16]).err());
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    until("a closed window", || {
        let info = read(&client).expect("it is connected");
        let stalled = info.rwnd_limited > Some(Duration::from_millis(100));
        (stalled && info.snd_wnd == Some(0)).then_some(())
    });
    let (line, info) = agrees(&client, &ends(&client), "ESTAB");
    assert!(line.words.contains_key("notsent"), "{line:?}");
    assert!(info.rwnd_limited.is_some_and(|time| time > Duration::from_millis(100)), "{info}");
    assert!(info.rwnd_limited <= info.busy_time, "{info}");
    let (line, info) = agrees(&server, &ends(&server), "ESTAB");
    assert_eq!(info.bytes_received, Some(line.receive_queue));
}

#[test]
#[ignore = "needs ss: integration/test.sh"]
fn ss_shows_the_queue_of_a_listener_in_its_columns() {
    let Pair { listener, .. } = Pair::connect();
    let address = listener.local_addr().expect("it is bound");
    let waiting = [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
    let filter = format!("-l sport = :{}", address.port());
    let (line, info) = agrees(&listener, &filter, "LISTEN");
    assert_eq!(info.state, State::Listen);
    assert_eq!(info.accept_queue, Some(waiting.len() as u32));
    assert_eq!(info.accept_queue.map(u64::from), Some(line.receive_queue));
    assert_eq!(info.backlog.map(u64::from), Some(line.send_queue));
}

#[test]
#[ignore = "needs ss: integration/test.sh"]
fn ss_shows_what_read_does_once_the_peer_has_closed() {
    let Pair { client, mut server, .. } = Pair::connect();
    server.write_all(b"goodbye").expect("it is connected");
    server.shutdown(std::net::Shutdown::Write).expect("it is connected");
    until("the peer's FIN", || {
        let info = read(&client).expect("it is a socket");
        (info.state == State::CloseWait).then_some(())
    });
    let (line, info) = agrees(&client, &ends(&client), "CLOSE-WAIT");
    // The FIN counts 1 in both.
    assert_eq!((info.bytes_received, line.receive_queue), (Some(8), 8));
    until("an acknowledgement of the FIN", || {
        let info = read(&server).expect("it is a socket");
        (info.state == State::FinWait2).then_some(())
    });
    let (_, info) = agrees(&server, &ends(&server), "FIN-WAIT-2");
    assert_eq!((info.bytes_acked, info.notsent_bytes), (Some(8), None));
}
