//! The Collector stopped, killed, refused by what is behind it, and asked for too much.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_sdk::metrics::Temporality;
use rustix::process::Signal;

use super::eventually;
use super::receivers::{Collector, collector, handing_on_to, runtime};
use super::stuck::{Service, less_arrives_after_too_much};
use crate::export::otlp::receiver::{Answer, Receiver};
use crate::export::otlp::{grpc, http};

const OFTEN: Duration = Duration::from_millis(20);

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

#[test]
#[ignore = "needs the OpenTelemetry Collector: integration/test.sh"]
fn totals_survive_every_outage_of_the_collector() {
    let Some(program) = collector() else { return };
    let runtime = runtime();
    for (over_grpc, refusal) in [(false, "status code: 503"), (true, "gRPC code: Unavailable")] {
        let sink = Receiver::http();
        let collector = Collector::start(&program, &handing_on_to(&sink));
        let exporter = match over_grpc {
            true => grpc(&runtime, &url(collector.grpc), Temporality::Cumulative),
            false => http(&url(collector.http), Temporality::Cumulative),
        };
        let service = Service::pushing(exporter, OFTEN);

        collector.server.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", collector.server.child.id());
        eventually("a stopped Collector", || {
            let stat = fs::read_to_string(&stat).expect("it runs");
            stat.contains(") T ").then_some(())
        });
        service.goes_on_while_held();
        collector.server.signal(Signal::CONT);

        // What is behind it refuses, and so does it.
        sink.answer(Answer::Refuse);
        let refused = service.goes_on_while_refused();
        assert!(refused.contains(refusal), "{refused}");
        sink.answer(Answer::Accept);

        let _collector = collector.restart(|| drop(service.goes_on_while_refused()));
        service.heals(&sink);
    }
}

#[test]
#[ignore = "needs the OpenTelemetry Collector: integration/test.sh"]
fn the_collector_refuses_more_than_4_mib_and_takes_less_again() {
    let Some(program) = collector() else { return };
    let sink = Receiver::http();
    let collector = Collector::start(&program, &handing_on_to(&sink));
    less_arrives_after_too_much(&sink, &url(collector.grpc), "gRPC code: ResourceExhausted");
}
