#!/usr/bin/env bash
# Alerts and dashboards beside faults made for real: each alert has to fire in its scene and in no
# healthy one, and every query of every panel has to have data. See integration/export/backends/alerts.rs.
#
#   integration/alerts.sh             every scene: about a minute, and the table of docs/runbooks.md
#   integration/alerts.sh --short     some of them: as every run of the tests
#   integration/alerts.sh --pictures  as the first, and draws the pictures of docs/symptoms
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

export TCPINFO_ALERTS=full
case ${1-} in
'') ;;
--short) TCPINFO_ALERTS=short ;;
--pictures) export TCPINFO_PICTURES=$PWD/docs/symptoms ;;
*) die "unknown argument $1: --short, --pictures, or none" ;;
esac
need_rust
need iproute2 -- ip -V
need prometheus -- promtool --version
need util-linux -- unshare --version
install_missing
cargo test "${tested[@]}" --test integration -- --include-ignored --show-output --exact \
    export::backends::alerts::each_fault_fires_its_alert_and_nothing_healthy_does
