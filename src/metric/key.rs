//! The attributes that the crate sets by itself: their names and what they say.

use super::shared;
use crate::state::State;

pub(crate) const CONNECTION_STATE: &str = "network.connection.state";
pub(crate) const LIMITED_BY: &str = "tcp.limited_by";
pub(crate) const ECN_CODEPOINT: &str = "tcp.ecn.codepoint";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const OVERFLOW: &str = "otel.metric.overflow";
pub(crate) const COOKIE: &str = "tcp.socket.cookie";
pub(crate) const PEER_ADDRESS: &str = "network.peer.address";
pub(crate) const PEER_PORT: &str = "network.peer.port";
pub(crate) const LOCAL_ADDRESS: &str = "network.local.address";
pub(crate) const LOCAL_PORT: &str = "network.local.port";
/// Of the instrumentation scope: what tells monitors apart.
pub(crate) const MONITOR_NAME: &str = "tcp.monitor.name";
pub(crate) const MONITOR_INSTANCE: &str = "tcp.monitor.instance";

/// Before the name of a field, on spans and log records.
pub(crate) const FIELD: &str = "tcp.";

/// Keys that would break a sum if a program could set them.
pub(crate) const RESERVED: [&str; 4] = [CONNECTION_STATE, LIMITED_BY, ECN_CODEPOINT, OVERFLOW];

/// What an attribute's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttributeKind {
    /// Text.
    Text,
    /// An integer.
    Integer,
    /// True or false.
    Flag,
}

/// An attribute that the crate sets on metrics or on their instrumentation scope.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricAttribute {
    /// Its full name, such as `tcp.limited_by`.
    pub name: &'static str,
    /// What its value is.
    pub kind: AttributeKind,
    /// What it says, in a sentence.
    pub description: &'static str,
    /// Whether OpenTelemetry's semantic conventions define it.
    pub is_upstream: bool,
}

impl MetricAttribute {
    /// Every value it can have; none where any text or number may come.
    pub fn values(&self) -> Vec<&'static str> {
        if self.name == CONNECTION_STATE {
            let known = (0..=u8::MAX).filter_map(|number| State::from(number).text());
            return known.chain(["unknown"]).collect();
        }
        let mut values = Vec::new();
        for (name, value) in shared::attributes() {
            if name == self.name && !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}

/// Every attribute that the crate sets by itself, beside those a program gives to its groups.
pub const ATTRIBUTES: &[MetricAttribute] = &[
    MetricAttribute {
        name: CONNECTION_STATE,
        kind: AttributeKind::Text,
        description: "State of the connection, RFC 9293.",
        is_upstream: true,
    },
    MetricAttribute {
        name: LIMITED_BY,
        kind: AttributeKind::Text,
        description: "What a sender with data waits for.",
        is_upstream: false,
    },
    MetricAttribute {
        name: ECN_CODEPOINT,
        kind: AttributeKind::Text,
        description: "ECN codepoint of the packets that carried the bytes, RFC 3168.",
        is_upstream: false,
    },
    MetricAttribute {
        name: ERROR_TYPE,
        kind: AttributeKind::Text,
        description: "Why a read failed: the kernel's error by its name, such as `EBADF`.",
        is_upstream: true,
    },
    MetricAttribute {
        name: OVERFLOW,
        kind: AttributeKind::Flag,
        description: "Set where a cap folded several attribute sets into one.",
        is_upstream: true,
    },
    MetricAttribute {
        name: COOKIE,
        kind: AttributeKind::Integer,
        description: "The kernel's number of the socket, SO_COOKIE, which it never uses again.",
        is_upstream: false,
    },
    MetricAttribute {
        name: PEER_ADDRESS,
        kind: AttributeKind::Text,
        description: "Address of the other side, or the prefix of it that was chosen.",
        is_upstream: true,
    },
    MetricAttribute {
        name: PEER_PORT,
        kind: AttributeKind::Integer,
        description: "Port of the other side.",
        is_upstream: true,
    },
    MetricAttribute {
        name: LOCAL_ADDRESS,
        kind: AttributeKind::Text,
        description: "Address of this side.",
        is_upstream: true,
    },
    MetricAttribute {
        name: LOCAL_PORT,
        kind: AttributeKind::Integer,
        description: "Port of this side.",
        is_upstream: true,
    },
    MetricAttribute {
        name: MONITOR_NAME,
        kind: AttributeKind::Text,
        description: "Name of the monitor. On the instrumentation scope.",
        is_upstream: false,
    },
    MetricAttribute {
        name: MONITOR_INSTANCE,
        kind: AttributeKind::Integer,
        description: "Number of the monitor among those of its name, from 2. On the \
                      instrumentation scope.",
        is_upstream: false,
    },
];
