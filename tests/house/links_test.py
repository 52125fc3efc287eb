#!/usr/bin/env python3
"""Checks that no link of the documentation is dead: relative ones lead to a file of this tree and, with a #, to a heading of
it; a path like docs/x.md in the text of a page or of a source exists.

Called as: links_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import re
import subprocess
import sys

LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+)\)")
NAMED = re.compile(r"\bdocs/[\w/-]+\.(?:md|svg)\b")
CODE = re.compile(r"`[^`\n]*`")
NOT_A_PAGE = "tests/house/links_test.py"  # names a path as an example
SOURCES = (".md", ".c", ".h", ".py", ".sh", ".txt", ".cmake")


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def anchors_of(text):
    """Of its headings, as GitHub and mkdocs make them."""
    names = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *$", re.sub(r"^    .*$", "", text, flags=re.M), re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        names.add(re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", heading.lower())))
    return names


def links_of(path, text):
    """File and anchor of each relative link, with the line that it stands in."""
    for number, line in enumerate(text.split("\n"), 1):
        for target in LINK.findall(CODE.sub("", line) if not line.startswith("    ") else ""):
            if not re.match(r"[a-z]+:", target):
                name, _, anchor = target.partition("#")
                yield number, os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path, anchor


def problems_of(source, path, text):
    for number, target, anchor in links_of(path, text) if path.endswith(".md") else ():
        if not os.path.exists(os.path.join(source, target)):
            yield "%s:%d: leads to %s, which does not exist" % (path, number, target)
        elif anchor and anchor not in anchors_of(text_of(os.path.join(source, target))):
            yield "%s:%d: %s has no heading #%s" % (path, number, target, anchor)
    for name in sorted(set(NAMED.findall(text))):
        if path != NOT_A_PAGE and not os.path.exists(os.path.join(source, name)):
            yield "%s: names %s, which does not exist" % (path, name)


def main():
    source = sys.argv[2]
    listed = subprocess.run(["git", "-C", source, "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE)
    paths = [path for path in listed.stdout.decode().split("\n")
             if path.endswith(SOURCES) and os.path.exists(os.path.join(source, path))]
    if not paths:
        print("skipped: no git, or no repository")
        return 77
    problems = []
    for path in paths:
        problems += problems_of(source, path, text_of(os.path.join(source, path)))
    print("\n".join(problems), end="\n" if problems else "")
    print("%d files, %d problems" % (len(paths), len(problems)))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
