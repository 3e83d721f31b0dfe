//! What this crate promises, against real sockets, real kernels' replies and other programs.

mod absence;
mod algorithms;
mod allocations;
#[cfg(feature = "otel")]
mod attacks;
#[cfg(feature = "otel")]
mod attributes;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "otel")]
mod backends;
mod captures;
#[cfg(feature = "otel")]
mod churn;
#[cfg(feature = "hyper")]
mod clients;
mod corpus;
#[cfg(feature = "diag")]
mod diag;
#[cfg(feature = "otel")]
mod examples;
#[cfg(feature = "otel")]
mod exports;
#[cfg(feature = "otel")]
mod exposition;
#[cfg(feature = "otel")]
mod faults;
#[cfg(feature = "otel")]
mod flood;
#[cfg(feature = "otel")]
mod handles;
mod kernels;
mod live;
#[cfg(feature = "axum")]
mod load;
#[cfg(feature = "otel")]
mod loans;
mod loopback;
mod matrix;
#[cfg(feature = "otel")]
mod monitor;
#[cfg(feature = "otel")]
mod mptcp;
#[cfg(feature = "otel")]
mod otlp;
#[cfg(feature = "otel")]
mod page;
#[cfg(feature = "otel")]
mod parsers;
#[cfg(all(feature = "axum", feature = "diag", feature = "hyper", feature = "tonic"))]
mod pipes;
mod presence;
#[cfg(feature = "axum")]
mod programs;
mod properties;
#[cfg(feature = "otel")]
mod random;
#[cfg(feature = "otel")]
mod reader;
mod replies;
#[cfg(feature = "otel")]
mod robustness;
#[cfg(feature = "tokio")]
mod sameness;
#[cfg(feature = "otel")]
mod schedules;
#[cfg(feature = "otel")]
mod scopes;
#[cfg(feature = "otel")]
mod series;
#[cfg(feature = "tokio")]
mod servers;
#[cfg(feature = "otel")]
mod soak;
mod ss;
#[cfg(feature = "tokio")]
mod stream;
mod tidy;
#[cfg(feature = "tokio")]
mod tls;
#[cfg(feature = "tonic")]
mod tonic;
mod uname;
