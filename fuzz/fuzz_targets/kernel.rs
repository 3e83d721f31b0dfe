//! Any text as what `uname -r` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpinfo_fuzz::kernel(data));
