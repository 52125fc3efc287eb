#!/usr/bin/env python3
"""Checks what holds for every source file: its name is used once in the repository (debuggers, coverage), its first
lines are a comment that says what it owns (of a .c file its header's may be), no line is left for later; and the texts of
the library name no flag of a command line, of which its other users know nothing.

Called as: names_test.py BUILD/fovea SOURCE_FOLDER.
"""
import collections
import os
import re
import sys

ROOMS = ("include", "src", "cli", "tests", "bench", "examples", "tools", "backends", "bindings", "ports")
FLAG = re.compile(r'"[^"]*(?<=[ ("])(?<!llama-perplexity.s )--?[A-Za-z](?:[\w-]*\w)?(?![\w-])[^"]*"')  # in a text; of another program it may be
LATER = re.compile(r"\b(TODO|FIXME|XXX)\b")


def source_files(source):
    for room in ROOMS:
        for folder, folders, files in os.walk(os.path.join(source, room)):
            folders[:] = [name for name in folders if not name.startswith((".", "__pycache__", "build"))]
            for name in files:
                if name.endswith((".c", ".h", ".py", ".sh", ".cu")):
                    yield os.path.relpath(os.path.join(folder, name), source)


def main():
    source = sys.argv[2]
    paths = sorted(source_files(source))
    by_name = collections.defaultdict(list)
    for path in paths:
        by_name[os.path.basename(path)].append(path)
    checked, bad = 0, 0
    for path in paths:
        name = os.path.basename(path)
        with open(os.path.join(source, path), encoding="utf-8") as file:
            lines = file.read().split("\n")
        problems = []
        if len(by_name[name]) > 1 and name != "__init__.py":
            problems.append("the name is used %d times: %s" % (len(by_name[name]), ", ".join(by_name[name])))
        if not re.fullmatch(r"[a-z0-9_]+\.[a-z]+", name):
            problems.append("a file name is snake_case")
        opening = {".c": "/*", ".h": "/*", ".cu": "/*"}.get(os.path.splitext(name)[1], "#!")
        if path.startswith("bindings/python/fovea/"):
            opening = '"""'  # modules are imported, not run
        has_header = name.endswith(".c") and name[:-1] + "h" in by_name
        if not lines[0].startswith(opening) and not has_header:
            problems.append("the first line should begin with '%s' and the file should say what it owns" % opening)
        for number, line in enumerate(lines, 1):
            if LATER.search(line) and path != os.path.relpath(__file__, source):
                problems.append("line %d leaves something for later" % number)
            if path.startswith(("src", "include")) and not line.startswith("#error") and FLAG.search(line):
                problems.append("line %d names a flag of a command line" % number)
        for problem in problems[:5]:
            print("%s: %s" % (path, problem))
        checked, bad = checked + 1, bad + bool(problems)
    print("%d files, %d with problems" % (checked, bad))
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
