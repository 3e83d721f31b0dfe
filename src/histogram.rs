//! What the histograms of instruments and pages have in common.

use crate::metric::Report;
use crate::monitor::ConnectionSample;

/// What a sample adds to the histogram of a report.
pub(crate) fn sample_of(sample: &ConnectionSample, report: Report) -> Option<f64> {
    match report {
        Report::Samples(field) => sample.get(field),
        Report::QueueingDelay => sample.queueing_delay,
        Report::Duration => sample.duration,
        _ => None,
    }
}
