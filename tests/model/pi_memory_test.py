#!/usr/bin/env python3
"""SmolLM2-135M with a context of 2,048 tokens, filled, fits 300,000,000 bytes: what a Pi Zero 2 W with its 512 MB can spare.

Counted twice: by purpose before it runs (fovea inspect), and as the peak of resident pages, the file's included, with weights
as they lie in the file and repacked. Four threads, as the board has cores. Skipped without the model (tools/model.py smollm2).
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from sanitized import skip_sanitized

FOVEA, SOURCE = sys.argv[1], sys.argv[2]
MODEL = os.path.join(SOURCE, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
PROSE = os.path.join(SOURCE, "tests", "model", "prose.txt")
MOST_BYTES, CONTEXT, PROMPT_LEAST = 300 * 1000 * 1000, 2048, 1900
SHARED = ["-m", MODEL, "-c", str(CONTEXT), "-t", "4"]


class PiMemory(unittest.TestCase):
    def setUp(self):
        if not os.path.exists(MODEL):
            self.skipTest("no %s; tools/model.py gets it" % os.path.relpath(MODEL, SOURCE))

    def peak(self, *arguments):
        """Resident bytes of a run whose prompt nearly fills the context."""
        with open(PROSE, encoding="utf-8") as file:
            words = file.read().split()
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as prompt, tempfile.TemporaryFile() as out:
            prompt.write(" ".join((words * 3)[:1480]))
            prompt.flush()
            process = subprocess.Popen([FOVEA, "run", *SHARED, "-f", prompt.name, "-n", "4", "--temp", "0", "-no-cnv", "--json",
                                        *arguments], stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = status
            out.seek(0)
            result = json.load(out)
        self.assertEqual(status, 0)
        self.assertGreaterEqual(result["prompt_tokens"], PROMPT_LEAST)
        return used.ru_maxrss * 1024

    def test_plan(self):
        done = subprocess.run([FOVEA, "inspect", *SHARED, "--json"], stdout=subprocess.PIPE, check=True)
        memory = json.loads(done.stdout.decode())["memory"]
        planned = memory["weight_bytes"] + memory["cache_bytes"] + memory["scratch_bytes"]
        print("weights %d + cache %d + scratch %d = %d bytes" % (memory["weight_bytes"], memory["cache_bytes"],
                                                                memory["scratch_bytes"], planned))
        self.assertEqual(memory["context_tokens"], CONTEXT)
        self.assertLessEqual(planned, MOST_BYTES)

    def test_peak(self):
        skip_sanitized(self, FOVEA)
        for repack in ("off", "on"):
            for attention in ("dense", "pattern", "fovea"):
                peak = self.peak("--repack", repack, "--attention", attention)
                print("repack %s, %s: peak %d bytes resident" % (repack, attention, peak))
                self.assertLessEqual(peak, MOST_BYTES)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
