//! See every TCP connection your service owns, as OpenTelemetry metrics that never lie and never
//! explode.
//!
//! Linux tells almost everything about a connection in `TCP_INFO`, a structure that grows with the
//! kernel. Here a field is [`None`] exactly when the kernel had nothing to say, and a metric exists
//! exactly when the kernel reported it.
//!
//! # One connection
//!
//! [`read()`] asks the kernel about any socket:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
//! let info = tcpinfo::read(&stream)?;
//! println!("{info}");
//! if let (Some(rtt), Some(min_rtt)) = (info.rtt, info.min_rtt) {
//!     println!("queues add {:?}", rtt.saturating_sub(min_rtt));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What limits it
//!
//! [`Verdict::between`] compares two readings, and says whether it is the network, the other side
//! or the program, with the numbers that say so. Faults made for real prove it: `docs::verdicts`.
//!
//! # Every connection
//!
//! A `Monitor` owns groups of watched sockets. `Monitor::instrument` creates the instruments on a
//! provider: each collection makes one sweep over all sockets, and that sweep feeds all of them.
//! The totals of a group include its closed connections.
//!
//! ```
//! # #[cfg(not(feature = "otel"))]
//! # fn main() {}
//! # #[cfg(feature = "otel")]
//! # fn main() -> std::io::Result<()> {
//! use opentelemetry::KeyValue;
//! use tcpinfo::Monitor;
//!
//! # let provider = opentelemetry_sdk::metrics::SdkMeterProvider::default();
//! let monitor = Monitor::new();
//! monitor.instrument(&provider);
//!
//! let public = monitor.group([KeyValue::new("listener", "public")]);
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let _client = std::net::TcpStream::connect(listener.local_addr()?)?;
//! let (stream, _) = listener.accept()?;
//! let stream = public.watch(stream); // reads and writes as before
//! # drop(stream);
//! # Ok(())
//! # }
//! ```
//!
//! [`metrics()`] lists every metric, and [`FIELDS`] every field of `TCP_INFO`.
//!
//! # Guides
//!
//! The module `docs` has texts on choosing groups (`docs::groups`), on cost (`docs::cost`), on
//! verdicts (`docs::verdicts`), on what the crate does not promise (`docs::limits`), and for those
//! who know go-tcpinfo (`docs::go_tcpinfo`).
//!
//! # Features
//!
//! - `otel` (default): `monitor`, and `Monitor::instrument`, its instruments on a provider.
//! - `monitor`: `Monitor`, its groups and snapshots. It depends on OpenTelemetry's API, never on
//!   the SDK, because groups are named by its `KeyValue`. Use it as `tcpinfo::opentelemetry` to get
//!   the same version.
//! - `page`: `monitor`, and `Monitor::page`, its metrics as text for Prometheus without an SDK.
//! - `otlp`: `monitor`, and `Monitor::otlp`, its metrics in OTLP for a collector, without an SDK.
//! - `serde`: `Serialize` for [`TcpInfo`], [`Congestion`], [`Verdict`], snapshots and `diag`
//!   sockets.
//! - `tokio`: `AsyncRead` and `AsyncWrite` for watched sockets, and `into_split`.
//! - `axum`: the module `axum`: `Group::listen` for `axum::serve`, [`TcpInfo`] in handlers.
//! - `tonic`: the module `tonic`: details of the connection for handlers of servers.
//! - `hyper`: the module `hyper`: `WatchLayer` watches the connections of a client's connector.
//! - `diag`: the module `diag`: every socket of the host, over `NETLINK_SOCK_DIAG`.
//!
//! # Platforms
//!
//! What asks a kernel exists on Linux and Android only. Elsewhere the crate compiles, and decodes
//! recorded replies.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Off Linux the decoding helpers of the monitor are unused.
#![cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]

