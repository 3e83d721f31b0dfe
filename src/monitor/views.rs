//! What each registration was told of `tcp.socket.*`, so that no series falls.
//!
//! A series is a set of attributes; what it shows is a connection. The two can part: a connection
//! ends and another one gets its attributes, or a connection that was among the worst of its group
//! is also watched by itself. So for each series a view keeps what the reader was told, and tells
//! it more by what was added since:
//!
//! | the series was told in the last collection | and shows | so it grows by |
//! | --- | --- | --- |
//! | no | any connection | it begins: see [`Start`] |
//! | yes | the same connection | what the connection did since |
//! | yes | another connection | what that one adds when it begins |
//! | yes, as one of the worst | another entry of the same connection | nothing |
//!
//! A series that is left out of one collection ends there: its reader has seen it end, so its
//! attributes may begin at zero again. When a series began is told with it, and stays the same as
//! long as it lives. It is not before the end of the last collection, or of the collection that the
//! series was missing from: two series with the same attributes do not overlap.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::time::SystemTime;

use super::attributes::Attributes;
use super::snapshot::{SocketSnapshot, Start};
use crate::info::CounterNumbers;

/// The series that one registration saw in its last collection.
#[derive(Default)]
pub(crate) struct Views {
    series: HashMap<Attributes, View>,
    collections: u64,
    /// When the last collection had ended.
    ended: Option<SystemTime>,
}

/// One series as it was told.
struct View {
    /// The connection or the set that it shows.
    id: u64,
    /// Whether it was chosen as one of the worst of its group.
    chosen: bool,
    /// The totals of what it shows, in the last collection.
    last: CounterNumbers,
    /// What was told then: never less than before.
    told: CounterNumbers,
    since: SystemTime,
    /// The number of the last collection that had it.
    collection: u64,
}

impl Views {
    /// Turns totals into what this registration is told. Of several sockets with the same
    /// attributes only the first is told.
    pub(crate) fn tell(&mut self, sockets: &mut Vec<SocketSnapshot>, began: SystemTime) {
        self.collections += 1;
        let now = self.collections;
        sockets.retain_mut(|socket| {
            let totals = socket.sums.counters;
            let id = socket.origin.id;
            let beginning = || match &socket.origin.start {
                Start::Whole(_) => totals,
                Start::After(_, start) => totals.since(start),
                Start::Now => totals.with_zeros(u64::MAX),
            };
            let view = match self.series.entry(socket.labels.plain.clone()) {
                Occupied(view) if view.get().collection == now => return false,
                Occupied(view) => {
                    let view = view.into_mut();
                    let more = match view.id == id {
                        true => totals.since(&view.last),
                        // The cookie is among the attributes of the worst, so this is the same
                        // connection, which is watched by itself as well.
                        false if view.chosen => totals.with_zeros(u64::MAX),
                        false => beginning(),
                    };
                    view.told.add(&more);
                    view
                }
                Vacant(place) => place.insert(View {
                    id,
                    chosen: false,
                    last: totals,
                    told: beginning(),
                    since: match &socket.origin.start {
                        Start::Whole(since) | Start::After(since, _) => *since,
                        Start::Now => began,
                    }
                    .max(self.ended.unwrap_or(SystemTime::UNIX_EPOCH)),
                    collection: now,
                }),
            };
            view.id = id;
            view.chosen = matches!(socket.origin.start, Start::Now);
            view.last = totals;
            view.collection = now;
            socket.sums.counters = view.told;
            socket.since = view.since;
            true
        });
        self.series.retain(|_, view| view.collection == now);
    }

    /// The collection has ended.
    pub(crate) fn note_end(&mut self, at: SystemTime) {
        self.ended = Some(at);
    }
}
