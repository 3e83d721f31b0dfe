//! Asks the kernel for the sockets that are wanted, again and again.

use std::collections::HashSet;
use std::io::{self, ErrorKind::InvalidData};
use std::time::{Duration, Instant, SystemTime};

use tcpinfo::State;
use tcpinfo::diag::{Query, Socket};

use crate::failure::Failure;
use crate::select::Selection;

/// What one dump said.
#[derive(Debug)]
pub(crate) struct Sample {
    /// When the dump began, by the clock on the wall.
    pub(crate) wall: SystemTime,
    /// When the dump began, since the first one.
    pub(crate) at: Duration,
    pub(crate) sockets: Vec<Socket>,
    /// Local ports that a program listens on.
    pub(crate) listening: HashSet<u16>,
    /// Sockets whose reply made no sense.
    pub(crate) malformed: usize,
}

/// Where samples come from.
#[derive(Debug)]
pub(crate) struct Sampler {
    selection: Selection,
    query: Query,
    begun: Instant,
}

impl Sampler {
    pub(crate) fn new(selection: Selection, query: Query) -> Self {
        Self { selection, query, begun: Instant::now() }
    }

    /// Dumps once.
    pub(crate) fn sample(&mut self) -> Result<Sample, Failure> {
        let (wall, at) = (SystemTime::now(), self.begun.elapsed());
        let (mut sockets, malformed) = dump(&self.query)?;
        let mut listening = HashSet::new();
        if self.selection.is_everything() {
            listening.extend(ports(&sockets));
        } else {
            // Who listens decides who is the server, whether or not it is shown.
            let listeners = Query::new().with_states([State::Listen]);
            listening.extend(ports(&dump(&listeners)?.0));
        }
        self.selection.retain(&mut sockets)?;
        Ok(Sample { wall, at, sockets, listening, malformed })
    }
}

fn ports(sockets: &[Socket]) -> impl Iterator<Item = u16> {
    let listeners = sockets.iter().filter(|socket| socket.state == State::Listen);
    listeners.map(|socket| socket.local.port())
}

/// All sockets of a query, and how many could not be decoded.
fn dump(query: &Query) -> Result<(Vec<Socket>, usize), Failure> {
    let (mut sockets, mut malformed) = (Vec::new(), 0);
    let dump = query.dump().map_err(|error| Failure::kernel(&error))?;
    for socket in dump {
        match socket {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == InvalidData && !is_filter(&error) => malformed += 1,
            Err(error) => return Err(Failure::kernel(&error)),
        }
    }
    Ok((sockets, malformed))
}

fn is_filter(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<tcpinfo::diag::FilterError>())
}
