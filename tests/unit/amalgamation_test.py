#!/usr/bin/env python3
"""Checks fovea.h and fovea.c of tools/amalgamate.py: C11 without a warning and without a C library, the same file as C++17, and
examples/smoke.c and the Arduino example with them give what they give with the library. Results of the C++ build are those of the C
build, bit for bit: two programs of tests/embedded print checksums of them. With the vector kernels of fovea_x86.c or fovea_arm.c the same
level is in force as in the library, with its bits.

Called as: amalgamation_test.py BUILD/fovea SOURCE_FOLDER. CC and CXX name the compilers.
"""
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "embedded"))
import golden_arrays  # noqa: E402

WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
CORE = ["-O1", "-ffreestanding", "-fno-stack-protector", "-ffp-contract=off"]
ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode:
        raise RuntimeError("%s: exit %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def made_alike(source, folder):
    """Made twice, it is the same: the order of files and names is fixed."""
    run(sys.executable, os.path.join(source, "tools", "amalgamate.py"), folder)
    run(sys.executable, os.path.join(source, "tools", "amalgamate.py"), os.path.join(folder, "again"))
    for name in ("fovea.h", "fovea.c", "fovea_x86.c", "fovea_arm.c"):
        if read(os.path.join(folder, name)) != read(os.path.join(folder, "again", name)):
            raise RuntimeError(name + " differs when it is made again")


def symbols_belong(object_file, own):
    """Nothing is wanted but the four memory functions, and every name given is the library's."""
    lines = run("nm", object_file).splitlines()
    undefined = {line.split()[-1] for line in lines if line.split()[-2] == "U"} - {"_GLOBAL_OFFSET_TABLE_"}
    foreign = {line.split()[-1] for line in lines if line.split()[-2] in "TDBR" and not re.match(own, line.split()[-1])}
    if undefined - ALLOWED or foreign:
        raise RuntimeError("undefined %s, foreign %s" % (sorted(undefined - ALLOWED), sorted(foreign)))


def compiles_as_c(folder, compiler):
    run(compiler, "-std=c11", *CORE, *WARNINGS, "-Wstrict-prototypes", "-c", os.path.join(folder, "fovea.c"),
        "-o", os.path.join(folder, "fovea.o"))
    symbols_belong(os.path.join(folder, "fovea.o"), "fv_")


@functools.lru_cache(None)
def bits(folder, compiler, source, *objects):
    """What two programs of tests/embedded print with the core that is in `objects`: checksums of all results."""
    embedded = os.path.join(source, "tests", "embedded")
    boards, program, output = os.path.join(embedded, "boards"), os.path.join(folder, "board"), ""
    golden = os.path.join(folder, "golden_list.c")
    write(golden, golden_arrays.convert(os.path.join(source, "tests", "golden", "reference"), 300000))
    for name in ("checks_board.c", "layer_board.c"):
        run(compiler, "-std=c11", "-O1", "-ffp-contract=off", "-I", os.path.join(source, "include"), "-I", os.path.join(source, "src"),
            "-I", embedded, "-I", boards, os.path.join(embedded, name), golden, os.path.join(boards, "board.c"),
            os.path.join(boards, "start_hosted.c"), *objects, "-o", program)
        output += run(program)
    return output


def same_as_cxx(folder, compiler, cxx, source):
    compiled = os.path.join(folder, "fovea_cxx.o")
    run(cxx, "-x", "c++", "-std=c++17", *CORE, "-c", os.path.join(folder, "fovea.c"), "-o", compiled)
    symbols_belong(compiled, r"fv_|_ZL?\d+fv_") # what is private keeps its C++ name
    want, got = bits(folder, compiler, source, os.path.join(folder, "fovea.o")), bits(folder, compiler, source, compiled)
    if got != want or len(want.splitlines()) < 20:
        raise RuntimeError("%s: %s\nis not\n%s" % (cxx, got, want))


def checksum(output):
    return re.search(r"checksum (-?[\d.]+)", output).group(1)


def smoke_as_c(folder, compiler, source, build):
    text = re.sub(r"#include <fovea/[\w/]+\.h>", '#include "fovea.h"', read(os.path.join(source, "examples", "smoke.c")))
    write(os.path.join(folder, "smoke.c"), text)
    program = os.path.join(folder, "smoke")
    run(compiler, "-std=c11", *WARNINGS, os.path.join(folder, "smoke.c"), os.path.join(folder, "fovea.o"), "-lm", "-o", program)
    alone, linked = run(program), run(os.path.join(build, "examples", "smoke"))
    if abs(float(checksum(alone)) - float(checksum(linked))) > 1e-3:
        raise RuntimeError("%s\nis not\n%s" % (alone, linked))


def library(build):
    """The core as it was built, and what linking it wants: a sanitizer's flags, where it has them."""
    with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as file:
        cache = dict(re.findall(r"^(\w+):\w+=(.*)$", file.read(), re.M))
    flags = re.findall(r"-fsanitize=\S+", cache.get("CMAKE_C_FLAGS", ""))
    if cache.get("FV_SANITIZE") == "ON":
        flags.append("-fsanitize=address,undefined")
    return [os.path.join(build, "libfovea_core.a"), *flags]


def vectors_as_in_the_library(folder, compiler, source, build):
    """Without a warning; the level that the library has here, and, by the compiler that the library was made with, its bits."""
    objects = []
    for name in ("fovea.c", "fovea_x86.c", "fovea_arm.c"):
        objects.append(os.path.join(folder, name + ".vector.o"))
        run(compiler, "-std=c11", "-O1", "-ffp-contract=off", *WARNINGS, "-Wstrict-prototypes", "-DFV_VECTOR_KERNELS", "-c",
            os.path.join(folder, name), "-o", objects[-1])
    program = os.path.join(folder, "smoke_vector")
    run(compiler, "-std=c11", *WARNINGS, os.path.join(folder, "smoke.c"), *objects, "-lm", "-o", program)
    alone, linked = run(program), run(os.path.join(build, "examples", "smoke"))
    if alone != linked:
        raise RuntimeError("%s\nis not\n%s" % (alone, linked))
    if compiler == "clang":
        return
    want, got = bits(folder, compiler, source, *library(build)), bits(folder, compiler, source, *objects)
    if got != want or len(want.splitlines()) < 20:
        raise RuntimeError("%s\nis not\n%s" % (got, want))


def model_image_with_one_header(folder, compiler, source):
    """ports/model_image.h finds fovea.h where that is all there is, included before or not."""
    for number, first in enumerate(("", '#include "fovea.h"\n')):
        path = os.path.join(folder, "image%d.c" % number)
        write(path, first + '#include "model_image.h"\nconst fv_model_image fv_image = {.begin = 1, .end = -1};\n')
        run(compiler, "-std=c11", *WARNINGS, "-I", folder, "-I", os.path.join(source, "ports"), "-c", path, "-o", path + ".o")


def sketch_as_cxx(folder, compiler, source):
    ports, core = os.path.join(source, "ports"), os.path.join(source, "tests", "ports", "arduino_host", "cores", "host")
    program = os.path.join(folder, "sketch")
    run(compiler, "-std=c++17", "-I", folder, "-I", os.path.join(ports, "example"), "-I", core, *WARNINGS, "-include", "arduino_core.h",
        os.path.join(core, "host_core.cpp"), "-x", "c++", os.path.join(ports, "arduino", "examples", "smoke", "smoke.ino"),
        "-x", "none", os.path.join(folder, "fovea.o"), "-o", program)
    output = run(program)
    if output != "token 47.0\nOK\n":
        raise RuntimeError(output)


def main():
    build, source = os.path.dirname(os.path.abspath(sys.argv[1])), sys.argv[2]
    cc, cxx = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, needs, test in (("made_alike", cc, lambda: made_alike(source, folder)),
                                  ("compiles_as_c", cc, lambda: compiles_as_c(folder, cc)),
                                  ("smoke_as_c", cc, lambda: smoke_as_c(folder, cc, source, build)),
                                  ("vectors_as_in_the_library", cc, lambda: vectors_as_in_the_library(folder, cc, source, build)),
                                  ("vectors_with_clang", "clang", lambda: vectors_as_in_the_library(folder, "clang", source, build)),
                                  ("model_image_with_one_header", cc, lambda: model_image_with_one_header(folder, cc, source)),
                                  ("same_as_cxx", cxx, lambda: same_as_cxx(folder, cc, cxx, source)),
                                  ("same_as_clang++", "clang++", lambda: same_as_cxx(folder, cc, "clang++", source)),
                                  ("sketch_as_cxx", cxx, lambda: sketch_as_cxx(folder, cxx, source))):
            if not shutil.which(needs):
                print("skipped %s: no %s" % (name, needs))
                skipped += 1
                continue
            try:
                test()
                passed += 1
            except (RuntimeError, OSError, AttributeError) as problem:
                print("%s: %s" % (name, problem))
                failed += 1
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
