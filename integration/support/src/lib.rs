//! What the tests have in common: one reader of metrics, one poller, one exporter, connections over
//! loopback and their peers, captured replies, programs, and the allocator that counts.

// Of what tests use, few things are printed.
#![allow(missing_debug_implementations)]

pub mod allocator;
pub mod alone;
pub mod exchanges;
pub mod exporter;
pub mod exposition;
pub mod hosts;
pub mod lateness;
pub mod loopback;
pub mod parsers;
pub mod peers;
pub mod printf;
pub mod random;
pub mod reader;
pub mod replies;
pub mod running;
pub mod signals;
pub mod totals;
