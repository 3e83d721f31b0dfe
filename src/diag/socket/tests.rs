//! Replies captured from Linux 6.18, and mutations of them.

use std::time::Duration;

use crate::congestion::CongestionInfo;
use crate::info::tests::bytes;
use crate::netlink::{Answer, Message};

use super::super::abi::{AF_INET6, SOCK_DIAG_BY_FAMILY};
use super::super::ulp::MptcpSubflow;
use super::*;

const EXACT: &str = include_str!("../captures/k6.18_exact_estab.hex");
const DUMP: &str = include_str!("../captures/k6.18_dump_estab_extff.hex");
const BARE: &str = include_str!("../captures/k6.18_dump_estab_ext0.hex");
const LISTEN: &str = include_str!("../captures/k6.18_dump_listen_extff.hex");
const SUBFLOW: &str = include_str!("../captures/k6.18_dump_tcp_mptcp_subflow.hex");
const CLOSED: &str = include_str!("../captures/k6.18_event_destroy_client.hex");

fn kernel() -> Kernel {
    let Ok(kernel) = "6.18.44".parse();
    kernel
}

/// Every socket of a datagram, or the first error.
fn sockets(mut datagram: &[u8]) -> Result<Vec<Socket>, MalformedReply> {
    let mut sockets = Vec::new();
    while !datagram.is_empty() {
        let (message, len) = Message::first(datagram)?;
        if let Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload } = message.answer()? {
            sockets.push(Socket::decode(payload, &kernel())?);
        }
        datagram = &datagram[len..];
    }
    Ok(sockets)
}

