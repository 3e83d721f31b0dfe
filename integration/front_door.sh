#!/usr/bin/env bash
# Says what the first command of README.md builds, `cargo run --example prometheus`, and fails when
# that is too much: more than 65 crates, or 1.3 times the CPU time of a program that has nothing but
# the SDK, its Prometheus exporter, rustix and arc-swap.
#
#   integration/front_door.sh          counts the crates
#   integration/front_door.sh --time   builds both as well, from nothing, one after the other
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
--time | '') ;;
*) die "unknown argument $1: --time, or none" ;;
esac
need_rust
most=65 ratio=1.30

# Name and version of every crate that cargo builds for an example, build scripts' included.
crates=$(cargo tree --locked --package tcpinfo --edges normal,build,dev --prefix none |
    awk '{ print $1, $2 }' | sort -u | wc -l)
echo "front door: $crates crates of at most $most"
[ "$crates" -le "$most" ] || die 'too many: what needs them belongs in integration/ or examples/*/'
[ "${1-}" = --time ] || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/minimal/src"
echo 'fn main() {}' >"$scratch/minimal/src/main.rs"
cp Cargo.lock "$scratch/minimal"
{
    printf '[package]\nname = "minimal"\nedition = "2024"\n\n[dependencies]\n'
    # The versions that the library has, and the features that they have by themselves.
    sed -nE 's/^(arc-swap|opentelemetry-prometheus|opentelemetry_sdk) = [^"]*("[^"]*").*/\1 = \2/p' \
        Cargo.toml
    grep -m 1 '^rustix = ' Cargo.toml
    sed -n '/^\[profile/,/^$/p' Cargo.toml
} >"$scratch/minimal/Cargo.toml"
cargo fetch --quiet --locked
(cd "$scratch/minimal" && cargo fetch --quiet)

# cold NAME FOLDER CARGO-ARGUMENT...: seconds of user, system and wall, of a build from nothing.
cold() {
    local name=$1 folder=$2 user system wall TIMEFORMAT='%U %S %R'
    shift 2
    read -r user system wall < <({
        time (cd "$folder" && CARGO_TARGET_DIR=$scratch/target-$name \
            cargo build --offline "$@" >"$scratch/$name.log" 2>&1)
    } 2>&1)
    printf 'front door: %-8s %4d crates built, %6.1f s CPU, %6.1f s wall\n' "$name" \
        "$(grep -c '^ *Compiling ' "$scratch/$name.log")" \
        "$(awk "BEGIN { print $user + $system }")" "$wall"
    cpu=$(awk "BEGIN { print $user + $system }")
}
cold minimal "$scratch/minimal"
minimal=$cpu
cold example . --example prometheus
awk -v one="$cpu" -v other="$minimal" -v most="$ratio" 'BEGIN {
    printf "front door: %.2f times the minimal program, of at most %s\n", one / other, most
    exit one / other > most
}'
