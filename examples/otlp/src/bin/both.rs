//! TCP metrics for two exporters at once: Prometheus fetches them, and OTLP pushes them.
//!
//! ```text
//! cargo run -p example-otlp --bin both
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! What to copy into a program is `run`. The examples `prometheus` and `otlp` have more to say
//! about each exporter.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use example_demo::{page, traffic};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tcpinfo::Monitor;

#[path = "../push.rs"]
mod push;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let registry = prometheus::Registry::new();
    let fetched = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let (pushed, pushes) = push::told(MetricExporter::builder().with_http().build()?);
    let pushed = PeriodicReader::builder(pushed).build();

    // One monitor, and a provider for each exporter. Two readers of one provider would disturb each
    // other: the SDK shows what is observed for one to the other too, so that each scrape would add
    // its samples to the histograms that are pushed, and the other way round, and sockets already
    // closed would come back.
    let monitor = Monitor::new();
    let for_prometheus = SdkMeterProvider::builder().with_reader(fetched).build();
    let for_otlp = SdkMeterProvider::builder().with_reader(pushed).build();
    monitor.instrument(&for_prometheus);
    monitor.instrument(&for_otlp);

    let page = TcpListener::bind(&options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;

    traffic::start(&monitor)?;

    writeln!(io::stdout(), "metrics at http://{}/metrics, pushed too", page.local_addr()?)?;
    page::serve(page, move || prometheus::TextEncoder::new().encode_to_string(&registry.gather()));
    push::wait(options.seconds);

    // The last push; what is fetched leaves nothing to flush.
    let ended = for_otlp.shutdown();
    ended.map_err(|error| {
        format!("the last totals did not arrive: {}", pushes.reason(&error)).into()
    })
}

fn main() -> ExitCode {
    let ended = match Options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => write!(io::stdout(), "{HELP}{}", push::VARIABLES).map_err(Into::into),
        Err(error) => {
            eprintln!("both: {error}; --help says what there is");
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
            eprintln!("both: {error}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
Makes some TCP traffic with itself, serves its metrics to Prometheus and pushes them over OTLP/HTTP.

Usage: both [--listen ADDR] [--seconds N]

  --listen ADDR  where to serve /metrics; port 0 takes a free one [127.0.0.1:9464]
  --seconds N    end after so long; else Enter ends it, and Ctrl-C without a last push
  --help         this

Exit status: 0 when the last push arrived, 1 when it did not or nothing could be
set up, 2 for wrong arguments.
";

struct Options {
    listen: String,
    seconds: Option<Duration>,
}

impl Options {
    /// `None` when all that is wanted is help.
    fn parse(
        mut arguments: impl Iterator<Item = std::ffi::OsString>,
    ) -> Result<Option<Self>, String> {
        let mut options = Self { listen: "127.0.0.1:9464".into(), seconds: None };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--listen") => {
                    let address = arguments.next().and_then(|address| address.into_string().ok());
                    options.listen = address.ok_or("--listen needs an address")?;
                }
                Some("--seconds") => options.seconds = Some(push::seconds(arguments.next())?),
                Some("--help" | "-h") => return Ok(None),
                _ => return Err(format!("unknown argument {}", argument.to_string_lossy())),
            }
        }
        Ok(Some(options))
    }
}
