#!/usr/bin/env python3
"""What rows are kept as, lean graphs, and scans that refine by codes of 4 bits, over one set of vectors in one run: bytes against those of the vectors in f32, the most that a
search finds of the 10 nearest (by f32), and queries a second of one thread at recalls 0.90, 0.95 and 0.99. Prints a table; it is no test.
Wants NumPy; for a .gguf the package gguf as well.

    bench/index_rows.py [--data manifold|FILE.npy|FILE.gguf] [--rows 20000] [--metric l2|ip|cosine] [--types f32,f16,...]
"""
import argparse
import os
import time

import index_data
from index_pair import HERE, Judge, Ours, at_recall, measure

TYPES = {"f32": 0, "f16": 16, "bf16": 17, "q8": 8, "q6": 6, "q5": 5, "q4": 4, "q3": 3, "q2": 2}
FORMS = ("graph", "lean", "flat", "fine")


class OursAs(Ours):
    """The library's index with rows of `row_type` in one of FORMS."""
    row_type, form = 0, "graph"

    def config_change(self, config):
        config.row_type = self.row_type
        config.refine_bits = 4 if self.form == "fine" else 0

    def link(self, parallel, message):
        if self.form not in ("flat", "fine"):
            super().link(parallel, message)

    def link_change(self, config):
        config.lean = int(self.form == "lean")


def line_of(name, form, method, base, points, seconds):
    pairs = [(recall, qps) for recall, qps, _ in points]
    cells = ["%8.0f" % qps if (qps := at_recall(pairs, target)) else "%8s" % "-" for target in (0.90, 0.95, 0.99)]
    return "%-5s %-6s %8.1f %8.1f %6.2f  %s  %.4f" % (name, form, seconds, method.memory() / 1e6, method.memory() / base.nbytes,
                                                     " ".join(cells), max(pairs)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="manifold", help="manifold, FILE.npy or FILE.gguf")
    parser.add_argument("--rows", type=int, default=20000, help="at most; 0: all of a file")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--intrinsic", type=int, default=16)
    parser.add_argument("--metric", choices=("l2", "ip", "cosine"), default="l2")
    parser.add_argument("--types", default="f32,f16,bf16,q8,q4", help="of rows, with commas")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--threads", type=int, default=2, help="that build; one searches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build"))
    parser.set_defaults(degree=0, build_beam=0, rounds=0)
    arguments = parser.parse_args()
    base, queries = index_data.load(arguments.data, arguments.rows, arguments.dimension, arguments.intrinsic)
    judge = Judge(base, queries, arguments.metric)
    print("%s: %d x %d, %s, %d queries" % (arguments.data, *base.shape, arguments.metric, len(queries)))
    print("rows  form    build s       MB  share   qps 0.90     0.95     0.99  most", flush=True)
    for form in arguments.forms.split(","):
        for name in arguments.types.split(","):
            if form == "fine" and name.startswith("q"):
                continue
            OursAs.row_type, OursAs.form = TYPES[name], form
            OursAs.efforts = [0] if form in ("flat", "fine") else Ours.efforts
            start = time.perf_counter()
            method = OursAs(base, arguments.metric, arguments)
            seconds = time.perf_counter() - start
            print(line_of(name, form, method, base, measure(method, method.efforts, queries, judge, arguments.repeats), seconds), flush=True)
            method.close()


if __name__ == "__main__":
    main()
