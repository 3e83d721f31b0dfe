//! Any bytes as a datagram of `sock_diag`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpinfo::diag::check_datagram(data));
