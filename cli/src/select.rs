//! Which connections are wanted: from arguments to what the kernel filters.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;
use tcpinfo::State;
use tcpinfo::diag::{Filter, IpPrefix, Query, Socket};

use crate::args::Filters;
use crate::failure::Failure;
use crate::names::Names;
use crate::unit;

/// Which connections are wanted. Conditions of different kinds all have to be met, and of each kind
/// one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) pids: Vec<u32>,
    /// On either side.
    pub(crate) ports: Vec<u16>,
    pub(crate) to: Vec<IpPrefix>,
    /// Names of control groups.
    pub(crate) units: Vec<String>,
    /// On either side.
    pub(crate) endpoints: Vec<SocketAddr>,
}

impl From<&Filters> for Wanted {
    fn from(filters: &Filters) -> Self {
        let Filters { pid, port, to, unit } = filters.clone();
        Self { pids: pid, ports: port, to, units: unit, endpoints: Vec::new() }
    }
}

impl Wanted {
    /// Whether a socket of a recording is wanted. Of a live one the kernel says so.
    pub(crate) fn includes(&self, socket: &Socket, names: &Names) -> bool {
        let Socket { local, peer, .. } = socket;
        let sides = [local, peer];
        let port = |port: &u16| sides.iter().any(|side| side.port() == *port);
        let endpoint = |endpoint: &SocketAddr| {
            sides.iter().any(|side| (side.ip(), side.port()) == (endpoint.ip(), endpoint.port()))
        };
        let process = |pid: &u32| names.process(socket).is_some_and(|it| it.pid == *pid);
        let unit = |name: &String| {
            names.unit(socket).is_some_and(|unit| unit::is_called(Path::new(&**unit), name))
        };
        let no = |len: usize| len == 0;
        (no(self.ports.len()) || self.ports.iter().any(port))
            && (no(self.to.len()) || self.to.iter().any(|prefix| prefix.contains(peer.ip())))
            && (no(self.endpoints.len()) || self.endpoints.iter().any(endpoint))
            && (no(self.pids.len()) || self.pids.iter().any(process))
            && (no(self.units.len()) || self.units.iter().any(unit))
    }
}

/// What the kernel is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pids: Vec<u32>,
    /// What the kernel checks; `None` if it sends all.
    filter: Option<Filter>,
}

impl Selection {
    /// Looks up what is named.
    pub(crate) fn new(wanted: &Wanted) -> Result<Self, Failure> {
        let mut units = Vec::new();
        for name in &wanted.units {
            units.extend(unit::cgroups(name)?);
        }
        let kinds = [
            wanted.ports.iter().copied().map(port).collect::<Vec<_>>(),
            wanted.to.iter().copied().map(Filter::peer).collect(),
            wanted.endpoints.iter().map(endpoint).collect(),
            units.into_iter().map(Filter::cgroup).collect(),
        ];
        let selection = Self { pids: wanted.pids.clone(), filter: every(kinds) };
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

    /// What the wanted processes hold, which the kernel cannot select; `None` if any will do.
    pub(crate) fn inodes(&self) -> Result<Option<HashSet<u32>>, Failure> {
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

/// Either side has this address and port.
fn endpoint(endpoint: &SocketAddr) -> Filter {
    let (ip, port) = (endpoint.ip(), endpoint.port());
    (Filter::peer(ip) & Filter::peer_port(port..=port))
        | (Filter::local(ip) & Filter::local_port(port..=port))
}

/// Either side has this port.
fn port(port: u16) -> Filter {
    Filter::local_port(port..=port) | Filter::peer_port(port..=port)
}

/// One condition of each kind, where there are any.
fn every<const N: usize>(kinds: [Vec<Filter>; N]) -> Option<Filter> {
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

    fn wanted(ports: &[u16], to: &[&str]) -> Wanted {
        let to = to.iter().map(|prefix| prefix.parse().expect("a prefix")).collect();
        Wanted { ports: ports.to_vec(), to, ..Wanted::default() }
    }

    fn filter(wanted: &Wanted) -> Option<Filter> {
        Selection::new(wanted).expect("nothing to look up").filter
    }

    #[test]
    fn kinds_are_joined_by_and_and_one_kind_by_or() {
        assert_eq!(filter(&wanted(&[], &[])), None);
        let one = Filter::any([port(80)]);
        assert_eq!(filter(&wanted(&[80], &[])), Some(one));
        let both = Filter::any([port(80), port(443)]);
        assert_eq!(filter(&wanted(&[80, 443], &[])), Some(both.clone()));
        let prefix: tcpinfo::diag::IpPrefix = "10.0.0.0/8".parse().expect("a prefix");
        let all = both & Filter::any([Filter::peer(prefix)]);
        assert_eq!(filter(&wanted(&[80, 443], &["10.0.0.0/8"])), Some(all));
    }

    #[test]
    fn a_process_that_is_gone_is_no_target() {
        let gone = Wanted { pids: vec![u32::MAX], ..Wanted::default() };
        let failure = Selection::new(&gone).expect_err("no process has this number");
        assert_eq!(failure.sentence(), Some("no process 4294967295"));
        let denied = of_process(1, &Errno::ACCESS.into());
        let sentence = "process 1 is another user's: only root sees which sockets it holds";
        assert_eq!(denied.sentence(), Some(sentence));
    }
}
