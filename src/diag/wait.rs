//! Waits for events of ended sockets, until another thread wakes the one that waits.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

use super::events::Events;

/// Wakes a thread that waits, or that will.
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn wake(&self) {
        // It fails only if the number inside would be too large: then it is awake already.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until one of these has an event, or it is woken, or for this time. Without a time it
    /// waits without end.
    pub(crate) fn wait<'e>(
        &self,
        events: impl Iterator<Item = &'e Events>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = events.map(|events| PollFd::new(events, PollFlags::IN));
        let waker = PollFd::new(&self.0, PollFlags::IN);
        let polled = match (events.next(), events.next()) {
            // The usual cases allocate nothing.
            (None, _) => poll(&mut [waker], timeout.as_ref()),
            (Some(one), None) => poll(&mut [waker, one], timeout.as_ref()),
            (Some(one), Some(two)) => {
                let mut all = vec![waker, one, two];
                all.extend(events);
                poll(&mut all, timeout.as_ref())
            }
        };
        match polled {
            // A signal: whoever waits looks at everything, and waits again.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // It fails if nobody woke.
        let _ = read(&self.0, &mut [0; 8]);
        Ok(())
    }
}
