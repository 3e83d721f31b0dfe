//! What this crate promises, with servers, clients and exporters of others. Tests that need none of
//! these are in `light.rs`.

// What both share, each a part of it; tests are in one of them only.
#[allow(dead_code)]
mod allocator;
#[allow(dead_code)]
mod exposition;
#[allow(dead_code)]
mod hosts;
#[allow(dead_code)]
mod lateness;
#[allow(dead_code)]
mod loopback;
#[allow(dead_code)]
mod parsers;
#[allow(dead_code)]
mod peers;
#[allow(dead_code)]
mod random;
#[allow(dead_code)]
mod reader;
#[allow(dead_code)]
mod replies;
#[allow(dead_code)]
mod running;

mod axum;
mod backends;
mod clients;
mod demo;
mod faults;
mod load;
mod otlp;
mod pipes;
mod programs;
mod sameness;
mod servers;
mod soak;
mod ss;
mod stream;
mod tls;
mod tonic;
