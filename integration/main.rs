//! What this crate promises, against real sockets, real kernels' replies and other programs.

mod absence;
mod algorithms;
mod allocations;
mod captures;
#[cfg(feature = "diag")]
mod diag;
mod kernels;
mod live;
mod loopback;
mod presence;
mod properties;
mod replies;
mod ss;
mod uname;
