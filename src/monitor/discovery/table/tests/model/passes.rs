//! Discoveries that begin and end, and their passes.

use std::collections::VecDeque;

use super::super::*;
use super::world::{Model, Pass, World, cookie_of};

impl World {
    pub(super) fn begin_discovery(&mut self, divisor: u64, has_events: bool) {
        let used = |number: &u8| self.active.iter().all(|it| it.number != *number);
        let number = (0..64).find(used).expect("there are few");
        if has_events && !self.has_events() {
            // What was to be told before is not told any more.
            self.untold.extend(self.events.drain(..).map(|(cookie, _)| cookie));
        }
        self.table.claim(number);
        self.active.push(Model { number, divisor, has_events, is_based: false });
        self.begin_pass(Some(number));
    }

    pub(super) fn end_discovery(&mut self, at: usize) {
        let ended = self.active.remove(at);
        self.absent.clear();
        for (cookie, counted) in &mut self.counted {
            let claim = lock(&self.table.inner).entries.find(*cookie).map(|entry| entry.claim);
            let is_out = !self.slots.contains_key(cookie) && self.active.is_empty();
            counted.is_left |= is_out || claim == Some(ended.number);
        }
        if self.active.is_empty() {
            // That the event of a watched one has come is forgotten.
            self.untold.extend(self.slots.keys().filter(|it| !self.open.contains_key(it)));
            self.table.clear();
        } else {
            self.table.unclaim(ended.number);
        }
        if !self.has_events() {
            self.untold.extend(self.events.drain(..).map(|(cookie, _)| cookie));
        }
    }

    pub(super) fn begin_pass(&mut self, begins: Option<u8>) {
        let has_lost = std::mem::take(&mut self.has_lost);
        self.table.begin_pass();
        let (active, ready) = (self.active.clone(), VecDeque::new());
        self.pass = Some(Pass { active, has_lost, begins, ready, upto: 0 });
    }

    /// Whether the pass takes the base of a discovery. It is whole, or made again.
    pub(super) fn takes_base(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.begins.is_some())
    }

    /// Shows one more socket, or ends the pass.
    pub(super) fn go_on(&mut self) {
        if !self.show() {
            self.end_pass(true);
        }
    }

    /// Shows the next socket of a dump. Returns whether there was one.
    pub(super) fn show(&mut self) -> bool {
        let Some(mut pass) = self.pass.take() else { return false };
        while pass.ready.len() < 3 {
            let Some((cookie, bytes)) = self.open.range(pass.upto + 1..).next() else { break };
            pass.ready.push_back((*cookie, *bytes));
            pass.upto = *cookie;
        }
        let next = pass.ready.pop_front();
        let asks = pass.active.iter().fold(0, |asks, it| asks | 1 << it.number);
        if let Some((cookie, bytes)) = next {
            match self.see(cookie, bytes, asks) {
                Seen::Taken | Seen::Ignored => {}
                seen => self.meet(cookie, bytes, seen, &pass.active, asks),
            }
        }
        self.pass = Some(pass);
        next.is_some()
    }

    pub(super) fn end_pass(&mut self, is_whole: bool) {
        let Some(pass) = self.pass.take() else { return };
        let left = self.active.clone();
        let covered = |claim: u8| {
            let it = left.iter().find(|it| it.number == claim)?;
            let is_complete = is_whole && pass.active.iter().any(|other| other.number == claim);
            let closes_absent = !it.has_events || pass.has_lost;
            Some(Coverage { is_complete, closes_absent, closes_after: LEFT })
        };
        let is_of_pass = |it: &Model| pass.active.iter().any(|other| other.number == it.number);
        let is_whole_for_all = is_whole && left.iter().all(is_of_pass);
        let has_events = pass.active.iter().any(|it| it.has_events);
        let mut gone = Vec::new();
        self.table.end_pass(has_events, is_whole_for_all, covered, |parted| {
            gone.push((cookie_of(&parted), parted.end()));
        });
        for (cookie, end) in gone {
            self.ends(cookie, end);
            if has_events {
                self.absent.insert(cookie);
            }
        }
        if pass.has_lost && !is_whole {
            self.has_lost = true;
        }
        if self.active.is_empty() {
            self.table.clear();
        }
        if let Some(number) = pass.begins {
            // The fence.
            while let Some((cookie, bytes)) = self.events.pop_front() {
                self.event(cookie, bytes);
            }
            let begun = self.active.iter_mut().filter(|it| it.number == number);
            begun.for_each(|it| it.is_based = true);
        }
    }
}
