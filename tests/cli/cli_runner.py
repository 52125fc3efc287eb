#!/usr/bin/env python3
"""Runs the fovea program for the tests of this folder: bytes in, bytes out, and the exit code."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

FOVEA = sys.argv[1] if len(sys.argv) > 2 else ""
SOURCE = sys.argv[2] if len(sys.argv) > 2 else ""
MODELS = os.path.join(SOURCE, "tests", "model")
# Jobs in the background of a script ignore Ctrl-C, and so would what they start; a handler is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
TEXT = "the rain in the inn on the ring and her thinner tin are there in the rein "


def model(name):
    return os.path.join(MODELS, name + ".gguf")


def clean_environment(extra=None):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LLAMA_ARG_", "FV_"))}
    environment.update(extra or {})
    return environment


def run(*arguments, stdin=b"", env=None, stdout=subprocess.PIPE, timeout=120):
    return subprocess.run([FOVEA, *arguments], input=stdin, stdout=stdout, stderr=subprocess.PIPE,
                          env=clean_environment(env), timeout=timeout)


class CliTest(unittest.TestCase):
    """Assertions on a finished program."""

    def ok(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode("utf-8", "replace"))
        return done

    def document(self, *arguments, **options):
        done = self.ok(*arguments, **options)
        return json.loads(done.stdout.decode("utf-8"))

    def fails(self, code, *arguments, says=(), **options):
        """The exit code, nothing on standard output, and every text of `says` in the last line of standard error."""
        done = run(*arguments, **options)
        errors = done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, code, errors)
        if done.stdout is not None:
            self.assertEqual(done.stdout, b"")
        last = errors.strip().split("\n")[-1]
        for text in says:
            self.assertIn(text, last)
        return done


class FolderTest(CliTest):
    """A folder of its own for each test, with TEXT `repeats` times in the file `text`."""
    repeats = 60

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.text = os.path.join(self.folder, "text")
        with open(self.text, "w") as file:
            file.write(TEXT * self.repeats)


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: %s BUILD/fovea SOURCE_FOLDER" % sys.argv[0])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
