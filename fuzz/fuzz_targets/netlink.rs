//! Any bytes as a datagram of `sock_diag`.
#![no_main]

#[cfg(fuzzing)]
use tcpinfo::diag::check_datagram;

/// The library has it for cargo-fuzz alone.
#[cfg(not(fuzzing))]
fn check_datagram(_: &[u8]) {
    panic!("not built by cargo-fuzz");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| check_datagram(data));
