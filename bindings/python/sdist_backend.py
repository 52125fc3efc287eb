#!/usr/bin/env python3
"""The build backend: scikit-build-core's, but a source distribution carries the library's sources with it.

In the repository they lie two folders up, where a source distribution can't reach; they are copied to library/ while it is made.
"""
import contextlib
import pathlib
import shutil

from scikit_build_core.build import *  # noqa: F401,F403
from scikit_build_core import build as scikit

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PARTS = ("CMakeLists.txt", "LICENSE", "cmake", "include", "src")


@contextlib.contextmanager
def library():
    """library/ beside this file, for as long as it is needed; in a source distribution it is there already."""
    target = HERE / "library"
    if target.exists() or not (ROOT / "src" / "build.h").exists():
        yield
        return
    target.mkdir()
    try:
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, target / part)
            else:
                shutil.copy2(ROOT / part, target / part)
        yield
    finally:
        shutil.rmtree(target)


def build_sdist(sdist_directory, config_settings=None):
    with library():
        return scikit.build_sdist(sdist_directory, config_settings)
