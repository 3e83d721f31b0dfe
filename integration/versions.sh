#!/usr/bin/env bash
# Builds a small program against each minor version of OpenTelemetry that Cargo.toml allows, and runs
# it: alone, and with another version in its tree. Says what a program has to do for that.
#
#   integration/versions.sh          every version, and every one beside the newest
#   integration/versions.sh --short  the oldest alone, and the last but one beside the newest
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
--short | '') ;;
*) die "unknown argument $1: --short, or none" ;;
esac
need_rust

# opentelemetry = { version = ">=0.30, <0.34", ...
range=$(sed -nE 's/^opentelemetry = .*">=0\.([0-9]+), <0\.([0-9]+)".*/\1 \2/p' Cargo.toml)
[ -n "$range" ] || die 'Cargo.toml has no range of versions of opentelemetry'
read -r oldest beyond <<<"$range"
newest=$((beyond - 1))

root=$PWD scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CARGO_TARGET_DIR=$root/target/versions

# program NAME MINOR [OTHER]: a program of a version, perhaps with another one in its tree.
program() {
    local folder=$scratch/$1 minor=$2 other=${3-}
    mkdir -p "$folder/src"
    cat >"$folder/Cargo.toml" <<END
[package]
name = "versions"
edition = "2024"

[workspace]

[dependencies]
tcpinfo = { path = "$root", features = ["page"] }
opentelemetry = { version = "0.$minor", default-features = false, features = ["metrics"] }
opentelemetry_sdk = { version = "0.$minor", features = ["metrics", "testing"] }
END
    cat >"$folder/src/main.rs" <<'END'
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let monitor = tcpinfo::Monitor::new();
    monitor.instrument(&provider);
    let page = monitor.page();
    let group = monitor.group([KeyValue::new("listener", "public")]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let _watched = group.watch(std::net::TcpStream::connect(listener.local_addr()?)?);
    provider.force_flush()?;
    let collected = exporter.get_finished_metrics()?;
    let names = collected
        .iter()
        .flat_map(|all| all.scope_metrics())
        .flat_map(|scope| scope.metrics())
        .map(|metric| metric.name().to_owned());
    let names: std::collections::BTreeSet<_> = names.collect();
    for name in ["tcp.connection.opened", "tcp.connection.count", "tcp.rtt", "tcp.data.sent"] {
        assert!(names.contains(name), "no {name} among {names:?}");
    }
    let mut text = Vec::new();
    page.write(&mut text)?;
    let text = String::from_utf8(text)?;
    let opened = text.lines().find(|line| line.starts_with("tcp_connection_opened_total{"));
    assert!(opened.is_some_and(|line| line.ends_with(" 1")), "{text}");
    println!("{} metrics from the SDK, {} lines on the page", names.len(), text.lines().count());
    Ok(())
}
END
    # The newest for all, as cargo chooses without being told.
    (cd "$folder" && cargo generate-lockfile --quiet)
    if [ "$minor" != "$newest" ]; then
        pin "$folder" "$minor"
    fi
    if [ -n "$other" ]; then
        echo "other = { package = \"opentelemetry\", version = \"0.$other\" }" >>"$folder/Cargo.toml"
        (cd "$folder" && cargo update --quiet --workspace)
    fi
    printf '0.%s%s: ' "$minor" "${other:+ beside 0.$other}"
    (cd "$folder" && cargo run --quiet --locked)
    (cd "$folder" && cargo tree --locked --depth 1 --package tcpinfo --edges normal --prefix none) |
        grep -q "^opentelemetry v0\.$minor\." || die "tcpinfo has another version than 0.$minor"
}

# The one line that a program of an older version needs.
pin() {
    local folder=$1 minor=$2 old new
    locked() { sed -nE '/^name = "opentelemetry"$/{n;s/^version = "(.*)"$/\1/p}' "$folder/Cargo.lock"; }
    new=$(locked | grep "^0\.$newest\.")
    old=$(locked | grep "^0\.$minor\.")
    (cd "$folder" && cargo update --quiet "opentelemetry@$new" --precise "$old")
}

if [ "${1-}" = --short ]; then
    program oldest "$oldest"
    program beside $((newest - 1)) "$newest"
    exit
fi
for minor in $(seq "$oldest" "$newest"); do
    program "alone-$minor" "$minor"
    if [ "$minor" = "$newest" ]; then
        program "beside-$minor" "$minor" $((newest - 1))
    else
        program "beside-$minor" "$minor" "$newest"
    fi
done
