//! A discovery under way: which connections it wants, and which groups it puts them into.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use opentelemetry::KeyValue;

use super::super::attributes::{AttributeProblem, Attributes};
use super::super::locks::lock;
use super::super::snapshot::{DiscoveryEvents, DiscoveryScope, DiscoverySnapshot};
use super::choice::Discovery;
use super::listening::Listening;
use crate::diag::Socket;
use crate::metric::key;
use crate::state::State;

/// Default attribute sets kept at most; each is built again if it is needed again.
const KEPT: usize = 4_096;

/// A discovery under way.
pub(crate) struct Active {
    /// Its bit in sets of discoveries, and its claim in the table.
    pub(crate) number: u8,
    pub(crate) discovery: Discovery,
    pub(crate) events: DiscoveryEvents,
    /// What listens in its namespace.
    pub(crate) listening: Arc<Listening>,
    /// Whether the connections that were there before are known.
    is_based: AtomicBool,
    pub(crate) began: Instant,
    defaults: Mutex<HashMap<DefaultKey, Attributes>>,
}

/// What the default attributes are made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct DefaultKey {
    is_server: bool,
    port: u16,
    server: Option<IpAddr>,
}

/// What a grouping says of a connection.
pub(crate) enum Grouped {
    Into(Attributes, Vec<AttributeProblem>),
    Unwanted,
    /// The program's function panicked.
    Panicked,
}

impl Active {
    pub(crate) fn new(
        number: u8,
        discovery: Discovery,
        events: DiscoveryEvents,
        listening: Arc<Listening>,
    ) -> Self {
        let (is_based, began) = (AtomicBool::new(false), Instant::now());
        let defaults = Mutex::default();
        Self { number, discovery, events, listening, is_based, began, defaults }
    }

    pub(crate) fn bit(&self) -> u64 {
        1 << self.number
    }

    pub(crate) fn is_process(&self) -> bool {
        self.discovery.scope == DiscoveryScope::Process
    }

    pub(crate) fn has_events(&self) -> bool {
        self.events == DiscoveryEvents::Told
    }

    pub(crate) fn is_based(&self) -> bool {
        self.is_based.load(Ordering::Acquire)
    }

    /// From now on what it finds is new.
    pub(crate) fn set_based(&self) {
        self.is_based.store(true, Ordering::Release);
    }

    pub(crate) fn snapshot(&self) -> DiscoverySnapshot {
        DiscoverySnapshot { scope: self.discovery.scope, events: self.events }
    }

    /// The group that its grouping puts a connection into.
    pub(crate) fn group(&self, socket: &Socket) -> Grouped {
        let Some(grouping) = &self.discovery.grouping else {
            return Grouped::Into(self.default_group(socket), Vec::new());
        };
        // A panic in the program's function stays here, and so does one in the destructor of what
        // it panicked with.
        match catch_unwind(AssertUnwindSafe(|| grouping(socket))) {
            Ok(Some(attributes)) => {
                let (attributes, problems) = Attributes::checked(attributes);
                Grouped::Into(attributes, problems)
            }
            Ok(None) => Grouped::Unwanted,
            Err(payload) => {
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                dropped.unwrap_or_else(std::mem::forget);
                Grouped::Panicked
            }
        }
    }

    fn default_group(&self, socket: &Socket) -> Attributes {
        self.listening.learn(socket);
        let is_server = socket.state == State::Listen || self.listening.has(socket.local.port());
        let port = if is_server { socket.local.port() } else { socket.peer.port() };
        let server = (self.is_process() && !is_server).then(|| socket.peer.ip());
        let key = DefaultKey { is_server, port, server };
        let mut defaults = lock(&self.defaults);
        if let Some(attributes) = defaults.get(&key) {
            return attributes.clone();
        }
        let role = if is_server { key::ROLE_SERVER } else { key::ROLE_CLIENT };
        let attributes =
            [KeyValue::new(key::ROLE, role), KeyValue::new(key::SERVER_PORT, i64::from(port))];
        let address = server.map(|ip| KeyValue::new(key::SERVER_ADDRESS, ip.to_string()));
        let attributes = Attributes::new(attributes.into_iter().chain(address));
        if defaults.len() >= KEPT {
            defaults.clear();
        }
        defaults.insert(key, attributes.clone());
        attributes
    }
}
