//! Any bytes as a reply of any kernel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpinfo_fuzz::decode(data));
