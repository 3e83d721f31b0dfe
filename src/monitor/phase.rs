//! The life of one connection as its readings show it: its phase, and what that means for its
//! counters. Pure: no I/O, no clock.
//!
//! ```text
//!   watched       watched again, from any phase
//!      |                  |
//!      v                  v
//!    Unread            Resumed ---- the descriptor is no TCP socket ----> Foreign
//!      |                  |            (so does Unread)
//!      +--- a reading ----+
//!               | shows one of these four, later readings show another
//!      +--------+--------------+------------------+----------------+
//!      v                       v                  v                v
//!    Blank -- connect() --> Connected -- ends --> Over         Listening
//!      ^                       |                  |                |
//!      +---- disconnected by connect(AF_UNSPEC) --+-- shutdown() --+
//! ```
//!
//! A step from one phase to the next says what the counters of the reading are:
//!
//! | from | to | so the counters | step |
//! | --- | --- | --- | --- |
//! | `Unread`, `Blank` | any | count in full, from zero | `CountOn` |
//! | `Resumed` | any but `Blank` | are the base: what happened unwatched adds nothing | `Base` |
//! | any other | `Blank` | start again: the next connection counts from zero | `Restart` |
//! | `Over` | `Over` | are final, except clocks, which the kernel does not stop | `SkipClocks` |
//! | any other | any other | grew | `CountOn` |
//!
//! Every connection is counted as opened once and as closed once, however often it is watched. The
//! first reading that shows a connection opens it. A connection that ended before anybody read it
//! was opened and closed in one; a listener and a foreign descriptor are no connections.

use crate::info::Reply;
use crate::state::State;

/// What the last reading said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There was none.
    Unread,
    /// There was none since the connection is watched again.
    Resumed,
    /// Closed, and never connected since it was made or disconnected.
    Blank,
    Connected,
    /// Closed, after a connection or the attempt of one.
    Over,
    Listening,
    /// The descriptor is no TCP socket.
    Foreign,
}

impl Phase {
    /// The phase that a reply shows.
    #[inline]
    pub(crate) fn of(reply: &Reply<'_>) -> Self {
        match reply.state() {
            State::Listen => Self::Listening,
            _ if reply.is_blank() => Self::Blank,
            State::Close => Self::Over,
            _ => Self::Connected,
        }
    }

    /// Whether no reading of the present watch was taken in yet.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Self::Unread | Self::Resumed)
    }
}

/// What a reading means for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CountOn,
    Base,
    /// `after_gap` says that the socket was not watched for a while before.
    Restart {
        after_gap: bool,
    },
    SkipClocks,
}

/// Whether the group has counted the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    NotYet,
    Opened,
    /// As opened and as closed: the monitor took it for ended, and it is watched again.
    Closed,
}

/// What the end of a connection adds to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Nothing,
    Closed,
    OpenedAndClosed,
}

/// The phase of a connection, and whether it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    phase: Phase,
    counted: Counted,
}

impl Life {
    /// Of a connection that the monitor does not know.
    pub(crate) const NEW: Self = Self { phase: Phase::Unread, counted: Counted::NotYet };

    /// Of a connection that the monitor took for ended.
    pub(crate) const KNOWN: Self = Self { phase: Phase::Resumed, counted: Counted::Closed };

    pub(crate) fn phase(self) -> Phase {
        self.phase
    }

    pub(crate) fn is_opened(self) -> bool {
        self.counted == Counted::Opened
    }

    /// It is watched again.
    pub(crate) fn resume(&mut self) {
        self.phase = Phase::Resumed;
    }

    /// Its descriptor is no TCP socket.
    pub(crate) fn turn_foreign(&mut self) {
        self.phase = Phase::Foreign;
    }

    /// Takes in the phase that a reading shows. Returns what that means for the counters, and
    /// whether this reading opens the connection.
    #[inline]
    pub(crate) fn advance(&mut self, next: Phase) -> (Step, bool) {
        let step = match (self.phase, next) {
            (Phase::Unread | Phase::Blank, _) => Step::CountOn,
            (last, Phase::Blank) => Step::Restart { after_gap: last == Phase::Resumed },
            (Phase::Resumed, _) => Step::Base,
            (Phase::Over, Phase::Over) => Step::SkipClocks,
            _ => Step::CountOn,
        };
        self.phase = next;
        let is_connection = matches!(next, Phase::Connected | Phase::Over);
        let opens = is_connection && self.counted == Counted::NotYet;
        if opens {
            self.counted = Counted::Opened;
        }
        (step, opens)
    }

    /// What the group counts when the connection ends.
    pub(crate) fn end(self) -> End {
        match (self.counted, self.phase) {
            (Counted::Opened, _) => End::Closed,
            (Counted::Closed, _) | (_, Phase::Listening | Phase::Foreign) => End::Nothing,
            // Never connected, or never read: whatever it was, it came and went.
            (Counted::NotYet, _) => End::OpenedAndClosed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of these readings, whether one opened the connection, and its end.
    fn life(mut life: Life, readings: &[Phase]) -> (Vec<Step>, usize, End) {
        let mut opened = 0;
        let steps = readings.iter().map(|phase| {
            let (step, opens) = life.advance(*phase);
            opened += usize::from(opens);
            step
        });
        (steps.collect(), opened, life.end())
    }

    #[test]
    fn each_connection_is_opened_once_and_closed_once() {
        use Phase::{Blank, Connected, Foreign, Listening, Over};
        let new = |readings: &[Phase]| {
            let (_, opened, end) = life(Life::NEW, readings);
            (opened, end)
        };
        assert_eq!(new(&[]), (0, End::OpenedAndClosed));
        assert_eq!(new(&[Blank]), (0, End::OpenedAndClosed));
        assert_eq!(new(&[Listening]), (0, End::Nothing));
        assert_eq!(new(&[Foreign]), (0, End::Nothing));
        assert_eq!(new(&[Connected, Over, Blank, Connected]), (1, End::Closed));
        assert_eq!(new(&[Over]), (1, End::Closed));
        assert_eq!(life(Life::KNOWN, &[Connected, Over]).1, 0);
        assert_eq!(life(Life::KNOWN, &[Connected, Over]).2, End::Nothing);
    }

    #[test]
    fn a_step_says_what_the_counters_are() {
        use Phase::{Blank, Connected, Listening, Over};
        let (steps, _, _) = life(Life::NEW, &[Blank, Connected, Over, Over, Blank, Listening]);
        let restart = |after_gap| Step::Restart { after_gap };
        let expected = [
            Step::CountOn,
            Step::CountOn,
            Step::CountOn,
            Step::SkipClocks,
            restart(false),
            Step::CountOn,
        ];
        assert_eq!(steps, expected);
        assert_eq!(life(Life::KNOWN, &[Over, Over]).0, [Step::Base, Step::SkipClocks]);
        assert_eq!(life(Life::KNOWN, &[Blank, Connected]).0, [restart(true), Step::CountOn]);
    }
}
