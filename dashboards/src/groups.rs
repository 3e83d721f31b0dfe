//! The overview: what the groups of a service do, and what limits them.

use crate::panel::{COMPLAINTS, Dashboard, Draw, Panel};
use crate::promql::{heat, quantile, rate, ratio, series, share, sum, sum_rate};

const VERDICT: &str = "tcp.connection.verdict";

/// Which verdicts are complaints, as a label.
fn complaints() -> String {
    let names: Vec<&str> = COMPLAINTS.iter().map(|(name, _)| *name).collect();
    format!("tcp_verdict=~\"{}\"", names.join("|"))
}

/// Connections with a complaint among those that were judged: 0 where there is none.
pub(crate) fn trouble(by: &str) -> String {
    let judged = sum(by, &series(VERDICT, "tcp_verdict!=\"too_little\""));
    let troubled = sum(by, &series(VERDICT, &complaints()));
    share(&format!("({troubled} or 0 * {judged})"), &judged)
}

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "tcpinfo-groups",
        title: "TCP by group",
        about: "What every group of connections does, and what limits it.",
        known_by: "tcp.connection.opened",
        is_by_attribute: true,
        rows: vec![
            ("Is it the network, the other side, or us?", verdicts()),
            ("Traffic", traffic()),
            ("Round trips", round_trips()),
            ("Loss", loss()),
            ("Connections", connections()),
            ("The monitor itself", monitor()),
        ],
    }
}

fn verdicts() -> Vec<Panel> {
    let troubled = series(VERDICT, &complaints());
    vec![
        Panel {
            title: "What limits the connections",
            about: "Live connections by verdict. Green, blue and grey are no complaints: most \
                    connections are limited by their programs.",
            advice: "the colour says where to look: loss and queue are the path, receive_window \
                     and refused the other side, send_buffer and accept_queue this program, \
                     stalled and unreachable a dead path or peer. See docs/symptoms/README.md.",
            unit: "short",
            draw: Draw::Stack,
            red: None,
            queries: vec![(sum("tcp_verdict", &series(VERDICT, "")), "{{tcp_verdict}}")],
            scene: "good_bulk",
        },
        Panel {
            title: "Share in trouble, by group",
            about: "Connections with a complaint among those that did enough to be judged.",
            advice: "find the group here, and its verdict in the panel beside this one.",
            unit: "percentunit",
            draw: Draw::Lines,
            red: Some(0.25),
            queries: vec![(trouble("$by"), "{{$by}}")],
            scene: "random_loss",
        },
        Panel {
            title: "Complaints, by group",
            about: "Connections with a complaint, by group and verdict.",
            advice: "open the runbook of the verdict: docs/runbooks.md.",
            unit: "short",
            draw: Draw::Lines,
            red: None,
            queries: vec![(
                format!("{} > 0", sum("$by, tcp_verdict", &troubled)),
                "{{$by}} {{tcp_verdict}}",
            )],
            scene: "random_loss",
        },
        Panel {
            title: "Who holds the senders up",
            about: "Of the time with data to send: what the sender waited for. It is time, where \
                    a verdict is a count of connections.",
            advice: "receive_window: the peers read too slowly. send_buffer: raise SO_SNDBUF or \
                     tcp_wmem. network: the path takes no more, which is normal for bulk.",
            unit: "percentunit",
            draw: Draw::Stack,
            red: None,
            queries: vec![(
                format!(
                    "{}\n/ ignoring (tcp_limited_by) group_left () ({} > 0)",
                    sum_rate("tcp_limited_by", "tcp.busy.time"),
                    sum("", &rate("tcp.busy.time", ""))
                ),
                "{{tcp_limited_by}}",
            )],
            scene: "slow_reader",
        },
        Panel {
            title: "Waiting for the receiver, by group",
            about: "Of the time with data to send: the share in which the peer's window was shut.",
            advice: "the peers do not read: look at their CPU and what they wait for.",
            unit: "percentunit",
            draw: Draw::Lines,
            red: Some(0.9),
            queries: vec![(
                share(
                    &sum("$by", &rate("tcp.busy.time", "tcp_limited_by=\"receive_window\"")),
                    &sum_rate("$by", "tcp.busy.time"),
                ),
                "{{$by}}",
            )],
            scene: "slow_reader",
        },
        Panel {
            title: "Waiting in the send queue",
            about: "Bytes that programs have written and the kernel has not sent yet.",
            advice: "it grows without end where a path or a peer is gone: see the stalled ones.",
            unit: "bytes",
            draw: Draw::Lines,
            red: None,
            queries: vec![(sum("$by", &series("tcp.data.unsent", "")), "{{$by}}")],
            scene: "slow_reader",
        },
    ]
}

