#!/usr/bin/env python3
"""Ctrl-C in ppl, eval and tune: exit code 130, what was measured whole is printed, nothing is half written.

Called as: interrupt_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import json
import os
import signal
import subprocess
import sys

import cli_runner
from cli_runner import FOVEA, FolderTest, clean_environment, model

LLAMA = model("llama_f32")
WINDOW = "window:window=32,sinks=4"


class Interrupted(FolderTest):
    repeats = 4000

    def interrupt(self, *arguments, at, stream):
        """Sends SIGINT when `at` has come on "stdout" or "stderr". The exit code and both streams, whole."""
        program = subprocess.Popen([FOVEA, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                   env=clean_environment())
        seen = b""
        watched = getattr(program, stream)
        while at not in seen:
            byte = watched.read(1)
            if not byte:
                break
            seen += byte
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=120)
        if stream == "stdout":
            out = seen + out
        else:
            errors = seen + errors
        self.assertIn(at, seen, errors.decode("utf-8", "replace"))
        return program.returncode, out, errors

    def test_ppl_prints_the_whole_chunks(self):
        arguments = ("ppl", "-m", LLAMA, "-f", self.text, "-c", "256", "--attention", WINDOW, "-t", "1")
        code, out, _ = self.interrupt(*arguments, at=b"[3]", stream="stdout")
        self.assertEqual(130, code)
        lines = out.decode().split("\n")
        chunks = lines[0].count("[")
        self.assertGreaterEqual(chunks, 3)
        last = lines[0].rstrip(",").split("]")[-1]
        self.assertIn("Final estimate: PPL = " + last, out.decode())
        self.assertIn("| " + WINDOW + " |", out.decode())
        again = self.ok(*arguments, "--chunks", str(chunks)).stdout.decode()
        self.assertEqual(again.split("\n")[:2], lines[:2])  # the estimate of so many chunks, to the last digit

    def test_ppl_before_the_first_chunk_prints_nothing(self):
        code, out, _ = self.interrupt("ppl", "-m", LLAMA, "-f", self.text, "-c", "65536", "--json", "-t", "1",
                                      at=b"note: chunks", stream="stderr")
        self.assertEqual((130, b""), (code, out))

    def test_ppl_json_counts_the_whole_chunks(self):
        code, out, _ = self.interrupt("ppl", "-m", LLAMA, "-f", self.text, "-c", "256", "--json", "-t", "1",
                                      at=b"seconds per pass", stream="stderr")
        self.assertEqual(130, code)
        figures = json.loads(out)[0]
        self.assertEqual(127 * figures["tokens"] // 256, figures["scored"])
        self.assertEqual(1, figures["density"])

    def test_eval_prints_what_was_answered(self):
        code, out, errors = self.interrupt("eval", "-m", LLAMA, "-c", "1024", "-n", "4000", "--per-document", "2",
                                           "--task", "needle", "--attention", WINDOW, "--json", "-t", "1",
                                           at=b"needle: 4 of 4000 questions", stream="stderr")
        self.assertEqual(130, code, errors)
        figures = json.loads(out)
        counts = [policy["tasks"][0]["questions"] for policy in figures["policies"]]
        self.assertGreaterEqual(counts[0], 4)
        self.assertLess(counts[0], 4000)
        self.assertEqual(counts[0], counts[1])
        self.assertEqual(1, figures["policies"][0]["density"])
        self.assertLess(figures["policies"][1]["density"], 0.5)

    def test_tune_writes_nothing(self):
        path = os.path.join(self.folder, "shares.json")
        code, out, _ = self.interrupt("tune", "-m", LLAMA, "-f", self.text, "-c", "8192", "--score", "1024", "--force",
                                      "-o", path, "-t", "1", at=b"layer 0 head 0", stream="stderr")
        self.assertEqual((130, b""), (code, out))
        self.assertEqual(["text"], os.listdir(self.folder))


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
