#!/usr/bin/env bash
# Checks licences, sources and duplicates of what the crate depends on by deny.toml, and known
# vulnerabilities where their database can be fetched.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

integration/tool.sh cargo-deny
export PATH="$PWD/target/tools/bin:$PATH"

cargo deny --all-features check --hide-inclusion-graph licenses bans sources
if cargo deny fetch db >target/tools/fetch.log 2>&1; then
    cargo deny --all-features check --hide-inclusion-graph advisories
else
    echo "SKIPPED: known vulnerabilities: their database cannot be fetched"
fi
