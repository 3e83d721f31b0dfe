//! The host: groups of discovered sockets, by role and port.

use crate::groups::trouble;
use crate::panel::{Dashboard, Draw, Panel};
use crate::promql::{quantile, ratio, series, share, sum, sum_rate};

const BY: &str = "tcp_role, server_port";
const GROUP: &str = "{{tcp_role}} {{server_port}}";
const SCENE: &str = "host";

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "tcpinfo-host",
        title: "TCP of a host",
        about: "Sockets of all programs, as the monitor discovers them: by role and port.",
        known_by: "tcp.monitor.discovered",
        is_by_attribute: false,
        rows: vec![("Who", who()), ("How well", how_well()), ("The monitor itself", monitor())],
    }
}

fn lines(title: &'static str, unit: &'static str, queries: Vec<(String, &'static str)>) -> Panel {
    let (about, advice, draw) = ("", "", Draw::Lines);
    Panel { title, about, advice, unit, draw, red: None, queries, scene: SCENE }
}

fn who() -> Vec<Panel> {
    vec![
        Panel {
            about: "Live connections and listeners, by role and port.",
            advice: "a port whose connections multiply: its clients do not reuse theirs, or its \
                     program does not close.",
            ..lines(
                "Connections",
                "short",
                vec![(sum(BY, &series("tcp.connection.count", "")), GROUP)],
            )
        },
        Panel {
            about: "Payload bytes a second that were sent.",
            advice: "the talkers of the host; a port that falls silent with connections open.",
            ..lines("Sent", "Bps", vec![(sum_rate(BY, "tcp.data.sent"), GROUP)])
        },
        Panel {
            about: "Payload bytes a second that were received.",
            advice: "as for what was sent.",
            ..lines("Received", "Bps", vec![(sum_rate(BY, "tcp.data.received"), GROUP)])
        },
    ]
}

fn how_well() -> Vec<Panel> {
    vec![
        Panel {
            about: "Live connections by verdict.",
            advice: "see the panel beside this one for the port, and docs/symptoms/README.md.",
            draw: Draw::Stack,
            ..lines(
                "What limits the connections",
                "short",
                vec![(
                    sum("tcp_verdict", &series("tcp.connection.verdict", "")),
                    "{{tcp_verdict}}",
                )],
            )
        },
        Panel {
            about: "Connections with a complaint among those that did enough to be judged.",
            advice: "one port: its program or its clients. All of them: the host's own link.",
            red: Some(0.25),
            ..lines("Share in trouble", "percentunit", vec![(trouble(BY), GROUP)])
        },
        Panel {
            about: "One sample of a hundred is longer.",
            advice: "one port: its peers are far or behind a queue. All of them: the host's link.",
            ..lines("Round-trip time, 99 %", "s", vec![(quantile("0.99", BY, "tcp.rtt"), GROUP)])
        },
        Panel {
            about: "Share of the payload bytes that are retransmits.",
            advice: "all ports: the host's link loses. One: the path to its peers.",
            red: Some(0.02),
            ..lines(
                "Sent again",
                "percentunit",
                vec![(ratio(BY, "tcp.data.retransmitted", "tcp.data.sent"), GROUP)],
            )
        },
        Panel {
            about: "How full the accept queue of each port is. At 1 the kernel drops connections.",
            advice: "its program accepts too slowly: docs/symptoms/refused-or-slow-accepts.md.",
            red: Some(1.0),
            ..lines(
                "Accept queues",
                "percentunit",
                vec![(
                    format!(
                        "max by (server_port) (\n  {}\n)",
                        share(
                            &series("tcp.listener.accept_queue", ""),
                            &series("tcp.listener.backlog", "")
                        )
                    ),
                    "{{server_port}}",
                )],
            )
        },
        Panel {
            about: "Connections a second that began.",
            advice: "more than before at the same traffic: clients retry or do not keep theirs.",
            ..lines("Opened", "ops", vec![(sum_rate(BY, "tcp.connection.opened"), GROUP)])
        },
    ]
}

fn monitor() -> Vec<Panel> {
    vec![
        Panel {
            about: "Sockets that the monitor found by itself.",
            advice: "none, with connections on the host: the monitor runs in another network \
                     namespace.",
            ..lines(
                "Discovered",
                "short",
                vec![(sum("instance", &series("tcp.monitor.discovered", "")), "{{instance}}")],
            )
        },
        Panel {
            about: "How often the kernel dropped events of ended sockets, in the last hour.",
            advice: "ends of short connections were missed: collect more often, or raise \
                     net.core.rmem_max.",
            red: Some(1.0),
            ..lines(
                "Events lost",
                "short",
                vec![(
                    sum(
                        "instance",
                        &format!("increase({}[1h])", series("tcp.monitor.event.overruns", "")),
                    ),
                    "{{instance}}",
                )],
            )
        },
        Panel {
            about: "How long reading all sockets takes, one sweep of a hundred longer.",
            advice: "discover fewer sockets with a query, or collect less often.",
            red: Some(1.0),
            ..lines(
                "Time of a sweep",
                "s",
                vec![(quantile("0.99", "instance", "tcp.monitor.sweep.duration"), "{{instance}}")],
            )
        },
    ]
}
