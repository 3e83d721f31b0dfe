//! The instruments: made from the list of metrics, and fed by one sweep per collection.

mod histograms;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};

use self::histograms::Histograms;
use crate::info::FieldValue;
use crate::metric::{InstrumentKind, Metric, Report, chosen_metrics, key};
use crate::monitor::{Monitor, Registration, Snapshot};
use crate::report::Rows;
use crate::scope::{Silence, scope};

impl Monitor {
    /// Creates the instruments on a provider: `tcp.*` for groups, `tcp.socket.*` for sockets
    /// watched one by one, `tcp.monitor.*` for the monitor itself.
    ///
    /// Every collection reads every watched socket once, and all instruments report that one sweep.
    /// Call it once for each provider, and give each exporter a provider of its own: the SDK shows
    /// one reader's observations to the other readers of the same provider, and counts the samples
    /// of histograms once for each. A second call on one provider sweeps twice and doubles the
    /// samples of histograms; everything else stays as it is.
    ///
    /// A push that fails costs nothing where totals are exported: the next one has them. With delta
    /// temporality what it held is in no later push, because the SDK keeps nothing of it.
    ///
    /// The instruments do not keep the monitor alive, and fall silent when it is gone. They never
    /// panic and never wait for [`watch`](Self::watch) or for the end of a watched socket. They do
    /// wait for the kernel's lock of each socket: a thread inside `send()` whose bytes are on a
    /// page that does not arrive (a file on a server that hangs, `userfaultfd`) has it, and so
    /// stops the sweep and the collection until the page is there.
    ///
    /// A collection counts failed reads in `tcp.monitor.read.errors` and does not call
    /// [`on_error`](crate::MonitorBuilder::on_error): the next call that the program makes does.
    ///
    /// A provider that keeps no instrument, as the global one is before another is set, is told to
    /// `on_error` at once, and one that nobody collects after
    /// [some time](crate::MonitorBuilder::with_collection_deadline).
    ///
    /// Several monitors on one provider are told apart: see
    /// [`with_name`](crate::MonitorBuilder::with_name).
    pub fn instrument(&self, provider: &(impl MeterProvider + ?Sized)) {
        let (config, silence) = (self.config(), Silence::default());
        let meter = provider.meter_with_scope(scope(&config.life, &config.name, &silence));
        let (recorded, observed): (Vec<_>, Vec<_>) =
            chosen_metrics(&config.fields, config.verdicts)
                .into_iter()
                .partition(|metric| metric.instrument == InstrumentKind::Histogram);
        let provider = Arc::new(Provider {
            registration: self.register(),
            last: observed.len() - 1,
            cycles: Mutex::new(HashMap::new()),
            histograms: Histograms::new(&meter, recorded, config.groups),
            errors: Mutex::new(BTreeMap::new()),
            silence,
        });
        for (index, metric) in observed.into_iter().enumerate() {
            create(metric, &meter, index, &provider);
        }
        if Arc::strong_count(&provider) == 1 {
            // No callback was kept.
            self.refuse();
        }
        self.tell_failures();
    }
}

/// Creates an observable instrument, with a callback that observes its report.
fn create(metric: Metric, meter: &Meter, index: usize, provider: &Arc<Provider>) {
    let is_time = metric.is_time();
    let Metric { name, instrument, unit, description, report, .. } = metric;
    let provider = Arc::clone(provider);
    macro_rules! build {
        ($builder:ident, $number:expr) => {{
            let callback = move |observer: &dyn AsyncInstrument<_>| {
                provider.observe(index, report, |value, attributes| {
                    observer.observe($number(value), attributes);
                });
            };
            let builder = meter.$builder(name).with_description(description);
            builder.with_unit(unit).with_callback(callback).build();
        }};
    }
    let seconds = |value: FieldValue| value.as_f64().unwrap_or(f64::NAN);
    match (instrument, is_time) {
        (InstrumentKind::Counter, true) => build!(f64_observable_counter, seconds),
        (InstrumentKind::Counter, false) => build!(u64_observable_counter, integer),
        (InstrumentKind::UpDownCounter, _) => {
            build!(i64_observable_up_down_counter, |value| integer(value) as i64)
        }
        (_, true) => build!(f64_observable_gauge, seconds),
        (_, false) => build!(u64_observable_gauge, integer),
    }
}

