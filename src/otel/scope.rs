//! The instrumentation scope: by its attributes the monitors of one process are told apart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use opentelemetry::{InstrumentationScope, KeyValue};

use crate::monitor::Config;

/// Name of the instrumentation scope.
const SCOPE: &str = env!("CARGO_PKG_NAME");
/// Attributes of the scope: what tells monitors apart.
const MONITOR_NAME: &str = "tcp.monitor.name";
const MONITOR_INSTANCE: &str = "tcp.monitor.instance";

/// The scope of a monitor's instruments: no other monitor of this process has an equal one.
pub(super) fn scope(config: &Config) -> InstrumentationScope {
    /// How many monitors of each name there were so far.
    static MONITORS: Mutex<BTreeMap<Option<Cow<'static, str>>, u64>> = Mutex::new(BTreeMap::new());
    let number = *config.number.get_or_init(|| {
        let mut monitors = MONITORS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = monitors.entry(config.name.clone()).or_insert(0);
        *number += 1;
        *number
    });
    let name = config.name.clone().map(|name| KeyValue::new(MONITOR_NAME, name));
    let number = i64::try_from(number).ok().filter(|number| *number > 1);
    let number = number.map(|number| KeyValue::new(MONITOR_INSTANCE, number));
    InstrumentationScope::builder(SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_attributes(name.into_iter().chain(number))
        .build()
}
