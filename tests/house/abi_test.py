#!/usr/bin/env python3
"""Checks that every public struct has the size, and each field the place, that abi.txt pins for this FV_ABI_VERSION (docs/abi.md),
on 64-bit and 32-bit processors, whether or not enumerations are short; and that no struct and no field is missing there.

Called as: abi_test.py BUILD/fovea SOURCE_FOLDER. One test per compiler, and one for the list. A compiler that is not there is
skipped, as its line says. i386 is checked for the structs of the core: it places 8-byte numbers more closely, and the hosted
library is not built for it.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

COMPILERS = [
    [os.environ.get("CC", "cc")],
    [os.environ.get("CC", "cc"), "-fshort-enums"],
    ["gcc", "-m32"],
    ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb"],
    ["riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32"],
    ["xtensa-lx106-elf-gcc", "-mlongcalls"],
]
STRUCT = re.compile(r"typedef struct (fv_\w+) \{(.*?)\} \1;", re.S)
LOOSE = {"fv_deadline"}  # of the core: a place that i386 alone has elsewhere


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def fields_of(body):
    """Names in their order: of `int a, b[2]`, `void (*f)(int x)` and `double (*rows)[2]`."""
    for declaration in body.split(";"):
        pointed = re.search(r"\(\*(\w+)\)", declaration)
        names = [pointed.group(1)] if pointed else re.findall(r"(\w+)\s*(?:\[[^\]]*\])*\s*(?:,|$)", declaration.strip())
        yield from names


def declared(source):
    """Struct -> (header, fields), of all public headers."""
    found = {}
    root = os.path.join(source, "include")
    for path in sorted(glob.glob(os.path.join(root, "fovea", "**", "*.h"), recursive=True)):
        text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
        for name, body in STRUCT.findall(text):
            found[name] = (os.path.relpath(path, root), list(fields_of(body)))
    return found


def pinned(lines):
    """Struct -> (size, [(field, place)]), each number as (64-bit, 32-bit)."""
    def pair(text):
        wide, _, narrow = text.partition("/")
        return int(wide), int(narrow or wide)
    return {words[0]: (pair(words[1]), [(field, pair(place)) for field, place in (word.split(":") for word in words[2:])])
            for words in (line.split() for line in lines)}


def problems_of(structs, pins):
    """Where list and headers name different things."""
    for name in sorted(set(structs) - set(pins)):
        yield "%s of %s is not in the list" % (name, structs[name][0])
    for name in sorted(set(pins) - set(structs)):
        yield "%s is in no header" % name
    for name in sorted(set(pins) & set(structs)):
        listed = [field for field, _ in pins[name][1]]
        if listed != structs[name][1]:
            yield "%s: the header has the fields %s, the list %s" % (name, " ".join(structs[name][1]), " ".join(listed))


def program(structs, pins, names):
    lines = ["#include <stddef.h>"] + sorted({'#include "%s"' % structs[name][0] for name in names})
    check = "_Static_assert(%s == (sizeof(void *) == 8 ? %d : %d), \"%s\");"
    for name in names:
        size, places = pins[name]
        lines.append(check % ("sizeof(%s)" % name, *size, name))
        lines += [check % ("offsetof(%s, %s)" % (name, field), *place, name + "." + field) for field, place in places]
    return "\n".join(lines) + "\n"


def core_headers(source):
    core = set(re.findall(r'#include "([^"]+)"', read(source, "include", "fovea", "core.h")))
    return core | {"fovea/reference/%s.h" % name for name in ("pattern", "gate", "evict", "dither")}


def compiles(command, text, source):
    flags = ["-std=c11", "-ffreestanding", "-fsyntax-only", "-I", os.path.join(source, "include"), "-x", "c", "-"]
    done = subprocess.run(command + flags, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    wrong = re.findall(r'static assertion failed:? (?:due to requirement .*?: )?"?([\w.]+)', done.stdout)
    if done.returncode != 0:
        print("%s: another size or place: %s" % (" ".join(command), " ".join(wrong) or done.stdout))
    return done.returncode == 0


def main():
    source = sys.argv[2]
    lines = [line for line in read(source, "tests", "house", "abi.txt").splitlines() if line and not line.startswith("#")]
    version = re.search(r"#define FV_ABI_VERSION (\d+)", read(source, "include", "fovea", "version.h")).group(1)
    structs, pins = declared(source), pinned(lines[1:])
    problems = list(problems_of(structs, pins))
    if lines[0] != "FV_ABI_VERSION " + version:
        problems.append("the list is for %s, the headers are for %s: pin again" % (lines[0], version))
    print("".join("abi.txt: %s\n" % problem for problem in problems), end="")
    names = sorted(set(structs) & set(pins))
    core = [name for name in names if structs[name][0] in core_headers(source) and name not in LOOSE]
    passed, failed, skipped = int(not problems), int(bool(problems)), 0
    for command in COMPILERS:
        if not shutil.which(command[0]):
            print("skipped: no %s" % command[0])
            skipped += 1
        elif compiles(command, program(structs, pins, core if "-m32" in command else names), source):
            passed += 1
        else:
            failed += 1
    print("%d structs, %d fields" % (len(pins), sum(len(places) for _, places in pins.values())))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
