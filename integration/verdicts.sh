#!/usr/bin/env bash
# Verdicts beside faults made for real: prints the confusion matrix of src/docs/verdicts.rs, and fails
# where less than 95 % are right or something healthy is accused. See integration/faults/verdicts.rs.
#
#   integration/verdicts.sh            three strengths, ten seeds: some five minutes
#   integration/verdicts.sh --short    one strength, two seeds: as every run of the tests
#   integration/verdicts.sh --tuning   as the first, with the seeds that thresholds were chosen with
#   integration/verdicts.sh --save     as the first, and keeps replies in integration/data/verdicts.txt
source "$(dirname "${BASH_SOURCE[0]}")/prelude.sh"
exec </dev/null

export TCPINFO_VERDICTS=full
case ${1-} in
'') ;;
--short) TCPINFO_VERDICTS=short ;;
--tuning) TCPINFO_VERDICTS=tuning ;;
--save) export TCPINFO_VERDICTS_SAVE=$PWD/integration/data/verdicts.txt ;;
*) die "unknown argument $1: --short, --tuning, --save, or none" ;;
esac
need_rust
need iproute2 -- ip -V
need util-linux -- unshare --version
install_missing
cargo test "${tested[@]}" --test integration -- \
    --exact faults::verdicts::verdicts_name_the_fault --include-ignored --show-output
