#!/usr/bin/env bash
# Connections that nobody hands over, made by other processes: each is counted once, and every byte of
# it. The tests of integration/discovery with more of everything than in integration/test.sh: 100,000
# connections a scene, 1,000,000 operations on descriptors, as root and as nobody.
#
#   integration/discovery.sh           all of it
#   integration/discovery.sh NUMBER    with so many connections a scene
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
'') connections=100000 ;;
*[!0-9]*) die "unknown argument $1: a number of connections, or none" ;;
*) connections=$1 ;;
esac
need_rust
need iproute2 -- ss --version
need strace -- strace --version
need util-linux -- unshare --version
install_missing

cargo build "${tested[@]}" --bins
export TCPINFO_CONNECTIONS=$connections TCPINFO_OPERATIONS=$((connections * 10))
# One after the other: each has a rate to keep.
cargo test "${tested[@]}" --no-fail-fast --test light --test integration -- \
    discovery:: --include-ignored --show-output --test-threads=1
