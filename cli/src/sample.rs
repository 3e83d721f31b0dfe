//! Asks the kernel for the sockets that are wanted, again and again.

use std::collections::HashSet;
use std::io::{self, ErrorKind::InvalidData};
use std::time::{Duration, Instant, SystemTime};

use tcpinfo::diag::{FilterError, Query, Socket};
use tcpinfo::{Kernel, State};

use crate::failure::Failure;
use crate::select::Selection;

/// What one dump said.
#[derive(Debug)]
pub(crate) struct Sample {
    /// When the dump began, by the clock on the wall.
    pub(crate) wall: SystemTime,
    /// When the dump began, since the first one.
    pub(crate) at: Duration,
    /// How long it took: each socket was read at some moment of it.
    pub(crate) took: Duration,
    pub(crate) sockets: Vec<Socket>,
    /// Local ports that a program listens on.
    pub(crate) listening: HashSet<u16>,
}

/// Where samples come from.
#[derive(Debug)]
pub(crate) struct Sampler {
    selection: Selection,
    query: Query,
    begun: Instant,
    /// Memory of the sample before.
    spare: Vec<Socket>,
}

impl Sampler {
    pub(crate) fn new(selection: Selection, query: Query) -> Self {
        Self { selection, query, begun: Instant::now(), spare: Vec::new() }
    }

    /// Dumps once.
    pub(crate) fn sample(&mut self) -> Result<Sample, Failure> {
        let (wall, at) = (SystemTime::now(), self.begun.elapsed());
        let mut sockets = std::mem::take(&mut self.spare);
        self.each(|socket| sockets.push(socket))?;
        let took = self.begun.elapsed().saturating_sub(at);
        let listening = match self.selection.is_everything() {
            true => ports(&sockets).collect(),
            false => self.listening()?,
        };
        Ok(Sample { wall, at, took, sockets, listening })
    }

    /// Takes back the memory of a sample: fresh pages cost more than what is done with them.
    pub(crate) fn recycle(&mut self, mut sockets: Vec<Socket>) {
        sockets.clear();
        self.spare = sockets;
    }

    /// Dumps once, and hands over each socket as it comes. Returns how many made no sense.
    pub(crate) fn each(&self, mut take: impl FnMut(Socket)) -> Result<usize, Failure> {
        let inodes = self.selection.inodes()?;
        let mut malformed = 0;
        for socket in start(&self.query)? {
            match socket {
                Ok(socket) if is_held(&socket, inodes.as_ref()) => take(socket),
                Ok(_) => {}
                Err(error) if is_malformed(&error) => malformed += 1,
                Err(error) => return Err(Failure::kernel(&error)),
            }
        }
        Ok(malformed)
    }

    /// Dumps once, and returns what the kernel sent as well: one reply for each socket.
    pub(crate) fn replies(&self) -> Result<(Sample, Vec<Vec<u8>>), Failure> {
        let (wall, at) = (SystemTime::now(), self.begun.elapsed());
        let inodes = self.selection.inodes()?;
        let (mut sockets, mut replies) = (Vec::new(), Vec::new());
        for reply in start(&self.query)?.into_replies() {
            let reply = reply.map_err(|error| Failure::kernel(&error))?;
            // A reply that makes no sense is left out.
            let Ok(socket) = Socket::decode(&reply, Kernel::running()) else { continue };
            if is_held(&socket, inodes.as_ref()) {
                sockets.push(socket);
                replies.push(reply);
            }
        }
        let took = self.begun.elapsed().saturating_sub(at);
        let listening = match self.selection.is_everything() {
            true => HashSet::new(),
            false => self.listening()?,
        };
        Ok((Sample { wall, at, took, sockets, listening }, replies))
    }

    /// Who listens decides who is the server, whether or not it is selected.
    fn listening(&self) -> Result<HashSet<u16>, Failure> {
        let sockets = start(&Query::new().with_states([State::Listen]))?;
        let sockets: Vec<Socket> = sockets.filter_map(Result::ok).collect();
        Ok(ports(&sockets).collect())
    }
}

/// The ports of the listeners among them.
pub(crate) fn ports(sockets: &[Socket]) -> impl Iterator<Item = u16> {
    let listeners = sockets.iter().filter(|socket| socket.state == State::Listen);
    listeners.map(|socket| socket.local.port())
}

fn start(query: &Query) -> Result<tcpinfo::diag::Sockets, Failure> {
    query.dump().map_err(|error| Failure::kernel(&error))
}

fn is_held(socket: &Socket, inodes: Option<&HashSet<u32>>) -> bool {
    inodes.is_none_or(|inodes| socket.inode.is_some_and(|inode| inodes.contains(&inode)))
}

/// Whether an error is about one socket alone.
fn is_malformed(error: &io::Error) -> bool {
    let is_filter = error.get_ref().is_some_and(|inner| inner.is::<FilterError>());
    error.kind() == InvalidData && !is_filter
}
