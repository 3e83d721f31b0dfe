//! What a set remembers: the totals of every socket it ever held.

use super::counters::Totals;
use super::sample::{Dice, Reservoir, Sample};

/// The totals of a set, and what its reports need besides.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) totals: Totals,
    pub(crate) seen: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    /// Which up-downs and states were ever reported: they go to zero, not away.
    pub(crate) up_downs_seen: u64,
    pub(crate) states_seen: u16,
    /// Last samples of connections that ended, for each registration that will ask.
    pub(crate) ended: Vec<(usize, Reservoir)>,
    /// When its last user left, counted in departures.
    pub(crate) left: u64,
    /// Registrations that have reported it since.
    pub(crate) reported_to: Vec<usize>,
}

impl Ledger {
    /// Adds what readings brought.
    pub(crate) fn add(&mut self, added: &Totals, seen: u64, opened: u64) {
        for (total, added) in self.totals.iter_mut().zip(added) {
            *total = total.wrapping_add(*added);
        }
        self.seen |= seen;
        self.opened += opened;
    }

    /// Offers the last sample of a connection to the histograms of every registration.
    pub(crate) fn offer(
        &mut self,
        last: Sample,
        registrations: &[usize],
        cap: usize,
        dice: &mut Dice,
    ) {
        if self.ended.iter().map(|(id, _)| id).ne(registrations) {
            self.ended.retain(|(id, _)| registrations.contains(id));
            for id in registrations {
                if !self.ended.iter().any(|(known, _)| known == id) {
                    self.ended.push((*id, Reservoir::default()));
                }
            }
            self.ended.sort_by_key(|(id, _)| *id);
        }
        for (_, reservoir) in &mut self.ended {
            if let Some(place) = reservoir.choose(cap, dice) {
                reservoir.put(place, last);
            }
        }
    }
}
