#!/usr/bin/env bash
# Gets the receivers of OTLP that tests send to: the OpenTelemetry Collector, rotel and VictoriaMetrics.
# They are kept in the cache of this user (prelude.sh), and linked below target/.
#
# What cannot be had is one line beginning `SKIPPED: `, and so are its tests. Fails when there is
# neither the Collector nor rotel. Needs integration/test.sh to have installed what it installs.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"

# get NAME PROGRAM COMMAND...: the command brings the program.
get() {
    local name=$1 program=$2 log
    shift 2
    [ -x "$program" ] || echo "Getting $name, unless the cache has it"
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || true
    [ -x "$program" ] || printf 'SKIPPED: %s: %s\n' "$name" "$(tail -n 1 "$log")"
    rm -f "$log"
}

mkdir -p target "$cache"
target=$PWD/target

# Wheels are made for one version of CPython each, and need its shared library. Debian's own Python:
# another one, first in PATH, may be of a version without a wheel.
rotel() {
    local version=0.0.1a15
    local folder=$cache/rotel-$version
    [ -L "$target/rotel" ] || rm -rf "$target/rotel"
    ln -sfn "$folder" "$target/rotel"
    [ ! -x "$folder/package/rotel-agent" ] || return 0
    rm -rf "$folder"
    /usr/bin/python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check --pre "rotel==$version" &&
        "$folder/bin/python" -c 'import os, rotel, sys; os.symlink(*rotel.__path__, sys.argv[1])' \
            "$folder/package"
}

# Debian 12's own is too old for OTLP.
victoria_metrics() {
    local scratch kept=$cache/victoria-metrics
    ln -sf "$kept" "$target/victoria-metrics"
    [ ! -x "$kept" ] || return 0
    scratch=$(mktemp -d "$target/suite.XXXXXX")
    integration/suite.sh trixie "$scratch" victoria-metrics &&
        mv "$scratch/root/usr/bin/victoria-metrics" "$kept.$$" && mv "$kept.$$" "$kept"
    rm -rf "$scratch"
}

collector=${OTELCOL:-$target/otelcol/otelcol}
agent=${ROTEL:-$target/rotel/package/rotel-agent}
[ -n "${OTELCOL:-}" ] || get 'the OpenTelemetry Collector' "$collector" integration/otelcol.sh
[ -n "${ROTEL:-}" ] || get rotel "$agent" rotel
[ -n "${VICTORIA_METRICS:-}" ] ||
    get VictoriaMetrics "$target/victoria-metrics" victoria_metrics

[ -x "$collector" ] || [ -x "$agent" ] ||
    die 'no receiver of OTLP: give one as OTELCOL=/path/to/otelcol'
