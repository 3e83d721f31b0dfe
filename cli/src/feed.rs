//! Where the samples of a command come from: the kernel, or a recording.

use std::time::{Duration, UNIX_EPOCH};

use tcpinfo::diag::Socket;

use crate::failure::Failure;
use crate::names::Names;
use crate::recording::{Frame, Recording};
use crate::sample::{Sample, Sampler, ports};
use crate::select::{Selection, Wanted};

/// The source of samples.
#[derive(Debug)]
pub(crate) enum Feed {
    Live(Sampler),
    Recorded(Box<Player>),
}

impl Feed {
    /// The kernel's.
    pub(crate) fn live(wanted: &Wanted) -> Result<Self, Failure> {
        let selection = Selection::new(wanted)?;
        let query = selection.query(false);
        Ok(Self::Live(Sampler::new(selection, query)))
    }

    /// The next sample, and the names for it. `None` at the end of a recording.
    pub(crate) fn next(&mut self, names: &mut Names) -> Result<Option<Sample>, Failure> {
        match self {
            Self::Live(sampler) => {
                let sample = sampler.sample()?;
                names.read_units(&sample.sockets);
                names.refresh_processes(&sample.sockets);
                Ok(Some(sample))
            }
            Self::Recorded(player) => player.next(names),
        }
    }

    /// Takes back the memory of a sample.
    pub(crate) fn recycle(&mut self, sockets: Vec<Socket>) {
        if let Self::Live(sampler) = self {
            sampler.recycle(sockets);
        }
    }
}

/// Plays a recording.
#[derive(Debug)]
pub(crate) struct Player {
    recording: Recording,
    wanted: Wanted,
    /// The sample that comes next.
    position: usize,
}

impl Player {
    pub(crate) fn new(recording: Recording, wanted: Wanted) -> Self {
        Self { recording, wanted, position: 0 }
    }

    pub(crate) fn next(&mut self, names: &mut Names) -> Result<Option<Sample>, Failure> {
        if self.position >= self.recording.len() {
            return Ok(None);
        }
        let kernel = self.recording.kernel.clone();
        let decode =
            if self.recording.is_foreign { Socket::decode_foreign } else { Socket::decode };
        let frame = self.recording.frame(self.position).map_err(Failure::impossible)?;
        self.position += 1;
        names.learn(&frame.tables);
        let Frame { wall, at, took, tables, replies } = frame;
        // A reply that makes no sense is left out.
        let decoded = replies.iter().map(|reply| decode(reply, &kernel));
        let mut sockets: Vec<Socket> = decoded.filter_map(Result::ok).collect();
        let listening = ports(&sockets).chain(tables.listening.iter().copied()).collect();
        let (wall, at, took) = (UNIX_EPOCH + *wall, *at, *took);
        sockets.retain(|socket| self.wanted.includes(socket, names));
        Ok(Some(Sample { wall, at, took, sockets, listening }))
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.recording.len()
    }

    /// How many have been played.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The sample at this place comes next.
    pub(crate) fn seek(&mut self, position: usize) {
        self.position = position.min(self.recording.len());
    }

    /// When the sample that was played last was taken, since 1970.
    pub(crate) fn wall(&self) -> Duration {
        self.wall_of(self.position.saturating_sub(1))
    }

    /// When a sample was taken, since 1970.
    pub(crate) fn wall_of(&self, at: usize) -> Duration {
        self.recording.wall(at)
    }
}
