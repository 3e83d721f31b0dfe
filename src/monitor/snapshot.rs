//! What a sweep produced: plain data, for instruments and for programs without any SDK. Only the
//! attributes are of OpenTelemetry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attributes::Attributes;
use super::labels::{Labels, STATES};
use super::sample::ConnectionSample;
use crate::info::{CounterNumbers, Field, FieldKind, FieldValue, TcpInfo, UpDownNumbers};
use crate::state::State;
use crate::verdict::{CAUSES, Cause, Verdict};

/// What one sweep found: every group, every socket reported one by one, and the monitor itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// When the sweep began.
    pub at: SystemTime,
    /// The groups, closed sockets included, in the order of their attributes' text.
    pub groups: Vec<GroupSnapshot>,
    /// The sockets, or sets of sockets, with series of their own.
    pub sockets: Vec<SocketSnapshot>,
    /// The monitor itself.
    pub monitor: MonitorSnapshot,
}

impl Snapshot {
    /// When the sweep had ended: nothing that it shows came later.
    pub(crate) fn ended(&self) -> SystemTime {
        self.at + self.monitor.sweep_duration
    }

    /// Of a monitor that has not swept yet.
    #[cfg(feature = "diag")]
    pub(crate) fn empty() -> Self {
        let (groups, sockets) = (Vec::new(), Vec::new());
        Self { at: SystemTime::now(), groups, sockets, monitor: MonitorSnapshot::default() }
    }
}

/// The totals of one group.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupSnapshot {
    /// Connections seen so far, each once; listeners do not count.
    pub opened: u64,
    /// Connections of those that ended. One that was given back open has not: see
    /// [`Watched::into_inner`](crate::Watched::into_inner).
    pub closed: u64,
    /// Samples of live connections, a fair choice above the monitor's cap.
    pub samples: Vec<ConnectionSample>,
    /// When it began to count.
    pub(crate) since: SystemTime,
    pub(crate) labels: Arc<Labels>,
    pub(crate) sums: Sums,
    pub(crate) states: [u64; STATES],
    pub(crate) states_seen: u16,
    pub(crate) causes: [u64; CAUSES],
    pub(crate) causes_seen: u16,
}

/// Counters and up-downs of a set or a socket.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    pub(crate) counters: CounterNumbers,
    pub(crate) up_downs: UpDownNumbers,
}

/// Where a series begins, and whose totals it shows.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The connection or the set. Its totals never fall.
    pub(crate) id: u64,
    pub(crate) start: Start,
}

/// How much of the totals is told to a reader that has not seen the series before, and since when
/// they count.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// Everything.
    Whole(SystemTime),
    /// What came after these, of a connection that is watched again.
    After(SystemTime, Box<CounterNumbers>),
    /// Only what is still to come.
    Now,
}

impl Sums {
    fn get(&self, field: &Field) -> Option<FieldValue> {
        self.counters.get(field).or_else(|| self.up_downs.get(field))
    }
}

impl GroupSnapshot {
    /// The group's attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.labels.plain
    }

    /// A counter over all sockets the group ever held, or an up-down over the live ones; `None`
    /// where no socket reported the field, and for other kinds of field.
    pub fn get(&self, field: &Field) -> Option<FieldValue> {
        self.sums.get(field)
    }

    /// Watched sockets by state, for every state seen so far. Unknown states count as one.
    pub fn states(&self) -> impl Iterator<Item = (State, u64)> {
        self.state_ranks().map(|(rank, count)| (State::from(rank as u8), count))
    }

    pub(crate) fn state_ranks(&self) -> impl Iterator<Item = (usize, u64)> {
        let seen = |rank: &usize| self.states_seen >> rank & 1 != 0;
        (0..STATES).filter(seen).map(|rank| (rank, self.states[rank]))
    }

    /// Watched sockets by what limits them since the last sweep, listeners included, for every
    /// cause seen so far. They sum to [`live`](Self::live).
    ///
    /// A socket has a verdict from its second reading on, a second after the first at the earliest;
    /// until then it is [`Cause::TooLittle`].
    pub fn verdicts(&self) -> impl Iterator<Item = (Cause, u64)> {
        let seen = |cause: &Cause| self.causes_seen >> *cause as usize & 1 != 0;
        Cause::ALL.into_iter().filter(seen).map(|cause| (cause, self.causes[cause as usize]))
    }

    /// Watched sockets, listeners included. One that could not be read by this sweep is left out.
    pub fn live(&self) -> u64 {
        self.states.iter().sum()
    }
}

/// One socket, or the sockets that share a series.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketSnapshot {
    /// What the kernel said; `None` where the read failed, or for several sockets together.
    pub info: Option<TcpInfo>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) sums: Sums,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) origin: Origin,
    /// When the series began, as this reader is told it.
    pub(crate) since: SystemTime,
}

impl SocketSnapshot {
    /// The attributes that tell the series from others.
    pub fn attributes(&self) -> &Attributes {
        &self.labels.plain
    }

