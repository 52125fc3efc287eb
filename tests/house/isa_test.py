#!/usr/bin/env python3
"""Checks that instructions of a newer processor stay in their folder under src/kernels, src/platform or src/index, and that the objects there export
nothing but their kernels (anything else could be taken by the linker for everyone), each of which is in the folder's list: a kernel
that is in no list is in no table, and nobody would notice that it never runs. x86-64: no ymm register outside
avx2, avxvnni, avx512 and avx512bf16, no zmm register outside the last two; rounding to bf16 in avx512bf16 only; AVX-VNNI's dot products in avxvnni only, AVX-512's in avx512 only. Arm: dot products in neon_dotprod only, matrix products in neon_i8mm only.

Called as: isa_test.py BUILD/fovea SOURCE_FOLDER. A cross build needs the objdump of its tools (aarch64-linux-gnu-objdump).
"""
import os
import re
import shutil
import subprocess
import sys

FAMILIES = {  # ELF's number of the machine -> family in isa.h, what may stand in which folders only, prefix of the cross tools
    62: ("X86", {re.compile(r"%ymm[0-9]"): ("avx2", "avxvnni", "avx512", "avx512bf16"),
                 re.compile(r"%zmm[0-9]"): ("avx512", "avx512bf16"), re.compile(r"\tvcvtne\w*bf16"): ("avx512bf16",),
                 re.compile(r"\{vex\} vpdp"): ("avxvnni",), re.compile(r"\tvpdp\w+"): ("avx512",)}, "x86_64-linux-gnu-"),
    183: ("ARM", {re.compile(r"\t[su]dot\t"): ("neon_dotprod",), re.compile(r"\t(?:[su]mmla|usmmla|usdot|sudot)\t"): ("neon_i8mm",)},
          "aarch64-linux-gnu-"),
}


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout


def family_of(path):
    with open(path, "rb") as file:
        head = file.read(20)
    return FAMILIES.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None


def exports_of(path, tools):
    names = [line.split()[-1] for line in output_of(tools + "nm", "-g", "--defined-only", path).splitlines() if line]
    return {name for name in names if not name.startswith("__odr_asan")}


def listed_in(folder, source):
    """The kernels of an instruction set: K(slot, set) in its list."""
    path = os.path.join(source, "src", "kernels", folder, folder + "_list.h")
    with open(path, encoding="utf-8") as file:
        return {"fv_%s_%s" % pair for pair in re.findall(r"\bK\((\w+), (\w+)\)", file.read()) if pair != ("slot", "set")}


def folders_of(family, source):
    with open(os.path.join(source, "include", "fovea", "isa.h"), encoding="utf-8") as file:
        return re.findall(r"X\(\w+, (\w+), %s, \d+\)" % family, file.read())


def problems_of(path, family, tools, listed):
    rules = family[1]
    room = re.search(r"/src/(kernels|platform|index)/(\w+)/", path)
    folder = room.group(2) if room and room.group(2) in listed else None
    problems = []
    if folder:
        known = listed[folder] if room.group(1) == "kernels" else exports_of(path, tools)
        problems = ["exports %s, which is no kernel of %s or not in its list" % (name, folder) for name in sorted(exports_of(path, tools))
                    if name not in known or not re.match(r"fv_\w+_%s(_\w+)?$" % folder, name)]
    text = output_of(tools + "objdump", "-d", "--no-show-raw-insn", path)
    for forbidden, allowed in rules.items():
        found = forbidden.search(text)
        if found and folder not in allowed:
            problems.append("uses %s" % found.group().strip())
    return problems


def objects_of(build):
    for target in ("fovea_core_objects", "fovea_objects", "fovea_loops", "fovea_cli"):
        for folder, _, files in sorted(os.walk(os.path.join(build, "CMakeFiles", target + ".dir"))):
            for name in sorted(files):
                if name.endswith(".o"):
                    yield os.path.join(folder, name)


def main():
    build = os.path.dirname(os.path.abspath(sys.argv[1]))
    objects = list(objects_of(build))
    family = family_of(objects[0]) if objects else None
    if objects and not family:
        print("skipped: there are no rules for these objects' processor")
        return 77
    native = objects and family_of(os.path.realpath("/proc/self/exe")) == family
    tools = "" if not objects or native else family[2]
    if not shutil.which(tools + "objdump"):
        print("skipped: no %sobjdump (Debian's package binutils)" % tools)
        return 77
    bad = 0
    listed = {folder: listed_in(folder, sys.argv[2]) for folder in folders_of(family[0], sys.argv[2])} if family else {}
    for path in objects:
        problems = problems_of(path, family, tools, listed)
        for problem in problems:
            print("%s: %s" % (os.path.relpath(path, build), problem))
        bad += bool(problems)
    print("%d files, %d with problems" % (len(objects), bad))
    return 1 if bad or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
