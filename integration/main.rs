//! What this crate promises, against real sockets, real kernels' replies and other programs.

mod absence;
mod algorithms;
mod allocations;
mod captures;
#[cfg(feature = "otel")]
mod churn;
#[cfg(feature = "diag")]
mod diag;
#[cfg(feature = "otel")]
mod examples;
#[cfg(feature = "otel")]
mod exposition;
mod kernels;
mod live;
mod loopback;
#[cfg(feature = "otel")]
mod mishaps;
#[cfg(feature = "otel")]
mod monitor;
#[cfg(feature = "otel")]
mod otlp;
#[cfg(feature = "otel")]
mod page;
#[cfg(feature = "otel")]
mod parsers;
mod presence;
mod properties;
#[cfg(feature = "otel")]
mod reader;
mod replies;
#[cfg(feature = "otel")]
mod series;
mod ss;
#[cfg(feature = "tokio")]
mod stream;
mod tidy;
mod uname;
