//! The tests that need nothing but the crate, the SDK and its exporter for Prometheus: plain
//! `cargo test` runs them. Those with other servers and clients are in `main.rs`.

use support::allocator::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the kernel says of a socket, and what is decoded of it.
mod sockets {
    mod allocations;
    mod any_bytes;
    mod congestion;
    #[cfg(feature = "diag")]
    mod diag;
    #[cfg(feature = "diag")]
    mod diag_details;
    #[cfg(feature = "diag")]
    mod diag_events;
    #[cfg(feature = "diag")]
    mod diag_filter;
    #[cfg(feature = "diag")]
    mod diag_owners;
    mod fuzz_corpus;
    mod kernel_release;
    #[cfg(feature = "otel")]
    mod mptcp;
    mod presence;
    mod read;
    mod sentinels;
    mod uname;
    mod verdict;
}

/// What was captured from real kernels, decoded once more.
mod kernels {
    mod replay {
        mod captures;
        mod every_kernel;
    }
}

/// What a monitor counts, for how long, and in which series.
#[cfg(feature = "otel")]
mod monitor {
    mod attacks;
    mod borrowed;
    mod churn;
    pub(crate) mod exports;
    mod handles;
    mod instruments;
    mod max_groups;
    mod misuse;
    mod schedules;
    mod series;
    pub(crate) mod sweep_threads;
    #[cfg(feature = "page")]
    mod uncollected;
    pub(crate) mod verdicts;
}

/// Sockets that somebody else owns.
#[cfg(all(feature = "diag", feature = "otel"))]
mod discovery {
    mod forbidden;
    mod groupings;
    mod strangers;
}

/// What leaves the process.
#[cfg(feature = "otel")]
mod export {
    mod attributes;
    mod exposition;
    mod exposition_rules;
    #[cfg(feature = "page")]
    mod fleet;
    #[cfg(feature = "page")]
    mod page;
    #[cfg(all(feature = "diag", feature = "page"))]
    mod page_attacks;
    #[cfg(feature = "page")]
    mod page_writes;
    mod scopes;
}

/// The example programs, run as somebody runs them first.
#[cfg(feature = "otel")]
mod examples {
    mod light;
}

/// The rules of this repository.
mod house {
    mod binaries;
    mod documents;
    mod generated;
    mod imports;
    mod names;
    mod readme;
    mod rules;
    mod source;
}
