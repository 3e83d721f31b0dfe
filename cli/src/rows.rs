//! The rows of the live table: connections, or groups of them with their sums.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tcpinfo::{Cause, State};

use crate::args::{By, Sort};
use crate::flow::{Flow, Flows};
use crate::judge::{severity, worst};
use crate::names::{Names, Process};

/// What tells a row from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Its cookie.
    Connection(u64),
    /// Accepted on this port.
    Server(u16),
    /// Connected to this address.
    Client(SocketAddr),
    Process(Process),
    Unit(Arc<str>),
    /// No process or unit is known.
    Nobody,
}

/// A row and its numbers. What the kernel does not report is absent.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) connections: usize,
    /// The worst of a group, and how many have it.
    pub(crate) verdict: Option<(Cause, usize)>,
    /// The median of a group.
    pub(crate) rtt: Option<Duration>,
    /// The greatest of a group, like the next one.
    pub(crate) queueing_delay: Option<Duration>,
    pub(crate) stalled: Option<Duration>,
    /// Part of the bytes sent within the window.
    pub(crate) retransmitted: Option<f64>,
    /// Bytes each second, like the next one.
    pub(crate) sent: Option<f64>,
    pub(crate) received: Option<f64>,
    /// Bytes that wait in the send buffer.
    pub(crate) unsent: Option<u64>,
}

impl Row {
    fn of(flow: &Flow) -> Self {
        let share = |(sent, again): (u64, u64)| (sent > 0).then(|| again as f64 / sent as f64);
        let info = flow.socket.info.as_ref();
        Self {
            key: Key::Connection(flow.socket.cookie),
            connections: 1,
            verdict: flow.verdict.map(|verdict| (verdict.cause, 1)),
            rtt: flow.rtt(),
            queueing_delay: flow.queueing_delay(),
            stalled: flow.stalled(),
            retransmitted: flow.retransmitted().and_then(share),
            sent: flow.rates.sent,
            received: flow.rates.received,
            unsent: info.and_then(|info| info.notsent_bytes).map(u64::from),
        }
    }

    /// Bytes each second in both directions.
    pub(crate) fn rate(&self) -> Option<f64> {
        match (self.sent, self.received) {
            (None, None) => None,
            (sent, received) => Some(sent.unwrap_or(0.0) + received.unwrap_or(0.0)),
        }
    }

    fn rank(&self, sort: Sort) -> Option<f64> {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        match sort {
            Sort::Verdict => self.verdict.map(|(cause, _)| severity(cause) as f64),
            Sort::Rate => self.rate(),
            Sort::Sent => self.sent,
            Sort::Received => self.received,
            Sort::Retransmitted => self.retransmitted,
            Sort::Queue => seconds(self.queueing_delay),
            Sort::Rtt => seconds(self.rtt),
            Sort::Stalled => seconds(self.stalled),
            Sort::Unsent => self.unsent.map(|bytes| bytes as f64),
            Sort::Connections => Some(self.connections as f64),
        }
    }
}

/// Sums of a group as it grows.
#[derive(Default)]
struct Sums {
    connections: usize,
    causes: Vec<Cause>,
    rtts: Vec<Duration>,
    queueing_delay: Option<Duration>,
    stalled: Option<Duration>,
    retransmitted: Option<(u64, u64)>,
    sent: Option<f64>,
    received: Option<f64>,
    unsent: Option<u64>,
}

fn plus<T: std::ops::Add<Output = T>>(sum: Option<T>, more: Option<T>) -> Option<T> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}

impl Sums {
    fn add(&mut self, flow: &Flow) {
        let row = Row::of(flow);
        self.connections += usize::from(flow.socket.state != State::Listen);
        self.causes.extend(flow.verdict.map(|verdict| verdict.cause));
        self.rtts.extend(row.rtt);
        self.queueing_delay = self.queueing_delay.max(row.queueing_delay);
        self.stalled = self.stalled.max(row.stalled);
        self.retransmitted = match (self.retransmitted, flow.retransmitted()) {
            (Some((sent, again)), Some(more)) => Some((sent + more.0, again + more.1)),
            (sum, more) => sum.or(more),
        };
        self.sent = plus(self.sent, row.sent);
        self.received = plus(self.received, row.received);
        self.unsent = plus(self.unsent, row.unsent);
    }

