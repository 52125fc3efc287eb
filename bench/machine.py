#!/usr/bin/env python3
"""Keeps the limits that `fovea bench machine` measures: one row for each number of threads in bench/results/MACHINE/machine.csv,
the best figures of a few runs. Standard library only.

    bench/machine.py [--build BUILD] [-r N]
"""
import argparse
import os

import results_csv


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("-r", "--runs", type=int, default=5)
    arguments = parser.parse_args()
    best = {}
    for _ in range(arguments.runs):
        seen = results_csv.document_of([os.path.join(arguments.build, "fovea"), "bench", "machine", "--json"])
        for column in seen["measured"]:
            row = best.setdefault(column["threads"], {"cpu": seen["cpu_info"], "isa": seen["isa"]})
            for name, value in column.items():
                row[name] = value if value is None else max(value, row.get(name, 0))
            for level in ("l1", "l2", "l3"):
                row[level + "_bytes"] = seen[level + "_bytes"]
    path = results_csv.results_path(seen["isa"], "machine")
    results_csv.add_rows(path, ["threads"], list(best.values()))
    with open(path, encoding="utf-8") as file:
        print(file.read(), end="")


if __name__ == "__main__":
    main()