mod congestion;
#[cfg(all(feature = "diag", any(target_os = "linux", target_os = "android")))]
pub mod diag;
#[cfg(all(feature = "monitor", any(target_os = "linux", target_os = "android")))]
pub mod docs;
#[cfg(all(
    any(feature = "otel", feature = "otlp", feature = "page"),
    any(target_os = "linux", target_os = "android")
))]
#[cfg_attr(not(all(feature = "otel", any(feature = "otlp", feature = "page"))), allow(dead_code))]
mod histogram;
mod info;
mod kernel;
// Instruments and pages each use a part of what there is for readers of snapshots.
#[cfg_attr(not(all(feature = "otel", feature = "otlp", feature = "page")), allow(dead_code))]
mod metric;
// The same.
#[cfg_attr(
    not(all(feature = "otel", feature = "otlp", feature = "page")),
    allow(dead_code, unused_imports)
)]
#[cfg(all(feature = "monitor", any(target_os = "linux", target_os = "android")))]
mod monitor;
#[cfg(all(feature = "diag", any(target_os = "linux", target_os = "android")))]
mod netlink;
#[cfg(all(feature = "otel", any(target_os = "linux", target_os = "android")))]
mod otel;
#[cfg(all(feature = "otlp", any(target_os = "linux", target_os = "android")))]
mod otlp;
#[cfg(all(feature = "page", any(target_os = "linux", target_os = "android")))]
mod page;
mod presence;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod read;
#[cfg_attr(not(all(feature = "otel", feature = "otlp", feature = "page")), allow(dead_code))]
#[cfg(all(
    any(feature = "otel", feature = "otlp", feature = "page"),
    any(target_os = "linux", target_os = "android")
))]
mod report;
#[cfg(all(
    any(feature = "otel", feature = "otlp", feature = "page"),
    any(target_os = "linux", target_os = "android")
))]
mod scope;
mod state;
#[cfg(all(feature = "tokio", any(target_os = "linux", target_os = "android")))]
mod stream;
mod verdict;
mod wire;

pub use congestion::{Bbr, BbrExtension, Congestion, CongestionInfo, Dctcp, Vegas};
pub use info::{DecodeError, FIELDS, Field, FieldKind, FieldPart, FieldValue, TcpInfo};
pub use kernel::{Kernel, KernelVersion};
pub use metric::{ATTRIBUTES, AttributeKind, InstrumentKind, Metric, MetricAttribute, metrics};
#[cfg(all(feature = "monitor", any(target_os = "linux", target_os = "android")))]
pub use monitor::{
    Attributes, ConnectionSample, DiscoveryEvents, DiscoveryScope, DiscoverySnapshot, Group,
    GroupSnapshot, Monitor, MonitorBuilder, MonitorSnapshot, Observation, Snapshot,
    SocketAddresses, SocketIdentity, SocketProbe, SocketSnapshot, Watched, Worst,
};
#[cfg(all(
    feature = "diag",
    feature = "monitor",
    any(target_os = "linux", target_os = "android")
))]
pub use monitor::{Discovered, Discovery};
/// The metrics API this crate reports to, so that a program can name the very same version.
#[cfg(feature = "monitor")]
pub use opentelemetry;
#[cfg(all(feature = "otlp", any(target_os = "linux", target_os = "android")))]
pub use otlp::{Otlp, OtlpRequests};
#[cfg(all(feature = "page", any(target_os = "linux", target_os = "android")))]
pub use page::{Page, PageFormat};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use read::{congestion, read, socket_cookie};
pub use state::{
    AccEcnFailMode, AccEcnOption, CaState, EcnMode, FastOpenClientFail, State, TcpOption,
    TcpOptions,
};
#[cfg(all(feature = "axum", any(target_os = "linux", target_os = "android")))]
pub use stream::axum;
#[cfg(all(feature = "tokio", any(target_os = "linux", target_os = "android")))]
pub use stream::halves::{ReadHalf, WriteHalf};
#[cfg(all(feature = "hyper", any(target_os = "linux", target_os = "android")))]
pub use stream::hyper;
#[cfg(all(feature = "tonic", any(target_os = "linux", target_os = "android")))]
pub use stream::tonic;
pub use verdict::{Cause, Confidence, Evidence, Measure, Retransmits, Side, Verdict};

/// The examples of README.md.
#[cfg(all(doctest, feature = "monitor"))]
#[doc = include_str!("../README.md")]
struct Readme;
