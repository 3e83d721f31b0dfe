//! What the demo is made of, which `examples/otlp` shows as well.

pub mod page;
pub mod traffic;
