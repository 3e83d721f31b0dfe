#!/usr/bin/env bash
# Runs the tests of what asks the kernel, and of sockets that come and go, where memory is watched.
#
#   integration/sanitize.sh --short   some under valgrind, no build of their own: for .ci/run
#   integration/sanitize.sh           these, and all of them under AddressSanitizer
#   integration/sanitize.sh --races   all under ThreadSanitizer, std included (needs rust-src)
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

case ${1-} in
--short | --races | '') ;;
*) die "unknown argument $1: --short, --races, or none" ;;
esac
need_rust
target=$(rustc -vV | sed -n 's/^host: //p')

# What asks the kernel, and what keeps sockets: unit tests, others, and those with many sockets.
units=(congestion:: diag:: monitor:: read:: stream::)
tests=(sockets::diag:: sockets::read:: monitor::instruments:: adapters::tokio_streams::)
many=(
    discovery::strangers::
    monitor::borrowed:: monitor::churn:: monitor::handles:: monitor::misuse:: monitor::schedules::
)

under_valgrind() {
    need valgrind -- valgrind --version
    install_missing
    local host=${target//-/_} options=(
        --quiet --error-exitcode=9 --fair-sched=yes
        --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
    )
    env "CARGO_TARGET_${host^^}_RUNNER=valgrind ${options[*]}" \
        cargo test "${tested[@]}" --test light --test integration -- "${tests[@]}"
}

# sanitized NAME CARGO-FLAG...: in a folder of its own. Some tests leak on purpose.
sanitized() {
    local name=$1
    shift
    local options=(
        --no-fail-fast --target "$target" --target-dir "target/$name" "$@"
        --no-default-features --features otel,diag,serde
    )
    export ASAN_OPTIONS=detect_leaks=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=$name
    cargo test "${options[@]}" --lib -- "${units[@]}"
    cargo test "${options[@]}" --test light -- "${tests[@]}" "${many[@]}"
}

case ${1-} in
--short) under_valgrind ;;
--races)
    need_component rust-src
    sanitized thread -Z build-std=std,test
    ;;
'')
    under_valgrind
    sanitized address
    ;;
esac
