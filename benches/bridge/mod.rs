//! The SDK and its bridge to Prometheus, as a program attaches them.

use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;
use tcpinfo::Monitor;

/// A monitor's provider and the registry that shows its metrics.
pub(crate) fn bridge(monitor: &Monitor) -> (SdkMeterProvider, Registry) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let exporter = exporter.expect("a new registry takes an exporter");
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    monitor.instrument(&provider);
    (provider, registry)
}
