#!/usr/bin/env python3
"""Proves that the core is freestanding: compiled with -ffreestanding and the scalar kernels only, it links without a C
library, needs no symbol but memcpy, memmove, memset and memcmp, and has no writable global.

Called as: freestanding_test.py BUILD/fovea SOURCE_FOLDER. Tests: it compiles, it links, its symbols,
its globals.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}
FLAGS = ["-std=c11", "-ffreestanding", "-O2", "-fno-pic", "-fno-stack-protector", "-ffp-contract=off", "-Wall", "-Wextra",
         "-pedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wundef", "-Werror", "-DFV_BUILD_AVX2=0",
         "-DFV_BUILD_AVX512=0", "-DFV_BUILD_NEON=0"]


def core_sources(source):
    """The list in CMakeLists.txt, so that there is one."""
    with open(os.path.join(source, "CMakeLists.txt"), encoding="utf-8") as file:
        listed = re.search(r"file\(GLOB core_sources CONFIGURE_DEPENDS ([^)]*)\)", file.read()).group(1)
    return sorted(path for pattern in listed.split() for path in glob.glob(os.path.join(source, pattern)))


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)


def main():
    source = sys.argv[2]
    compiler = os.environ.get("CC", "cc")
    passed, problems, objects = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        for path in core_sources(source):
            made = os.path.join(folder, os.path.basename(path) + ".o")
            done = run(compiler, *FLAGS, "-I", os.path.join(source, "include"), "-I", os.path.join(source, "src"), "-c", path,
                       "-o", made)
            if done.returncode == 0:
                objects.append(made)
            else:
                problems.append("%s does not compile freestanding:\n%s" % (os.path.relpath(path, source), done.stdout))
        passed += not problems
        core = os.path.join(folder, "core.o")
        done = run(compiler, "-nostdlib", "-no-pie", "-r", *objects, "-o", core)
        if done.returncode == 0:
            passed += 1
            undefined = {line.split()[-1] for line in run("nm", "-u", core).stdout.splitlines() if line}
            for name in sorted(undefined - ALLOWED):
                problems.append("the core needs %s, which is not among %s" % (name, ", ".join(sorted(ALLOWED))))
            passed += undefined <= ALLOWED
            writable = [line.split()[-1] for line in run("nm", core).stdout.splitlines()
                        if len(line.split()) == 3 and line.split()[1] in "dDbBCsS"]
            problems += ["%s is a writable global" % name for name in writable]
            passed += not writable
        else:
            problems.append("the core does not link:\n%s" % done.stdout)
    print("\n".join(problems) if problems else "%d files, undefined: %s" % (len(objects), ", ".join(sorted(undefined))))
    print("%d passed, %d failed, 0 skipped" % (passed, len(problems)))
    return 1 if problems or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
