#!/usr/bin/env python3
"""Whether a program was built with the address sanitizer: it keeps freed blocks, so a peak of memory says nothing."""


def skip_sanitized(test, program):
    """Skips `test` if `program`, a path, was built so."""
    with open(program, "rb") as file:
        if b"__asan_init" in file.read():
            test.skipTest("a sanitizer's memory is none of the program's")
