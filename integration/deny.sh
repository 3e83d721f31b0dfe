#!/usr/bin/env bash
# Checks licences, sources and duplicates of what the crate depends on by deny.toml, and known
# vulnerabilities where their database can be fetched.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

integration/tool.sh cargo-deny
export PATH="$cache/tools/bin:$PATH"

mkdir -p target
# All but the tools of scripts, libFuzzer and what prints the public API: nothing is linked to them.
packages=(--workspace --all-features --exclude tcpinfo-api --exclude tcpinfo-fuzz)
cargo deny "${packages[@]}" check --hide-inclusion-graph licenses bans sources
if cargo deny fetch db >target/deny.log 2>&1; then
    cargo deny "${packages[@]}" check --hide-inclusion-graph advisories
else
    echo "SKIPPED: known vulnerabilities: their database cannot be fetched"
fi
