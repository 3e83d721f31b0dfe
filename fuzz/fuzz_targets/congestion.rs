//! Any bytes as the report of any congestion control.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpinfo_fuzz::congestion(data));
