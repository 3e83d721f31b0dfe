//! What this crate promises, with servers, clients and exporters of others. Tests that need none of
//! these are in `light.rs`.

use support::allocator::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the kernel says of a socket, beside another program.
mod sockets {
    mod diag_namespace;
    pub(crate) mod ss;
}

/// What a monitor counts, for as long as one likes.
mod monitor {
    mod soak;
}

/// Sockets that somebody else owns, made by other processes, in namespaces of a test's own.
mod discovery {
    mod children;
    mod conservation;
    mod dumps;
    mod ends;
    mod lifecycle;
    mod namespaces;
    mod once;
    mod oracles;
    mod overruns;
    mod scene;
    mod sums;
}

/// Watched sockets in servers and clients of others.
mod adapters {
    pub(crate) mod axum;
    mod axum_load;
    mod clients;
    pub(crate) mod servers;
    mod socket_calls;
    mod tls;
    mod tokio_streams;
    mod tonic;
}

/// What leaves the process, and what arrives.
mod export {
    mod backends;
    pub(crate) mod otlp;
}

/// Faults made for real, each on a path of its own.
mod faults {
    mod check;
    mod metrics;
    pub(crate) mod namespace;
    mod packet;
    pub(crate) mod relay;
    mod scene;
    mod tally;
    pub(crate) mod verdicts;
}

/// The example programs, run as somebody runs them first.
mod examples {
    mod closed_pipes;
    mod demo;
    mod otlp;
    mod push;
    mod servers;
    mod slow_readers;
}
