#!/usr/bin/env python3
"""The model file changes while it is used: shortened, written to, replaced. A sentence and exit code 1, no signal.

Called as: file_change_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import os
import shutil
import subprocess
import sys

import cli_runner
from cli_runner import FOVEA, FolderTest, clean_environment, model


class FileChange(FolderTest):
    repeats = 1500

    def change(self, name, action, *more):
        """`fovea ppl` over many chunks; after the first, `action` is done to its file. Exit code, output, errors."""
        path = os.path.join(self.folder, "m.gguf")
        shutil.copy(model(name), path)
        command = [FOVEA, "ppl", "-m", path, "-f", self.text, "-c", "64", "-t", "2", *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                              env=clean_environment()) as running:
            running.stdout.read(1)
            action(path)
            out, errors = running.communicate(timeout=120)
        return running.returncode, out.decode(), errors.decode(), path

    @staticmethod
    def shorten(path):
        os.truncate(path, 0)

    @staticmethod
    def append(path):
        with open(path, "ab") as file:
            file.write(b"more")

    @staticmethod
    def replace(path):
        with open(path + ".new", "wb") as file:
            file.write(b"something else")
        os.replace(path + ".new", path)

    def test_a_file_that_is_shortened_is_an_error(self):
        for name in ("llama_f32", "llama_q4_0") * 3:  # both threads may meet it at once: one of them speaks
            code, out, errors, path = self.change(name, self.shorten, "-nr")
            self.assertEqual(code, 1, errors)
            self.assertEqual(errors.count("fovea: error:"), 1, errors)
            self.assertEqual(errors.strip().split("\n")[-1],
                             "fovea: error: %s: was shortened while it was in use; run it again when the file is whole" % path)
            self.assertNotIn("Final estimate", out)

    def test_a_file_that_is_written_to_is_an_error_at_the_end(self):
        code, _, errors, path = self.change("llama_f32", self.append)
        self.assertEqual(code, 1, errors)
        self.assertIn("error: %s: was written to while it was in use" % path, errors)

    def test_a_file_that_is_replaced_or_removed_as_a_whole_is_still_there(self):
        for action in (self.replace, os.remove):
            code, out, errors, _ = self.change("llama_f32", action)
            self.assertEqual(code, 0, errors)
            self.assertIn("Final estimate", out)

    def test_a_model_that_is_repacked_needs_its_file_no_longer(self):
        for action in (self.shorten, self.append):
            code, out, errors, _ = self.change("llama_q4_0", action, "--repack", "on")
            self.assertEqual(code, 0, errors)
            self.assertEqual(out, self.change("llama_q4_0", lambda _: None, "--repack", "on")[1])


if __name__ == "__main__":
    if not os.path.exists(model("llama_f32")):
        sys.exit(77)
    cli_runner.main()