    /// What limits it, since the last sweep that was a second before; `None` in the first one, and
    /// for several sockets together.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// A field as the series reports it. Counters are those of the whole connection, widened, but
    /// without what it did while nobody watched it; all else is as the kernel said it.
    pub fn get(&self, field: &Field) -> Option<FieldValue> {
        match field.kind {
            FieldKind::Counter | FieldKind::UpDown => self.sums.get(field),
            _ => self.info.as_ref()?.get(field),
        }
    }
}

/// What the monitor says of itself.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MonitorSnapshot {
    /// Sockets watched now, each once, whatever handles watch it.
    pub watched: u64,
    /// Open sockets that were given back and are remembered, each once in either family.
    pub given_back: u64,
    /// How long the sweep took.
    pub sweep_duration: Duration,
    /// Kernel reads since the monitor was made, those at close included.
    pub reads: u64,
    /// Failed reads since the monitor was made, by `error.type`.
    pub read_errors: Vec<(&'static str, u64)>,
    /// Sockets since the monitor was made that a cap folded into an overflow set. One that was
    /// given back counts again when it is watched and folded again.
    pub folded: u64,
    /// Providers and pages that have not collected for
    /// [some time](crate::MonitorBuilder::with_collection_deadline), and calls of `instrument` on a
    /// provider that keeps no instrument.
    pub uncollected: u64,
    /// Discovered sockets in the last sweep, without those that are watched.
    pub discovered: u64,
    /// How often the kernel had no room for events of ended sockets and dropped some.
    pub event_overruns: u64,
    /// The discoveries under way.
    pub discoveries: Vec<DiscoverySnapshot>,
    /// Whether there ever was a discovery.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) was_discovered: bool,
}

/// What one sweep found by itself.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) discovered: u64,
    pub(crate) overruns: u64,
    pub(crate) discoveries: Vec<DiscoverySnapshot>,
    /// Whether there ever was a discovery.
    pub(crate) was_used: bool,
}

/// One discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DiscoverySnapshot {
    /// Where it looks.
    pub scope: DiscoveryScope,
    /// Whether the kernel tells it the ends of sockets.
    pub events: DiscoveryEvents,
}

/// Where a discovery looks for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DiscoveryScope {
    /// In this process.
    Process,
    /// In the network namespace.
    Host,
}

/// Whether the kernel tells a discovery the ends of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DiscoveryEvents {
    /// It does: connections shorter than a sweep count as well.
    Told,
    /// They were not wanted.
    Off,
    /// It cannot: no netlink, a policy that forbids it, or a kernel before 4.2.
    #[cfg_attr(feature = "serde", serde(serialize_with = "kind_text"))]
    Unavailable(std::io::ErrorKind),
}

#[cfg(feature = "serde")]
fn kind_text<S: serde::Serializer>(
    kind: &std::io::ErrorKind,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

#[cfg(feature = "serde")]
mod json {
    use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

    use super::*;
    use crate::info::{self, FIELDS};

    impl Serialize for Snapshot {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut all = serializer.serialize_struct("Snapshot", 4)?;
            all.serialize_field("at", &self.at)?;
            all.serialize_field("groups", &self.groups)?;
            all.serialize_field("sockets", &self.sockets)?;
            all.serialize_field("monitor", &self.monitor)?;
            all.end()
        }
    }

    /// Fields of some kinds as a map from name to value.
    struct Fields<'a, T>(&'a T, fn(&T, &Field) -> Option<FieldValue>);

    impl<T> Serialize for Fields<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let present = FIELDS.iter().filter_map(|field| Some((field, (self.1)(self.0, field)?)));
            serializer.collect_map(present.map(|(field, value)| (field.name, value)))
        }
    }

    /// Live sockets by the text of their state.
    struct States<'a>(&'a GroupSnapshot);

    impl Serialize for States<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for (state, count) in self.0.states() {
                map.serialize_entry(state.text().unwrap_or("unknown"), &count)?;
            }
            map.end()
        }
    }

    /// Live sockets by the text of their verdict.
    struct Verdicts<'a>(&'a GroupSnapshot);

    impl Serialize for Verdicts<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.verdicts())
        }
    }

    impl Serialize for GroupSnapshot {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut group = serializer.serialize_struct("GroupSnapshot", 7)?;
            group.serialize_field("attributes", self.attributes())?;
            group.serialize_field("opened", &self.opened)?;
            group.serialize_field("closed", &self.closed)?;
            group.serialize_field("states", &States(self))?;
            group.serialize_field("verdicts", &Verdicts(self))?;
            group.serialize_field("fields", &Fields(self, Self::get))?;
            group.serialize_field("samples", &self.samples)?;
            group.end()
        }
    }

    impl Serialize for SocketSnapshot {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut socket = serializer.serialize_struct("SocketSnapshot", 3)?;
            socket.serialize_field("attributes", self.attributes())?;
            socket.serialize_field("verdict", &self.verdict)?;
            socket.serialize_field("fields", &Fields(self, Self::get))?;
            socket.end()
        }
    }

    impl Serialize for ConnectionSample {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for field in info::rows(FieldKind::Distribution) {
                if let Some(value) = self.get(field) {
                    map.serialize_entry(field.name, &value)?;
                }
            }
            if let Some(delay) = self.queueing_delay {
                map.serialize_entry("queueing_delay", &delay)?;
            }
            map.end()
        }
    }
}
