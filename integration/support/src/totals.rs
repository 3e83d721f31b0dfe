//! What the counters of groups add up to, connection by connection of a known size.

use crate::reader::{Collected, Series};

/// Connections opened and closed, bytes sent once, received and acknowledged.
pub type Totals = [u64; 5];

/// Sums of all series whose attributes the closure chooses, written `key=value,key=value`.
pub fn totals(collected: &Collected, choose: impl Fn(&str) -> bool) -> Totals {
    let sum = |name: &str| {
        let of_name = |series: &Series| {
            let rest = series.strip_prefix(name).and_then(|it| it.strip_prefix('{'));
            rest.and_then(|it| it.strip_suffix('}')).is_some_and(&choose)
        };
        let all = collected.counters.iter().filter(|(series, _)| of_name(series));
        all.map(|(_, value)| *value).sum::<f64>() as u64
    };
    [
        sum("tcp.connection.opened"),
        sum("tcp.connection.closed"),
        sum("tcp.data.sent") - sum("tcp.data.retransmitted"),
        sum("tcp.data.received"),
        sum("tcp.data.acked"),
    ]
}

/// Whether the attributes name this role.
pub fn role(role: &'static str) -> impl Fn(&str) -> bool {
    move |attributes| attributes.split(',').any(|it| it.strip_prefix("tcp.role=") == Some(role))
}
