#!/usr/bin/env python3
"""A model's speed beside llama-bench, run alternately. Standard library only.

    bench/model_speed.py -m MODEL --peer DIR [-t N] [--seconds N] [--samples N] [--test NAME] [--attention SPEC] ...
    bench/model_speed.py --table [-m MODEL ...] --peer DIR [-t N] [--attention SPEC] ...

fovea runs with the type of keys and values that it takes by itself, or with --type; a row says which, where it is not f16.
DIR is what tools/peer_build.sh has filled, with llama.cpp or with its fork ik_llama.cpp. Tests: pp512 pp2048 pp8128 tg32
tg32@d7600 (any ppN, tgN, @dN). llama-bench runs with -fa 0 and -fa 1 (the fork with -fa 1, with and without -rtr 1), fovea with
each SPEC (default: dense). A round runs every test once, one program after the other; short tests get more rounds until each has
--samples samples, as long as --seconds are not over: the first round is always finished, so that long tests may have one sample.

--table: one round over all models (default: those of models/ that the goals name), and the ratios at the end. Long tests have
only those of the peer's settings that did best in the short ones. About 4 minutes for SmolLM2-135M and 8 for Qwen 1.5B with -t 2
on two cores with AVX2.

Rows go to bench/results/MACHINE/model.csv: tokens/s, best and median.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import time

import results_csv

TESTS = ["pp512", "tg32", "pp2048", "tg32@d7600", "pp8128"]
KEYS = ["model", "test", "threads", "engine", "settings"]
REPETITIONS = 3  # of one call, where the test is short
TABLE_MODELS = ["SmolLM2-135M-Instruct.Q4_1.gguf", "Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf"]
PEER_SETTINGS = {"llama.cpp": ["-fa 0", "-fa 1"], "ik_llama.cpp": ["-fa 1", "-fa 1 -rtr 1"]}


class Run:
    """One program with its settings on one test."""

    def __init__(self, test, engine, settings, command):
        self.test, self.engine, self.settings, self.command = test, engine, settings, command
        self.attention = settings  # of fovea: the type of its cache comes to it
        self.rates, self.seconds, self.last = [], 0.0, {}

    def once(self):
        start = time.monotonic()
        rows = results_csv.document_of(self.command)
        self.seconds = time.monotonic() - start
        self.last = rows[0]
        if self.engine == "fovea":
            self.settings = results_csv.with_type(self.attention, rows[0])
        self.rates += rows[0]["samples_ts"]


def parts_of(test):
    """Kind, tokens and depth of "pp512", "tg32@d7600"."""
    parts = re.fullmatch(r"(pp|tg)(\d+)(?:@d(\d+))?", test)
    if not parts:
        sys.exit("a test is ppN or tgN, @dN after it: not '%s'" % test)
    return parts.group(1), parts.group(2), parts.group(3) or "0"


def is_long(test):
    kind, tokens, depth = parts_of(test)
    return int(tokens if kind == "pp" else depth) > 1024


def flags_of(test):
    """llama-bench's flags of a test."""
    kind, tokens, depth = parts_of(test)
    prompt, generated = (tokens, "0") if kind == "pp" else ("0", tokens)
    long = is_long(test)
    flags = ["-p", prompt, "-n", generated, "-d", depth]
    # a long prompt is its own warm-up; the depth of a test is read once for all its repetitions
    flags += ["-r", "1" if long and kind == "pp" else "7" if long else str(REPETITIONS)]
    return flags + (["--no-warmup"] if long else [])


def fork_flags_of(test):
    """The same in the fork's words. It reads the depth of a test again for each repetition."""
    kind, tokens, depth = parts_of(test)
    prompt, generated = (tokens, "0") if kind == "pp" else ("0", tokens if depth == "0" else "0")
    long = is_long(test)
    flags = ["-p", prompt, "-n", generated, "-r", "1" if long else str(REPETITIONS), "-w", "0" if long else "1"]
    return flags + (["-gp", "%s,%s" % (depth, tokens)] if depth != "0" else [])


