//! Single sockets: those that a monitor shows one by one.

use crate::panel::{Dashboard, Draw, Panel};
use crate::promql::{rate, series, share, top};

/// Which socket: the cookie, and the address where the monitor shows it.
const SOCKET: &str = "{{network_peer_address}} {{network_peer_port}} #{{tcp_socket_cookie}}";
const SCENE: &str = "single_sockets";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "tcpinfo-sockets",
        title: "TCP, single sockets",
        about: "The ten worst of the sockets that the monitor shows by themselves, in each panel.",
        known_by: "tcp.socket.rtt",
        is_by_attribute: false,
        rows: vec![
            ("Round trips and loss", path()),
            ("What waits, and for whom", waiting()),
            ("Speed", speed()),
        ],
    }
}

fn lines(title: &'static str, unit: &'static str, queries: Vec<(String, &'static str)>) -> Panel {
    let (about, advice, draw) = ("", "", Draw::Lines);
    Panel { title, about, advice, unit, draw, red: None, queries, scene: SCENE }
}

fn path() -> Vec<Panel> {
    let of = |metric| series(metric, "");
    vec![
        Panel {
            about: "Smoothed round-trip time.",
            advice: "compare with the queueing delay beside it: the rest is distance.",
            ..lines("Round-trip time", "s", vec![(top(&of("tcp.socket.rtt")), SOCKET)])
        },
        Panel {
            about: "Round-trip time above its recent minimum: what queues add.",
            advice: "a queue on this one's path is full. Others of the same peer network show it \
                     too, or it is the peer's own link.",
            red: Some(0.2),
            ..lines(
                "Queueing delay",
                "s",
                vec![(
                    top(&format!("({} - {})", of("tcp.socket.rtt"), of("tcp.socket.min_rtt"))),
                    SOCKET,
                )],
            )
        },
        Panel {
            about: "Share of the payload bytes that are retransmits.",
            advice: "this path loses or reorders; `tcpinfo explain` has this socket's verdict.",
            red: Some(0.02),
            ..lines(
                "Sent again",
                "percentunit",
                vec![(
                    top(&share(
                        &rate("tcp.socket.data.retransmitted", ""),
                        &rate("tcp.socket.data.sent", ""),
                    )),
                    SOCKET,
                )],
            )
        },
    ]
}

fn waiting() -> Vec<Panel> {
    let of = |metric| series(metric, "");
    vec![
        Panel {
            about: "Bytes written and not sent, and segments sent and not acknowledged.",
            advice: "much unsent and a send window of 0: the peer does not read.",
            ..lines("Unsent", "bytes", vec![(top(&of("tcp.socket.data.unsent")), SOCKET)])
        },
        Panel {
            about: "Of the last minutes' time with data to send: what held the sender up.",
            advice: "receive_window: the peer reads too slowly. send_buffer: raise SO_SNDBUF.",
            ..lines(
                "Held up by the other side or the buffer",
                "percentunit",
                vec![(
                    top(&rate("tcp.socket.busy.time", "tcp_limited_by!=\"network\"")),
                    "{{tcp_limited_by}} #{{tcp_socket_cookie}}",
                )],
            )
        },
        Panel {
            about: "Timeouts in a row without progress, and probes without an answer.",
            advice: "two or more in a row: nothing is answered, the path or the peer is gone.",
            red: Some(2.0),
            ..lines(
                "Without an answer",
                "short",
                vec![
                    (top(&of("tcp.socket.consecutive_timeouts")), SOCKET),
                    (top(&of("tcp.socket.unanswered_probes")), "probes #{{tcp_socket_cookie}}"),
                ],
            )
        },
    ]
}

fn speed() -> Vec<Panel> {
    let of = |metric| series(metric, "");
    vec![
        Panel {
            about: "Rate at which data was last delivered.",
            advice: "compare with the pacing rate and the windows: the least of them limits.",
            ..lines("Delivery rate", "Bps", vec![(top(&of("tcp.socket.delivery_rate")), SOCKET)])
        },
        Panel {
            about: "Congestion window.",
            advice: "a window that stays below 10 with loss beside it: the path limits.",
            ..lines(
                "Congestion window",
                "short",
                vec![(top(&of("tcp.socket.congestion_window")), SOCKET)],
            )
        },
        Panel {
            about: "The ten least windows that peers offer. 0 stalls the sender.",
            advice: "the peer's program does not read.",
            ..lines(
                "Send window",
                "bytes",
                vec![(format!("bottomk(10, {})", of("tcp.socket.send_window")), SOCKET)],
            )
        },
    ]
}
