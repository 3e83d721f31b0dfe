#!/usr/bin/env bash
# Checks that the dashboards are of Grafana's schema: reads each with the models that Grafana generates
# from it, the Python package grafana-foundation-sdk, and compares what they write with the file. A
# member that the schema does not have, or an element of another type, is lost or fails.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

[ $# = 0 ] || die "unknown argument $1: it takes none"
need python3-venv -- /usr/bin/python3 -c 'import ensurepip'
install_missing

venv=target/grafana-foundation-sdk
package='grafana-foundation-sdk>=1769699998!10.1.0'
if ! "$venv/bin/python" -c 'import grafana_foundation_sdk' 2>/dev/null; then
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" --quiet --disable-pip-version-check install "$package"
fi
"$venv/bin/python" integration/dashboards.py dashboards/*.json
