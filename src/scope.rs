//! The instrumentation scope: by its attributes the monitors of one process are told apart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::{InstrumentationScope, KeyValue};

use crate::metric::key;

/// Name of the instrumentation scope.
const SCOPE: &str = env!("CARGO_PKG_NAME");

/// A monitor's name.
type Name = Option<Cow<'static, str>>;

/// Whether a provider has collected since the monitor of its callbacks is gone.
pub(crate) type Silence = Arc<AtomicBool>;

/// One number among the monitors of one name, and who has it.
struct Instance {
    /// Gone with the monitor.
    monitor: Weak<()>,
    /// Gone with the provider.
    providers: Vec<Weak<AtomicBool>>,
}

impl Instance {
    /// Whether every provider that reported the monitor has missed it once. Only then can another
    /// one begin at zero under the same scope.
    fn is_free(&self) -> bool {
        let missed = |provider: &Weak<AtomicBool>| {
            provider.upgrade().is_none_or(|silence| silence.load(Ordering::Acquire))
        };
        self.monitor.strong_count() == 0 && self.providers.iter().all(missed)
    }
}

/// The scope of a monitor's instruments on one more provider: no other monitor that is reported has
/// an equal one. The monitor is told from others by `monitor`, which lives as long as it does.
pub(crate) fn scope(monitor: &Arc<()>, name: &Name, silence: &Silence) -> InstrumentationScope {
    static INSTANCES: Mutex<BTreeMap<Name, Vec<Instance>>> = Mutex::new(BTreeMap::new());
    let index = {
        let mut all = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.entry(name.clone()).or_default();
        let own = Arc::downgrade(monitor);
        let index = all.iter().position(|instance| instance.monitor.ptr_eq(&own));
        let index = index.or_else(|| {
            let free = all.iter().position(Instance::is_free)?;
            all[free] = Instance { monitor: own.clone(), providers: Vec::new() };
            Some(free)
        });
        let index = index.unwrap_or_else(|| {
            all.push(Instance { monitor: own, providers: Vec::new() });
            all.len() - 1
        });
        all[index].providers.push(Arc::downgrade(silence));
        index
    };
    let name = name.clone().map(|name| KeyValue::new(key::MONITOR_NAME, name));
    let number = i64::try_from(index + 1).ok().filter(|number| *number > 1);
    let number = number.map(|number| KeyValue::new(key::MONITOR_INSTANCE, number));
    InstrumentationScope::builder(SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_attributes(name.into_iter().chain(number))
        .build()
}
