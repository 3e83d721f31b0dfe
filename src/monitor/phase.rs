//! What a connection was when it was read last.

use crate::info::Reply;
use crate::state::State;

/// What the last reading said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There was none.
    Unread,
    /// There was none since it is watched again.
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
    pub(crate) fn of(reply: &Reply<'_>) -> Self {
        match reply.state() {
            State::Listen => Self::Listening,
            _ if reply.is_blank() => Self::Blank,
            State::Close => Self::Over,
            _ => Self::Connected,
        }
    }
}
