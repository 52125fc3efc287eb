#!/usr/bin/env python3
"""The attention of a prompt by two builds of fovea, run in turn. Standard library only.

    bench/prompt_pair.py -m MODEL -f TEXT --before OTHER/fovea [--after build/fovea] [-c N] [-t N] [-r N] [--attention SPEC] ...

TEXT has at most as many tokens as the context. Each round runs both programs with each SPEC (default: dense, fovea and
fovea:budget=0.12). Printed: seconds of choosing, reading and products, the smallest of all rounds, and what choosing and reading
take of the same program's dense attention. The first token of the answer and the keys read must be the same in both: the bits of
attention are. SmolLM2-135M and 8,000 tokens take about 100 s a round on one thread of Zen 3.
"""
import argparse
import json
import os
import subprocess
import sys

SPECS = ["dense", "fovea", "fovea:budget=0.12"]
PHASES = ("choose_ns", "read_ns", "product_ns")


def run(program, spec, arguments):
    command = [program, "run", "-m", arguments.model, "-f", arguments.file, "-no-cnv", "-n", "1", "-c", str(arguments.context),
               "-t", str(arguments.threads), "--temp", "0", "--attention", spec, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode:
        sys.exit("%s: exit %d\n%s" % (" ".join(command), done.returncode, done.stderr))
    return json.loads(done.stdout[done.stdout.index("{"):])


def same(before, after):
    return before.get("text") == after.get("text") and before["prompt"]["keys_read"] == after["prompt"]["keys_read"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-f", "--file", required=True)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", default=os.path.join("build", "fovea"))
    parser.add_argument("-c", "--context", type=int, default=8192)
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-r", "--rounds", type=int, default=2)
    parser.add_argument("--attention", action="append")
    arguments = parser.parse_args()
    programs, specs = {"before": arguments.before, "after": arguments.after}, arguments.attention or SPECS
    best = {}
    for _ in range(arguments.rounds):
        for spec in specs:
            seen = {name: run(program, spec, arguments) for name, program in programs.items()}
            if not same(seen["before"], seen["after"]):
                sys.exit("%s: the two programs read or answer otherwise" % spec)
            for name, document in seen.items():
                times = [document["prompt"][phase] * 1e-9 for phase in PHASES]
                best[spec, name] = [min(pair) for pair in zip(times, best.get((spec, name), times))]
    for spec in specs:
        for name in programs:
            choose, read, product = best[spec, name]
            dense = sum(best["dense", name][:2]) if ("dense", name) in best else None
            share = "%5.1f %% of dense" % (100 * (choose + read) / dense) if dense else ""
            print("%-24s %-6s choosing %7.2f s  reading %7.2f s  together %7.2f s  products %7.2f s  %s"
                  % (spec, name, choose, read, choose + read, product, share))


if __name__ == "__main__":
    main()