def peer_name(peer):
    """Which of both llama-bench is."""
    done = subprocess.run([os.path.join(peer, "bin", "llama-bench"), "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return "ik_llama.cpp" if b"-gp <pp,tg>" in done.stdout else "llama.cpp"


def runs_of(arguments, model, test, settings=None):
    """settings: of the peer; all that it is tried with, if not given."""
    common = ["-m", model, "-t", str(arguments.threads), "-o", "json"]
    made = []
    for spec in arguments.attention or ["dense"]:
        command = [os.path.join(arguments.build, "fovea"), "bench", "--attention", spec, "-ctk", arguments.type, "-ctv", arguments.type]
        made.append(Run(test, "fovea", spec, command + common + flags_of(test)))
    peer = peer_name(arguments.peer)
    flags = flags_of(test) if peer == "llama.cpp" else fork_flags_of(test)
    for setting in settings or PEER_SETTINGS[peer]:
        command = [os.path.join(arguments.peer, "bin", "llama-bench")] + setting.split() + ["-ngl", "0"]
        made.append(Run(test, peer, setting, command + common + flags))
    return made


def keep(arguments, model, runs):
    isa = next(run.last["isa"] for run in runs if run.engine == "fovea" and run.last)
    rows = []
    for run in runs:
        if run.rates:
            rows.append({"model": os.path.basename(model), "test": run.test, "threads": arguments.threads,
                         "engine": run.engine, "settings": run.settings, "samples": len(run.rates),
                         "best_ts": max(run.rates), "median_ts": statistics.median(run.rates),
                         "density": run.last.get("density"), "limit": run.last.get("limit"),
                         "limit_share": run.last.get("limit_share")})
    results_csv.add_rows(results_csv.results_path(isa, "model"), KEYS, rows)


def run_round(arguments, model, runs):
    for run in runs:
        run.once()
        print("%-12s %-12s %-24s %8.2f tokens/s best, %8.2f median of %d (%.0f s)" % (
            run.test, run.engine, run.settings, max(run.rates), statistics.median(run.rates), len(run.rates), run.seconds), flush=True)
    if not arguments.dry:
        keep(arguments, model, runs)


def until_enough(arguments, model):
    tests = [runs_of(arguments, model, test) for test in arguments.test]
    end, first, ran = time.monotonic() + arguments.seconds, True, True
    while ran:
        ran = False
        for runs in tests:
            enough = all(len(run.rates) >= arguments.samples for run in runs)
            too_long = time.monotonic() + sum(run.seconds for run in runs) > end
            if first or not (enough or too_long):
                run_round(arguments, model, runs)
                ran = True
        first = False


def table(arguments, models):
    """The ratios over the peer's better settings, a line for each test and policy."""
    lines = ["| model | test | attention | density | fovea | peer | |", "|---|---|---|---|---|---|---|"]
    for model in models:
        print(os.path.basename(model), flush=True)
        best = {}  # kind of test: the peer's settings that did best when it was short
        for test in arguments.test:
            kind = parts_of(test)[0]
            runs = runs_of(arguments, model, test, [best[kind]] if is_long(test) and kind in best else None)
            run_round(arguments, model, runs)
            peer = max((run for run in runs if run.engine != "fovea"), key=lambda run: max(run.rates))
            best[kind] = peer.settings
            for run in runs:
                if run.engine == "fovea":
                    lines.append("| %s | %s | %s | %s | %.1f | %.1f (%s %s) | %.2f times |" % (
                        os.path.basename(model).split(".Q")[0][:24], test, run.settings, run.last.get("density", ""), max(run.rates),
                        max(peer.rates), peer.engine, peer.settings, max(run.rates) / max(peer.rates)))
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--build", default="build")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--test", action="append")
    parser.add_argument("--attention", action="append")
    parser.add_argument("--type", default="auto", help="of fovea's keys and values: f16, bf16, ... (default: auto)")
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--samples", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="print, keep nothing")
    arguments = parser.parse_args()
    arguments.test = [test for given in arguments.test or TESTS for test in given.split(",")]
    models = arguments.model
    if arguments.table and not models:
        folder = os.path.join(results_csv.HERE, os.pardir, "models")
        models = [path for path in (os.path.join(folder, name) for name in TABLE_MODELS) if os.path.exists(path)]
    if not models:
        parser.error("no model: -m MODEL, or tools/model.py smollm2 and qwen for --table")
    if arguments.table:
        table(arguments, models)
    else:
        for model in models:
            until_enough(arguments, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
