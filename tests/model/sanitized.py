#!/usr/bin/env python3
"""Whether a program was built with the address sanitizer: it is ten times slower then, and keeps freed blocks, so that a
peak of memory says nothing."""


def sanitized(program):
    """Whether `program`, a path, was built so."""
    with open(program, "rb") as file:
        return b"__asan_init" in file.read()


def skip_sanitized(test, program):
    """Skips `test`, one of a peak of memory, if `program` was built so."""
    if sanitized(program):
        test.skipTest("a sanitizer's memory is none of the program's")
