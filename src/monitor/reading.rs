//! One reply of one connection: as it came, and what it adds.

use super::moment::Moment;
use super::phase::Phase;
use crate::info::{CounterNumbers, Reply};
use crate::verdict::Cause;

/// One reply as it came.
pub(crate) struct Answer<'r> {
    pub(crate) reply: Reply<'r>,
    pub(crate) raw: CounterNumbers,
    /// When it came; `None` where no verdict follows from it.
    pub(crate) at: Option<Moment>,
}

impl<'r> Answer<'r> {
    #[inline]
    pub(crate) fn new(reply: Reply<'r>, at: Option<Moment>) -> Self {
        Self { reply, raw: CounterNumbers::of(&reply), at }
    }

    /// The phase that it shows.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        Phase::of(&self.reply)
    }
}

/// One reply, and what it adds.
pub(crate) struct Reading<'r> {
    pub(crate) reply: Reply<'r>,
    pub(crate) added: CounterNumbers,
    /// Whether it is the first that shows a connection.
    pub(crate) opened: bool,
    /// What limits the connection.
    pub(crate) cause: Cause,
}
