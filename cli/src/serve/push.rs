//! Pushes over OTLP/HTTP, as the standard variables of OpenTelemetry say.

use std::env;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tcpinfo::Monitor;
use tcpinfo::opentelemetry::{Key, KeyValue};

use super::http::Health;
use super::say;
use crate::failure::Failure;

/// For how long the end waits for the last push.
const LAST: Duration = Duration::from_secs(10);

/// The variables that say where to.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// A variable that is not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether to push: it was asked for, or a variable says where to, and none says not to.
pub(super) fn is_wanted(asked: bool) -> Result<bool, Failure> {
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let exporters = variable("OTEL_METRICS_EXPORTER");
    let is_none = exporters.is_some_and(|all| all.split(',').all(|it| it.trim() != "otlp"));
    let endpoint = ENDPOINTS.into_iter().find_map(|name| Some((name, variable(name)?)));
    if is_off || is_none || !(asked || endpoint.is_some()) {
        return Ok(false);
    }
    let names = ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    let protocol = names.into_iter().find_map(|name| Some((name, variable(name)?)));
    if let Some((name, protocol)) = protocol.filter(|(_, it)| it != "http/protobuf") {
        return Err(Failure::usage(format!(
            "{name} is {protocol}: tcpinfo pushes as http/protobuf, to port 4318 of most Collectors"
        )));
    }
    if let Some((name, endpoint)) = endpoint.filter(|(_, it)| !it.starts_with("http://")) {
        return Err(Failure::usage(format!(
            "{name} is {endpoint}: tcpinfo pushes to http:// alone; a Collector on this host can \
             hand it on over TLS"
        )));
    }
    Ok(true)
}

/// Pushes while it lives.
pub(super) struct Push {
    provider: SdkMeterProvider,
    latest: Latest,
}

/// Why the latest push failed, if it did.
type Latest = Arc<Mutex<Option<String>>>;

impl Push {
    pub(super) fn start(monitor: &Monitor) -> Result<Self, Failure> {
        let exporter = MetricExporter::builder().with_http().build();
        let exporter = exporter
            .map_err(|error| Failure::usage(format!("cannot push to {}: {error}", to())))?;
        let latest = Latest::default();
        let exporter = Told { exporter, latest: Arc::clone(&latest) };
        let reader = PeriodicReader::builder(exporter).build();
        let provider =
            SdkMeterProvider::builder().with_reader(reader).with_resource(resource()).build();
        monitor.instrument(&provider);
        Ok(Self { provider, latest })
    }

    /// Where it pushes to, in words.
    pub(super) fn to(&self) -> String {
        to()
    }

    /// Says how the pushes are.
    pub(super) fn health(&self) -> Health {
        let latest = Arc::clone(&self.latest);
        Box::new(move || match &*latest.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => format!("but pushes to {} fail: {why}", to()),
            None => "and no push failed".to_owned(),
        })
    }

    /// Pushes the last totals.
    pub(super) fn end(self) -> Result<(), String> {
        self.provider.shutdown_with_timeout(LAST).map_err(|error| {
            let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match error {
                // The SDK keeps the exporter's reason to itself.
                OTelSdkError::InternalFailure(why) => latest.unwrap_or(why),
                error => plain(&error),
            }
        })
    }
}

fn to() -> String {
    let endpoint = ENDPOINTS.into_iter().find_map(variable);
    endpoint.unwrap_or_else(|| "http://localhost:4318".to_owned())
}

/// Who pushes: what the variables say, and this host.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let is_said = |name: &'static str| {
        let value = said.get(&Key::from_static_str(name));
        value.is_some_and(|value| !value.as_str().starts_with("unknown_service"))
    };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim_end();
    let own = [
        ("service.name", "tcpinfo"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        // Of two hosts it is another one.
        ("service.instance.id", host),
        ("host.name", host),
    ];
    let own = own.into_iter().filter(|(name, value)| !value.is_empty() && !is_said(name));
    let own = own.map(|(name, value)| KeyValue::new(name, value.to_owned()));
    Resource::builder().with_attributes(own).build()
}

/// An exporter that says when pushes begin to fail and when they arrive again.
struct Told {
    exporter: MetricExporter,
    latest: Latest,
}

impl PushMetricExporter for Told {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        let now = result.as_ref().err().map(plain);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*latest, &now) {
            (None, Some(why)) => {
                let rest = match self.temporality() {
                    Temporality::Delta => "what it held is lost",
                    _ => "the next one has the same totals",
                };
                say(&format!("a push to {} failed: {why}; {rest}", to()));
            }
            (Some(_), None) => say("pushes arrive again"),
            _ => {}
        }
        *latest = now;
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

/// In one line.
fn plain(error: &OTelSdkError) -> String {
    let text = match error {
        OTelSdkError::InternalFailure(why) => why.clone(),
        OTelSdkError::Timeout(time) => format!("no answer within {time:?}"),
        error => error.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
