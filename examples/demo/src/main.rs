//! The live show: three services with traffic, slow readers and a table that moves, and their
//! metrics for Prometheus.
//!
//! ```text
//! cargo run -p example-demo
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! What to copy into a program is in the example `prometheus`.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use example_demo::{page, traffic};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tcpinfo::{Monitor, SocketAddresses, SocketIdentity};

mod table;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    // Prometheus' registry, and an OpenTelemetry provider for this one exporter.
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let resource = Resource::builder().with_service_name("tcpinfo-demo").build();
    let provider =
        SdkMeterProvider::builder().with_reader(exporter).with_resource(resource).build();

    // The monitor: it reads the sockets when somebody collects, and has no thread of its own.
    let identity = SocketIdentity::Addresses(SocketAddresses::peer());
    let monitor = Monitor::builder().with_identity(identity).build();
    monitor.instrument(&provider);

    let page = TcpListener::bind(&options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;

    traffic::start(&monitor)?;

    writeln!(io::stdout(), "metrics at http://{}/metrics, Ctrl-C ends", page.local_addr()?)?;
    let scrapes = page::serve(page, move || {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather())
    });
    if options.once {
        scrapes.recv()?;
        return Ok(());
    }
    Ok(table::show(&monitor)?)
}

/// Ctrl-C simply ends the process: metrics that are fetched leave nothing to flush. A program that
/// pushes them, over OTLP, ends with `provider.shutdown()`.
fn main() -> ExitCode {
    let ended = match Options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => write!(io::stdout(), "{HELP}").map_err(Into::into),
        Err(error) => {
            eprintln!("demo: {error}; --help says what there is");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any more, as in `| head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
Makes some TCP traffic with itself and serves its metrics to Prometheus. Ctrl-C ends it.

Usage: demo [--listen ADDR] [--once]

  --listen ADDR  where to serve /metrics; port 0 takes a free one [127.0.0.1:9464]
  --once         end when the metrics have been fetched once; shows no table
  --help         this
";

struct Options {
    listen: String,
    once: bool,
}

impl Options {
    /// `None` when all that is wanted is help.
    fn parse(
        mut arguments: impl Iterator<Item = std::ffi::OsString>,
    ) -> Result<Option<Self>, String> {
        let mut options = Self { listen: "127.0.0.1:9464".into(), once: false };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--listen") => {
                    let address = arguments.next().and_then(|address| address.into_string().ok());
                    options.listen = address.ok_or("--listen needs an address")?;
                }
                Some("--once") => options.once = true,
                Some("--help" | "-h") => return Ok(None),
                _ => return Err(format!("unknown argument {argument:?}")),
            }
        }
        Ok(Some(options))
    }
}
