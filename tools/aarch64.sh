#!/bin/sh
# Builds for 64-bit Arm on another machine and runs the tests of kernels and core in QEMU: once on a processor with every
# level (max), once on one that has neither dot nor matrix products (cortex-a53).
#
#   tools/aarch64.sh [BUILD_FOLDER]
#
# Wants Debian's cross compiler, qemu-user and Arm libraries; as root it installs them (this adds Debian's architecture
# arm64 to the system). Without them it says "skipped:" and why.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build-aarch64}
jobs=$(getconf _NPROCESSORS_ONLN)
core='kernel_test attend_test cache_test cache_file_test pattern_test'
# Once is enough: of their kernels only the products differ between the two processors, and those are tested on both.
more='unpack_test dequant_test position_plan_test plan_test =choice_test tail_test dither_test gate_test =attention_test
    array_attention_test =model_test session_golden_test kac_rotation_test sign_code_test =index_test index_file_test'

skip() {
    echo "skipped: $1"
    exit 0
}

if [ "$(uname -m)" = aarch64 ]; then skip "this is an Arm processor: make test has run everything"; fi
command -v dpkg >/dev/null || skip "no dpkg: this wants Debian's cross compiler and Arm libraries"
if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    [ "$(id -u)" = 0 ] && dpkg --add-architecture arm64 || skip "not root, and dpkg does not know the architecture arm64"
fi
tools/install.sh aarch64 || skip "the cross compiler, QEMU or the Arm libraries could not be had"

PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig cmake -S . -B "$build" -DCMAKE_SYSTEM_NAME=Linux \
    -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
    -DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64 >/dev/null
# shellcheck disable=SC2046,SC2086 # lists of words
cmake --build "$build" --parallel "$jobs" --target golden $(tools/test.py "$build" -l -k $core $more)

python3 tests/house/isa_test.py "$build/fovea" . # sdot and usmmla only in their folders
failed=
for processor in max cortex-a53; do
    export QEMU_CPU=$processor FV_RUNS=10
    words="$core"
    [ "$processor" = max ] && words="$core $more"
    echo "--- $processor"
    qemu-aarch64 "$build/golden" tests/golden/reference >"$build/golden.txt" || failed="$failed golden/$processor"
    grep -v ' ok$' "$build/golden.txt"
    # shellcheck disable=SC2086 # a list of words
    tools/test.py "$build" -k $words || failed="$failed tests/$processor"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
