//! One reply of one connection, and what it adds.

use crate::info::{CounterNumbers, Reply};

/// One reply, and what it adds.
pub(crate) struct Reading<'r> {
    pub(crate) reply: Reply<'r>,
    pub(crate) added: CounterNumbers,
    /// Whether it is the first that shows a connection.
    pub(crate) opened: bool,
}
