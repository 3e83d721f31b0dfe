//! Which connections are wanted: from arguments to what the kernel filters.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use tcpinfo::State;
use tcpinfo::diag::{Filter, Query, Socket};

use crate::args::Filters;
use crate::failure::Failure;
use crate::unit;

/// Which connections are wanted. Conditions of different kinds all have to be met, and of each kind
/// one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pids: Vec<u32>,
    /// What the kernel checks; `None` if it sends all.
    filter: Option<Filter>,
}

impl Selection {
    /// Looks up what the arguments name.
    pub(crate) fn new(filters: &Filters) -> Result<Self, Failure> {
        let mut units = Vec::new();
        for name in &filters.unit {
            units.extend(unit::cgroups(name)?);
        }
        let ports = filters.port.iter().copied().map(port);
        let to = filters.to.iter().copied().map(Filter::peer);
        let units = units.into_iter().map(Filter::cgroup);
        let kinds = [ports.collect::<Vec<_>>(), to.collect(), units.collect()];
        let selection = Self { pids: filters.pid.clone(), filter: every(kinds) };
        selection.inodes()?;
        Ok(selection)
    }

    /// Whether every socket is wanted.
    pub(crate) fn is_everything(&self) -> bool {
        self.pids.is_empty() && self.filter.is_none()
    }

    /// The dump to ask for.
    pub(crate) fn query(&self, time_wait: bool) -> Query {
        let states =
            (1..=11).map(State::from).filter(|state| time_wait || *state != State::TimeWait);
        let query = Query::new().with_states(states);
        match &self.filter {
            Some(filter) => query.with_filter(filter.clone()),
            None => query,
        }
    }

    /// Leaves the sockets of the wanted processes, which the kernel cannot select.
    pub(crate) fn retain(&self, sockets: &mut Vec<Socket>) -> Result<(), Failure> {
        if let Some(inodes) = self.inodes()? {
            sockets.retain(|socket| socket.inode.is_some_and(|inode| inodes.contains(&inode)));
        }
        Ok(())
    }

    /// What the wanted processes hold; `None` if any process will do.
    fn inodes(&self) -> Result<Option<HashSet<u32>>, Failure> {
        if self.pids.is_empty() {
            return Ok(None);
        }
        let mut inodes = HashSet::new();
        for pid in &self.pids {
            read_inodes(*pid, &mut inodes).map_err(|error| of_process(*pid, &error))?;
        }
        Ok(Some(inodes))
    }
}

/// Either side has this port.
fn port(port: u16) -> Filter {
    Filter::local_port(port..=port) | Filter::peer_port(port..=port)
}

/// One condition of each kind, where there are any.
fn every(kinds: [Vec<Filter>; 3]) -> Option<Filter> {
    let kinds = kinds.into_iter().filter(|kind| !kind.is_empty()).map(Filter::any);
    kinds.reduce(|one, other| one & other)
}

fn read_inodes(pid: u32, inodes: &mut HashSet<u32>) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor that is closed meanwhile is none.
        let target = entry.and_then(|entry| fs::read_link(entry.path())).ok();
        let text = target.as_deref().and_then(Path::to_str);
        let number = text.and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    Ok(())
}

fn of_process(pid: u32, error: &io::Error) -> Failure {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::SRCH) => Failure::no_target(format!("no process {pid}")),
        Some(Errno::ACCESS | Errno::PERM) => Failure::impossible(format!(
            "process {pid} is another user's: only root sees which sockets it holds"
        )),
        _ => Failure::impossible(format!("cannot read /proc/{pid}/fd: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(ports: &[u16], to: &[&str]) -> Filters {
        let to = to.iter().map(|prefix| prefix.parse().expect("a prefix")).collect();
        Filters { port: ports.to_vec(), to, ..Filters::default() }
    }

    fn filter(filters: &Filters) -> Option<Filter> {
        Selection::new(filters).expect("nothing to look up").filter
    }

    #[test]
    fn kinds_are_joined_by_and_and_one_kind_by_or() {
        assert_eq!(filter(&filters(&[], &[])), None);
        let one = Filter::any([port(80)]);
        assert_eq!(filter(&filters(&[80], &[])), Some(one));
        let both = Filter::any([port(80), port(443)]);
        assert_eq!(filter(&filters(&[80, 443], &[])), Some(both.clone()));
        let prefix: tcpinfo::diag::IpPrefix = "10.0.0.0/8".parse().expect("a prefix");
        let all = both & Filter::any([Filter::peer(prefix)]);
        assert_eq!(filter(&filters(&[80, 443], &["10.0.0.0/8"])), Some(all));
    }

    #[test]
    fn a_process_that_is_gone_is_no_target() {
        let gone = Filters { pid: vec![u32::MAX], ..Filters::default() };
        let failure = Selection::new(&gone).expect_err("no process has this number");
        assert_eq!(failure.sentence(), Some("no process 4294967295"));
        let denied = of_process(1, &Errno::ACCESS.into());
        let sentence = "process 1 is another user's: only root sees which sockets it holds";
        assert_eq!(denied.sentence(), Some(sentence));
    }
}
