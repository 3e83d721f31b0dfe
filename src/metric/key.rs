//! The names of the attributes that the crate sets by itself.

pub(crate) const CONNECTION_STATE: &str = "network.connection.state";
pub(crate) const VERDICT: &str = "tcp.verdict";
pub(crate) const LIMITED_BY: &str = "tcp.limited_by";
pub(crate) const ECN_CODEPOINT: &str = "tcp.ecn.codepoint";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const OVERFLOW: &str = "otel.metric.overflow";
pub(crate) const COOKIE: &str = "tcp.socket.cookie";
pub(crate) const PEER_ADDRESS: &str = "network.peer.address";
pub(crate) const PEER_PORT: &str = "network.peer.port";
pub(crate) const LOCAL_ADDRESS: &str = "network.local.address";
/// Of discovered connections.
pub(crate) const ROLE: &str = "tcp.role";
pub(crate) const ROLE_SERVER: &str = "server";
pub(crate) const ROLE_CLIENT: &str = "client";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const LOCAL_PORT: &str = "network.local.port";
/// Of the instrumentation scope: what tells monitors apart.
pub(crate) const MONITOR_NAME: &str = "tcp.monitor.name";
pub(crate) const MONITOR_INSTANCE: &str = "tcp.monitor.instance";

/// Before the name of a field, on spans and log records.
pub(crate) const FIELD: &str = "tcp.";

/// Before the name of a field, on spans and log records, for a number that a verdict rests on.
pub(crate) const EVIDENCE: &str = "tcp.evidence.";

/// Keys that tell the values of one group or socket apart, beside its own attributes.
pub(crate) const MARKS: [&str; 4] = [CONNECTION_STATE, VERDICT, LIMITED_BY, ECN_CODEPOINT];

/// Keys that would break a sum if a program could set them.
pub(crate) const RESERVED: [&str; 5] =
    [CONNECTION_STATE, VERDICT, LIMITED_BY, ECN_CODEPOINT, OVERFLOW];
