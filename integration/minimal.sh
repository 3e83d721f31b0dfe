#!/usr/bin/env bash
# Builds the library, all features on, with the oldest versions that Cargo.toml allows of what it
# depends on: its lower bounds are true.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null
need_rust

# A copy without the other packages, whose own bounds are of no interest.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --create Cargo.toml README.md src examples/*.rs |
    tar --extract --directory "$copy"
sed -i '/^members = \[$/,/^\]$/d; /^default-members = /d' "$copy/Cargo.toml"
# An option of cargo's that it takes from nightly toolchains, and from stable ones when asked so.
(cd "$copy" && RUSTC_BOOTSTRAP=1 cargo -Z direct-minimal-versions generate-lockfile --quiet)
CARGO_TARGET_DIR=$PWD/target/minimal \
    cargo check --quiet --lib --all-features --manifest-path "$copy/Cargo.toml"
awk '/^name = / { name = $3 } /^version = / { print name, $3 }' "$copy/Cargo.lock" | tr -d '"' |
    grep -E '^(arc-swap|axum|hyper|hyper-util|libc|opentelemetry|rustix|serde|tokio|tonic) '
