#!/usr/bin/env bash
# Fuzzes what decodes bytes of the kernel: `fuzz/` with cargo-fuzz, on stable Rust.
#
#   integration/fuzz.sh --short   every target for a few seconds, under AddressSanitizer: for .ci/run
#   integration/fuzz.sh           decode 100,000,000 times, and 10,000,000 times under
#                                 AddressSanitizer; every other target 10,000,000 times under it
#   integration/fuzz.sh --keep    puts what was found, minimised, into fuzz/corpus
#
# What it finds wrong stays in target/fuzz/wrong: fix it, and put the input into fuzz/corpus.
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null
# -Z options of the stable compiler: cargo-fuzz needs some.
export RUSTC_BOOTSTRAP=1

case ${1-} in
--short | --keep | '') ;;
*) die "unknown argument $1: --short, --keep, or none" ;;
esac
need_rust
# libFuzzer is C++.
need g++ -- c++ --version
install_missing

integration/tool.sh cargo-fuzz
export PATH="$cache/tools/bin:$PATH"

# Invariants of the standard library and of `debug_assert` are worth their time here.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only

targets=(congestion decode kernel netlink page)
target=x86_64-unknown-linux-gnu
flags=(-max_len=600 -print_final_stats=1 -artifact_prefix=target/fuzz/wrong/)
mkdir -p target/fuzz/wrong

# Replays what was found before, and writes what fuzzing begins with.
env -u RUSTC_BOOTSTRAP cargo test --quiet "${tested[@]}" --test light sockets::fuzz_corpus::

# build SANITIZER [FLAG...]: in a folder of its own.
build() {
    cargo fuzz build --target-dir "target/fuzz/$1" --target "$target" --sanitizer "$@"
}

# run SANITIZER TARGET FLAG...: what is found goes into the first of the folders.
run() {
    local sanitizer=$1 name=$2 found=target/fuzz/corpus/$2 log=target/fuzz/$2.log start=$SECONDS
    local folders=("$found" "target/tmp/seeds/$2")
    shift 2
    mkdir -p "$found"
    # Nothing was found so far of some.
    [ ! -d "fuzz/corpus/$name" ] || folders+=("fuzz/corpus/$name")
    "target/fuzz/$sanitizer/$target/release/$name" "${flags[@]}" "$@" \
        "${folders[@]}" >"$log" 2>&1 || {
        tail -n 100 "$log"
        die "$name failed: see $log and target/fuzz/wrong"
    }
    printf 'fuzz %s, sanitizer %s: %d executions in %d s, coverage %d\n' "$name" "$sanitizer" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" $((SECONDS - start)) \
        "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)"
}

case ${1-} in
--short)
    build address
    for name in "${targets[@]}"; do
        run address "$name" -max_total_time=12
    done
    ;;
'')
    build address --no-trace-compares
    for name in "${targets[@]}"; do
        run address "$name" -runs=10000000
    done
    build none --no-trace-compares
    run none decode -runs=100000000
    ;;
--keep)
    build none --no-trace-compares
    for name in "${targets[@]}"; do
        kept=target/fuzz/kept/$name
        rm -rf "$kept"
        mkdir -p "$kept" "target/fuzz/corpus/$name" "fuzz/corpus/$name"
        # As few as reach all the code that these reach.
        "target/fuzz/none/$target/release/$name" "${flags[@]}" -set_cover_merge=1 -use_counters=0 \
            "$kept" "fuzz/corpus/$name" "target/fuzz/corpus/$name"
        rm -rf fuzz/corpus/"$name"
        cp -r "$kept" fuzz/corpus/"$name"
    done
    ;;
esac
