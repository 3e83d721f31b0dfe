//! The program `tcpinfo serve`: what a real Prometheus scrapes of it and what reaches a receiver
//! through the Collector are what was sent, at the same time.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use rustix::process::Signal;
use tcpinfo::Monitor;

use super::prometheus::Prometheus;
use super::receivers::{Collector, collector, handing_on_to};
use super::{Scratch, Server, eventually, free_address, maybe, scalar};
use crate::export::otlp::points::{collected, resource};
use crate::export::otlp::receiver::Receiver;
use crate::export::otlp::{ANSWERED, ASKED, converse};
use support::lateness::{Lateness, in_time};
use support::running::program;

/// From scrape to scrape: twice that in each further attempt.
const EVERY: Duration = Duration::from_millis(500);
const CONVERSATIONS: usize = 40;

#[test]
#[ignore = "needs prometheus and the OpenTelemetry Collector: integration/test.sh"]
fn the_program_is_scraped_and_pushes_what_was_sent() {
    let Some(otelcol) = collector() else { return };
    in_time(EVERY / 2, |lateness| scraped_and_pushed(&otelcol, lateness));
}

fn scraped_and_pushed(otelcol: &std::path::Path, lateness: &Lateness) -> Result<(), String> {
    let every = EVERY * (1 << lateness.attempt);
    let sink = Receiver::http();
    let collector = Collector::start(otelcol, &handing_on_to(&sink));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let address = free_address();
    let at = address.to_string();
    let arguments = ["serve", "--listen", &at, "--port", &port, "--by", "port,process"];
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.http)),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test".to_owned()),
    ];
    let arguments = arguments.map(str::to_owned);
    let mut served = Server::start(program("tcpinfo"), Scratch::new(), &arguments, &variables);
    served.ready(address, "/healthz");
    let prometheus = Prometheus::scraping(address, every);

    // Its own monitor does not matter here: the program sees the connections from outside.
    let group = Monitor::new().group([]);
    (0..CONVERSATIONS).for_each(|_| converse(&group, &listener));

    let server = format!("{{tcp_role='server', server_port='{port}'}}");
    let ended = format!("sum(tcp_connection_closed_total{server}) == {CONVERSATIONS}");
    eventually("a scrape after the last connection", || maybe(prometheus.address, &ended));
    let sent = format!(
        "sum(tcp_data_sent_bytes_total{server}) - sum(tcp_data_retransmitted_bytes_total{server})"
    );
    let expected = (CONVERSATIONS * ANSWERED) as f64;
    assert_eq!(scalar(prometheus.address, &sent), expected);
    let client = server.replace("'server'", "'client'");
    let sent = sent.replace(&server, &client);
    assert_eq!(scalar(prometheus.address, &sent), (CONVERSATIONS * ASKED) as f64);
    prometheus.was_in_time(lateness, every)?;

    // The interval is a minute: this is the last push.
    served.signal(Signal::TERM);
    let status =
        eventually("the end of the program", || served.child.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(0), "{}", served.log());
    let push = sink.next();
    let all = collected(&push.request);
    let total = |name: &str, role: &str| -> f64 {
        let is = |series: &str| {
            series.starts_with(&format!("{name}{{"))
                && series.contains(&format!("server.port={port}"))
                && series.contains(&format!("tcp.role={role}"))
        };
        all.counters.iter().filter(|(series, _)| is(series)).map(|(_, value)| value).sum()
    };
    let once = |role| total("tcp.data.sent", role) - total("tcp.data.retransmitted", role);
    assert_eq!([once("server"), once("client")], [expected, (CONVERSATIONS * ASKED) as f64]);
    assert_eq!(total("tcp.connection.closed", "server"), CONVERSATIONS as f64);
    let resource = resource(&push.request);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("it has a name");
    let host = host.trim_end();
    for attribute in [
        "service.name=tcpinfo".to_owned(),
        "deployment.environment.name=test".to_owned(),
        format!("host.name={host}"),
        format!("service.instance.id={host}"),
    ] {
        assert!(resource.contains(&attribute), "{attribute} in {resource:?}");
    }
    Ok(())
}
