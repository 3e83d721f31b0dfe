//! The tests that need nothing but the crate, the SDK and its exporter for Prometheus: plain
//! `cargo test` runs them. Those with other servers and clients are in `main.rs`.

// What both share, each a part of it; tests are in one of them only.
#[allow(dead_code)]
mod allocator;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod exports;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod exposition;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod hosts;
#[allow(dead_code)]
mod lateness;
#[allow(dead_code)]
mod loopback;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod parsers;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod peers;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod random;
#[cfg(feature = "otel")]
#[allow(dead_code)]
mod reader;
#[allow(dead_code)]
mod replies;
#[allow(dead_code)]
mod running;

mod absence;
mod algorithms;
mod allocations;
#[cfg(feature = "otel")]
mod attacks;
#[cfg(feature = "otel")]
mod attributes;
mod captures;
#[cfg(feature = "otel")]
mod churn;
mod corpus;
#[cfg(feature = "diag")]
mod diag;
#[cfg(feature = "otel")]
mod examples;
#[cfg(feature = "otel")]
mod exposition_rules;
#[cfg(feature = "otel")]
mod flood;
#[cfg(feature = "otel")]
mod handles;
mod kernels;
mod live;
#[cfg(feature = "otel")]
mod loans;
mod matrix;
#[cfg(feature = "otel")]
mod monitor;
#[cfg(feature = "otel")]
mod mptcp;
#[cfg(feature = "otel")]
mod page;
mod presence;
mod properties;
#[cfg(feature = "otel")]
mod robustness;
#[cfg(feature = "otel")]
mod schedules;
#[cfg(feature = "otel")]
mod scopes;
#[cfg(feature = "otel")]
mod series;
mod tidy;
mod uname;