fn one(hex: &str) -> Socket {
    let [socket] = sockets(&bytes(hex)).expect("captured").try_into().expect("one socket");
    socket
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The captured connection as an IPv6 socket between these addresses, bound to interface 3.
fn over_ipv6(local: &str, peer: &str) -> Socket {
    let mut datagram = bytes(EXACT);
    datagram[16] = AF_INET6;
    for (at, ip) in [(24, local), (40, peer)] {
        let ip: Ipv6Addr = ip.parse().expect("an IPv6 address");
        datagram[at..at + 16].copy_from_slice(&ip.octets());
    }
    datagram[56] = 3;
    sockets(&datagram).expect("still whole").remove(0)
}

#[test]
fn a_connection_as_linux_6_18_told_it() {
    let socket = one(EXACT);
    let info = socket.info.as_ref().expect("a connection has it");
    assert_eq!((info.state, info.reply_len), (State::Established, 280));
    assert_eq!(info.rtt, Some(Duration::from_micros(47)));
    assert_eq!(info.rttvar, Some(Duration::from_micros(27)));
    assert_eq!((info.snd_cwnd, info.bytes_acked), (Some(11), Some(5001)));
    assert_eq!((info.bytes_received, info.max_pacing_rate), (Some(100), None));
    let congestion = socket.congestion.as_ref().expect("it was asked for");
    let Some(CongestionInfo::Bbr(bbr)) = &congestion.info else {
        panic!("it was a connection with bbr")
    };
    assert_eq!((&*congestion.algorithm, bbr.bandwidth), ("bbr", Some(0x1_406f_387d)));
    assert_eq!(bbr.min_rtt, Some(Duration::from_micros(10)));
    let memory = SocketMemory {
        rmem_alloc: 0,
        rcvbuf: 131_072,
        wmem_alloc: 0,
        sndbuf: 3_939_840,
        fwd_alloc: 0,
        wmem_queued: 0,
        optmem: 0,
        backlog: Some(0),
        drops: Some(0),
    };
    let expected = Socket {
        state: State::Established,
        local: loopback(60948),
        peer: loopback(50179),
        interface: None,
        cookie: 97055,
        uid: Some(0),
        inode: Some(459_726),
        receive_queue: 0,
        send_queue: 0,
        info: socket.info.clone(),
        congestion: socket.congestion.clone(),
        cgroup: Some(1),
        memory: Some(memory),
        shutdown: Some(SocketShutdown { receive: false, send: false }),
        upper_layer: None,
        mark: Some(0),
    };
    assert_eq!(socket, expected);
}

#[test]
fn a_dump_holds_both_ends() {
    let both = sockets(&bytes(DUMP)).expect("captured");
    let told: Vec<_> = both.iter().map(|s| (s.local, s.peer, s.cookie, s.inode)).collect();
    let (server, client) = (loopback(50179), loopback(60948));
    let expected = [(server, client, 97054, Some(459_727)), (client, server, 97055, Some(459_726))];
    assert_eq!(told, expected);
    assert_eq!(both[1], one(EXACT));
    assert_eq!(both[0].info.as_ref().and_then(|info| info.bytes_received), Some(5000));
}

#[test]
fn what_was_not_asked_for_is_absent() {
    let both = sockets(&bytes(BARE)).expect("captured");
    assert_eq!(both.len(), 2);
    for socket in both {
        assert_eq!((socket.info, socket.congestion, socket.memory), (None, None, None));
        // The kernel sends these unasked.
        assert_eq!((socket.cgroup, socket.mark), (Some(1), Some(0)));
    }
}

#[test]
fn a_listener_tells_its_queue_and_backlog() {
    let listener = one(LISTEN);
    assert_eq!((listener.state, listener.local), (State::Listen, loopback(50179)));
    assert_eq!(listener.peer, (Ipv4Addr::UNSPECIFIED, 0).into());
    assert_eq!((listener.receive_queue, listener.send_queue), (0, 5));
    let info = listener.info.expect("listeners have it");
    assert_eq!((info.accept_queue, info.backlog, info.unacked), (Some(0), Some(5), None));
    let congestion = listener.congestion.expect("it was asked for");
    assert_eq!((&*congestion.algorithm, congestion.info), ("bbr", None));
}

#[test]
fn unknown_attributes_are_skipped() {
    let subflow = one(SUBFLOW);
    assert_eq!((subflow.cookie, subflow.inode), (97061, Some(459_735)));
    assert_eq!(subflow.info.and_then(|info| info.bytes_acked), Some(1001));
}

#[test]
fn a_subflow_names_its_connection() {
    let told = one(SUBFLOW).upper_layer.expect("it was captured by root");
    assert_eq!((&*told.name, told.tls), ("mptcp", None));
    let subflow = MptcpSubflow {
        remote_token: Some(0),
        local_token: Some(0x1e95_3200),
        flags: Some(0xc3),
        remote_id: Some(0),
        local_id: Some(0),
    };
    assert_eq!(told.mptcp, Some(subflow));
}

#[test]
fn a_short_attribute_is_an_error_with_its_type() {
    let head = &bytes(EXACT)[16..16 + InetDiagMsg::LEN];
    for (kind, needs) in [(7_u16, 28), (8, 1), (15, 4), (21, 8)] {
        for len in 0..=needs {
            let size = u16::try_from(4 + len).expect("a short attribute");
            let payload = [head, &size.to_ne_bytes(), &kind.to_ne_bytes(), &vec![1; len]].concat();
            let error = Socket::decode(&payload, &kernel()).err();
            assert_eq!(error, (len < needs).then_some(MalformedReply::Content { kind, len }));
        }
    }
}

#[test]
fn a_socket_nobody_holds_has_no_owner() {
    let closed = one(CLOSED);
    assert_eq!((closed.state, closed.uid, closed.inode), (State::Close, None, None));
    assert_eq!((&closed.cgroup, &closed.shutdown, closed.mark), (&None, &None, None));
    assert_eq!(closed.info.and_then(|info| info.bytes_acked), Some(5002));
    let mut kept = bytes(CLOSED);
    kept[80..82].copy_from_slice(&1000_u16.to_ne_bytes());
    assert_eq!(sockets(&kept).expect("still whole")[0].uid, Some(1000));
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mapped = over_ipv6("::ffff:192.0.2.1", "::ffff:198.51.100.2");
    assert_eq!(mapped.local, "192.0.2.1:60948".parse().expect("an address"));
    assert_eq!(mapped.peer, "198.51.100.2:50179".parse().expect("an address"));
    assert_eq!(mapped.interface, Some(3));
    let listener = over_ipv6("::ffff:192.0.2.1", "::");
    assert_eq!(listener.peer.ip(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(over_ipv6("::", "::").local.ip(), Ipv6Addr::UNSPECIFIED);
}

#[test]
fn link_local_addresses_have_their_scope() {
    let socket = over_ipv6("fe80::1", "2001:db8::2");
    let local = SocketAddrV6::new("fe80::1".parse().expect("an address"), 60948, 0, 3);
    assert_eq!(socket.local, local.into());
    assert_eq!(socket.peer, "[2001:db8::2]:50179".parse().expect("an address"));
}

#[test]
fn a_report_of_another_algorithm_is_dropped() {
    let of = |report, name: &str| belongs(report, name);
    assert!(of(INET_DIAG_BBRINFO, "bbr") && of(INET_DIAG_BBRINFO, "brutal"));
    assert!(of(INET_DIAG_DCTCPINFO, "dctcp-reno") && of(INET_DIAG_VEGASINFO, "nv"));
    assert!(!of(INET_DIAG_VEGASINFO, "dctcp") && !of(INET_DIAG_DCTCPINFO, "vegas"));
    assert!(!of(INET_DIAG_VEGASINFO, "bbr") && !of(INET_DIAG_BBRINFO, "dctcp"));
}

#[test]
fn a_shorter_datagram_is_an_error_not_half_a_socket() {
    for hex in [EXACT, DUMP, BARE, LISTEN, SUBFLOW, CLOSED] {
        let whole = bytes(hex);
        let all = sockets(&whole).expect("captured");
        for len in 1..whole.len() {
            match sockets(&whole[..len]) {
                Ok(some) => assert_eq!(some, all[..1], "{len} bytes"),
                Err(malformed) => assert!(
                    matches!(malformed, MalformedReply::Message { room, .. } if room <= len),
                    "{len} bytes: {malformed}"
                ),
            }
        }
    }
}

#[test]
fn a_shorter_payload_is_no_socket() {
    let datagram = bytes(EXACT);
    for len in 0..InetDiagMsg::LEN {
        let error = MalformedReply::Payload { kind: SOCK_DIAG_BY_FAMILY, len };
        assert_eq!(Socket::decode(&datagram[16..16 + len], &kernel()), Err(error));
    }
    let family = [vec![1], vec![0; 71]].concat();
    assert_eq!(Socket::decode(&family, &kernel()), Err(MalformedReply::Family(1)));
    let empty = [&datagram[16..16 + InetDiagMsg::LEN], &[4, 0, 2, 0]].concat();
    let error = Socket::decode(&empty, &kernel()).expect_err("an empty reply");
    assert_eq!(error.to_string(), "tcp_info reply of 0 bytes");
    let twice = [&datagram[16..], &datagram[16 + InetDiagMsg::LEN..]].concat();
    assert_eq!(Socket::decode(&twice, &kernel()), Ok(one(EXACT)));
}

#[test]
fn no_mutation_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut outcomes = [0; 2];
    for hex in [EXACT, DUMP, BARE, LISTEN, SUBFLOW, CLOSED] {
        let whole = bytes(hex);
        for _ in 0..20_000 {
            let mut mutant = whole.clone();
            for _ in 0..=random() % 8 {
                let at = random() % mutant.len();
                mutant[at] = random() as u8;
            }
            outcomes[usize::from(sockets(&mutant).is_ok())] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 1000), "{outcomes:?}");
}
