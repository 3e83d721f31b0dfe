//! Any attributes, on a page of either format and read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpinfo_fuzz::page::page(data));
