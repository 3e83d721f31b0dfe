#!/usr/bin/env bash
# Connections that come and go, sweeps and two exporters: what the process holds must not grow, and in
# the end every total must be what the peers counted. See integration/monitor/soak.rs. Then pages for
# Prometheus, while connections come and go.
#
#   integration/soak.sh           half an hour
#   integration/soak.sh --short   two minutes: for .ci/run
#   integration/soak.sh SECONDS
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
'') seconds=1800 pages=1000000 ;;
--short) seconds=120 pages=20000 ;;
*[!0-9]*) die "unknown argument $1: --short, a number of seconds, or none" ;;
*) seconds=$1 pages=$(($1 * 500)) ;;
esac
need_rust
TCPINFO_SOAK_SECONDS=$seconds cargo test "${tested[@]}" --test integration -- \
    --exact monitor::soak::nothing_grows_while_connections_come_and_go --show-output
TCPINFO_PAGES=$pages cargo test "${tested[@]}" --test light -- \
    --exact export::page_writes::nothing_grows_while_pages_are_written --show-output