fn traffic() -> Vec<Panel> {
    let lines = |title, about, advice, metric, scene| Panel {
        title,
        about,
        advice,
        unit: "Bps",
        draw: Draw::Lines,
        red: None,
        queries: vec![(sum_rate("$by", metric), "{{$by}}")],
        scene,
    };
    vec![
        lines(
            "Sent",
            "Payload bytes a second, retransmits included.",
            "a fall to nothing with connections open is a stall: compare with the verdicts.",
            "tcp.data.sent",
            "good_bulk",
        ),
        lines(
            "Received",
            "Payload bytes a second, in order.",
            "a fall to nothing says that the peers stopped, or the path did.",
            "tcp.data.received",
            "think_time",
        ),
        Panel {
            title: "Delivery rate of one connection",
            about: "How fast data was delivered, half of the samples and one in a hundred faster; \
                    without samples that the program limited.",
            advice: "the path or the receiver became slower: compare with the round trips.",
            unit: "Bps",
            draw: Draw::Lines,
            red: None,
            queries: vec![
                (quantile("0.5", "$by", "tcp.delivery_rate"), "{{$by}} half"),
                (quantile("0.99", "$by", "tcp.delivery_rate"), "{{$by}} 99 %"),
            ],
            scene: "random_loss",
        },
    ]
}

fn round_trips() -> Vec<Panel> {
    vec![
        Panel {
            title: "Round-trip time",
            about: "Samples of all connections, by time and height. Two bands are two kinds of \
                    peers.",
            advice: "a band that rises as a whole is a path that became longer or fuller; one \
                     that smears upwards is a queue. The panel beside this one tells them apart.",
            unit: "s",
            draw: Draw::Heat,
            red: None,
            queries: vec![(heat("tcp.rtt"), "{{le}}")],
            scene: "deep_queue",
        },
        Panel {
            title: "Round-trip time, by group",
            about: "Half of the samples, and one in a hundred, are longer.",
            advice: "compare with the queueing delay: what is above it is distance.",
            unit: "s",
            draw: Draw::Lines,
            red: None,
            queries: vec![
                (quantile("0.5", "$by", "tcp.rtt"), "{{$by}} half"),
                (quantile("0.99", "$by", "tcp.rtt"), "{{$by}} 99 %"),
            ],
            scene: "good_bulk",
        },
        Panel {
            title: "Queueing delay, 99 %, by group",
            about: "Round-trip time above its recent minimum: what queues add.",
            advice: "a queue on the path is full: pace the senders, use BBR, or shape below the \
                     bottleneck. A slow verdict queue says which connections.",
            unit: "s",
            draw: Draw::Lines,
            red: Some(0.2),
            queries: vec![(quantile("0.99", "$by", "tcp.queueing_delay"), "{{$by}}")],
            scene: "deep_queue",
        },
    ]
}

