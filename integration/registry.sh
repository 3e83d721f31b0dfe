#!/usr/bin/env bash
# Checks semconv/registry with OpenTelemetry's weaver, and with it what the example really exports.
#
#   integration/registry.sh            the registry, then four seconds of the example's OTLP stream
#
# weaver is in no package registry, so it is not installed here: the program $WEAVER, or the one in
# PATH, is used (github.com/open-telemetry/weaver has it; 0.25 or later). $WEAVER_POLICIES may name a
# folder of its policies (`policies/check` of open-telemetry/opentelemetry-weaver-packages); they are
# checked too then.
#
# Last full run: 2026-11-24, weaver 0.25.1, with policies naming_conventions, stability and
# entity_associations: no violation in the registry, none in the stream, which had 97 of its 101 metrics.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
need_rust

weaver=${WEAVER:-$(command -v weaver || true)}
if [ -z "$weaver" ]; then
    echo 'SKIPPED: the check by weaver: it is neither in $WEAVER nor in PATH.'
    exit
fi
"$weaver" --version

"$weaver" --future registry check -r semconv/registry
if [ -n "${WEAVER_POLICIES-}" ]; then
    policies=()
    for name in naming_conventions stability entity_associations; do
        [ -d "$WEAVER_POLICIES/$name" ] || die "no policy $name in $WEAVER_POLICIES"
        policies+=(-p "$WEAVER_POLICIES/$name")
    done
    # Without --v2 weaver passes every registry, whatever the policies say.
    "$weaver" --future registry check -r semconv/registry --v2 "${policies[@]}"
fi

cargo build --quiet --package example-otlp --bin otlp
example=target/debug/otlp
out=$(mktemp -d)
trap 'rm -rf "$out"; [ -z "${checker-}" ] || kill "$checker" 2>/dev/null || true' EXIT
# Two ports that are free now.
read -r grpc admin < <(/usr/bin/python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(socket.getsockname()[1] for socket in sockets))')
"$weaver" registry live-check -r semconv/registry --config semconv/live-check.toml --format json \
    --output "$out" --otlp-grpc-address 127.0.0.1 --otlp-grpc-port "$grpc" --admin-port "$admin" \
    --inactivity-timeout 60 >"$out/log" 2>&1 &
checker=$!
ask() {
    /usr/bin/python3 -c 'import sys, urllib.request as web
method, url = sys.argv[1:]
web.urlopen(web.Request(url, method=method), timeout=10).read()' "$1" \
        "http://127.0.0.1:$admin/$2" 2>/dev/null
}
for _ in {1..300}; do
    ask GET health && break
    kill -0 "$checker" 2>/dev/null || die "weaver ended: $(cat "$out/log")"
    sleep 0.1
done
OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$grpc OTEL_METRIC_EXPORT_INTERVAL=1000 \
    "$example" --grpc --seconds 4
ask POST stop
status=0
wait "$checker" || status=$?
checker=
# It is content with a stream of nothing: what the stream had is checked here.
/usr/bin/python3 - "$out/live_check.json" "$status" <<'PYTHON'
import json, sys

report, status = json.load(open(sys.argv[1])), int(sys.argv[2])
numbers = report["statistics"]
seen = {name for name, count in numbers["seen_registry_metrics"].items() if count}
missed = {name for name, count in numbers["seen_registry_metrics"].items() if not count}
unknown = numbers.get("seen_non_registry_metrics", {})
levels = numbers.get("advice_level_counts", {})
print(f"{len(seen)} metrics of the registry seen, {len(missed)} not: {' '.join(sorted(missed))}")
print(f"findings by level: {levels}; metrics that the registry does not have: {unknown}")
worse = {level: count for level, count in levels.items() if level != "information"}
# Information: an attribute that is optional, such as an address of a socket, is not there.
if status or unknown or worse or len(seen) < 90:
    sys.exit(f"weaver's status is {status}")
PYTHON
echo 'weaver found no violation.'
