#!/bin/sh
# What `make demo` does after the build: a model, a document, a question, an answer.
# Environment: FOVEA_MODEL (another GGUF), DEMO_TOKENS (prompt size, default 7000), THREADS (default: all processors),
# DEMO_ARGS (further flags of `fovea run`), BUILD (build folder).
set -eu
here=$(dirname "$0")
build=${BUILD:-build}
python=${PYTHON:-python3}

if [ -n "${FOVEA_MODEL:-}" ]; then
    model=$FOVEA_MODEL
    [ -r "$model" ] || { echo "FOVEA_MODEL: cannot read $model" >&2; exit 1; }
else
    model=models/SmolLM2-135M-Instruct.Q4_1.gguf
    [ -e "$model" ] || "$here/install.sh" model
    "$python" "$here/model.py" smollm2 >/dev/null
fi

prompt=$build/demo_prompt.txt
"$python" "$here/document.py" --fovea "$build/fovea" --model "$model" --tokens "${DEMO_TOKENS:-7000}" --out "$prompt"
echo "question: $(tail -n 1 "$prompt")" >&2
set -- "$build/fovea" run -m "$model" -f "$prompt" -n 128 --temp 0 -st --no-display-prompt ${THREADS:+-t "$THREADS"}
# shellcheck disable=SC2086 # DEMO_ARGS is a list of words
set -- "$@" ${DEMO_ARGS:-}
echo "running: $*" >&2
exec "$@"
