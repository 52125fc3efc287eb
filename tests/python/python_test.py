#!/usr/bin/env python3
"""Runs the tests of bindings/python that need NumPy alone, on the extension module of this build, and the
examples of docstrings and of docs/python.md.

Called as: python_test.py BUILD/fovea SOURCE_FOLDER. One module serves every Python from 3.9 on, so any that has NumPy will do:
FV_PYTHON, the one that runs this, /usr/bin/python3.
"""
import os
import subprocess
import sys
import tempfile

RUN = """
import doctest, importlib, sys, unittest
suite = unittest.TestSuite()
for name in sys.argv[1].split(","):
    suite.addTests(doctest.DocTestSuite(importlib.import_module(name)))
suite.addTests(doctest.DocFileSuite(sys.argv[3], module_relative=False))
suite.addTests(unittest.defaultTestLoader.discover(sys.argv[2], "py_*_test.py"))
result = unittest.TextTestRunner(sys.stdout, verbosity=2).run(suite)
sys.exit(not result.wasSuccessful())
"""
EXAMPLES = "fovea,fovea._arrays,fovea._cache,fovea._index,fovea._merge,fovea._policy,fovea._sdpa,fovea.flash_attn," \
           "fovea.hnswlib,fovea.usearch"


def skip(reason):
    print("skipped: " + reason)
    sys.exit(77)


def python_with_numpy():
    for python in (os.environ.get("FV_PYTHON"), sys.executable, "/usr/bin/python3"):
        if python and subprocess.run([python, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


def main():
    build, source = os.path.dirname(os.path.abspath(sys.argv[1])), os.path.abspath(sys.argv[2])
    module = os.path.join(build, "bindings", "python", "_fovea.abi3.so")
    if not os.path.exists(module):
        skip("the Python package is not built: there are no headers of Python (Debian: python3-dev), or this is a build with "
             "sanitizers or for another processor")
    python = python_with_numpy()
    if not python:
        skip("no Python here has NumPy (Debian: python3-numpy); FV_PYTHON names one")
    with tempfile.TemporaryDirectory(prefix="fovea-python-") as folder:
        package = os.path.join(folder, "fovea")
        os.mkdir(package)
        inner = os.path.join(source, "bindings", "python", "fovea")
        for path in [module] + [os.path.join(inner, name) for name in os.listdir(inner) if name.endswith(".py")]:
            os.symlink(path, os.path.join(package, os.path.basename(path)))
        environment = dict(os.environ, PYTHONPATH=folder, PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run([python, "-c", RUN, EXAMPLES, os.path.join(source, "bindings", "python", "tests"),
                               os.path.join(source, "docs", "python.md")], env=environment)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
