//! An exporter around others: a test sees each push begin and end.

use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

type Begins = Box<dyn Fn() + Send + Sync>;
type Ends = Box<dyn Fn(&ResourceMetrics, &OTelSdkResult) + Send + Sync>;

/// Exports the same with each of its exporters, one after the other, up to the first that fails.
pub struct Observed<E> {
    exporters: Vec<E>,
    begins: Begins,
    ends: Ends,
}

impl<E: PushMetricExporter> Observed<E> {
    /// At least one exporter; the first says which temporality is asked for.
    pub fn new(exporters: impl IntoIterator<Item = E>) -> Self {
        let exporters: Vec<E> = exporters.into_iter().collect();
        assert!(!exporters.is_empty(), "nothing to export with");
        Self { exporters, begins: Box::new(|| {}), ends: Box::new(|_, _| {}) }
    }

    /// Calls this when a push begins.
    pub fn with_begin(mut self, begins: impl Fn() + Send + Sync + 'static) -> Self {
        self.begins = Box::new(begins);
        self
    }

    /// Calls this when a push ended, with what the SDK gave it and what became of that.
    pub fn with_end(
        mut self,
        ends: impl Fn(&ResourceMetrics, &OTelSdkResult) + Send + Sync + 'static,
    ) -> Self {
        self.ends = Box::new(ends);
        self
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Observed<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        (self.begins)();
        let mut result = Ok(());
        for exporter in &self.exporters {
            result = exporter.export(metrics).await;
            if result.is_err() {
                break;
            }
        }
        (self.ends)(metrics, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporters.iter().try_for_each(PushMetricExporter::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporters.iter().try_for_each(|exporter| exporter.shutdown_with_timeout(timeout))
    }

    fn temporality(&self) -> Temporality {
        self.exporters[0].temporality()
    }
}
