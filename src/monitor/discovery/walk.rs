//! The sockets of this process: every descriptor is asked, with the cookie before and after, so
//! that a descriptor which becomes another socket meanwhile is never mistaken.
//!
//! The cookie of the last walk serves as the one before, where nothing has changed: then a socket
//! costs two system calls. What is no TCP socket costs one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::super::reader::SocketReader;
use super::active::Active;
use super::engine::Engine;
use super::listening::{Listener, Listening};
use super::outcome::Seen;
use super::sight::{OwnListener, Sight, Sink};
use crate::diag::{Socket, each_descriptor, inode_of};
use crate::info::Reply;
use crate::read::{self, ROOM};
use crate::state::State;

/// Set in the place of a cookie where the kernel has none, with the inode of the socket.
const INODE: u64 = 1 << 62;

/// What tells the socket behind a descriptor from every other one: its cookie. A kernel without
/// cookies has the number of its inode.
pub(super) fn cookie_of(fd: RawFd) -> io::Result<u64> {
    match read::cookie_of(fd) {
        Err(error) if read::is_without_cookies(&error) => {
            inode_of(fd).map(|inode| INODE | u64::from(inode)).ok_or(error)
        }
        cookie => cookie,
    }
}

/// One TCP socket of this process.
struct Descriptor<'r> {
    fd: RawFd,
    cookie: u64,
    reply: Reply<'r>,
}

impl<'r> Descriptor<'r> {
    /// Reads a descriptor, whose cookie was `last`.
    fn read(
        reader: &'r SocketReader,
        fd: RawFd,
        last: u64,
        room: &'r mut [u8; ROOM],
    ) -> io::Result<Self> {
        // A program that puts another socket there all the time waits for the next walk.
        const ATTEMPTS: usize = 4;
        let mut before = last;
        for _ in 0..ATTEMPTS {
            let len = reader.ask_raw(fd, room)?;
            let cookie = cookie_of(fd)?;
            if cookie == before {
                return Ok(Self { fd, cookie, reply: reader.reply(room, len) });
            }
            before = cookie;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

impl Sight for Descriptor<'_> {
    fn cookie(&self) -> u64 {
        self.cookie
    }

    fn ends(&self) -> Option<[SocketAddr; 2]> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let ends = [read::local_of(self.fd)?, read::peer_of(self.fd).unwrap_or(nowhere)];
        // The addresses of another socket would do harm.
        cookie_of(self.fd).is_ok_and(|now| now == self.cookie).then_some(ends)
    }

    fn socket(&self) -> Option<Socket> {
        let inode = inode_of(self.fd);
        let ends = self.ends()?;
        Some(Socket::of_descriptor(self.cookie, ends, inode, self.reply.info()))
    }

    fn has_event(&self) -> bool {
        // The kernel tells the end of a Multipath TCP socket's subflows only.
        self.cookie & INODE == 0 && !read::has_subflows(self.fd)
    }

    fn is_selected(&self) -> bool {
        false
    }
}

/// What one walk leaves for the next.
#[derive(Default)]
pub(super) struct Walk {
    /// The cookie behind each descriptor, 0 if it was no TCP socket.
    cookies: Vec<u64>,
    /// How many descriptors were TCP sockets.
    found: usize,
    new: Vec<RawFd>,
}

impl Walk {
    /// Reads every TCP socket of this process, and notes those that listen. Returns whether each of
    /// them was met.
    pub(super) fn run(
        &mut self,
        engine: &Engine,
        candidates: &[&Arc<Active>],
        listening: &Listening,
        sink: &mut Sink<'_>,
    ) -> io::Result<bool> {
        let asks = candidates.iter().fold(0, |asks, active| asks | active.bit());
        let Self { cookies, found, new } = self;
        let reader = &engine.connections.reader;
        let mut room = [0; ROOM];
        let mut listeners = Vec::new();
        let (open, mut is_whole) = (std::mem::take(found), true);
        new.clear();
        each_descriptor(open, |fd| {
            let place = fd as usize;
            if cookies.len() <= place {
                cookies.resize(place + 1, 0);
            }
            let last = std::mem::take(&mut cookies[place]);
            let sight = match Descriptor::read(reader, fd, last, &mut room) {
                Ok(sight) => sight,
                Err(error) => {
                    // Closed, or something else, and always was.
                    is_whole &= read::is_gone(&error);
                    return;
                }
            };
            *found += 1;
            cookies[place] = sight.cookie;
            if sight.reply.state() == State::Listen {
                if let Some(local) = read::local_of(fd) {
                    listening.add(local.port());
                    let listener = Listener { cookie: sight.cookie, local };
                    listeners.push(OwnListener { fd, listener });
                }
            }
            // Its group may depend on a listener that comes later.
            let seen = engine.see(&sight, sight.reply, asks, sink);
            let is_met = matches!(seen, Seen::Taken | Seen::Ignored);
            if !is_met && !engine.is_watched(sight.cookie) {
                new.push(fd);
            }
        })?;
        engine.own_listeners.store(Arc::new(listeners));
        for fd in new.drain(..) {
            let last = cookies[fd as usize];
            let Ok(sight) = Descriptor::read(reader, fd, last, &mut room) else { continue };
            cookies[fd as usize] = sight.cookie;
            match engine.see(&sight, sight.reply, asks, sink) {
                Seen::Taken | Seen::Ignored => {}
                seen => engine.meet(&sight, sight.reply, seen, candidates, sink),
            }
        }
        Ok(is_whole)
    }
}
