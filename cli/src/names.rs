//! Which process and which unit a socket belongs to.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcpinfo::diag::{Owners, Socket, cgroup_path, owners};

use crate::recording::Tables;
use crate::unit;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) command: Arc<str>,
}

/// What a recording knows since its latest key frame.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inodes: HashSet<u32>,
    cgroups: HashSet<u64>,
}

/// Names that were looked up so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    owners: Owners,
    /// Likewise, by inode, as a recording says.
    recorded: HashMap<u32, Process>,
    recorded_hidden: usize,
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
        let Some(owner) = self.owners.of(socket).iter().min_by_key(|owner| owner.pid) else {
            return self.recorded.get(&socket.inode?).cloned();
        };
        Some(Process { pid: owner.pid, command: Arc::clone(&owner.command) })
    }

    /// The unit or container, by the last name in the path of its control group.
    pub(crate) fn unit(&self, socket: &Socket) -> Option<&Arc<str>> {
        self.units.get(&socket.cgroup?)?.as_ref()
    }

    /// How many processes may not be seen.
    pub(crate) fn hidden(&self) -> usize {
        self.owners.forbidden() + self.recorded_hidden
    }

    /// What a recording needs to know of these sockets, except what it knows.
    pub(crate) fn tables<'s>(
        &self,
        sockets: impl IntoIterator<Item = &'s Socket>,
        known: &mut Known,
    ) -> Tables {
        let mut tables = Tables { hidden: self.hidden(), ..Tables::default() };
        for socket in sockets {
            let is_new = |inode: &u32| !known.inodes.contains(inode);
            let inode = socket.inode.filter(is_new);
            if let Some((inode, process)) = inode.zip(self.process(socket)) {
                known.inodes.insert(inode);
                tables.processes.push((inode, process.pid, process.command.to_string()));
            }
            let is_new = |id: &u64| !known.cgroups.contains(id);
            let id = socket.cgroup.filter(is_new);
            if let Some((id, unit)) = id.zip(self.unit(socket)) {
                known.cgroups.insert(id);
                tables.units.push((id, unit.to_string()));
            }
        }
        tables
    }

    /// Takes in what a recording says.
    pub(crate) fn learn(&mut self, tables: &Tables) {
        for (inode, pid, command) in &tables.processes {
            let process = Process { pid: *pid, command: command.as_str().into() };
            self.recorded.insert(*inode, process);
        }
        for (id, unit) in &tables.units {
            self.units.insert(*id, Some(unit.as_str().into()));
        }
        self.recorded_hidden = tables.hidden;
    }

    /// Reads what all processes hold. Without `/proc` nobody holds anything.
    pub(crate) fn read_processes(&mut self) {
        let begun = Instant::now();
        self.owners = owners().unwrap_or_default();
        let took = begun.elapsed().max(Duration::from_millis(10));
        self.next = Some(begun + took * Self::SHARE);
    }

    /// Does not read them before this time has passed.
    pub(crate) fn postpone_processes(&mut self, time: Duration) {
        self.next = Some(Instant::now() + time);
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
