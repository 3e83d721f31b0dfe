//! What each registration was told of `tcp.socket.*`: a series never falls before whoever saw it
//! has collected once without it.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use super::attributes::Attributes;
use super::snapshot::{SocketSnapshot, Start};
use crate::info::CounterNumbers;

/// The series that one registration saw in its last collection.
#[derive(Default)]
pub(crate) struct Views {
    series: HashMap<Attributes, View>,
    collections: u64,
}

/// One series as it was told.
struct View {
    /// Whose totals these are.
    id: u64,
    /// Whether it was chosen as one of the worst of its group.
    chosen: bool,
    /// The totals it stood at.
    last: CounterNumbers,
    /// What was told of them.
    told: CounterNumbers,
    collection: u64,
}

impl Views {
    /// Turns totals into what this registration is to be told, and leaves out what would be told
    /// twice. A series goes on from what was told of it: by what its connection did since, or by
    /// what another connection did that now has its attributes. One that was not told in the last
    /// collection begins anew.
    pub(crate) fn tell(&mut self, sockets: &mut Vec<SocketSnapshot>) {
        self.collections += 1;
        let now = self.collections;
        sockets.retain_mut(|socket| {
            let totals = socket.sums.counters;
            let id = socket.origin.id;
            let fresh = || match &socket.origin.start {
                Start::Whole => totals,
                Start::After(start) => totals.since(start),
                Start::Now => totals.with_zeros(u64::MAX),
            };
            let view = match self.series.entry(socket.labels.plain.clone()) {
                Occupied(view) if view.get().collection == now => return false,
                Occupied(view) => {
                    let view = view.into_mut();
                    let more = match view.id == id {
                        true => totals.since(&view.last),
                        // The same connection by its cookie, which is watched by itself as well.
                        false if view.chosen => totals.with_zeros(u64::MAX),
                        false => fresh(),
                    };
                    view.told.add(&more);
                    view
                }
                Vacant(place) => place.insert(View {
                    id,
                    chosen: false,
                    last: totals,
                    told: fresh(),
                    collection: now,
                }),
            };
            view.id = id;
            view.chosen = matches!(socket.origin.start, Start::Now);
            view.last = totals;
            view.collection = now;
            socket.sums.counters = view.told;
            true
        });
        self.series.retain(|_, view| view.collection == now);
    }
}
