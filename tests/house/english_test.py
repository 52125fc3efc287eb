#!/usr/bin/env python3
"""Words that must not come back: what readers stumbled over, with what to write in their place. Looks at all that a user
reads (README, docs, public headers, examples, messages and help in cli/ and src/) and at the comments of the sources.

Called as: english_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import re
import sys

ROOMS = ("docs", "include", "src", "cli", "examples", "bench", "ports", "backends", "bindings")
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
ENDINGS = (".md", ".h", ".c", ".py", ".sh")
WORDS = {
    r"behind": "after, beyond, at depth N",
    r"anew": "again, or re-: recomputed, rebuilt",
    r"in front of": "before",
    r"comes of": "results from",
    r"passes by": "skips",
    r"for so many": "for as many",
    r"puts? (?:each other|one another) out": "are mutually exclusive",
    r"as many as there are": "all of them",
    r"held against": "compared with",
}
MEANT = {"grows roses behind the house"}  # in a question of the evaluation


def paths(source):
    yield from PAGES
    for room in ROOMS:
        for folder, folders, files in os.walk(os.path.join(source, room)):
            folders[:] = [name for name in folders if not name.startswith((".", "__pycache__", "build"))]
            for name in files:
                if name.endswith(ENDINGS):
                    yield os.path.relpath(os.path.join(folder, name), source)


def main():
    source = sys.argv[2]
    checked = bad = 0
    for path in sorted(paths(source)):
        with open(os.path.join(source, path), encoding="utf-8") as file:
            lines = file.read().split("\n")
        problems = []
        for number, line in enumerate(lines, 1):
            if any(meant in line for meant in MEANT) or line.startswith("> "):  # quoted: a story's, not ours
                continue
            problems += ["%s:%d: \"%s\": write %s" % (path, number, found.group(), better)
                         for word, better in WORDS.items() for found in [re.search(r"\b%s\b" % word, line, re.I)] if found]
        print("\n".join(problems), end="\n" if problems else "")
        checked, bad = checked + 1, bad + bool(problems)
    print("%d files, %d with problems" % (checked, bad))
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
