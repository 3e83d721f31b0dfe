//! Choosing groups: which attributes to give to which sockets.
//!
//! A [`Group`](crate::Group) is a set of attributes. All its sockets share one series of each
//! `tcp.*` metric, and closed connections stay in the totals. So a group is a question that you
//! will ask: *how is this listener, this upstream, this service?* Sockets that belong to the same
//! answer belong to the same group.
//!
//! # Start with these
//!
//! | you have | group by | how |
//! | --- | --- | --- |
//! | a server | the listener: `listener` = `public`, `admin` | [`Group::watch`] after `accept` |
//! | a server of axum | the same | `Group::listen` around the listener, feature `axum` |
//! | a client of hyper or tonic | `server.address`, `server.port` | `hyper::WatchLayer` |
//! | a pool of a database driver | the pool's name | [`Group::watch_borrowed`] |
//! | a proxy | side and upstream: `side` = `client`, `upstream` | one group for each of both |
//! | workers of one kind | the kind: `role` = `replica`, `backup` | [`Group::watch`] |
//!
//! Watch the listener itself in the same group: then the group also reports its accept queue.
//!
//! ```
//! use std::net::{IpAddr, TcpListener, TcpStream};
//!
//! use opentelemetry::KeyValue;
//! use tcpinfo::Monitor;
//!
//! /// Three values at most, whoever connects.
//! fn network(peer: IpAddr) -> &'static str {
//!     match peer.to_canonical() {
//!         ip if ip.is_loopback() => "local",
//!         IpAddr::V4(ip) if ip.is_private() => "private",
//!         IpAddr::V6(ip) if ip.is_unique_local() => "private",
//!         _ => "public",
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let monitor = Monitor::new();
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let _client = TcpStream::connect(listener.local_addr()?)?;
//! let (stream, peer) = listener.accept()?;
//! // Equal attributes are the same group, however often it is asked for.
//! let group = monitor.group([KeyValue::new("network", network(peer.ip()))]);
//! let stream = group.watch(stream);
//! assert_eq!(monitor.snapshot().groups.len(), 1);
//! # drop(stream);
//! # Ok(())
//! # }
//! ```
//!
//! # How many
//!
//! Multiply the numbers of values: 3 listeners and 4 networks are 12 groups. One group is about 45
//! series in an OpenTelemetry backend. In Prometheus it is about 170, because every bucket of a
//! histogram counts as one. With the default of 150 groups that is some 25,000 series for each
//! instance of the program: most programs want fewer than ten groups.
//!
//! An attribute is unfit for a group if its values have no end: a peer's address or port, a user, a
//! request's path, a number of a connection. Cut such a value down first: a network instead of an
//! address, a kind of customer instead of a customer.
//!
//! # Too many all the same
//!
//! Nothing breaks. The monitor reports the sockets of the 151st group under
//! `otel.metric.overflow=true`, correctly summed, and counts them in `tcp.monitor.folded`. Alert on
//! this counter: it says that your groups are too fine. A group that nobody has used for an hour
//! makes room. [`MonitorBuilder::with_max_groups`] and
//! [`with_group_retention`](crate::MonitorBuilder::with_group_retention) change both numbers, and
//! the [limits](super::limits#groups-and-their-places) say what follows.
//!
//! # One connection by itself
//!
//! A group says that something is wrong, and not with which connection. There are three ways to
//! find out:
//!
//! - [`Monitor::watch`] gives a socket series of its own, `tcp.socket.*`. Use it for the few
//!   connections that matter for themselves: a replication stream, an uplink.
//! - [`Group::show_worst`] shows the worst connections of a group in the same way, chosen anew by
//!   each sweep. Switch it on while you search.
//! - [`Snapshot`](crate::Snapshot) has samples of single connections for your own page or log, and
//!   [`Watched::info`] has all that the kernel says of one socket at this moment.
//!
//! # Change names or leave metrics out
//!
//! [`MonitorBuilder::with_fields`] chooses fields, and so metrics: what is left out costs nothing.
//! A view of the SDK can drop or rename a metric too. Do not remove *attributes* by a view: the SDK
//! keeps the last of the values that become equal, instead of their sum. Make coarser groups.
//!
//! [`Group::watch`]: crate::Group::watch
//! [`Group::watch_borrowed`]: crate::Group::watch_borrowed
//! [`Group::show_worst`]: crate::Group::show_worst
//! [`Monitor::watch`]: crate::Monitor::watch
//! [`MonitorBuilder::with_max_groups`]: crate::MonitorBuilder::with_max_groups
//! [`MonitorBuilder::with_fields`]: crate::MonitorBuilder::with_fields
//! [`Watched::info`]: crate::Watched::info
