//! Grafana dashboards of tcpinfo's metrics, and which files of this folder are made of them.
//!
//! Names of metrics come from the list of metrics: a query of one that does not exist is not built.

mod grafana;
mod groups;
mod host;
mod panel;
mod promql;
mod sockets;

use panel::Dashboard;
pub use promql::{SERIES_LABELS, metric_names};

/// What writes the files anew.
pub const REPAIR: &str = "TCPINFO_WRITE=1 cargo test --workspace generated_files";

/// A query of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Uid of its dashboard.
    pub dashboard: &'static str,
    /// Title of its panel.
    pub panel: &'static str,
    /// In PromQL, with Grafana's variables.
    pub expr: String,
    /// The fault scene in which it has data.
    pub scene: &'static str,
}

impl Query {
    /// Without Grafana's variables: of these jobs, by this label, over this range.
    pub fn plain(&self, job: &str, by: &str, range: &str) -> String {
        let text = self.expr.replace("$__rate_interval", range).replace("$__range", range);
        text.replace("$job", job).replace("$instance", ".*").replace("$by", by)
    }
}

fn dashboards() -> [Dashboard; 3] {
    [groups::dashboard(), sockets::dashboard(), host::dashboard()]
}

/// The files of this folder that are made: each name and its text.
pub fn files() -> Vec<(String, String)> {
    let file = |it: Dashboard| (format!("{}.json", it.uid), it.json());
    dashboards().map(file).into()
}

/// Every query of every panel.
pub fn queries() -> Vec<Query> {
    dashboards().iter().flat_map(Dashboard::queries).collect()
}

#[cfg(test)]
mod tests;
