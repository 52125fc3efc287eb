#!/usr/bin/env python3
"""The attention core beside ggml's FLASH_ATTN_EXT, over the shapes of real models. Standard library only.

    bench/attention.py [-t N] [--full] [--shape NAME] [--tokens N] [--kv-type T] [--pass P] [--attention SPEC] [-r N] ...

Needs BUILD/peer_attention: tools/peer_build.sh DIR; cmake -B build -DFV_PEER=DIR; cmake --build build --target peer_attention.
Both sides run in one process, in turn, on the same data; each case is one process. Without flags: the cases of DEFAULT,
under 6 minutes on one thread. --full: every shape x 512...131,072 tokens x f16, q8_0 (memory and --seconds bound it).
--shape, --tokens, --kv-type, --pass, --attention are lists (repeat them, or separate by commas; --attention: repeat) and
replace the default list by their product. Rows go to bench/results/MACHINE/attention.csv.

    bench/attention.py --shape llama-3.2-1b --tokens 131072 --pass decode --attention fovea:budget=0.05 --layers 4
"""
import argparse
import os
import subprocess
import sys

import results_csv

SHAPES = {"smollm2": (9, 3, 64), "llama-3.2-1b": (32, 8, 64), "qwen3-0.6b": (16, 8, 128), "llama-3-8b": (32, 8, 128),
          "gemma3-270m": (4, 1, 256), "pattern": (8, 8, 64)}
REAL = [name for name in SHAPES if name != "pattern"]
LENGTHS = [512, 2048, 8192, 32768, 131072]
PREFILL_LENGTHS = [512, 2048, 8192]
KEYS = ["shape", "threads", "tokens", "pass", "kv_type", "attention"]
COMPUTED = 5e11  # operations of one pass of a prefill: of two layers, if that is less
# The peer rounds queries to the type of the keys, or to 8 bits, and sums f16 values in f16.
TOLERANCE = {"f32": 1e-4, "f16": 4e-3, "bf16": 1e-2, "q8_0": 2e-2, "q4_0": 1e-1}


def cases(shapes, lengths, types, passes, specs):
    return [(shape, tokens, kv, way, spec) for way in passes for shape in shapes for tokens in lengths for kv in types
            for spec in specs]


def default_cases():
    made = cases(REAL, [512, 8192, 32768], ["f16", "q8_0"], ["decode"], ["dense"])
    made += cases(["smollm2"], [131072], ["f16"], ["decode"], ["dense"])
    made += cases(["smollm2"], PREFILL_LENGTHS, ["f16"], ["prefill"], ["dense"])
    made += cases(["llama-3.2-1b", "qwen3-0.6b", "gemma3-270m"], [2048], ["f16"], ["prefill"], ["dense"])
    made += cases(["pattern"], [8192], ["f32"], ["prefill"], ["pattern:window=128"])
    return made


def full_cases():
    return (cases(REAL, LENGTHS, ["f16", "q8_0"], ["decode"], ["dense"]) +
            cases(REAL, PREFILL_LENGTHS, ["f16", "q8_0"], ["prefill"], ["dense"]) +
            cases(["pattern"], [8192], ["f32"], ["prefill"], ["pattern:window=128"]))


def command_of(case, arguments):
    shape, tokens, kv, way, spec = case
    heads, kv_heads, head_dim = SHAPES[shape]
    layers = arguments.layers
    if way == "prefill" and not arguments.layers_given:
        operations = 2.0 * heads * head_dim * tokens * tokens
        layers = 2 if operations * 2 < COMPUTED else 1
    return [os.path.join(arguments.build, "peer_attention"), "--heads", str(heads), "--kv-heads", str(kv_heads),
            "--head-dim", str(head_dim), "--tokens", str(tokens), "--pass", way, "--kv-type", kv, "--attention", spec,
            "--layers", str(layers), "--memory", str(arguments.memory), "-t", str(arguments.threads), "-r",
            str(arguments.rounds), "--seconds", str(arguments.seconds)]


def row_of(case, seen):
    row = {"shape": case[0]}
    row.update(seen)
    for kind in ("", "_hot"):
        for which in ("min", "median"):
            ours, theirs = seen["fovea%s_%s_ns" % (kind, which)], seen["peer%s_%s_ns" % (kind, which)]
            row["ratio%s_%s" % (kind, which)] = theirs / ours if ours else None
    return row


def run_case(case, arguments):
    try:
        seen = results_csv.document_of(command_of(case, arguments), timeout=600)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print("%s: %s" % (" ".join(map(str, case)), error), file=sys.stderr)
        return None
    row = row_of(case, seen)
    print("%-13s %-8s %6d %-5s %-20s %2d layers %2d rounds | fovea %9.3f ms, ggml %9.3f ms, ratio %6.2f (min) %6.2f (median)"
          " | hot %s | %3.0f %% of %s | max difference %.1e" % (
              case[0], case[3], case[1], case[2], case[4], seen["layers"], seen["rounds"], seen["fovea_min_ns"] * 1e-6,
              seen["peer_min_ns"] * 1e-6, row["ratio_min"], row["ratio_median"],
              "%.2f" % row["ratio_hot_min"] if row["ratio_hot_min"] else "-", 100 * seen["limit_share"], seen["limit"],
              seen["max_difference"]), flush=True)
    if case[4] == "dense" and not seen["max_difference"] <= TOLERANCE[case[2]]:
        print("the outputs of both sides differ by more than %g" % TOLERANCE[case[2]], file=sys.stderr)
        return None
    return row


def words(texts, known=None, kind=str):
    found = [kind(word) for text in texts for word in text.split(",")]
    for word in found:
        if known and word not in known:
            sys.exit("%s is none of %s" % (word, ", ".join(known)))
    return found


def chosen_cases(arguments):
    if arguments.full:
        return full_cases()
    given = (arguments.shape, arguments.tokens, arguments.kv_type, arguments.way, arguments.attention)
    if not any(given):
        return default_cases()
    return cases(words(arguments.shape or ["smollm2"], SHAPES), words(arguments.tokens or ["8192"], None, int),
                 words(arguments.kv_type or ["f16"], TOLERANCE), words(arguments.way or ["decode"], ("prefill", "decode")),
                 arguments.attention or ["dense"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--full", action="store_true")
    for flag in ("--shape", "--tokens", "--kv-type", "--attention"):
        parser.add_argument(flag, action="append")
    parser.add_argument("--pass", dest="way", action="append")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-r", "--rounds", type=int, default=7)
    parser.add_argument("--layers", type=int, default=None, help="default: 30; a prefill: 2 or 1")
    parser.add_argument("--memory", type=float, default=8, help="GB for both sides' caches (default: 8)")
    parser.add_argument("--seconds", type=float, default=20, help="of a case's rounds, 3 at least (default: 20)")
    parser.add_argument("--dry", action="store_true", help="print the rows, keep none")
    arguments = parser.parse_args()
    arguments.layers_given = arguments.layers is not None
    arguments.layers = arguments.layers or 30
    bad = 0
    for case in chosen_cases(arguments):
        row = run_case(case, arguments)
        bad += row is None
        if row and not arguments.dry:  # at once: an interrupted run keeps what it has
            results_csv.add_rows(results_csv.results_path(row["isa"], "attention"), KEYS, [row])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
