#!/usr/bin/env bash
# Builds the OpenTelemetry Collector's core from Debian forky's packages: target/otelcol/otelcol.
#
# Takes some three minutes and 1.3 GB below target/, which it gives back. The program is kept in the
# cache of this user (prelude.sh), for other clones of the repository too, and made anew when its
# sources are others. `OTELCOL=/path/to/otelcol` makes the tests use another one.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"

sources=integration/otelcol output=$PWD/target/otelcol
mkdir -p "$output"
kept=$cache/otelcol-$(cat $sources/* | sha256sum | cut -c 1-16)
ln -sf "$kept" "$output/otelcol"
[ ! -x "$kept" ] || exit 0

scratch=$(mktemp -d "$output/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root
mapfile -t packages <$sources/packages.txt
integration/suite.sh forky "$scratch" golang-go "${packages[@]}"
# golang-go depends on the current version and links to it.
go=$(readlink "$root/usr/lib/go") || die 'golang-go has no link to a version of Go'
integration/suite.sh forky "$scratch" "golang-${go#go-}-go" "golang-${go#go-}-src"

# Go finds packages below GOPATH/src: ours, and those of Debian.
mkdir -p "$scratch/ours/src/otelcol" "$scratch/debian"
cp $sources/main.go "$scratch/ours/src/otelcol"
ln -s "$root/usr/share/gocode/src" "$scratch/debian/src"
version=$(APT_CONFIG=$scratch/apt.conf apt-cache show golang-opentelemetry-collector-dev |
    sed -n 's/^Version: \([0-9.]*\).*/\1/p' | head -n 1)
HOME=$scratch GO111MODULE=off GOPATH=$scratch/ours:$scratch/debian GOCACHE=$scratch/cache/go \
    GOTOOLCHAIN=local GOPROXY=off GOFLAGS='' CGO_ENABLED=0 \
    "$root/usr/lib/$go/bin/go" build -trimpath -ldflags "-s -w -X main.version=$version" \
    -o "$scratch/otelcol" otelcol
mkdir -p "$cache"
# Whole or not at all, also from another file system.
mv "$scratch/otelcol" "$kept.$$"
mv "$kept.$$" "$kept"
