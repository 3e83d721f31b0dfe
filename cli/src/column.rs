//! What can be printed of a socket: every column by the library's name.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tcpinfo::diag::{Socket, SocketMemory, SocketShutdown, UpperLayer};
use tcpinfo::{Congestion, FIELDS, Field, FieldValue, State};

use crate::names::Names;

/// A socket, and what else is known about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'e> {
    pub(crate) socket: &'e Socket,
    pub(crate) names: &'e Names,
    pub(crate) wall: SystemTime,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The library's name, which is also the key of the object.
    pub(crate) name: &'static str,
    /// UCUM unit, empty for what is no quantity.
    pub(crate) unit: &'static str,
    pub(crate) about: &'static str,
    pub(crate) scope: Scope,
    source: ValueSource,
}

/// When a column is in an object without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Always.
    Always,
    /// When processes were asked for.
    Processes,
    /// Never: it is a part of another one.
    Asked,
}

#[derive(Clone, Copy, Debug)]
enum ValueSource {
    Socket(for<'e> fn(&Entry<'e>) -> Option<Value<'e>>),
    Info(&'static Field),
}

/// What stands in a column.
#[derive(Clone, Debug)]
pub(crate) enum Value<'e> {
    Integer(u64),
    Signed(i64),
    /// A part of one.
    Share(f64),
    /// Seconds since 1970.
    Date(f64),
    Time(Duration),
    Text(Cow<'e, str>),
    State(State),
    Address(SocketAddr),
    Field(FieldValue),
    Congestion(&'e Congestion),
    Memory(&'e SocketMemory),
    Shutdown(SocketShutdown),
    UpperLayer(&'e UpperLayer),
}

macro_rules! columns {
    ($($scope:ident $name:literal, $unit:literal, $about:literal, $get:expr;)+) => {
        const OF_SOCKET: &[Column] = &[$(Column {
            name: $name,
            unit: $unit,
            about: $about,
            scope: Scope::$scope,
            source: ValueSource::Socket($get),
        }),+];
    };
}

columns! {
    Always "time", "s", "When it was asked, since 1970.",
        |entry| Some(Value::Date(entry.wall.duration_since(UNIX_EPOCH).ok()?.as_secs_f64()));
    Always "state", "", "State of the connection.", |entry| Some(Value::State(entry.socket.state));
    Always "local", "", "Address and port of this side.",
        |entry| Some(Value::Address(entry.socket.local));
    Always "peer", "", "Address and port of the other side.",
        |entry| Some(Value::Address(entry.socket.peer));
    Processes "pid", "", "The process that holds the socket.",
        |entry| entry.names.process(entry.socket).map(|it| Value::Integer(it.pid.into()));
    Processes "command", "", "The name of that process.", |entry| {
        let process = entry.names.process(entry.socket)?;
        Some(Value::Text(process.command.to_string().into()))
    };
    Always "unit", "", "The systemd unit or container in which the socket was made.",
        |entry| entry.names.unit(entry.socket).map(|unit| Value::Text(Cow::Borrowed(unit)));
    Always "interface", "", "Index of the network interface that it is bound to.",
        |entry| entry.socket.interface.map(|index| Value::Integer(index.into()));
    Always "cookie", "", "The kernel's number for the socket, which no other socket has.",
        |entry| Some(Value::Integer(entry.socket.cookie));
    Always "uid", "", "User that made the socket.",
        |entry| entry.socket.uid.map(|uid| Value::Integer(uid.into()));
    Always "inode", "", "Its number below /proc/*/fd.",
        |entry| entry.socket.inode.map(|inode| Value::Integer(inode.into()));
    Always "receive_queue", "By", "Bytes that the program has not read; in LISTEN, connections.",
        |entry| Some(Value::Integer(entry.socket.receive_queue.into()));
    Always "send_queue", "By", "Bytes that are not acknowledged; in LISTEN, the backlog.",
        |entry| Some(Value::Integer(entry.socket.send_queue.into()));
    Always "congestion", "", "Congestion control: the algorithm and what it reports.",
        |entry| entry.socket.congestion.as_ref().map(Value::Congestion);
    Always "cgroup", "", "Number of the control group.",
        |entry| entry.socket.cgroup.map(Value::Integer);
    Always "memory", "", "Memory in use and its limits, and dropped packets.",
        |entry| entry.socket.memory.as_ref().map(Value::Memory);
    Always "shutdown", "", "Which directions are closed.",
        |entry| entry.socket.shutdown.map(Value::Shutdown);
    Always "upper_layer", "", "Protocol of the kernel that uses the socket: TLS, Multipath TCP.",
        |entry| entry.socket.upper_layer.as_ref().map(Value::UpperLayer);
    Always "mark", "", "SO_MARK; only with CAP_NET_ADMIN.",
        |entry| entry.socket.mark.map(|mark| Value::Integer(mark.into()));
    Always "queueing_delay", "s", "What queues add to the round trip: rtt less min_rtt.",
        |entry| queueing_delay(entry.socket).map(Value::Time);
    Always "retransmitted_share", "1", "Part of the bytes sent that were retransmissions.",
        |entry| retransmitted_share(entry.socket).map(Value::Share);
    Asked "algorithm", "", "Congestion control: the algorithm alone.",
        |entry| Some(Value::Text(Cow::Borrowed(&entry.socket.congestion.as_ref()?.algorithm)));
    Asked "drops", "{packet}", "Packets that the kernel dropped at the socket.",
        |entry| entry.socket.memory.as_ref()?.drops.map(|drops| Value::Integer(drops.into()));
    Asked "fwd_alloc", "By", "Memory reserved for the socket and not in use.",
        |entry| Some(Value::Signed(entry.socket.memory.as_ref()?.fwd_alloc.into()));
}

/// What queues add to the round trip.
pub(crate) fn queueing_delay(socket: &Socket) -> Option<Duration> {
    let info = socket.info.as_ref()?;
    Some(info.rtt?.saturating_sub(info.min_rtt?))
}

/// Part of the bytes sent so far that were retransmissions; nothing if none were sent.
pub(crate) fn retransmitted_share(socket: &Socket) -> Option<f64> {
    let info = socket.info.as_ref()?;
    let sent = info.bytes_sent.filter(|sent| *sent > 0)?;
    Some(info.bytes_retrans? as f64 / sent as f64)
}

/// Every column: what is known of the socket, then what `TCP_INFO` says.
pub(crate) fn columns() -> impl Iterator<Item = Column> {
    // The state stands among those of the socket, which has one without `TCP_INFO` as well.
    let fields = FIELDS.iter().filter(|field| field.name != "state").map(|field| Column {
        name: field.name,
        unit: field.unit,
        about: field.description,
        scope: Scope::Always,
        source: ValueSource::Info(field),
    });
    OF_SOCKET.iter().copied().chain(fields)
}

/// The column of this name.
pub(crate) fn column(name: &str) -> Option<Column> {
    columns().find(|column| column.name == name)
}

impl Column {
    pub(crate) fn value<'e>(&self, entry: &Entry<'e>) -> Option<Value<'e>> {
        match self.source {
            ValueSource::Socket(get) => get(entry),
            ValueSource::Info(field) => entry.socket.info.as_ref()?.get(field).map(Value::Field),
        }
    }

    /// Whether it is a quantity, which stands at the right side of its column.
    pub(crate) fn is_quantity(&self) -> bool {
        !self.unit.is_empty()
    }

    /// Whether processes have to be looked up for it.
    pub(crate) fn needs_processes(&self) -> bool {
        self.scope == Scope::Processes
    }
}

impl Value<'_> {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Signed(number) => Some(*number as f64),
            Self::Share(number) | Self::Date(number) => Some(*number),
            Self::Time(time) => Some(time.as_secs_f64()),
            Self::Field(value) => value.as_f64(),
            _ => None,
        }
    }

    /// Numbers by size, everything else by its text.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one.cmp(other),
            _ => match (self.number(), other.number()) {
                (Some(one), Some(other)) => one.total_cmp(&other),
                _ => self.to_string().cmp(&other.to_string()),
            },
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |f: &mut fmt::Formatter<'_>, text: serde_json::Result<String>| {
            f.write_str(&text.map_err(|_| fmt::Error)?)
        };
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Share(part) => f.write_str(&crate::text::share(*part)),
            Self::Date(seconds) => write!(f, "{seconds:.3}"),
            Self::Time(time) => FieldValue::Duration(*time).fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::State(state) => state.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Field(value) => value.fmt(f),
            Self::Congestion(congestion) => match congestion.info {
                None => f.write_str(&congestion.algorithm),
                Some(_) => json(f, serde_json::to_string(congestion)),
            },
            Self::Memory(memory) => json(f, serde_json::to_string(memory)),
            Self::Shutdown(shutdown) => f.write_str(match (shutdown.receive, shutdown.send) {
                (true, true) => "both",
                (true, false) => "receive",
                (false, true) => "send",
                (false, false) => "none",
            }),
            Self::UpperLayer(layer) => json(f, serde_json::to_string(layer)),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => serializer.serialize_u64(*number),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Share(number) | Self::Date(number) => serializer.serialize_f64(*number),
            Self::Time(time) => serializer.serialize_f64(time.as_secs_f64()),
            Self::Text(text) => serializer.serialize_str(text),
            Self::State(state) => match state.text() {
                Some(text) => serializer.serialize_str(text),
                None => serializer.collect_str(state),
            },
            Self::Address(address) => serializer.collect_str(address),
            Self::Field(value) => value.serialize(serializer),
            Self::Congestion(congestion) => congestion.serialize(serializer),
            Self::Memory(memory) => memory.serialize(serializer),
            Self::Shutdown(shutdown) => shutdown.serialize(serializer),
            Self::UpperLayer(layer) => layer.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    use tcpinfo::diag::Query;

    use super::*;

    #[test]
    fn no_name_is_used_twice_and_each_says_what_it_is() {
        let names: Vec<_> = columns().map(|column| column.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(columns().all(|column| column.about.ends_with('.')));
    }

    #[test]
    fn columns_are_what_the_library_serializes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let _client = TcpStream::connect(address).expect("it listens");
        let query = Query::new().with_memory().with_congestion().with_peer_port(address.port());
        let socket = query.dump().expect("netlink").next().expect("one").expect("well-formed");
        let names = Names::default();
        let entry = Entry { socket: &socket, names: &names, wall: SystemTime::now() };
        let ours: serde_json::Map<_, _> = columns()
            .filter(|column| column.scope == Scope::Always)
            .map(|column| {
                let value = serde_json::to_value(column.value(&entry)).expect("plain values");
                (column.name.to_owned(), value)
            })
            .collect();
        let mut theirs = serde_json::to_value(&socket).expect("plain values");
        let theirs = theirs.as_object_mut().expect("an object");
        let info = theirs.remove("info").expect("it is connected");
        theirs.extend(info.as_object().expect("an object").clone());
        for (name, value) in theirs.iter() {
            assert_eq!(ours.get(name), Some(value), "{name}");
        }
        let more: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
        assert_eq!(more, ["queueing_delay", "retransmitted_share", "time", "unit"]);
    }

    #[test]
    fn numbers_are_ordered_by_size_and_addresses_as_addresses() {
        let order = |one: Value<'_>, other: Value<'_>| one.order(&other);
        assert_eq!(order(Value::Integer(9), Value::Integer(10)), Ordering::Less);
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(order(text("9"), text("10")), Ordering::Greater);
        let address = |text: &str| Value::Address(text.parse().expect("an address"));
        assert_eq!(order(address("9.0.0.1:1"), address("10.0.0.1:1")), Ordering::Less);
    }
}
