#!/usr/bin/env bash
# Packs the crate as it would be published, unpacks it elsewhere, and runs its tests there.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null
need_rust

# Committed or not: this is about what the package has, not about publishing it.
cargo package --quiet --package tcpinfo --no-verify --allow-dirty
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# The same folder each time: cargo keeps what it built, and tests know their folder.
folder=target/package/unpacked
rm -rf "$folder"
mkdir -p "$folder"
tar --extract --file "target/package/tcpinfo-$version.crate" --directory "$folder"
cd "$folder/tcpinfo-$version"
# Not a part of the workspace that it lies in.
printf '\n[workspace]\n' >>Cargo.toml
export CARGO_TARGET_DIR=../build
echo "package: $(find . -type f | wc -l) files, $(du --summarize --bytes . | cut -f 1) bytes"
cargo test --quiet --all-features --lib --examples -- --show-output
cargo test --quiet --all-features --doc

# The program's own package: it is built of the unpacked library, as of one that was published.
cd ../../../..
CARGO_TARGET_DIR=target cargo package --quiet --package tcpinfo-cli --no-verify --allow-dirty --exclude-lockfile
cd target/package
tar --extract --file "tcpinfo-cli-$version.crate" --directory unpacked
cd "unpacked/tcpinfo-cli-$version"
printf '\n[workspace]\n\n[patch.crates-io]\ntcpinfo = { path = "../tcpinfo-%s" }\n' "$version" >>Cargo.toml
echo "package of the program: $(find . -type f | wc -l) files, $(du --summarize --bytes . | cut -f 1) bytes"
cargo build --quiet
cargo test --quiet --lib -- --show-output
"$CARGO_TARGET_DIR/debug/tcpinfo" --version
