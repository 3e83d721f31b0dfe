//! OTLP: the monitor's metrics as OpenTelemetry's protocol has them, without an SDK.

mod attributes;
mod protobuf;
mod requests;
mod schema;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use opentelemetry::KeyValue;

use self::attributes::without_duplicates;
use self::requests::Shown;
use self::schema::{Schema, resource};
use crate::histogram::Histograms;
use crate::metric::chosen_metrics;
use crate::monitor::{Attributes, Monitor, Registration};
use crate::scope::{Silence, scope};

pub use self::requests::OtlpRequests;

/// What a receiver of gRPC takes by default. Over HTTP the OpenTelemetry Collector takes 20 MiB.
const MAX_REQUEST: usize = 4 * 1024 * 1024;

impl Monitor {
    /// The metrics in OTLP, for an OpenTelemetry Collector.
    ///
    /// It needs no SDK and no exporter, and no version of them: see [`Otlp`] for what it writes. A
    /// monitor can have any number of them, of pages and of providers at once, each with histograms
    /// of its own. As a provider, it is told of every connection that ends from now on, so make it
    /// once and early, and keep it.
    ///
    /// ```
    /// use opentelemetry::KeyValue;
    ///
    /// # fn post(_: &[u8]) -> std::io::Result<()> { Ok(()) }
    /// # fn main() -> std::io::Result<()> {
    /// let monitor = tcpinfo::Monitor::new();
    /// let otlp = monitor.otlp().with_resource([KeyValue::new("service.name", "shop")]);
    ///
    /// // Every minute:
    /// let mut requests = otlp.requests();
    /// let mut body = Vec::new();
    /// while requests.next_request(&mut body) {
    ///     post(&body)?; // to /v1/metrics, as Otlp::CONTENT_TYPE
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn otlp(&self) -> Otlp {
        let (config, silence) = (self.config(), Silence::default());
        let scope = scope(&config.life, &config.name, &silence);
        let metrics = chosen_metrics(&config.fields, config.verdicts);
        let otlp = Otlp {
            registration: self.register(),
            schema: Arc::new(Schema::new(&scope, &metrics)),
            histograms: Mutex::new(Histograms::new(&metrics)),
            max: MAX_REQUEST,
            monitor_since: config.since,
            silence,
        };
        self.tell_failures();
        otlp
    }
}

/// The metrics of a monitor in OTLP: see [`Monitor::otlp`].
///
/// Each call of [`requests`](Self::requests) or [`encode`](Self::encode) makes one sweep, and gives
/// it as one or more messages `ExportMetricsServiceRequest` in protobuf. Each is the body of a
/// `POST` to `/v1/metrics`, or one message of gRPC. How it gets there is up to the program: any
/// client for HTTP will do, and std's `TcpStream` does in the repository's `examples/push.rs`. Any
/// number of threads may ask at once. No lock is held while requests are written and sent.
///
/// Totals are cumulative. So nothing is lost when a request fails: the next sweep has it, and a
/// request need not be repeated.
///
/// It does not keep the monitor alive. When that is gone, there are no requests.
///
/// # What it writes
///
/// Point by point what the SDK and `opentelemetry-otlp` 0.33 would push of the same sweep, with
/// cumulative temporality: the same resource, scope, names, units, attributes and numbers. It
/// differs where the SDK loses something:
///
/// - There are as many sockets as
///   [`with_max_sockets`](crate::MonitorBuilder::with_max_sockets) says. The SDK shows a wrong
///   number under `otel.metric.overflow` above 2,000.
/// - Each series says when it began: its group, the connection, or the first sweep that showed it.
///   In the SDK all begin with the provider, so a series that ended and came back looks as if it
///   had fallen.
/// - The histograms of a group go with the group. In the SDK they stay for good, and so share a
///   budget: see [limits](crate::docs::limits#histograms-of-groups-that-are-gone).
/// - A request is as long as its receiver takes: see [`with_max_request`](Self::with_max_request).
///   Over gRPC the SDK's push of more than some 390 sockets is refused.
/// - An integer of 2^63 or more is a float. The SDK pushes zero.
///
/// Gauges have no start time. There are no exemplars and no schema URL.
pub struct Otlp {
    registration: Registration,
    schema: Arc<Schema>,
    histograms: Mutex<Histograms<Attributes>>,
    /// Bytes of the longest request.
    max: usize,
    monitor_since: SystemTime,
    /// Whether it was asked since the monitor is gone.
    silence: Silence,
}

impl Otlp {
    /// The header `Content-Type` of a request over HTTP.
    pub const CONTENT_TYPE: &str = "application/x-protobuf";

    /// Says with these attributes what program this is: `service.name` at least. Of a key given
    /// twice the last value counts.
    pub fn with_resource(mut self, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        let attributes = without_duplicates(attributes);
        Arc::make_mut(&mut self.schema).resource = resource(&attributes);
        self
    }

    /// How many bytes a request of [`requests`](Self::requests) has at most. The default is 4 MiB,
    /// which receivers of gRPC take; the OpenTelemetry Collector takes 20 MiB over HTTP.
    ///
    /// A single group or socket is never split, however few bytes are allowed.
    pub fn with_max_request(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Reads every watched socket once, and gives the metrics as requests that a receiver takes.
    ///
    /// The points of one sweep have the same time in all of them. When one cannot be sent, leave
    /// out the others, and ask again in the next period.
    pub fn requests(&self) -> OtlpRequests {
        self.begin(self.max)
    }

    /// Reads every watched socket once, and writes the metrics as one request in place of what the
    /// buffer has, however long that is. The buffer is empty if the monitor is gone.
    pub fn encode(&self, body: &mut Vec<u8>) {
        self.begin(usize::MAX).next_request(body);
    }

    fn begin(&self, max: usize) -> OtlpRequests {
        let shown = self.sweep();
        self.registration.tell_failures();
        OtlpRequests::new(Arc::clone(&self.schema), shown, max)
    }

    /// Sweeps, and takes the samples into the histograms; `None` if the monitor is gone.
    fn sweep(&self) -> Option<Shown> {
        let Some(swept) = self.registration.collect() else {
            self.silence.store(true, Ordering::Release);
            return None;
        };
        let snapshot = swept.snapshot;
        let keys = || snapshot.groups.iter().map(|group| group.attributes());
        let mut all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        all.record(&snapshot, &swept.ended, keys());
        let histograms = keys().map(|group| all.of(group)).collect();
        let (sweeps, since) = (all.sweeps.clone(), all.since);
        drop(all);
        Some(Shown { histograms, sweeps, since, monitor_since: self.monitor_since, snapshot })
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").field("max_request", &self.max).finish_non_exhaustive()
    }
}
