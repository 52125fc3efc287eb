#!/usr/bin/env python3
"""Checks that instructions of a newer processor stay in their folder: no object outside src/kernels/avx2 and
src/kernels/avx512 (and src/platform/avx2, src/platform/avx512) uses a ymm or zmm register, and those objects export nothing but their kernels and loops (anything else could
be taken by the linker for everyone).

Called as: isa_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import platform
import re
import shutil
import subprocess
import sys

WIDE = re.compile(r"%[yz]mm[0-9]")


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout


def problems_of(path):
    folder = re.search(r"/(?:kernels|platform)/(avx2|avx512)/", path)
    if folder:
        exported = [line.split()[-1] for line in output_of("nm", "-g", "--defined-only", path).splitlines() if line]
        return ["exports %s, which is no kernel of %s" % (name, folder.group(1)) for name in exported
                if not re.match(r"fv_\w+_%s(_\w+)?$" % folder.group(1), name) and not name.startswith("__odr_asan")]
    found = WIDE.search(output_of("objdump", "-d", "--no-show-raw-insn", path))
    return ["uses %s" % found.group()] if found else []


def main():
    build = os.path.dirname(os.path.abspath(sys.argv[1]))
    if platform.machine() not in ("x86_64", "AMD64"):
        print("skipped: the rules are about x86-64, this is %s" % platform.machine())
        return 77
    if not shutil.which("objdump"):
        print("skipped: no objdump (Debian's package binutils)")
        return 77
    checked, bad = 0, 0
    for target in ("fovea_core", "fovea", "fovea_cli"):
        for folder, _, files in sorted(os.walk(os.path.join(build, "CMakeFiles", target + ".dir"))):
            for name in sorted(files):
                if not name.endswith(".o"):
                    continue
                path = os.path.join(folder, name)
                problems = problems_of(path)
                for problem in problems:
                    print("%s: %s" % (os.path.relpath(path, build), problem))
                checked, bad = checked + 1, bad + bool(problems)
    print("%d files, %d with problems" % (checked, bad))
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
