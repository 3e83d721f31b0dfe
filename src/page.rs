//! The page: the monitor's metrics as text for Prometheus, without an SDK.

#[cfg(feature = "axum")]
mod axum;
mod family;
mod format;
mod labels;
mod merge;
mod number;
mod writing;

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;

use self::family::{Families, PageOptions};
use self::labels::label_text;
use self::merge::merged;
use self::writing::{Shown, Writing};
use crate::histogram::Histograms;
use crate::metric::{Metric, chosen_metrics};
use crate::monitor::{Monitor, Registration};
use crate::scope::{Silence, scope};

pub use self::format::PageFormat;

impl Monitor {
    /// A page of the metrics for Prometheus.
    ///
    /// It needs no SDK and no exporter, and no version of them: see [`Page`] for what it writes. A
    /// monitor can have any number of pages and providers at once, each with histograms of its own.
    /// As a provider, a page is told of every connection that ends from now on, so make it once and
    /// early, and keep it.
    ///
    /// ```
    /// use opentelemetry::KeyValue;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let monitor = tcpinfo::Monitor::new();
    /// let page = monitor.page();
    /// let public = monitor.group([KeyValue::new("listener", "public")]);
    /// let stream = public.watch(std::net::TcpStream::connect(listener.local_addr()?)?);
    ///
    /// let mut text = Vec::new();
    /// page.write(&mut text)?;
    /// let text = String::from_utf8(text).expect("a page is text");
    /// assert!(text.contains("\ntcp_connection_opened_total{listener=\"public\","));
    /// # Ok(())
    /// # }
    /// ```
    pub fn page(&self) -> Page {
        let (config, silence) = (self.config(), Silence::default());
        let scope = scope(&config.life, &config.name, &silence);
        let metrics = chosen_metrics(&config.fields, config.verdicts);
        let options = PageOptions { scope: Some(scope), resource: Vec::new() };
        let page = Page {
            registration: self.register(),
            text: Arc::new(Families::new(PageFormat::Text, &metrics, &options)),
            open_metrics: Arc::new(Families::new(PageFormat::OpenMetrics, &metrics, &options)),
            histograms: Mutex::new(Histograms::new(&metrics)),
            metrics,
            options,
            silence,
        };
        self.tell_failures();
        page
    }
}

/// The metrics of a monitor as text for Prometheus: see [`Monitor::page`].
///
/// Each write makes one sweep. Any number of threads may write at once, and each gets a whole page.
/// The text is written in chunks of 64 KiB, with no lock held: a slow reader delays nobody, and
/// holds one chunk, the snapshot and the numbers of the groups' histograms. Compress it, if you
/// want to, by giving [`write`](Self::write) a writer that does.
///
/// The page does not keep the monitor alive. When that is gone, nothing is written: in OpenMetrics
/// `# EOF` alone.
///
/// # What it writes
///
/// Line by line what `opentelemetry-prometheus` 0.33 would write of the same sweep: the same names,
/// labels, types and numbers, in the order of the names. It differs where the bridge loses
/// something:
///
/// - An integer has all its digits. The bridge rounds it to a float, above 2^53.
/// - A time is exact. The bridge's is a sum of two floats, and may end in `...0001` above a second.
/// - Groups or sockets whose labels are equal as text, such as 80 and `"80"`, are one line with the
///   sum. The bridge writes two lines of one series, and Prometheus keeps one of them.
/// - The histograms of a group go with the group. In the SDK they stay for good, and so share a
///   budget: see [limits](crate::docs::limits#histograms-of-groups-that-are-gone).
/// - There are as many sockets as
///   [`with_max_sockets`](crate::MonitorBuilder::with_max_sockets) says. The SDK shows a wrong
///   number under `otel.metric.overflow` above 2,000.
/// - There is a `target_info` if you ask for it, by [`with_resource`](Self::with_resource).
///
/// OpenMetrics has the unit of each metric as well, and of each group the time at which its
/// counters and histograms began, `_created`. Sockets have none: Prometheus stores it as a series
/// beside each counter. A bucket's bound is written `1.0` there and `1` in the text format.
/// Prometheus 3 takes both as one label, and Prometheus 2 does not: let it read one format.
pub struct Page {
    registration: Registration,
    metrics: Vec<Metric>,
    options: PageOptions,
    text: Arc<Families>,
    open_metrics: Arc<Families>,
    histograms: Mutex<Histograms<Arc<str>>>,
    /// Whether it was asked since the monitor is gone.
    silence: Silence,
}

impl Page {
    /// Writes `target_info` with these attributes, which say what program this is:
    /// `service.name` for instance.
    pub fn with_resource(mut self, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        self.options.resource = attributes.into_iter().collect();
        self.prepared()
    }

    /// Leaves out the labels of the instrumentation scope, `otel_scope_name` and what begins like
    /// it: a third of a large page. They tell several monitors of one process apart.
    pub fn without_scope(mut self) -> Self {
        self.options.scope = None;
        self.prepared()
    }

    fn prepared(mut self) -> Self {
        let families = |format| Arc::new(Families::new(format, &self.metrics, &self.options));
        (self.text, self.open_metrics) =
            (families(PageFormat::Text), families(PageFormat::OpenMetrics));
        self
    }

    /// Reads every watched socket once, and writes the metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// Those of `to`. The next page is whole.
    pub fn write(&self, to: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        self.write_as(PageFormat::Text, to)
    }

    /// [`write`](Self::write) in the format OpenMetrics.
    ///
    /// # Errors
    ///
    /// Those of `to`. The next page is whole.
    pub fn write_openmetrics(&self, to: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        self.write_as(PageFormat::OpenMetrics, to)
    }

    /// [`write`](Self::write) in a chosen format.
    ///
    /// # Errors
    ///
    /// Those of `to`. The next page is whole.
    pub fn write_as(
        &self,
        format: PageFormat,
        to: &mut (impl io::Write + ?Sized),
    ) -> io::Result<()> {
        let mut writing = self.begin(format);
        while let Some(chunk) = writing.next_chunk() {
            to.write_all(chunk)?;
        }
        to.flush()
    }

    /// Sweeps, and begins a page of that.
    fn begin(&self, format: PageFormat) -> Writing {
        let families = match format {
            PageFormat::Text => &self.text,
            PageFormat::OpenMetrics => &self.open_metrics,
        };
        let shown = self.sweep();
        self.registration.tell_failures();
        Writing::new(Arc::clone(families), shown)
    }

    /// Sweeps, and takes the samples into the histograms; `None` if the monitor is gone.
    fn sweep(&self) -> Option<Shown> {
        let Some(swept) = self.registration.collect() else {
            self.silence.store(true, Ordering::Release);
            return None;
        };
        let mut groups: Vec<_> = swept
            .snapshot
            .groups
            .iter()
            .map(|group| group.labels.text(label_text).clone())
            .collect();
        let mut sockets: Vec<_> = swept
            .snapshot
            .sockets
            .iter()
            .map(|socket| socket.labels.text(label_text).clone())
            .collect();
        let mut all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = groups.iter().map(|labels| &labels.text);
        all.record(&swept.snapshot, &swept.ended, keys);
        let snapshot = merged(swept.snapshot, &mut groups, &mut sockets);
        let histograms = groups.iter().map(|labels| all.of(&labels.text)).collect();
        let sweeps = all.sweeps.clone();
        drop(all);
        Some(Shown { snapshot, groups, histograms, sockets, sweeps })
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("options", &self.options).finish_non_exhaustive()
    }
}