fn loss() -> Vec<Panel> {
    vec![
        Panel {
            title: "Sent again, by group",
            about: "Share of the payload bytes that are retransmits.",
            advice: "the path loses or reorders. Many timeouts beside it: it is dead for moments. \
                     Many spurious ones: it reorders or copies, and nothing is lost.",
            unit: "percentunit",
            draw: Draw::Lines,
            red: Some(0.02),
            queries: vec![(ratio("$by", "tcp.data.retransmitted", "tcp.data.sent"), "{{$by}}")],
            scene: "random_loss",
        },
        Panel {
            title: "Timeouts",
            about: "Retransmission timeouts a second: nothing was acknowledged at all.",
            advice: "a path or a peer is gone: docs/symptoms/stuck-uploads.md.",
            unit: "ops",
            draw: Draw::Lines,
            red: Some(1.0),
            queries: vec![(sum_rate("$by", "tcp.timeouts"), "{{$by}}")],
            scene: "black_hole",
        },
        Panel {
            title: "Needless, and out of order",
            about: "Segments a second: copies that the peers reported, and arrivals after a gap.",
            advice: "reordering or duplication on the path; harmless unless the delivery rate \
                     falls with it.",
            unit: "ops",
            draw: Draw::Lines,
            red: None,
            queries: vec![
                (sum_rate("$by", "tcp.segment.spurious"), "{{$by}} needless"),
                (sum_rate("$by", "tcp.segment.out_of_order"), "{{$by}} out of order"),
            ],
            scene: "random_loss",
        },
    ]
}

fn connections() -> Vec<Panel> {
    vec![
        Panel {
            title: "Connections by state",
            about: "Live connections and listeners, by state.",
            advice: "syn_sent that stay: peers do not answer. close_wait that grow: this program \
                     does not close what its peers have closed.",
            unit: "short",
            draw: Draw::Stack,
            red: None,
            queries: vec![(
                sum("network_connection_state", &series("tcp.connection.count", "")),
                "{{network_connection_state}}",
            )],
            scene: "good_bulk",
        },
        Panel {
            title: "Opened and closed",
            about: "Connections a second, by group.",
            advice: "more opened than before at the same traffic: clients do not keep theirs open, \
                     or retry.",
            unit: "ops",
            draw: Draw::Lines,
            red: None,
            queries: vec![
                (sum_rate("$by", "tcp.connection.opened"), "{{$by}} opened"),
                (sum_rate("$by", "tcp.connection.closed"), "{{$by}} closed"),
            ],
            scene: "good_bulk",
        },
        Panel {
            title: "Accept queues",
            about: "How full they are, the fullest instance of each group. At 1 the kernel drops \
                    new connections.",
            advice: "the program accepts too slowly: docs/symptoms/refused-or-slow-accepts.md.",
            unit: "percentunit",
            draw: Draw::Lines,
            red: Some(1.0),
            queries: vec![(
                format!(
                    "max by ($by) (\n  {}\n)",
                    share(
                        &series("tcp.listener.accept_queue", ""),
                        &series("tcp.listener.backlog", "")
                    )
                ),
                "{{$by}}",
            )],
            scene: "nobody_accepts",
        },
    ]
}

fn monitor() -> Vec<Panel> {
    vec![
        Panel {
            title: "Time of a sweep",
            about: "How long reading all sockets takes: half of the sweeps, and one in a hundred.",
            advice: "collect less often, or show fewer single sockets. A sweep takes about 1 us a \
                     socket.",
            unit: "s",
            draw: Draw::Lines,
            red: Some(1.0),
            queries: vec![
                (quantile("0.5", "", "tcp.monitor.sweep.duration"), "half"),
                (quantile("0.99", "", "tcp.monitor.sweep.duration"), "99 %"),
            ],
            scene: "good_bulk",
        },
        Panel {
            title: "Sockets that cannot be read",
            about: "Failed reads a second, by what the kernel said.",
            advice: "what is watched is no open TCP socket any more: somebody closed its \
                     descriptor. docs/runbooks.md has TcpSocketsUnread.",
            unit: "ops",
            draw: Draw::Lines,
            red: Some(0.001),
            queries: vec![(sum_rate("error_type", "tcp.monitor.read.errors"), "{{error_type}}")],
            scene: "unreadable",
        },
        Panel {
            title: "Folded",
            about: "Sockets that a cap summed up under otel_metric_overflow, in the last hour.",
            advice: "give groups fewer distinct attributes, or raise the caps of the monitor.",
            unit: "short",
            draw: Draw::Lines,
            red: Some(1.0),
            queries: vec![(
                sum("job", &format!("increase({}[1h])", series("tcp.monitor.folded", ""))),
                "{{job}}",
            )],
            scene: "folded",
        },
    ]
}
