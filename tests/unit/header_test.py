#!/usr/bin/env python3
"""Checks that each public header compiles alone and twice, in C11 and in C++11, without a warning.

Called as: header_test.py BUILD/fovea SOURCE_FOLDER. One test per language; CC and CXX name the compilers.
"""
import os
import shutil
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", "-fsyntax-only"]


def main():
    source = sys.argv[2]
    passed = failed = skipped = 0
    root = os.path.join(source, "include", "fovea")
    headers = sorted(os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names)
    for language, compiler, standard in (("c", os.environ.get("CC", "cc"), "-std=c11"),
                                         ("c++", os.environ.get("CXX", "c++"), "-std=c++11")):
        if not shutil.which(compiler):
            print("skipped: no %s compiler (%s)" % (language.upper(), compiler))
            skipped += 1
            continue
        bad = 0
        for header in headers:
            text = '#include "fovea/%s"\n#include "fovea/%s"\nint only_headers;\n' % (header, header)
            command = [compiler, "-x", language, standard, "-I", os.path.join(source, "include")] + WARNINGS + ["-"]
            done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  universal_newlines=True)
            if done.returncode != 0:
                bad += 1
                print("%s does not compile alone as %s:\n%s" % (header, language.upper(), done.stdout))
        passed, failed = passed + (bad == 0), failed + (bad > 0)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
