//! Prometheus as Debian has it, and something to scrape whose numbers the test knows.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use tcpinfo::Monitor;

use super::{Scratch, Server, eventually, free_address, maybe};
use support::lateness::Lateness;

/// The job of what `Prometheus::scraping` scrapes.
pub(super) const JOB: &str = "test";

/// A Prometheus that runs.
pub(super) struct Prometheus {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

impl Prometheus {
    /// With a configuration in its folder.
    pub(super) fn start(scratch: Scratch, config: &str, address: SocketAddr) -> Self {
        Self::start_with(scratch, config, address, &[])
    }

    /// The same, with more arguments.
    pub(super) fn start_with(
        scratch: Scratch,
        config: &str,
        address: SocketAddr,
        more: &[&str],
    ) -> Self {
        let config = scratch.write("prometheus.yml", config);
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", scratch.join("data").display()),
            format!("--web.listen-address={address}"),
            // A scrape that fails is worth no line else.
            "--log.level=debug".to_owned(),
        ];
        let arguments: Vec<_> =
            arguments.into_iter().chain(more.iter().map(|it| (*it).to_owned())).collect();
        let mut server = Server::start("prometheus", scratch, &arguments, &[]);
        server.ready(address, "/-/ready");
        Self { server, address }
    }

    /// With one target, which it has scraped once when this returns.
    pub(super) fn scraping(target: SocketAddr, every: Duration) -> Self {
        Self::scraping_as(&[JOB.to_owned()], target, every)
    }

    /// With one target for several jobs, which have scraped once when this returns.
    pub(super) fn scraping_as(jobs: &[String], target: SocketAddr, every: Duration) -> Self {
        let every = every.as_millis();
        let mut config = format!(
            "global: {{scrape_interval: {every}ms, scrape_timeout: {every}ms}}\nscrape_configs:\n"
        );
        for job in jobs {
            let targets = format!("static_configs: [{{targets: ['{target}']}}]");
            config += &format!("  - {{job_name: {job}, {targets}}}\n");
        }
        let prometheus = Self::start(Scratch::new(), &config, free_address());
        // Prometheus looks for targets every five seconds.
        let up = format!("sum(up) == {}", jobs.len());
        eventually("a first scrape", || maybe(prometheus.address, &up));
        prometheus
    }

    /// An error where it waited in vain for a page, of which it keeps nothing; that takes a crowded
    /// machine. Panics where it complains about anything else.
    #[track_caller]
    pub(super) fn was_in_time(
        &self,
        lateness: &Lateness,
        deadline: Duration,
    ) -> Result<(), String> {
        let log = self.server.log();
        let trouble = |line: &&str| {
            let quiet = line.contains("level=info") || line.contains("level=debug");
            !quiet || line.contains("err=") || line.contains("failed")
        };
        let lines = log.lines().filter(trouble);
        let (late, others): (Vec<_>, Vec<_>) =
            lines.partition(|line| line.contains("context deadline exceeded"));
        assert_eq!(others, [""; 0]);
        let Some(first) = late.first() else { return Ok(()) };
        lateness.slowed(deadline);
        Err(format!("{} scrapes took longer than {deadline:?}: {first}", late.len()))
    }
}

/// A monitor whose page can be scraped.
pub(super) struct Endpoint {
    pub(super) monitor: Monitor,
    pub(super) address: SocketAddr,
    _provider: SdkMeterProvider,
}

impl Endpoint {
    pub(super) fn new() -> Self {
        Self::of(Monitor::new())
    }

    pub(super) fn of(monitor: Monitor) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
        let exporter = exporter.expect("an empty registry takes an exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        monitor.instrument(&provider);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        // It serves until the tests end.
        example_demo::page::serve(listener, move || {
            TextEncoder::new().encode_to_string(&registry.gather())
        });
        Self { monitor, address, _provider: provider }
    }
}
