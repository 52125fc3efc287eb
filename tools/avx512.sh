#!/bin/sh
# Builds the AVX-512 and AVX-VNNI kernels against SIMDe, which computes their instructions with those of AVX2, and runs the tests
# of kernels and core on them. It says that their results are right, and nothing about speed.
#
#   tools/avx512.sh [BUILD_FOLDER]
#
# Wants Debian's libsimde-dev and a processor with AVX2 that lacks one of the two; as root it installs the package. Without
# them it says "skipped:" and why.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build-avx512}
jobs=$(getconf _NPROCESSORS_ONLN)
programs="$(cd tests/kernels && ls *_kernel_test.c | sed 's/[.]c$//') kernel_table_test attend_test lists_test attention_test position_plan_test choose_test choice_test tail_test"

skip() {
    echo "skipped: $1"
    exit 0
}

[ "$(uname -m)" = x86_64 ] || skip "this is no x86-64 processor"
grep -qw avx2 /proc/cpuinfo || skip "this processor has no AVX2"
if grep -qw avx512_vnni /proc/cpuinfo && grep -qw avx_vnni /proc/cpuinfo; then skip "this processor has both: make test has run everything"; fi
tools/install.sh avx512 || skip "SIMDe could not be had"

cmake -S . -B "$build" -DFV_EMULATE_AVX512=ON -DFV_TESTS=ON >/dev/null
# shellcheck disable=SC2086 # a list of words
cmake --build "$build" --parallel "$jobs" --target golden $programs

failed=
"$build/golden" tests/golden/reference >"$build/golden.txt" || failed="$failed golden"
grep -v ' ok$' "$build/golden.txt"
# shellcheck disable=SC2046,SC2086 # lists of words
FV_RUNS=20 tools/test.py "$build" -k $(for program in $programs; do echo "=$program"; done) || failed="$failed tests"
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
