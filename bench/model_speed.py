#!/usr/bin/env python3
"""A model's speed beside llama-bench, run alternately. Standard library only.

    bench/model_speed.py -m MODEL --peer DIR [-t N] [--seconds N] [--samples N] [--test NAME] [--attention SPEC] ...

DIR is what tools/peer_build.sh has filled. Tests: pp512 pp2048 pp8128 tg32 tg32@d7600 (any ppN, tgN, @dN). llama-bench runs
with -fa 0 and -fa 1, fovea with each SPEC (default: dense). A round runs every test once, one program after the other; short
tests get more rounds until each has --samples samples, as long as --seconds are not over: the first round is always finished,
so that long tests may have one sample. Rows go to bench/results/MACHINE/model.csv: tokens/s, best and median.
"""
import argparse
import os
import re
import statistics
import sys
import time

import results_csv

TESTS = ["pp512", "tg32", "pp2048", "tg32@d7600", "pp8128"]
KEYS = ["model", "test", "threads", "engine", "settings"]
REPETITIONS = 3  # of one call, where the test is short


class Run:
    """One program with its settings on one test."""

    def __init__(self, test, engine, settings, command):
        self.test, self.engine, self.settings, self.command = test, engine, settings, command
        self.rates, self.seconds, self.last = [], 0.0, {}

    def once(self):
        start = time.monotonic()
        rows = results_csv.document_of(self.command)
        self.seconds = time.monotonic() - start
        self.last = rows[0]
        self.rates += rows[0]["samples_ts"]


def flags_of(test):
    """llama-bench's flags of "pp512", "tg32@d7600"."""
    parts = re.fullmatch(r"(pp|tg)(\d+)(?:@d(\d+))?", test)
    if not parts:
        sys.exit("a test is ppN or tgN, @dN after it: not '%s'" % test)
    kind, tokens, depth = parts.groups()
    prompt, generated = (tokens, "0") if kind == "pp" else ("0", tokens)
    long = int(tokens if kind == "pp" else depth or 0) > 1024
    flags = ["-p", prompt, "-n", generated, "-d", depth or "0"]
    # a long prompt is its own warm-up; the depth of a test is read once for all its repetitions
    flags += ["-r", "1" if long and kind == "pp" else "7" if long else str(REPETITIONS)]
    return flags + (["--no-warmup"] if long else [])


def runs_of(arguments, test):
    common = ["-m", arguments.model, "-t", str(arguments.threads), "-o", "json"] + flags_of(test)
    made = []
    for spec in arguments.attention or ["dense"]:
        command = [os.path.join(arguments.build, "fovea"), "bench", "--attention", spec]
        made.append(Run(test, "fovea", spec, command + common))
    for flash in ("0", "1"):
        command = [os.path.join(arguments.peer, "bin", "llama-bench"), "-fa", flash, "-ngl", "0"]
        made.append(Run(test, "llama.cpp", "-fa " + flash, command + common))
    return made


def keep(arguments, runs):
    isa = next(run.last["isa"] for run in runs if run.engine == "fovea" and run.last)
    rows = []
    for run in runs:
        if run.rates:
            rows.append({"model": os.path.basename(arguments.model), "test": run.test, "threads": arguments.threads,
                         "engine": run.engine, "settings": run.settings, "samples": len(run.rates),
                         "best_ts": max(run.rates), "median_ts": statistics.median(run.rates),
                         "density": run.last.get("density"), "limit": run.last.get("limit"),
                         "limit_share": run.last.get("limit_share")})
    results_csv.add_rows(results_csv.results_path(isa, "model"), KEYS, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--build", default="build")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--test", action="append")
    parser.add_argument("--attention", action="append")
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--samples", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="print, keep nothing")
    arguments = parser.parse_args()
    tests = [(test, runs_of(arguments, test)) for given in arguments.test or TESTS for test in given.split(",")]
    end, first = time.monotonic() + arguments.seconds, True
    while True:
        ran = False
        for test, runs in tests:
            enough = all(len(run.rates) >= arguments.samples for run in runs)
            too_long = time.monotonic() + sum(run.seconds for run in runs) > end
            if not first and (enough or too_long):
                continue
            for run in runs:
                run.once()
                print("%-12s %-10s %-24s %8.2f tokens/s best, %8.2f median of %d (%.0f s)" % (
                    test, run.engine, run.settings, max(run.rates), statistics.median(run.rates), len(run.rates),
                    run.seconds), flush=True)
            ran = True
            if not arguments.dry:
                keep(arguments, runs)
        if not ran:
            return 0
        first = False


if __name__ == "__main__":
    sys.exit(main())
