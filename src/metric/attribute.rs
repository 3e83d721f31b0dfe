//! The attributes that the crate sets by itself, and what they say.

use super::{key, shared};
use crate::state::State;
use crate::verdict::Cause;

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
        if self.name == key::CONNECTION_STATE {
            let known = (0..=u8::MAX).filter_map(|number| State::from(number).text());
            return known.chain(["unknown"]).collect();
        }
        if self.name == key::VERDICT {
            return Cause::ALL.map(Cause::text).to_vec();
        }
        if self.name == key::ROLE {
            return vec![key::ROLE_CLIENT, key::ROLE_SERVER];
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
        name: key::CONNECTION_STATE,
        kind: AttributeKind::Text,
        description: "State of the connection, RFC 9293.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::VERDICT,
        kind: AttributeKind::Text,
        description: "What limits the connection, as two readings of it say.",
        is_upstream: false,
    },
    MetricAttribute {
        name: key::LIMITED_BY,
        kind: AttributeKind::Text,
        description: "What a sender with data waits for.",
        is_upstream: false,
    },
    MetricAttribute {
        name: key::ECN_CODEPOINT,
        kind: AttributeKind::Text,
        description: "ECN codepoint of the packets that carried the bytes, RFC 3168.",
        is_upstream: false,
    },
    MetricAttribute {
        name: key::ERROR_TYPE,
        kind: AttributeKind::Text,
        description: "Why a read failed: the kernel's error by its name, such as `EBADF`.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::OVERFLOW,
        kind: AttributeKind::Flag,
        description: "Set where a cap folded several attribute sets into one.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::COOKIE,
        kind: AttributeKind::Integer,
        description: "The kernel's number of the socket, SO_COOKIE, which it never uses again.",
        is_upstream: false,
    },
    MetricAttribute {
        name: key::PEER_ADDRESS,
        kind: AttributeKind::Text,
        description: "Address of the other side, or the prefix of it that was chosen.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::PEER_PORT,
        kind: AttributeKind::Integer,
        description: "Port of the other side.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::LOCAL_ADDRESS,
        kind: AttributeKind::Text,
        description: "Address of this side.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::LOCAL_PORT,
        kind: AttributeKind::Integer,
        description: "Port of this side.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::ROLE,
        kind: AttributeKind::Text,
        description: "Which side of a discovered connection this is: that of the listener, or not.",
        is_upstream: false,
    },
    MetricAttribute {
        name: key::SERVER_ADDRESS,
        kind: AttributeKind::Text,
        description: "Address of the server, of a discovered connection that this process opened.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::SERVER_PORT,
        kind: AttributeKind::Integer,
        description: "Port of the server, of a discovered connection.",
        is_upstream: true,
    },
    MetricAttribute {
        name: key::MONITOR_NAME,
        kind: AttributeKind::Text,
        description: "Name of the monitor. On the instrumentation scope.",
        is_upstream: false,
    },
    MetricAttribute {
        name: key::MONITOR_INSTANCE,
        kind: AttributeKind::Integer,
        description: "Number of the monitor among those of its name, from 2. On the \
                      instrumentation scope.",
        is_upstream: false,
    },
];
