//! What all handles of one monitor share.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;

use super::builder::Config;
use super::connections::Connections;
use super::failures::Failures;
use super::locks::lock;
use super::registrations::Registrations;
use super::snapshot::Snapshot;
use super::sweep::{Sweeper, Swept};

pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) connections: Connections,
    pub(crate) registrations: Arc<Registrations>,
    pub(crate) failures: Arc<Failures>,
    sweeper: Mutex<Sweeper>,
    latest: ArcSwapOption<Snapshot>,
}

impl Shared {
    pub(crate) fn new(mut config: Config) -> Self {
        let failures = Arc::new(Failures::new(config.on_error.take()));
        let registrations = Arc::new(Registrations::new(config.samples));
        let config = Arc::new(config);
        let connections = Connections::new(config.clone(), registrations.clone(), failures.clone());
        Self {
            config,
            connections,
            registrations,
            failures,
            sweeper: Mutex::new(Sweeper::new()),
            latest: ArcSwapOption::empty(),
        }
    }

    /// Reads every watched connection once, for a registration or for whoever asks for a snapshot.
    ///
    /// Sweeps wait for each other; watching and dropping wait for one read at most. Failures are
    /// not told to the program here, because the caller may be in a collection.
    pub(crate) fn sweep(&self, registration: Option<usize>) -> Swept {
        let mut sweeper = lock(&self.sweeper);
        let swept = sweeper.sweep(&self.connections, &self.config, registration);
        // Under the sweeper's lock, so that no later sweep's snapshot is replaced by an older one.
        self.latest.store(Some(Arc::clone(&swept.snapshot)));
        swept
    }

    /// What the latest sweep gave; `None` before the first.
    pub(crate) fn latest(&self) -> Option<Arc<Snapshot>> {
        self.latest.load_full()
    }
}
