//! TCP metrics of a program's own connections, pushed to a collector over OTLP:
//!
//! ```text
//! cargo run -p example-otlp
//! OTEL_METRIC_EXPORT_INTERVAL=5000 cargo run -p example-otlp -- --grpc --seconds 60
//! ```
//!
//! What to copy into a program is `run`; the rest makes traffic and says what became of the pushes.
//! `--help` says which `OTEL_*` variables count.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind::BrokenPipe, Write};
use std::process::ExitCode;
use std::time::Duration;

use example_demo::traffic;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tcpinfo::{FIELDS, Field, Monitor};
use tokio::runtime::Builder;

mod push;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    // Only gRPC wants a tokio runtime: around it when it is built, and alive as long as it pushes.
    // A program with a runtime of several threads has it already; over HTTP none is needed.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let exporter = {
        let _inside = runtime.enter();
        let exporter = MetricExporter::builder();
        if options.grpc { exporter.with_tonic().build()? } else { exporter.build()? }
    };
    // Says when pushes begin to fail; the SDK only logs it. Then a provider for this one exporter.
    let (exporter, pushes) = push::told(exporter);
    let reader = PeriodicReader::builder(exporter).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();

    // The monitor: it reads the sockets when the provider's thread collects, and has none itself.
    let monitor = Monitor::new();
    monitor.instrument(&provider);

    traffic::start(&monitor)?;

    push::wait(options.seconds);

    // The last push: without it, what happened since the one before is lost.
    let ended = provider.shutdown();
    let printed = print_totals(&monitor);
    ended.map_err(|error| format!("the last totals did not arrive: {}", pushes.reason(&error)))?;
    Ok(printed?)
}

/// Prints the totals of the latest sweep: after the provider was shut down, those of the last push.
fn print_totals(monitor: &Monitor) -> io::Result<()> {
    let field = |name| FIELDS.iter().find(|field: &&Field| field.name == name);
    let Some(snapshot) = monitor.latest() else { return Ok(()) };
    for group in &snapshot.groups {
        let total = |name| match field(name).and_then(|field| group.get(field)) {
            Some(value) => value.to_string(),
            None => "-".into(),
        };
        let [attribute, ..] = group.attributes().as_slice() else { continue };
        writeln!(
            io::stdout(),
            "{} {}: opened {}, closed {}, sent {}, received {}",
            attribute.key,
            attribute.value,
            group.opened,
            group.closed,
            total("bytes_sent"),
            total("bytes_received"),
        )?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let ended = match Options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => write!(io::stdout(), "{HELP}{}", push::VARIABLES).map_err(Into::into),
        Err(error) => {
            eprintln!("otlp: {error}; --help says what there is");
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
            eprintln!("otlp: {error}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
Makes some TCP traffic with itself and pushes its metrics over OTLP.

Usage: otlp [--grpc] [--seconds N]

  --grpc       push over gRPC, whatever OTEL_EXPORTER_OTLP_PROTOCOL says
  --seconds N  end after so long; else Enter ends it, and Ctrl-C without a last push
  --help       this

Exit status: 0 when the last push arrived, 1 when it did not or nothing could be
set up, 2 for wrong arguments. A collector that is down stops nothing meanwhile.
";

struct Options {
    grpc: bool,
    seconds: Option<Duration>,
}

impl Options {
    /// `None` when all that is wanted is help.
    fn parse(
        mut arguments: impl Iterator<Item = std::ffi::OsString>,
    ) -> Result<Option<Self>, String> {
        let mut options = Self { grpc: false, seconds: None };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--grpc") => options.grpc = true,
                Some("--seconds") => options.seconds = Some(push::seconds(arguments.next())?),
                Some("--help" | "-h") => return Ok(None),
                _ => return Err(format!("unknown argument {}", argument.to_string_lossy())),
            }
        }
        Ok(Some(options))
    }
}
