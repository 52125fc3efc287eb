#!/usr/bin/env python3
"""What threads bring: fovea with one thread and with N, in turn. Standard library only.

    bench/scaling.py -m MODEL [-t N] [-r ROUNDS] [--test NAME] [--attention SPEC]

Threads are pinned (--cpu-strict 1): left alone, the system may put two of them on one processor. Tests as in model_speed.py. Rows go to bench/results/MACHINE/scaling.csv: tokens/s, best and median, and their ratios to one
thread's. The bits are the same for any number of threads; a test holds that, not this script.
"""
import argparse
import os
import statistics
import sys

import results_csv
from model_speed import flags_of

TESTS = ["pp512", "tg64", "tg32@d4096"]
KEYS = ["model", "test", "threads", "attention"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--build", default="build")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("-r", "--rounds", type=int, default=3, help="calls of each side, of 3 to 7 samples each (default: 3)")
    parser.add_argument("--test", action="append")
    parser.add_argument("--attention", default="dense")
    parser.add_argument("--dry", action="store_true", help="print, keep nothing")
    arguments = parser.parse_args()
    if arguments.threads < 2:
        sys.exit("one processor: nothing to compare")
    for test in arguments.test or TESTS:
        rates = {1: [], arguments.threads: []}
        for _ in range(arguments.rounds):
            for threads, samples in rates.items():
                row = results_csv.document_of([os.path.join(arguments.build, "fovea"), "bench", "-m", arguments.model, "-t",
                                               str(threads), "-o", "json", "--attention", arguments.attention, "--cpu-strict",
                                               "1"] + flags_of(test))[0]
                samples += row["samples_ts"]
        rows = []
        for threads, samples in rates.items():
            best, median = max(samples), statistics.median(samples)
            rows.append({"model": os.path.basename(arguments.model), "test": test, "threads": threads,
                         "attention": results_csv.with_type(arguments.attention, row), "samples": len(samples),
                         "best_ts": best, "median_ts": median,
                         "ratio_best": best / max(rates[1]), "ratio_median": median / statistics.median(rates[1])})
            print("%-12s %d threads %8.2f tokens/s best (x%.2f), %8.2f median (x%.2f) of %d" % (
                test, threads, best, rows[-1]["ratio_best"], median, rows[-1]["ratio_median"], len(samples)), flush=True)
        if not arguments.dry:
            results_csv.add_rows(results_csv.results_path(row["isa"], "scaling"), KEYS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
