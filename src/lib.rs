//! See every TCP connection your service owns, as OpenTelemetry metrics that never lie and never
//! explode.
//!
//! Linux tells almost everything about a connection in `TCP_INFO`, a structure that grows with the
//! kernel. Here a field is [`None`] exactly when the kernel had nothing to say, and a metric is
//! there exactly when the kernel reported it.
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
//! # Features
//!
//! - `serde`: `Serialize` for [`TcpInfo`], [`Congestion`] and `diag` sockets.
//! - `diag`: every socket of the host over `NETLINK_SOCK_DIAG`, with the same decoder.
//!
//! # Platforms
//!
//! Whatever asks a kernel exists on Linux and Android only; elsewhere the crate compiles and
//! decodes recorded replies.
//!
//! # What this does not do
//!
//! It changes no socket option, keeps no history, and does not estimate what the kernel did not
//! say.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod congestion;
#[cfg(all(feature = "diag", any(target_os = "linux", target_os = "android")))]
pub mod diag;
mod info;
mod kernel;
#[cfg(all(feature = "diag", any(target_os = "linux", target_os = "android")))]
mod netlink;
mod presence;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod read;
mod state;
mod wire;

pub use congestion::{Bbr, Congestion, CongestionInfo, Dctcp, LaterBbr, Vegas};
pub use info::{DecodeError, FIELDS, Field, Kind, TcpInfo, Value};
pub use kernel::{Kernel, Version};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use read::{congestion, read, socket_cookie};
pub use state::{
    AccEcnFailMode, AccEcnOptSeen, CaState, EcnMode, FastOpenClientFail, Options, State, TcpOption,
};
