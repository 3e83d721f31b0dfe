//! What all handles of one monitor share.

use std::io;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;

use super::attributes::Attributes;
use super::builder::Config;
use super::connections::Connections;
#[cfg(feature = "diag")]
use super::discovery::{Discoveries, Discovery};
use super::failures::{Failed, Failures};
use super::locks::lock;
use super::registrations::Registrations;
#[cfg(feature = "diag")]
use super::snapshot::DiscoveryEvents;
use super::snapshot::Snapshot;
use super::sweep::{Sources, Sweeper, Swept};

pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) connections: Arc<Connections>,
    #[cfg(feature = "diag")]
    pub(crate) discoveries: Discoveries,
    pub(crate) registrations: Arc<Registrations>,
    pub(crate) failures: Arc<Failures>,
    sweeper: Mutex<Sweeper>,
    latest: ArcSwapOption<Snapshot>,
}

impl Shared {
    pub(crate) fn new(mut config: Config) -> Self {
        let failures = Arc::new(Failures::new(config.on_error.take()));
        let registrations = Arc::new(Registrations::new(config.samples, config.deadline));
        let sweeper = Sweeper::new(config.sweep_threads, config.samples);
        let config = Arc::new(config);
        let connections = Connections::new(config.clone(), registrations.clone(), failures.clone());
        let connections = Arc::new(connections);
        Self {
            #[cfg(feature = "diag")]
            discoveries: Discoveries::new(connections.clone()),
            config,
            connections,
            registrations,
            failures,
            sweeper: Mutex::new(sweeper),
            latest: ArcSwapOption::empty(),
        }
    }

    /// Tells the program what failed, and who does not collect. The caller holds no lock and is in
    /// no collection.
    #[inline]
    pub(crate) fn tell(&self) {
        for _ in 0..self.registrations.take_overdue() {
            let deadline = self.config.deadline;
            let error = format!(
                "no collection for {deadline:?}: does the provider have a reader, and is it of \
                 the version of opentelemetry that this crate uses?"
            );
            self.put(io::Error::new(io::ErrorKind::TimedOut, error));
        }
        self.failures.tell();
    }

    /// Notes that a provider keeps no instrument, and so will not collect.
    pub(crate) fn refuse(&self) {
        self.registrations.note_refusal();
        self.put(io::Error::other(
            "the provider keeps no instrument: was it set first, and is it of the version of \
             opentelemetry that this crate uses?",
        ));
    }

    /// Keeps an error that is of no socket for the program.
    fn put(&self, error: io::Error) {
        self.failures.put(Failed::new(Attributes::new([]), error));
    }

    /// Reads every watched connection once, for a registration or for whoever asks for a snapshot.
    ///
    /// Sweeps wait for each other; watching and dropping wait for one read at most. Failures are
    /// not told to the program here, because the caller may be in a collection.
    pub(crate) fn sweep(&self, registration: Option<usize>) -> Swept {
        #[cfg(feature = "diag")]
        if self.discoveries.is_inherited() {
            return Swept { snapshot: Arc::new(Snapshot::empty()), ended: Vec::new() };
        }
        #[cfg(feature = "diag")]
        if self.discoveries.is_passing_here() {
            // A grouping asks, in a sweep or in the beginning of a discovery.
            let snapshot = self.latest().unwrap_or_else(|| Arc::new(Snapshot::empty()));
            return Swept { snapshot, ended: Vec::new() };
        }
        if let Some(number) = registration {
            self.registrations.note_collection(number);
        }
        let mut sweeper = lock(&self.sweeper);
        let sources = Sources {
            connections: &self.connections,
            #[cfg(feature = "diag")]
            discoveries: &self.discoveries,
        };
        let swept = sweeper.sweep(sources, &self.config, registration);
        // Under the sweeper's lock, so that no later sweep's snapshot is replaced by an older one.
        self.latest.store(Some(Arc::clone(&swept.snapshot)));
        swept
    }

    /// What the latest sweep gave; `None` before the first.
    pub(crate) fn latest(&self) -> Option<Arc<Snapshot>> {
        self.latest.load_full()
    }

    /// Begins a discovery: see [`Discoveries::begin`].
    #[cfg(feature = "diag")]
    pub(crate) fn discover(&self, discovery: Discovery) -> io::Result<(u8, DiscoveryEvents)> {
        self.discoveries.begin(discovery)
    }
}
