//! Asks the kernel for the sockets that are wanted, again and again.

use std::io::{self, ErrorKind::InvalidData};
use std::time::SystemTime;

use tcpinfo::diag::{Query, Socket};

use crate::failure::Failure;
use crate::select::Selection;

/// What one dump said.
#[derive(Debug)]
pub(crate) struct Sample {
    /// When the dump began, by the clock on the wall.
    pub(crate) wall: SystemTime,
    pub(crate) sockets: Vec<Socket>,
    /// Sockets whose reply made no sense.
    pub(crate) malformed: usize,
}

/// Where samples come from.
#[derive(Debug)]
pub(crate) struct Sampler {
    selection: Selection,
    query: Query,
}

impl Sampler {
    pub(crate) fn new(selection: Selection, query: Query) -> Self {
        Self { selection, query }
    }

    /// Dumps once.
    pub(crate) fn sample(&mut self) -> Result<Sample, Failure> {
        let wall = SystemTime::now();
        let (mut sockets, malformed) = dump(&self.query)?;
        self.selection.retain(&mut sockets)?;
        Ok(Sample { wall, sockets, malformed })
    }
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
