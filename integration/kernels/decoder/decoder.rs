//! Tests of the decoder that need nothing but the crate, for `integration/kernels.sh` to run in a
//! big-endian build.

#![allow(dead_code)]

#[path = "../../absence.rs"]
mod absence;
#[path = "../../kernels.rs"]
mod kernels;
#[path = "../../loopback.rs"]
mod loopback;
#[path = "../../matrix.rs"]
mod matrix;
#[path = "../../replies.rs"]
mod replies;
