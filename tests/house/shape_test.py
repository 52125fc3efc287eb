#!/usr/bin/env python3
"""Checks the shape of the house: no file of src/, cli/, backends/ and bindings/ over 500 lines, no function over 40, no circle between files.

A file and the header of its name are one place. An arrow leads from a place to the one that defines a function it names; a
circle is a set of places that reach each other. What is longer than the limits is named below with its reason.

Called as: shape_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import re
import sys

MOST_FILE, MOST_FUNCTION = 500, 40
MOST_CLI = 4000 + 1250 + 500 + 110 + 300 + 420 + 40 + 80 + 230 + 4 + 39 + 2  # the terminal (line editing, bars that fit), all of llama-bench's flags and formats, -v, inspect --check; sessions; deadlines; serve; index; templates from files; update and fold of an index; ranks of mpirun; where eval loses answers; types by the processor; what a question reads
LONG_FILES = {}      # path -> why it is one piece
LONG_FUNCTIONS = {}  # name -> why it is one step

COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
DEFINITION = re.compile(r"^(?!typedef|struct|union|enum|else|#)[A-Za-z_][\w \t*]*?\**\b(\w+)\([^;{}=]*\)\s*\{", re.M)
PROTOTYPE = re.compile(r"^[A-Za-z_][\w \t\n*]*?\bfv_\w+\([^;{}=]*\);", re.M)
IDENTIFIER = re.compile(r"\bfv_\w+\b")


def bare(text):
    """The text without comments and strings; lines stay where they are."""
    return COMMENT_OR_TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def files_of(source, tops):
    for top in tops:
        for folder, _, names in sorted(os.walk(os.path.join(source, top))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        yield os.path.relpath(path, source), file.read()


def functions_of(text):
    """Name and length in lines of every function that is defined; clang-format puts the closing brace at a line's start."""
    text = bare(text)
    for match in DEFINITION.finditer(text):
        first = text.count("\n", 0, match.start(1))
        end = text.find("\n}", match.end() - 1)
        line_end = text.find("\n", match.end())
        one_line = text[match.end() - 1:line_end].rstrip().endswith("}")
        last = first if one_line else text.count("\n", 0, end + 1)
        yield match.group(1), last - first + 1


def check_lengths(texts):
    problems, met = [], set()
    for path, text in texts.items():
        lines = text.count("\n")
        if lines > MOST_FILE and path not in LONG_FILES:
            problems.append("%s has %d lines: more than %d" % (path, lines, MOST_FILE))
        met |= {path} if lines > MOST_FILE else set()
        for name, length in functions_of(text):
            if length > MOST_FUNCTION and name not in LONG_FUNCTIONS:
                problems.append("%s: %s() has %d lines: more than %d" % (path, name, length, MOST_FUNCTION))
            met |= {name} if length > MOST_FUNCTION else set()
    problems += ["%s is named as too long and is not" % name for name in sorted((set(LONG_FILES) | set(LONG_FUNCTIONS)) - met)]
    cli = sum(text.count("\n") for path, text in texts.items() if path.startswith("cli/"))
    if cli > MOST_CLI:
        problems.append("cli/ has %d lines: more than %d; what is library belongs in src/" % (cli, MOST_CLI))
    return problems


def place_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def arrows_of(texts):
    """Place -> places whose functions it names, with one name each."""
    definer = {}
    for path, text in texts.items():
        for name, _ in functions_of(text):
            if name.startswith("fv_"):
                definer.setdefault(name, place_of(path))
    arrows = {}
    for path, text in texts.items():
        for name in IDENTIFIER.findall(PROTOTYPE.sub("", bare(text))):
            if name in definer and definer[name] != place_of(path):
                arrows.setdefault(place_of(path), {}).setdefault(definer[name], name)
    return arrows


def circles_of(arrows):
    """Sets of places that reach each other (Tarjan 1972)."""
    number, low, stack, found = {}, {}, [], []

    def visit(place):
        number[place] = low[place] = len(number)
        stack.append(place)
        for other in arrows.get(place, {}):
            if other not in number:
                visit(other)
                low[place] = min(low[place], low[other])
            elif other in stack:
                low[place] = min(low[place], number[other])
        if low[place] == number[place]:
            members = stack[stack.index(place):]
            del stack[len(stack) - len(members):]
            if len(members) > 1:
                found.append(sorted(members))

    for place in sorted(arrows):
        if place not in number:
            visit(place)
    return found


def check_circles(texts):
    arrows = arrows_of(texts)
    problems = []
    for members in circles_of(arrows):
        names = ["%s -> %s (%s)" % (place, other, name) for place in members
                 for other, name in sorted(arrows[place].items()) if other in members]
        problems.append("a circle: %s" % ", ".join(names))
    return problems


def main():
    sys.setrecursionlimit(10000)
    source = sys.argv[2]
    texts = dict(files_of(source, ("src", "cli", "bindings", "backends")))
    problems = check_lengths(texts) + check_circles(texts)
    for problem in problems:
        print(problem)
    print("%d files, %d problems" % (len(texts), len(problems)))
    return 1 if problems or not texts else 0


if __name__ == "__main__":
    sys.exit(main())