    fn row(mut self, key: Key) -> Row {
        let middle = self.rtts.len() / 2;
        let share = |(sent, again): (u64, u64)| (sent > 0).then(|| again as f64 / sent as f64);
        Row {
            key,
            connections: self.connections,
            verdict: worst(self.causes),
            rtt: (!self.rtts.is_empty()).then(|| *self.rtts.select_nth_unstable(middle).1),
            queueing_delay: self.queueing_delay,
            stalled: self.stalled,
            retransmitted: self.retransmitted.and_then(share),
            sent: self.sent,
            received: self.received,
            unsent: self.unsent,
        }
    }
}

/// The key of the group that a connection is in.
pub(crate) fn group(flow: &Flow, flows: &Flows, names: &Names, by: By) -> Key {
    let socket = &flow.socket;
    match by {
        By::Connection => Key::Connection(socket.cookie),
        By::Group if flows.is_server(socket) => Key::Server(socket.local.port()),
        By::Group => Key::Client(socket.peer),
        By::Process => names.process(socket).map_or(Key::Nobody, Key::Process),
        By::Unit => names.unit(socket).map_or(Key::Nobody, |unit| Key::Unit(Arc::clone(unit))),
    }
}

/// A listener is a row of its own only while connections wait for it.
fn is_shown(flow: &Flow) -> bool {
    flow.socket.state != State::Listen || flow.socket.receive_queue > 0
}

/// The rows of the latest sample, in no order. `within` leaves the connections of one group.
pub(crate) fn rows(flows: &Flows, names: &Names, by: By, within: Option<&(By, Key)>) -> Vec<Row> {
    let inside =
        |flow: &&Flow| within.is_none_or(|(by, key)| group(flow, flows, names, *by) == *key);
    let all = flows.iter().filter(inside);
    if by == By::Connection {
        return all.filter(|flow| is_shown(flow)).map(Row::of).collect();
    }
    let mut groups: HashMap<Key, Sums> = HashMap::new();
    for flow in all {
        groups.entry(group(flow, flows, names, by)).or_default().add(flow);
    }
    groups.into_iter().map(|(key, sums)| sums.row(key)).collect()
}

/// Sorts, the greatest first and absent ones last; equal ones by their rate.
pub(crate) fn sort(rows: Vec<Row>, by: Sort, reverse: bool) -> Vec<Row> {
    // Each rank once, however often it is compared.
    let mut ranked: Vec<(Option<f64>, f64, Row)> = rows
        .into_iter()
        .map(|row| (row.rank(by), row.rate().unwrap_or(f64::NEG_INFINITY), row))
        .collect();
    ranked.sort_unstable_by(|(one, busy, row), (other, busier, next)| {
        let order = match (one, other) {
            (Some(one), Some(other)) if reverse => one.total_cmp(other),
            (Some(one), Some(other)) => other.total_cmp(one),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        order.then(busier.total_cmp(busy)).then_with(|| row.key.cmp(&next.key))
    });
    ranked.into_iter().map(|(.., row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cookie: u64, rtt: Option<u64>, sent: Option<f64>) -> Row {
        let sums = Sums { connections: 1, sent, ..Sums::default() };
        let rtt = rtt.map(Duration::from_millis);
        Row { rtt, ..sums.row(Key::Connection(cookie)) }
    }

    fn order(rows: &[Row]) -> Vec<&Key> {
        rows.iter().map(|row| &row.key).collect()
    }

    #[test]
    fn the_greatest_is_first_and_the_absent_last_either_way() {
        let rows = vec![row(1, None, None), row(2, Some(5), None), row(3, Some(9), None)];
        let keys = [1, 2, 3].map(Key::Connection);
        let rows = sort(rows, Sort::Rtt, false);
        assert_eq!(order(&rows), [&keys[2], &keys[1], &keys[0]]);
        let rows = sort(rows, Sort::Rtt, true);
        assert_eq!(order(&rows), [&keys[1], &keys[2], &keys[0]]);
    }

    #[test]
    fn equal_rows_are_sorted_by_their_rate_and_then_by_their_key() {
        let rows = vec![row(3, Some(5), None), row(2, Some(5), None), row(9, Some(5), Some(1.0))];
        let rows = sort(rows, Sort::Rtt, false);
        assert_eq!(order(&rows), [&Key::Connection(9), &Key::Connection(2), &Key::Connection(3)]);
    }

    #[test]
    fn a_group_has_the_median_round_trip() {
        let rtts = [1, 900, 3].map(Duration::from_millis).to_vec();
        let row = Sums { rtts, ..Sums::default() }.row(Key::Nobody);
        assert_eq!(row.rtt, Some(Duration::from_millis(3)));
        assert_eq!(Sums::default().row(Key::Nobody).rtt, None);
    }
}
