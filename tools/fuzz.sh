#!/bin/sh
# Runs every fuzz target for a while with clang's libFuzzer, ASan and UBSan.
#
#   tools/fuzz.sh BUILD_FOLDER SECONDS_PER_TARGET
#
# New inputs grow in BUILD_FOLDER/corpus/TARGET; the committed corpus is read, never written. A finding is a file
# BUILD_FOLDER/TARGET-crash-…: add it to tests/fuzz/corpus/TARGET together with the cure.
set -eu
build=$1
seconds=$2
source=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$build"
cmake -S "$source" -B "$build" -DCMAKE_C_COMPILER=clang -DFV_TESTS=OFF -DFV_SANITIZE=ON \
    -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link -DCMAKE_C_FLAGS_RELEASE=-O1 >/dev/null
targets=fovea server=
if pkg-config --exists libmicrohttpd; then # request_fuzz
    targets="fovea fovea_server" server="$build/libfovea_server.a"
fi
# shellcheck disable=SC2086 # one word per target
cmake --build "$build" --parallel --target $targets
for target in "$source"/tests/fuzz/*_fuzz.c; do
    name=$(basename "$target" .c)
    library=
    if [ "$name" = request_fuzz ]; then
        [ -n "$server" ] || { echo "$name: skipped, no libmicrohttpd"; continue; }
        library=$server
    fi
    # shellcheck disable=SC2046 # pkg-config prints a list of words
    clang -std=c11 -g -fsanitize=fuzzer,address,undefined -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE \
        -DFV_SOURCE_DIR="\"$source\"" -I"$source/include" -I"$source/src" "$target" ${library:+"$library"} \
        "$build/libfovea.a" $(pkg-config --libs libutf8proc jansson ${library:+libmicrohttpd}) -lm -lpthread -o "$build/$name"
    mkdir -p "$build/corpus/$name"
    echo "$name: $seconds seconds"
    "$build/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/$name-" "$build/corpus/$name" "$source/tests/fuzz/corpus/$name" \
        >"$build/$name.log" 2>&1 || { tail -n 40 "$build/$name.log"; exit 1; }
    grep -E '^stat::(number_of_executed_units|new_units_added)' "$build/$name.log"
done
