//! What the table of discovered connections says of a cookie, and what comes into it and leaves it.

use std::time::Duration;

use super::super::history::History;
use super::super::phase::{End, Phase};
use super::super::progress::Progress;
use super::super::set::Membership;

/// Nobody's claim.
pub(super) const NOBODY: u8 = u8::MAX;

/// What a pass found under a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An entry, which took the reading in.
    Taken,
    /// An entry that this pass has seen already, or a cookie that does not count.
    Ignored,
    /// An entry of a discovery that has ended.
    Unclaimed,
    /// Nothing.
    Unknown,
}

/// A connection that leaves the table.
#[derive(Clone)]
pub(crate) struct Parted {
    pub(crate) group: Membership,
    pub(crate) opened_in: Option<Membership>,
    pub(crate) progress: Progress,
    /// How long it was known; `None` if it was there before.
    pub(crate) age: Option<Duration>,
    pub(crate) claim: u8,
}

/// What an event found under a cookie.
#[allow(clippy::large_enum_variant, reason = "a box would be an allocation for each event")]
pub(crate) enum Told {
    /// An entry, which is taken out.
    Parted(Parted),
    /// A connection that was closed because passes did not show it: the event is its last reading.
    Late(Parted),
    /// A cookie that does not count.
    Ignored,
    /// A connection that these discoveries did not want.
    Refused(u64),
    /// Nothing.
    Unknown,
}

/// What was known when a watch begins.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Handover {
    /// The connection was discovered before.
    Entry(History, Membership, Option<Membership>),
    /// It was watched before, or had ended.
    Known,
    Nothing,
}

/// What came of a connection that nobody watches any more, and a discovery found.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Adopted {
    Entry,
    /// It has ended already.
    Ended(Parted),
    /// It stays where it is.
    Nothing,
}

/// A connection that comes into the table.
pub(crate) struct Newcomer {
    pub(crate) cookie: u64,
    pub(crate) progress: Progress,
    pub(crate) group: Membership,
    pub(crate) claim: u8,
    /// Whether it was there before.
    pub(crate) is_base: bool,
    /// Whether the kernel tells its end.
    pub(crate) has_event: bool,
}

/// What a pass says of the connections of one discovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coverage {
    /// Whether it would have shown every connection that is open.
    pub(crate) is_complete: bool,
    /// Whether what it does not show has ended: no event tells that, or events were lost.
    pub(crate) closes_absent: bool,
    /// For how many passes at least a connection was not shown whose end the kernel has not told,
    /// and will not: it says nothing if it has no memory for an event.
    pub(crate) closes_after: u32,
}

impl Parted {
    /// A connection that came and went at once.
    pub(crate) fn passing(
        group: Membership,
        progress: Progress,
        age: Option<Duration>,
        claim: u8,
    ) -> Self {
        Self { group, opened_in: None, progress, age, claim }
    }

    /// Whether the discovery that claimed it has ended.
    pub(crate) fn is_unclaimed(&self) -> bool {
        self.claim == NOBODY
    }

    /// What its groups count when it ends.
    pub(crate) fn end(&self) -> End {
        match self.progress.life.phase() {
            Phase::Listening | Phase::Blank => End::Nothing,
            _ => self.progress.life.end(),
        }
    }
}
