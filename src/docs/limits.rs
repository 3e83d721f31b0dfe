//! Limits: what the crate does not promise, and where its numbers end.
//!
//! Each limit here is either a fact of the kernel, a property of the SDK, or a bound on memory. In
//! all cases the rule is the same: a counter that cannot be exact is too low, and a value that is
//! not known is absent.
//!
//! # What it does not do
//!
//! - It reports no events, such as one retransmission, one drop or one change of state. It reads
//!   what the kernel counts, when it is asked.
//! - It knows no other protocol: of QUIC it sees nothing, of Multipath TCP [the first
//!   subflow](#multipath-tcp).
//! - It sees no payload, and needs no privilege and no eBPF. Sweeps run on the thread that
//!   collects. It has no thread of its own, but one where sockets are
//!   [discovered](#sockets-that-nobody-hands-over).
//! - It brings no SDK and no exporter: which ones you use is your choice.
//! - It never duplicates a socket's descriptor, and never changes a socket or its options.
//! - It keeps no history, and does not estimate what the kernel did not say.
//!
//! # Between two collections
//!
//! A connection may open and close between two collections. Its totals count in full, because it is
//! read when it ends. Its course is not seen: the histogram of round-trip times has one sample for
//! each collection during its life, and one of its end.
//!
//! The histograms of a group take at most [`with_samples`] samples of live connections in one
//! collection, and as many of ended ones. Where there are more, the choice is fair.
//!
//! # Counters of 16 and 32 bits
//!
//! The kernel's smaller counters are widened to 64 bits. They are exact if they are read at least
//! once per half of their range; those of segments on a steady connection, once per range. A
//! counter that was read too rarely is too low rather than too high, and changes no other.
//!
//! If a program disconnects a socket by `connect(AF_UNSPEC)` and connects it again between two
//! sweeps, the counters begin anew. The monitor notices this because a counter goes backwards. It
//! cannot notice it if the new connection has already outgrown the old one: what the old connection
//! did after the last sweep is then lost.
//!
//! # Given back and ended
//!
//! A connection counts once in a monitor, however often it is watched. For that the monitor has to
//! remember connections that nobody watches now. It remembers 1,024 that are open, and the last
//! 4,096 that ended; so many for groups, and again for sockets reported by themselves.
//!
//! - An open one that is pushed out counts as closed, too early. From then on it is among those
//!   that ended.
//! - An ended one that is pushed out counts as new if one of its descriptors is watched again. Its
//!   history then counts once more.
//! - Each that is remembered as open costs a sweep one `getsockopt` for its cookie. Once there are
//!   1,024, every 64th that is given back asks all of them: 0.1 to 0.2 ms.
//!
//! What a connection does while nobody watches it is not counted. When it ends meanwhile, a sweep
//! notices that, and takes the end of the last watch for the end of the connection.
//!
//! A clone that nobody watches keeps a connection open, but the monitor does not read it. When the
//! last watched handle of a connection is dropped and its descriptor is closed, the connection
//! counts as closed, although such a clone may still be open.
//!
//! # Leaked and lent sockets
//!
//! A value that is leaked (`mem::forget`) stays watched until its descriptor is closed. A sweep
//! notices that by the socket's cookie, reports it once as an error, and never counts another
//! socket in its place.
//!
//! One case escapes: a program that replaces the descriptor of a socket by `dup2` with another
//! socket, and puts the first one back, both while the monitor reads it.
//!
//! # Kernels without cookies
//!
//! Kernels before 4.12, and gVisor, have no socket cookies. There each watch is a connection of its
//! own. A socket that is only lent is reported as an error instead of read, because nothing says
//! whether it is still the same. With [`SocketIdentity::Addresses`] a pair of addresses that is
//! used again continues the series of the earlier connection.
//!
//! # Multipath TCP
//!
//! `TCP_INFO` of such a socket is that of its first subflow; bytes on other subflows are not seen.
//! The kernel blanks it at once in three cases: this side shuts down after the peer closed, after a
//! reset, and when the peer closed while bytes were unread. What came after the last sweep is then
//! lost.
//!
//! An accepted socket can have its listener's cookie. It is still a connection of its own. In
//! `tcp.socket.*`, however, such sockets share a series if their attributes are equal.
//!
//! # Groups and their places
//!
//! By default there are 150 groups and 500 single sockets. Beyond these caps the rest is summed,
//! correctly, under `otel.metric.overflow=true`. The caps stay below the SDK's own limit of 2,000
//! attribute sets for one instrument, because the SDK does not sum what is above that limit. Both
//! can be chosen: [`with_max_groups`], [`with_max_sockets`]. A page of the feature `page` and
//! requests of the feature `otlp` have no limit beside them, so a monitor that no provider reads
//! can have as many as the machine takes.
//!
//! A group keeps its place for an hour after its last handle and its last connection, or for
//! [`with_group_retention`]. After that a new group may take the place, as soon as every provider
//! has reported the last counts; without a provider, as soon as a snapshot has shown them. The old
//! series ends there. The new series begins with a zero, so that a backend sees where it begins. A
//! group that comes back begins at zero too. Choose a longer time than the longest range of your
//! `rate()` and `increase()`: over a longer range no backend can tell a series that ended and came
//! back from one that went on.
//!
//! # Histograms of groups that are gone
//!
//! This is about providers: a page and `Monitor::otlp` forget the histograms of a group with the
//! group.
//!
//! With cumulative temporality the SDK never forgets a histogram series. So the histograms of all
//! groups there ever were share 1.25 MiB of a push: about 400 groups of two attributes or 270 of
//! six, with keys and values of 20 characters. A group takes its share with its first sample. The
//! samples of groups that come later are under `otel.metric.overflow=true`; their counters and
//! up-downs stay their own.
//!
//! With more groups than the default the share grows in proportion, up to 1,500 groups or as many
//! as were chosen. A push may then be longer than 4 MiB.
//!
//! # One provider for each exporter
//!
//! The SDK shows one reader's observations to the other readers of the same provider, and counts
//! the samples of histograms once for each. So give each exporter a provider, and call `instrument`
//! once for each:
//!
//! ```
//! use opentelemetry_sdk::metrics::SdkMeterProvider;
//! use tcpinfo::Monitor;
//!
//! // Each with the reader of one exporter: `.with_reader(..)`.
//! let for_prometheus = SdkMeterProvider::builder().build();
//! let for_otlp = SdkMeterProvider::builder().build();
//!
//! let monitor = Monitor::new();
//! monitor.instrument(&for_prometheus);
//! monitor.instrument(&for_otlp);
//! ```
//!
//! # A failed push
//!
//! The SDK's exporter tries four times. With cumulative temporality, the default, the next push has
//! the same totals. With delta temporality, what the failed push held is lost. VictoriaMetrics
//! 1.112 drops deltas without an error. Connections never wait for a push.
//!
//! # Messages of 4 MiB
//!
//! An OpenTelemetry collector refuses larger gRPC messages unless it is told otherwise. 150 groups
//! with six attributes take 3.8 MB at most, whatever groups came before them. A socket with six
//! attributes and 50 metrics takes 11 KiB, so some 390 of them fill a message without any group;
//! with a cookie alone 1,400 do. If you have many sockets, [choose fewer fields](super::cost), or
//! push by `Monitor::otlp` of the feature `otlp`: it makes as many requests as are needed.
//!
//! # Several monitors
//!
//! Make one monitor, and groups in it. Where libraries make their own monitor, or a program makes
//! one anew, attributes of the instrumentation scope tell them apart:
//!
//! - `tcp.monitor.name`, if it has a name ([`with_name`]);
//! - `tcp.monitor.instance`, a number from 2, unless it is the first monitor with that name, or
//!   without a name, that the process instrumented.
//!
//! A monitor keeps its number. Once it is gone, and every provider that reported it has collected
//! without it, another monitor can have the number. Its series then begin at zero, as after a
//! restart of the program.
//!
//! Prometheus shows both as labels, such as `otel_scope_tcp_monitor_instance="2"`. Some backends
//! drop them: an exporter with `scope_info_enabled(false)`, VictoriaMetrics 1.112, and Prometheus'
//! receiver of OTLP unless `promote_scope_metadata` is set. There, equal attributes of two monitors
//! are one series with two values at a time, and one value is lost. Give the groups of each monitor
//! an attribute of their own, or make one monitor.
//!
//! The SDK unregisters nothing. Each monitor that was instrumented and is gone leaves its silent
//! callbacks on its provider: 22 KiB, and 0.5 us in each collection. Each monitor that exists at
//! the same time as others takes tables of instruments of its own, for as long as the provider
//! lives: 5 MiB, of which 1 MiB is in RAM, and 15 to 40 us in each collection. So never make a
//! monitor for each connection.
//!
//! # Views
//!
//! A view can drop or rename a metric. A view that removes attributes is wrong here: the SDK keeps
//! the last of the values that become equal, instead of their sum.
//!
//! # Attributes
//!
//! Some keys and values cannot be exported as they were given. [`Attributes`](crate::Attributes)
//! has the list, and says what they become.
//!
//! # A sweep can wait for the kernel
//!
//! To read a socket the kernel takes the socket's lock. A thread that is inside `send()` has this
//! lock, and keeps it while a page of its bytes does not arrive: a file on a server that hangs, or
//! `userfaultfd`. The sweep and its collection then wait until the page is there. The watch and the
//! drop of other sockets do not wait.
//!
//! # Errors
//!
//! Up to 1,024 errors wait for [`on_error`]; later ones are not told. Every failed read is counted
//! in `tcp.monitor.read.errors` in any case.
//!
//! # Sockets that nobody hands over
//!
//! A client that connects by itself and does not show its sockets, such as reqwest, cannot be
//! watched. With the feature `diag` a monitor finds such connections by itself:
//!
//! ```
//! # #[cfg(not(feature = "diag"))]
//! # fn main() {}
//! # #[cfg(feature = "diag")]
//! # fn main() -> std::io::Result<()> {
//! use tcpinfo::{Discovery, Monitor};
//!
//! let monitor = Monitor::new();
//! let _discovered = monitor.discover(Discovery::process())?;
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let client = std::net::TcpStream::connect(listener.local_addr()?)?;
//! # let port = i64::from(listener.local_addr()?.port());
//! // Clients and servers of all libraries, by `tcp.role`, `server.port` and `server.address`.
//! for group in &monitor.snapshot().groups {
//!     println!("{:?} {}", group.attributes(), group.live());
//! }
//! # let snapshot = monitor.snapshot();
//! # let ours = opentelemetry::KeyValue::new("server.port", port);
//! # let found = snapshot.groups.iter().filter(|it| it.attributes().as_slice().contains(&ours));
//! # assert_eq!(found.count(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! **What was there before** has a base: it counts neither as opened nor as closed, and what it had
//! counted until then is in no total. That holds if it is watched later, too. The kernel tells an
//! end from a queue of its own, microseconds late and on a crowded machine much more. So a
//! connection that ended in the last 50 ms before a discovery began can count in full.
//!
//! **The ends of sockets** are told by the kernel with their last counters, since Linux 4.2. So a
//! connection between two sweeps counts in full, and a collection has every end that was told
//! before it began. Where nothing tells them (Android, gVisor, some
//! containers, [`without_events`]), the snapshot says so, and the program is told once. Then a
//! connection between two sweeps is not seen, and one that is seen is closed by a sweep that does
//! not find it any more, without what it did after the last one.
//!
//! An event says neither inode nor user nor control group. A connection that only its event shows
//! comes to a function of [`with_groups`] without them, and meets no filter that needs them.
//! `duration` is the time since a sweep or a sighting first saw the connection; for one that only
//! its event shows there is none, and none for one that was there before.
//!
//! **Of this process** is what has a descriptor here when a sweep comes, or a sighting between two
//! sweeps; and what ends at a port that this process listens on, and nobody else. Sightings take a
//! hundredth of a core, so with a hundred descriptors there is one every few milliseconds. A client
//! that lives for less may not be seen: on one machine a third of those that were open for 5 ms
//! were, and 96 to 100 of a hundred of those that were open for 50 ms. Where a container has one
//! process, [`Discovery::host`] is exact. A listener that several processes share after a `fork`
//! counts in each of them. A connection that another process accepted for this one, and ended
//! between two sweeps, is not seen here, and counted there.
//!
//! Multipath TCP: a process sees the socket as [above](#multipath-tcp), a host its subflows. With
//! both discoveries such a connection counts for each.
//!
//! **Lost events** are counted in `tcp.monitor.event.overruns`, and reported to [`on_error`]. Then
//! the next sweep closes what is not there any more, with the counters of its last reading. What
//! opened and closed meanwhile is not counted, and the kernel does not say how much that was. It
//! also says nothing where it lacks memory for an event: that connection counts as closed when 64
//! sweeps have not shown it. If an event of either kind is only late, what its connection did last
//! still counts. A larger buffer ([`with_receive_buffer`]) makes losses rare.
//!
//! A connection that was closed like this, was reset before, and whose program closes it much
//! later, can count once more if 65,536 others are remembered since.
//!
//! **After `fork`** the connections are those of the parent. In the child, the copy of a monitor
//! that discovers is silent: its snapshots are empty, it cannot begin a discovery, and a watch that
//! is dropped counts nothing. Make a new monitor there. The copy of a monitor without discoveries
//! works, but not if another thread used it during the `fork`: whatever lock that thread had stays
//! locked in the child, and the child waits for it for ever.
//!
//! **Cookies** are the same number in two network namespaces before Linux 5.10. There, let one
//! monitor discover one namespace.
//!
//! [`diag`](crate::diag#what-a-dump-does-not-promise) says what a dump does not promise.
//!
//! # Congestion control
//!
//! [`congestion`](crate::congestion) reads the algorithm's name before and after its numbers. Vegas
//! and DCTCP, switched there and back by another thread within one call, look alike.
//!
//! # Platforms
//!
//! Linux and Android, every kernel that Rust itself runs on: 3.2 and later. gVisor is recognised:
//! what it does not fill is absent. Elsewhere the crate compiles, and decodes recorded replies of
//! both byte orders.
//!
//! [`with_name`]: crate::MonitorBuilder::with_name
//! [`with_samples`]: crate::MonitorBuilder::with_samples
//! [`with_max_groups`]: crate::MonitorBuilder::with_max_groups
//! [`with_max_sockets`]: crate::MonitorBuilder::with_max_sockets
//! [`with_group_retention`]: crate::MonitorBuilder::with_group_retention
//! [`on_error`]: crate::MonitorBuilder::on_error
//! [`SocketIdentity::Addresses`]: crate::SocketIdentity::Addresses
#![cfg_attr(
    feature = "diag",
    doc = "
[`without_events`]: crate::Discovery::without_events
[`with_groups`]: crate::Discovery::with_groups
[`with_receive_buffer`]: crate::Discovery::with_receive_buffer
[`Discovery::host`]: crate::Discovery::host
"
)]
