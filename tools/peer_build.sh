#!/bin/sh
# Builds llama.cpp, the program we compare with, outside this repository; or llama-bench of a fork of it.
#
#   tools/peer_build.sh DIR
#   tools/peer_build.sh DIR SOURCE
#
# Fetches the source package of llama-cpp-python (which carries a pinned copy of llama.cpp) with pip, checks its
# SHA-256, unpacks it into DIR/src, builds it in DIR/build and copies the programs to DIR/bin, ggml's headers to DIR/include
# and its libraries to DIR/lib (bench/peer_attention.c needs them). CPU only: Release,
# static, all instructions of this processor, no CUDA, no network code. A step that is already done is skipped, so
# that a second run costs seconds and a broken run can be resumed.
#
# SOURCE is a copy of ik_llama.cpp (github.com/ikawrakow/ik_llama.cpp), which is faster than llama.cpp on a CPU: a folder, or
# a git directory, whose newest commit is taken. Files that are missing there and are not needed may be missing. Only
# DIR/bin/llama-bench is made of it. Another DIR than llama.cpp's.
#
# Needs: python3 with pip, cmake >= 3.14, a C and a C++17 compiler, about 1.2 GB in DIR and 10 minutes on two cores.
# Environment: JOBS (default: number of processors), CC and CXX (as cmake reads them), PYTHON (default python3).
set -eu

package=llama_cpp_python
version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
# llama-cli became a chat program built on the server's code; llama-completion is the plain "continue this text".
targets="llama-perplexity llama-bench llama-tokenize llama-quantize llama-completion llama-cli llama-server"

if [ $# -ne 1 ] && [ $# -ne 2 ]; then
    echo "usage: $0 DIR [SOURCE]" >&2
    exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
python=${PYTHON:-python3}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
archive=$dir/$package-$version.tar.gz
source=$dir/src/$package-$version/vendor/llama.cpp
build=$dir/build

# Through a temporary name: a program that is running can be replaced but not overwritten.
install_program() {
    mkdir -p "$dir/bin"
    cp "$build/bin/$1" "$dir/bin/.$1.new"
    mv -f "$dir/bin/.$1.new" "$dir/bin/$1"
}

# The files of a git directory's newest commit, without the blobs that a partial copy lacks.
unpack_commit() {
    GIT_NO_LAZY_FETCH=1
    export GIT_NO_LAZY_FETCH
    git --git-dir="$1" rev-parse HEAD >"$dir/commit"
    git --git-dir="$1" ls-tree -r HEAD | while read -r _ _ blob path; do
        mkdir -p "$2/$(dirname "$path")"
        git --git-dir="$1" cat-file blob "$blob" >"$2/$path" 2>/dev/null || rm -f "$2/$path"
    done
}

build_fork() {
    source=$1
    if [ -f "$1/HEAD" ] && [ -d "$1/objects" ]; then
        source=$dir/src/ik_llama.cpp
        if [ ! -f "$dir/src/.complete-fork" ]; then
            rm -rf "$dir/src"
            mkdir -p "$source"
            unpack_commit "$1" "$source"
            : >"$dir/src/.complete-fork"
        fi
    fi
    # flash attention for f16 caches, which is what is compared: for all types it takes an hour to compile
    cmake -S "$source" -B "$build" \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DGGML_NATIVE=ON -DGGML_CUDA=OFF -DGGML_CCACHE=OFF -DGGML_IQK_FA_ALL_QUANTS=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=ON -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF
    cmake --build "$build" --parallel "$jobs" --target llama-bench
    install_program llama-bench
    echo "$dir/bin: llama-bench"
}

if [ $# -eq 2 ]; then
    build_fork "$2"
    exit 0
fi

sha256_is_right() {
    [ -f "$1" ] && echo "$sha256  $1" | sha256sum -c - >/dev/null 2>&1
}

if ! sha256_is_right "$archive"; then
    "$python" -m pip download --quiet --no-deps --no-binary "$package" --dest "$dir" "$package==$version"
    if ! sha256_is_right "$archive"; then
        echo "$0: $archive does not have the expected SHA-256 $sha256" >&2
        exit 1
    fi
fi

if [ ! -f "$dir/src/.complete-$version" ]; then
    rm -rf "$dir/src"
    mkdir -p "$dir/src"
    tar -xzf "$archive" -C "$dir/src"
    : >"$dir/src/.complete-$version"
fi

# The three UI/OpenSSL switches keep the server's library (llama-cli needs it) from fetching or linking anything.
cmake -S "$source" -B "$build" \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DGGML_NATIVE=ON -DGGML_CUDA=OFF -DGGML_CCACHE=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF
# shellcheck disable=SC2086 # one word per target
cmake --build "$build" --parallel "$jobs" --target $targets

for target in $targets; do install_program "$target"; done
mkdir -p "$dir/include" "$dir/lib"
cp "$source"/ggml/include/*.h "$dir/include/"
for library in ggml ggml-cpu ggml-base; do
    cp "$(find "$build/ggml" -name "lib$library.a" | head -n 1)" "$dir/lib/"
done
echo "$dir/bin: $targets; $dir/include, $dir/lib: ggml"
