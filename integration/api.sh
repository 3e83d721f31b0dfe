#!/usr/bin/env bash
# Compares the public API, all features on, with integration/data/api.txt: it changes only on purpose.
#
#   integration/api.sh            prints the difference, and fails if there is one
#   integration/api.sh --accept   writes the API as it is now
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
--accept | '') ;;
*) die "unknown argument $1: --accept, or none" ;;
esac
need_rust

snapshot=integration/data/api.txt json=target/doc/tcpinfo.json now=target/api/api.txt
mkdir -p target/api
# Rustdoc alone is told that it may be unstable: what cargo has built for other steps stays built.
cat >target/api/rustdoc <<'END'
#!/bin/sh
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
END
chmod +x target/api/rustdoc
RUSTDOC=$PWD/target/api/rustdoc RUSTDOCFLAGS='-Z unstable-options --output-format json' \
    cargo doc --quiet --lib --no-deps --all-features

# One version of the tool reads one format of the JSON.
reads=57
format=$(grep -o '"format_version":[0-9]*' "$json" | tail -n 1 | cut -d : -f 2)
if [ "$format" != "$reads" ]; then
    echo "SKIPPED: the API snapshot: this rustdoc writes JSON of format $format, the tool reads $reads"
    exit
fi
cargo run --quiet --package tcpinfo-api --target-dir target/api -- "$json" >"$now"
if [ "${1-}" = --accept ]; then
    cp "$now" "$snapshot"
    echo "$snapshot: $(wc -l <"$snapshot") items"
elif diff -U 0 "$snapshot" "$now"; then
    echo "the API is that of $snapshot: $(wc -l <"$snapshot") items"
else
    echo "If the API is meant to change so, and CHANGELOG.md says it: integration/api.sh --accept"
    exit 1
fi
