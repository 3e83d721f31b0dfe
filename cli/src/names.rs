//! Which process and which unit a socket belongs to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcpinfo::diag::{Owners, Socket, cgroup_path, owners};

use crate::unit;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) command: Arc<str>,
}

/// Names that were looked up so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    owners: Owners,
    /// By the number of the control group; `None` if it has no path here.
    units: HashMap<u64, Option<Arc<str>>>,
    /// When the processes may be read again.
    next: Option<Instant>,
}

impl Names {
    /// To read all processes takes at most this part of a core.
    const SHARE: u32 = 100;

    /// The process that holds a socket: that with the least number if there are several. `None` if
    /// it may not be seen, and if nobody holds the socket.
    pub(crate) fn process(&self, socket: &Socket) -> Option<Process> {
        let owner = self.owners.of(socket).iter().min_by_key(|owner| owner.pid)?;
        Some(Process { pid: owner.pid, command: Arc::clone(&owner.command) })
    }

    /// The unit or container, by the last name in the path of its control group.
    pub(crate) fn unit(&self, socket: &Socket) -> Option<&Arc<str>> {
        self.units.get(&socket.cgroup?)?.as_ref()
    }

    /// How many processes may not be seen.
    pub(crate) fn hidden(&self) -> usize {
        self.owners.forbidden()
    }

    /// Reads what all processes hold. Without `/proc` nobody holds anything.
    pub(crate) fn read_processes(&mut self) {
        let begun = Instant::now();
        self.owners = owners().unwrap_or_default();
        let took = begun.elapsed().max(Duration::from_millis(10));
        self.next = Some(begun + took * Self::SHARE);
    }

    /// Reads them if a socket has none yet, and not too often.
    pub(crate) fn refresh_processes<'s>(&mut self, sockets: impl IntoIterator<Item = &'s Socket>) {
        let due = self.next.is_none_or(|next| Instant::now() >= next);
        let unknown = |socket: &Socket| {
            socket.inode.is_some_and(|inode| self.owners.of_inode(inode).is_empty())
        };
        if due && sockets.into_iter().any(unknown) {
            self.read_processes();
        }
    }

    /// Looks up the control groups that are new. A group keeps its number and its path.
    pub(crate) fn read_units<'s>(&mut self, sockets: impl IntoIterator<Item = &'s Socket>) {
        for id in sockets.into_iter().filter_map(|socket| socket.cgroup) {
            if let Entry::Vacant(place) = self.units.entry(id) {
                // The root of all groups is no unit.
                let path = cgroup_path(id).ok().flatten().filter(|path| path.parent().is_some());
                place.insert(path.map(|path| unit::short(&path).into()));
            }
        }
    }
}
