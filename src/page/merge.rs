//! Groups and sockets that labels do not tell apart: one series each, with the sum.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::monitor::{GroupSnapshot, LabelText, Snapshot, SocketSnapshot};

/// Attributes are not equal where their labels are: 80 and `"80"` are one text. Prometheus would
/// refuse the second line of the same labels, or keep one of both. Their sum is written instead.
pub(super) fn merged(
    snapshot: Arc<Snapshot>,
    groups: &mut Vec<LabelText>,
    sockets: &mut Vec<LabelText>,
) -> Arc<Snapshot> {
    let (in_groups, in_sockets) = (has_equal(groups), has_equal(sockets));
    if !in_groups && !in_sockets {
        return snapshot;
    }
    let mut snapshot = Snapshot::clone(&snapshot);
    if in_groups {
        merge(&mut snapshot.groups, groups, add_group);
    }
    if in_sockets {
        merge(&mut snapshot.sockets, sockets, add_socket);
    }
    Arc::new(snapshot)
}

fn has_equal(labels: &[LabelText]) -> bool {
    let mut seen = HashSet::with_capacity(labels.len());
    !labels.iter().all(|labels| seen.insert(&*labels.text))
}

/// Adds every row to the first that has its labels.
fn merge<T>(rows: &mut Vec<T>, labels: &mut Vec<LabelText>, add: fn(&mut T, T)) {
    let mut firsts: HashMap<Arc<str>, usize> = HashMap::new();
    let (mut kept, mut texts): (Vec<T>, Vec<LabelText>) = Default::default();
    for (row, text) in std::mem::take(rows).into_iter().zip(std::mem::take(labels)) {
        match firsts.get(&text.text) {
            Some(first) => add(&mut kept[*first], row),
            None => {
                firsts.insert(Arc::clone(&text.text), kept.len());
                kept.push(row);
                texts.push(text);
            }
        }
    }
    (*rows, *labels) = (kept, texts);
}

fn add_group(group: &mut GroupSnapshot, other: GroupSnapshot) {
    group.opened += other.opened;
    group.closed += other.closed;
    group.since = group.since.min(other.since);
    group.sums.counters.add(&other.sums.counters);
    group.sums.up_downs.add(&other.sums.up_downs);
    group.states_seen |= other.states_seen;
    group.states.iter_mut().zip(other.states).for_each(|(count, more)| *count += more);
    group.causes_seen |= other.causes_seen;
    group.causes.iter_mut().zip(other.causes).for_each(|(count, more)| *count += more);
}

/// What a sum means nothing of is left out.
fn add_socket(socket: &mut SocketSnapshot, other: SocketSnapshot) {
    (socket.info, socket.verdict) = (None, None);
    socket.sums.counters.add(&other.sums.counters);
    socket.sums.up_downs.add(&other.sums.up_downs);
}
