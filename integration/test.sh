#!/usr/bin/env bash
# Runs every test, those too that need other programs, after installing what is missing of these.
#
# Plain `cargo test` runs all tests that need nothing installed.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
spent=$(mktemp)
restore() { true; }
closing() {
    local status=$? user system
    restore
    # The second line is of all commands that ended. Not in a pipe, where it would be the pipe's.
    times >"$spent"
    read -r user system < <(tail -n 1 "$spent")
    rm -f "$spent"
    printf '\nintegration/test.sh: %d s, and of CPU time %s in programs, %s in the kernel\n' \
        "$SECONDS" "$user" "$system"
    exit "$status"
}
trap closing EXIT
# Debian keeps tc, sysctl and modprobe where only root looks.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

need_rust
need gcc libc6-dev -- cc --version
need iproute2 -- ss --version
need iproute2 -- tc -V
has_bbr() {
    grep -qw bbr /proc/sys/net/ipv4/tcp_available_congestion_control
}
has_bbr || need kmod -- modprobe --version
need prometheus -- promtool --version
# Debian's own Python: another one, first in PATH, does not see Debian's modules.
need python3-prometheus-client -- /usr/bin/python3 -c 'import prometheus_client'
need util-linux -- unshare --version
# What integration/servers.sh gets receivers of OTLP with.
need debian-archive-keyring -- test -f /usr/share/keyrings/debian-archive-keyring.gpg
need python3-venv -- /usr/bin/python3 -c 'import ensurepip'
python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null ||
    echo 3.11)
has_libpython() {
    grep -q "libpython$python.so" <<<"$(ldconfig -p)"
}
need "libpython$python" -- has_libpython
need strace -- strace --version
need valgrind -- valgrind --version
# `wrk -v` says its version and fails.
need wrk -- command -v wrk

install_missing
if [[ " ${missing[*]} " == *' prometheus '* ]]; then
    # Its programs are wanted, not its service.
    as_root systemctl disable --now prometheus >/dev/null 2>&1 || true
fi

integration/servers.sh

has_bbr || as_root modprobe tcp_bbr || echo 'This kernel has no tcp_bbr: the tests of BBR will fail.' >&2
if [ "$(id -u)" != 0 ]; then
    file=/proc/sys/net/ipv4/tcp_allowed_congestion_control
    allowed=$(cat "$file")
    allow() {
        as_root tee "$file" <<<"$1" >/dev/null
    }
    if ! grep -qw bbr <<<"$allowed"; then
        restore() { allow "$allowed"; }
        allow "$allowed bbr"
    fi
fi

# The programs of packages below examples/, which some tests run, and the examples of the library.
cargo build "${tested[@]}" --bins --examples </dev/null

# Examples of the documentation are tested too: none of these is marked `ignore` (a tidy test), so
# including the ignored ones is right for them as well. `--show-output` shows what a test says it had
# to leave out.
run() {
    echo
    echo "cargo test $*"
    cargo test --no-fail-fast "$@" -- --include-ignored --show-output </dev/null
}
# With every feature, which `integration/` asks for.
run "${tested[@]}"
run --no-default-features --lib --test light
