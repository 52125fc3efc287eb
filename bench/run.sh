#!/bin/sh
# Every paired benchmark in one go, for a quiet machine:
#
#   bench/run.sh PEER MODEL [short]
#
# PEER is a folder that tools/peer_build.sh has filled, MODEL a GGUF file (SmolLM2-135M Q4_1 for the tables of docs/results.md).
# The limits of the machine, the attention core, the model; then tables and, with matplotlib, plots. About 15 minutes on one
# thread of a current core; `short`: 2 minutes, printed only, to see that all of it runs. Environment: THREADS (1), BUILD (build),
# MODEL_SECONDS (300), MODEL_TESTS (pp512,tg32,pp2048,tg32@d7600,pp8128; the
# last two are half of the time), ATTENTION_SECONDS (6, for the rounds of one case), PYTHON (python3; matplotlib is asked for there),
# TORCH (a python3 with PyTorch: 2 minutes more), SPARSE (policies, a blank between: "fovea:budget=0.05 fovea:pages=64"; decode at
# 8,192 to 131,072 tokens, half a minute each), SPARSE_SHAPES (llama-3.2-1b).
set -eu

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    sed -n '2,12p' "$0" >&2
    exit 2
fi
peer=$1
model=$2
mode=${3:-whole}
build=${BUILD:-build}
threads=${THREADS:-1}
python=${PYTHON:-python3}
here=$(dirname "$0")

cmake -S "$here/.." -B "$build" -DFV_PEER="$peer" >/dev/null
cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN)" --target fovea_cli peer_attention >/dev/null
echo "load before: $(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || echo unknown)"

if [ "$mode" = short ]; then
    "$build/fovea" bench machine
    "$here/attention.py" --build "$build" -t "$threads" --dry --tokens 512 --shape smollm2,gemma3-270m --kv-type f16,q8_0 -r 3
    "$here/attention.py" --build "$build" -t "$threads" --dry --tokens 512 --pass prefill -r 3
    "$here/model_speed.py" --build "$build" -m "$model" --peer "$peer" -t "$threads" --dry --test pp64,tg8,tg8@d128 --seconds 1
    exit 0
fi
"$here/machine.py" --build "$build"
# a case that fails is named and leaves the others their turn
failed=0
"$here/attention.py" --build "$build" -t "$threads" --seconds "${ATTENTION_SECONDS:-6}" || failed=1
"$here/model_speed.py" --build "$build" -m "$model" --peer "$peer" -t "$threads" --seconds "${MODEL_SECONDS:-300}" --attention dense --attention fovea \
    ${MODEL_TESTS:+--test "$MODEL_TESTS"} || failed=1
if [ "$(getconf _NPROCESSORS_ONLN)" -gt 1 ]; then
    "$here/scaling.py" --build "$build" -m "$model" || failed=1
fi
# sparse policies beside ggml's dense attention: 4 caches in turn, whose sum no processor's cache holds
for spec in ${SPARSE:-}; do
    "$here/attention.py" --build "$build" -t "$threads" --layers 4 --shape "${SPARSE_SHAPES:-llama-3.2-1b}" \
        --tokens 8192,32768,131072 --attention "$spec" --seconds "${ATTENTION_SECONDS:-6}" || failed=1
done
if [ -n "${TORCH:-}" ]; then
    "$TORCH" "$here/torch_sdpa.py" --build "$build" -t "$threads" --seconds 10 || failed=1
fi
"$python" "$here/../tools/bench_tables.py"
if "$python" -c 'import matplotlib' 2>/dev/null; then
    "$python" "$here/../tools/bench_plots.py"
else
    echo "no plots: $python has no matplotlib"
fi
exit $failed
