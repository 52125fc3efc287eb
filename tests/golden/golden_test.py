#!/usr/bin/env python3
"""Runs build/golden over the vectors of the reference: every case passes with each instruction set, and the results have
the same bits for 1, 2, 3 and 7 threads. FOVEA_GOLDEN names another folder of vectors to run as well.

Called as: golden_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import platform
import re
import subprocess
import sys


def golden(program, isa, *arguments):
    environment = dict(os.environ, FV_ISA=isa)
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                          universal_newlines=True)
    counts = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout, re.M)
    if done.returncode != 0 or not counts or counts.group(1) == "0" or counts.group(2) != "0":
        print("golden %s (FV_ISA=%s): exit %d" % (" ".join(arguments), isa, done.returncode))
        print("\n".join(line for line in done.stdout.split("\n") if not line.endswith(" ok")))
        sys.exit(1)
    print("FV_ISA=%-6s golden %s: %s" % (isa, " ".join(arguments[:-1]), counts.group(0)))
    return done.stdout


def main():
    program = os.path.join(os.path.dirname(sys.argv[1]), "golden")
    vectors = os.path.join(sys.argv[2], "tests", "golden", "reference")
    arm = platform.machine() in ("aarch64", "arm64")
    names = ("scalar", "neon", "neon_dotprod", "neon_i8mm") if arm else ("scalar", "avx2", "avxvnni", "avx512", "avx512bf16")
    for isa in names:
        golden(program, isa, vectors)
    outputs = {golden(program, names[-1], "-t", str(threads), "--bits", vectors) for threads in (1, 2, 3, 7)}
    if len(outputs) != 1:
        print("the number of threads changes bits")
        return 1
    broken = subprocess.run([program, os.path.join(sys.argv[2], "tests", "golden")], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, universal_newlines=True)
    if broken.returncode != 1 or "there is no case" not in broken.stdout:
        print("a folder without cases is not a failure: %s" % broken.stdout)
        return 1
    other = os.environ.get("FOVEA_GOLDEN")
    if not other:
        print("skip: FOVEA_GOLDEN names no other folder of vectors")
    elif not os.path.isdir(other):
        print("FOVEA_GOLDEN=%s is no folder" % other)
        return 1
    else:
        golden(program, names[-1], other)
    return 0


if __name__ == "__main__":
    sys.exit(main())
