#!/usr/bin/env bash
# Builds the OpenTelemetry Collector's core from Debian forky's packages: target/otelcol/otelcol. And
# target/otelcol/expfmt, which reads a page as Prometheus' libraries for Go do.
#
# Takes some three minutes and 1.3 GB below target/, which it gives back. The program is kept in the
# cache of this user (prelude.sh), for other clones of the repository too, and made anew when its
# sources are others. `OTELCOL=/path/to/otelcol` makes the tests use another one.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"

sources=integration/otelcol output=$PWD/target/otelcol
mkdir -p "$output"
hash=$(cat $sources/* | sha256sum | cut -c 1-16)
programs=(otelcol expfmt)
missing=0
for program in "${programs[@]}"; do
    ln -sf "$cache/$program-$hash" "$output/$program"
    [ -x "$output/$program" ] || missing=1
done
[ "$missing" = 1 ] || exit 0

scratch=$(mktemp -d "$output/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root
mapfile -t packages <$sources/packages.txt
integration/suite.sh forky "$scratch" golang-go "${packages[@]}"
# golang-go depends on the current version and links to it.
go=$(readlink "$root/usr/lib/go") || die 'golang-go has no link to a version of Go'
integration/suite.sh forky "$scratch" "golang-${go#go-}-go" "golang-${go#go-}-src"

# Go finds packages below GOPATH/src: ours, and those of Debian.
mkdir -p "$scratch/debian"
ln -s "$root/usr/share/gocode/src" "$scratch/debian/src"
version=$(APT_CONFIG=$scratch/apt.conf apt-cache show golang-opentelemetry-collector-dev |
    sed -n 's/^Version: \([0-9.]*\).*/\1/p' | head -n 1)
mkdir -p "$cache"
for program in "${programs[@]}"; do
    mkdir -p "$scratch/ours/src/$program"
    cp "$sources/$program.go" "$scratch/ours/src/$program/main.go"
    HOME=$scratch GO111MODULE=off GOPATH=$scratch/ours:$scratch/debian GOCACHE=$scratch/cache/go \
        GOTOOLCHAIN=local GOPROXY=off GOFLAGS='' CGO_ENABLED=0 \
        "$root/usr/lib/$go/bin/go" build -trimpath -ldflags "-s -w -X main.version=$version" \
        -o "$scratch/$program" "$program"
    # Whole or not at all, also from another file system.
    mv "$scratch/$program" "$cache/$program-$hash.$$"
    mv "$cache/$program-$hash.$$" "$cache/$program-$hash"
done
