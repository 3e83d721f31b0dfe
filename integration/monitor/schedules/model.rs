//! What a monitor owes: an account for each connection of each family, kept with a pencil.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use super::{Family, GROUPS};

/// What the model asks of the world.
pub(super) trait Sockets {
    /// Bytes that a connection sent so far.
    fn sent(&self, connection: usize) -> u64;
    /// Whether this number is a descriptor of the connection, be it another one than before.
    fn is_open(&self, connection: usize, number: RawFd) -> bool;
}

/// What a group counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) sent: u64,
}

/// What is known of a connection in one family.
#[derive(Debug)]
pub(super) struct Account {
    /// The group that it opened in.
    first: Option<usize>,
    /// The group that has it now.
    place: Option<usize>,
    /// The number of the descriptor of each handle.
    pub(super) handles: Vec<RawFd>,
    /// That of the last handle that went.
    last: RawFd,
    /// What it had sent when it was read last, or when its present watch began.
    read: u64,
    /// All that was counted.
    pub(super) total: u64,
    /// What of it was counted before the present watch.
    pub(super) before: u64,
    opened: bool,
    ended: bool,
    /// Whether it ended in its present life.
    gone: bool,
    /// How often it was watched again after it had ended, and what was counted before the last
    /// time: the monitor knows such a one by its cookie alone.
    pub(super) lives: usize,
    pub(super) past: u64,
}

/// One monitor's accounts.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) groups: [Totals; GROUPS.len()],
    /// By connection, and by whether it is in a group.
    accounts: BTreeMap<(usize, bool), Account>,
}

fn is_group(family: Family) -> bool {
    family != Family::Own
}

impl Books {
    pub(super) fn watch(
        &mut self,
        connection: usize,
        family: Family,
        number: RawFd,
        world: &impl Sockets,
    ) {
        let place = match family {
            Family::Group(group) => Some(group),
            Family::Own => None,
        };
        let known = self.accounts.get_mut(&(connection, is_group(family)));
        if let Some(account) = known {
            if account.handles.is_empty() {
                if account.gone {
                    account.gone = false;
                    account.lives += 1;
                    account.past = account.total;
                }
                account.place = place;
                account.before = account.total;
                // What it did while nobody watched is nobody's.
                account.read = world.sent(connection);
            }
            account.handles.push(number);
            return;
        }
        let account = Account {
            first: place,
            place,
            handles: vec![number],
            last: number,
            // The first watch has its history.
            read: 0,
            total: 0,
            before: 0,
            opened: false,
            ended: false,
            gone: false,
            lives: 0,
            past: 0,
        };
        self.accounts.insert((connection, is_group(family)), account);
    }

    /// A handle ends, with a last read.
    pub(super) fn unwatch(
        &mut self,
        connection: usize,
        family: Family,
        number: RawFd,
        world: &impl Sockets,
    ) {
        let account = self.accounts.get_mut(&(connection, is_group(family))).expect("watched");
        read(account, world.sent(connection), &mut self.groups);
        let at = account.handles.iter().position(|handle| *handle == number);
        account.handles.swap_remove(at.expect("it is a handle"));
        account.last = number;
    }

    /// A handle is gone, and was not given back: with the last one's descriptor the connection
    /// ends.
    pub(super) fn release(&mut self, connection: usize, family: Family, world: &impl Sockets) {
        let account = self.accounts.get_mut(&(connection, is_group(family))).expect("watched");
        let is_open = |number: &RawFd| world.is_open(connection, *number);
        end(account, is_open, &mut self.groups);
    }

    pub(super) fn sweep(&mut self, world: &impl Sockets) {
        for ((connection, _), account) in &mut self.accounts {
            let is_open = |number: &RawFd| world.is_open(*connection, *number);
            if account.handles.iter().any(is_open) {
                read(account, world.sent(*connection), &mut self.groups);
            }
            // Those that were leaked, and whose socket is gone.
            let gone = account.handles.iter().find(|number| !is_open(number));
            account.last = gone.copied().unwrap_or(account.last);
            account.handles.retain(is_open);
            end(account, is_open, &mut self.groups);
        }
    }

    /// Connections that are watched with series of their own.
    pub(super) fn own(&self) -> impl Iterator<Item = (usize, &Account)> {
        let own = self.accounts.iter().filter(|((_, group), _)| !group);
        own.map(|((connection, _), account)| (*connection, account))
            .filter(|(_, account)| !account.handles.is_empty())
    }

    /// The group in which a connection is watched.
    pub(super) fn group_of(&self, connection: usize) -> Option<usize> {
        let account = self.accounts.get(&(connection, true))?;
        account.place.filter(|_| !account.handles.is_empty())
    }
}

/// Ends a connection that nobody watches, if its last descriptor is closed.
fn end(account: &mut Account, is_open: impl Fn(&RawFd) -> bool, groups: &mut [Totals]) {
    if !account.handles.is_empty() || is_open(&account.last) {
        return;
    }
    account.gone = true;
    if let (false, Some(group)) = (account.ended, account.first) {
        groups[group].closed += 1;
    }
    account.ended = true;
}

fn read(account: &mut Account, sent: u64, groups: &mut [Totals]) {
    let more = sent - account.read;
    account.read = sent;
    account.total += more;
    if let Some(group) = account.place {
        groups[group].sent += more;
    }
    if let (false, Some(group)) = (account.opened, account.first) {
        groups[group].opened += 1;
    }
    account.opened = true;
}
