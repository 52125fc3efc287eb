#!/usr/bin/env python3
"""Checks that .clang-format has decided the layout of every C file that git knows, and that no line is over 120 columns.

Called as: format_test.py BUILD/fovea SOURCE_FOLDER. Other releases of clang-format lay out differently: 14 is what counts.
"""
import os
import re
import shutil
import subprocess
import sys

RELEASE = "14"
COLUMNS = 120


def formatter():
    """The program of the right release; None where there is none."""
    for name in ("clang-format-" + RELEASE, "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], stdout=subprocess.PIPE, universal_newlines=True).stdout
            if re.search(r"version %s\." % RELEASE, version):
                return name
    return None


def c_files(source):
    listed = subprocess.run(["git", "-C", source, "ls-files", "*.c", "*.h"], stdout=subprocess.PIPE, universal_newlines=True)
    return [os.path.join(source, path) for path in listed.stdout.split() if os.path.exists(os.path.join(source, path))]


def unformatted(files, program):
    """Those that it would lay out otherwise."""
    done = subprocess.run([program, "--style=file", "--dry-run", "--ferror-limit=0"] + files, stderr=subprocess.PIPE,
                          universal_newlines=True, check=True)
    return set(re.findall(r"^(.+?):\d+:\d+: (?:warning|error): code should be clang-formatted", done.stderr, re.M))


def problems_of(path, wrong):
    problems = ["not as .clang-format lays it out: clang-format -i %s" % path] if path in wrong else []
    with open(path, encoding="utf-8") as file:
        return problems + ["line %d is over %d columns" % (number, COLUMNS)
                           for number, line in enumerate(file.read().split("\n"), 1) if len(line) > COLUMNS]


def main():
    source, program = sys.argv[2], formatter()
    if not program:
        print("skipped: no clang-format %s (Debian's package clang-format)" % RELEASE)
        return 77
    files = c_files(source)
    if not files:
        print("skipped: no list of files: not a checkout of git")
        return 77
    bad, wrong = 0, unformatted(files, program)
    for path in files:
        problems = problems_of(path, wrong)
        for problem in problems:
            print("%s: %s" % (os.path.relpath(path, source), problem))
        bad += bool(problems)
    print("%d files, %d with problems" % (len(files), bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