/// The integer of a value; a time is none, and no instrument asks it to be.
fn integer(value: FieldValue) -> u64 {
    match value {
        FieldValue::Integer(integer) => integer,
        other => unreachable!("{other} is not reported as an integer"),
    }
}

/// One call of [`Monitor::instrument`]. The provider's callbacks own it.
struct Provider {
    registration: Registration,
    /// Index of the last instrument.
    last: usize,
    /// Where each collecting thread is, and the snapshot it works on.
    cycles: Mutex<HashMap<ThreadId, Cycle>>,
    histograms: Histograms,
    /// Attributes of the errors met so far, each built once.
    errors: Mutex<BTreeMap<&'static str, [KeyValue; 1]>>,
    /// Whether it has been asked since the monitor is gone.
    silence: Silence,
}

/// One collection under way on one thread.
struct Cycle {
    /// Index of the instrument that was asked last.
    index: usize,
    snapshot: Arc<Snapshot>,
    since: Instant,
}

/// Age after which an unfinished collection is dropped: a view removed its last instrument.
const STALE: Duration = Duration::from_secs(60);

impl Provider {
    /// Observes one metric. Whatever goes wrong stays here: a panic would poison the pipeline.
    fn observe(&self, index: usize, report: Report, emit: impl FnMut(FieldValue, &[KeyValue])) {
        let observed = catch_unwind(AssertUnwindSafe(|| {
            if let Some(snapshot) = self.snapshot(index) {
                self.report(&snapshot, report, emit);
            }
        }));
        drop(observed);
    }

    /// The snapshot of the collection that is under way on this thread. The SDK asks the
    /// instruments of one collection in order: an index that does not increase means that a new one
    /// began.
    fn snapshot(&self, index: usize) -> Option<Arc<Snapshot>> {
        if self.registration.is_silent() {
            self.silence.store(true, Ordering::Release);
            return None;
        }
        let thread = thread::current().id();
        let current = {
            let mut cycles = self.cycles.lock().unwrap_or_else(PoisonError::into_inner);
            let cycle = cycles.get_mut(&thread).filter(|cycle| cycle.index < index);
            let current = cycle.map(|cycle| {
                cycle.index = index;
                Arc::clone(&cycle.snapshot)
            });
            if index == self.last {
                cycles.remove(&thread);
            }
            current
        };
        if current.is_some() {
            return current;
        }
        // No lock is held here: another thread's collection goes on meanwhile.
        let swept = self.registration.collect()?;
        self.histograms.record(&swept.snapshot, &swept.ended);
        let snapshot = swept.snapshot;
        if index < self.last {
            let now = Instant::now();
            let cycle = Cycle { index, snapshot: Arc::clone(&snapshot), since: now };
            let mut cycles = self.cycles.lock().unwrap_or_else(PoisonError::into_inner);
            cycles.retain(|_, cycle| now.duration_since(cycle.since) < STALE);
            cycles.insert(thread, cycle);
        }
        Some(snapshot)
    }

    fn report(
        &self,
        snapshot: &Snapshot,
        report: Report,
        mut emit: impl FnMut(FieldValue, &[KeyValue]),
    ) {
        match report.rows() {
            Rows::Groups => {
                for group in &snapshot.groups {
                    report.of_group(group, |value, mark| {
                        emit(value, mark.attributes(&group.labels));
                    });
                }
            }
            Rows::Sockets => {
                for socket in &snapshot.sockets {
                    report.of_socket(socket, |value, mark| {
                        emit(value, mark.attributes(&socket.labels));
                    });
                }
            }
            Rows::Monitor => {
                if let Some(value) = report.of_monitor(&snapshot.monitor) {
                    emit(value, &[]);
                }
            }
            Rows::Errors => {
                let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
                for (kind, count) in &snapshot.monitor.read_errors {
                    let attributes = errors
                        .entry(kind)
                        .or_insert_with(|| [KeyValue::new(key::ERROR_TYPE, *kind)]);
                    emit(FieldValue::Integer(*count), attributes);
                }
            }
            Rows::Samples | Rows::Sweeps => unreachable!("histograms are recorded, not observed"),
        }
    }
}
