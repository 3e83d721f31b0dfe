//! What becomes of the pushes, and when to end: what a program around OTLP needs besides metrics.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

/// What of the environment the exporter of 0.33 knows, and what it does not.
pub(crate) const VARIABLES: &str = "
Variables (those marked * also, and first, as OTEL_EXPORTER_OTLP_METRICS_...):

  OTEL_EXPORTER_OTLP_ENDPOINT *   http://localhost:4318, with gRPC http://localhost:4317;
                                  /v1/metrics is appended to this one, not to METRICS_ENDPOINT
  OTEL_EXPORTER_OTLP_PROTOCOL *   http/protobuf or grpc
  OTEL_EXPORTER_OTLP_HEADERS *    name=value,name=value
  OTEL_EXPORTER_OTLP_INSECURE *   true: over gRPC, no TLS to an endpoint without a scheme
  OTEL_EXPORTER_OTLP_TIMEOUT *    milliseconds for one push and its retries [10000]
  OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE
                                  cumulative, delta or lowmemory [cumulative]
  OTEL_METRIC_EXPORT_INTERVAL     milliseconds from push to push [60000]
  OTEL_SERVICE_NAME               and OTEL_RESOURCE_ATTRIBUTES: who pushes
  HTTP_PROXY, NO_PROXY            as everywhere, over HTTP

Known to the exporter but not built in here: OTEL_EXPORTER_OTLP_COMPRESSION * (features gzip-*,
zstd-*), http/json, https:// (features tls-*, reqwest-*).
Unknown to it: OTEL_SDK_DISABLED, OTEL_METRICS_EXPORTER, OTEL_METRIC_EXPORT_TIMEOUT,
OTEL_METRICS_EXEMPLAR_FILTER, ..._METRICS_DEFAULT_HISTOGRAM_AGGREGATION, and files of certificates.
";

/// An exporter that says on standard error when pushes begin to fail and when they arrive again.
pub(crate) struct Told<E> {
    exporter: E,
    pushes: Pushes,
}

/// Why the latest push failed, if it did.
#[derive(Clone, Default)]
pub(crate) struct Pushes(Arc<Mutex<Option<String>>>);

pub(crate) fn told<E>(exporter: E) -> (Told<E>, Pushes) {
    let pushes = Pushes::default();
    (Told { exporter, pushes: pushes.clone() }, pushes)
}

impl Pushes {
    /// Says why shutting down failed: the SDK keeps the exporter's reason to itself.
    pub(crate) fn reason(&self, error: &OTelSdkError) -> String {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, &*latest) {
            (OTelSdkError::InternalFailure(_), Some(reason)) => reason.clone(),
            _ => plain(error),
        }
    }

    fn note(&self, result: &OTelSdkResult, temporality: Temporality) {
        let now = result.as_ref().err().map(plain);
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*latest, &now) {
            (None, Some(reason)) => {
                let data = match temporality {
                    Temporality::Delta => "what it held is lost",
                    _ => "the next one has the same totals",
                };
                let to = collector();
                say(format_args!("a push to {to} failed: {reason}; the traffic goes on, {data}"));
            }
            (Some(_), None) => say("pushes arrive again"),
            _ => {}
        }
        *latest = now;
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Told<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.pushes.note(&result, self.temporality());
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

fn plain(error: &OTelSdkError) -> String {
    match error {
        OTelSdkError::InternalFailure(reason) => reason.clone(),
        OTelSdkError::Timeout(time) => format!("no answer within {time:?}"),
        error => error.to_string(),
    }
}

/// Where pushes go, as far as the environment says.
fn collector() -> String {
    let names = ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let mut chosen = names.iter().filter_map(|name| env::var(name).ok());
    chosen.find(|chosen| !chosen.is_empty()).unwrap_or_else(|| "localhost, the default,".into())
}

/// Never panics: this runs on the thread that pushes.
fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "otlp: {what}");
}

/// Waits until it is time to end. A service waits here for its signal, as `tokio::signal` has it.
pub(crate) fn wait(time: Option<Duration>) {
    match time {
        Some(time) => thread::sleep(time),
        None if io::stdin().is_terminal() => {
            // Not read, perhaps; the pushes go on in any case.
            let _ = writeln!(io::stdout(), "Enter ends it, with a last push");
            let _ = io::stdin().read_line(&mut String::new());
        }
        None => loop {
            thread::park();
        },
    }
}

/// What `--seconds` is followed by.
pub(crate) fn seconds(argument: Option<OsString>) -> Result<Duration, String> {
    let number = argument.and_then(|argument| argument.to_str()?.parse().ok());
    number.map(Duration::from_secs).ok_or_else(|| "--seconds needs a whole number".into())
}
