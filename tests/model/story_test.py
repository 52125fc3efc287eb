#!/usr/bin/env python3
"""The story model: pinned greedy text and perplexity, the same on every instruction set, and as constants for a chip.

Called as: story_test.py BUILD/fovea SOURCE_FOLDER. tests/model/story.md says how the model was made. CC names the compiler.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

FOVEA, SOURCE = sys.argv[1], sys.argv[2]
FOLDER = os.path.join(SOURCE, "tests", "model")
MODEL, HELD_OUT = os.path.join(FOLDER, "story.gguf"), os.path.join(FOLDER, "story_held_out.txt")
PERPLEXITY = 1.8553  # dense, F16 cache, chunks of 256
HELD_OUT_SEED, HELD_OUT_STORIES = "2", "24"  # of tools/story_train.py


def run(*command, isa=None):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LLAMA_ARG_", "FV_"))}
    environment.update({"FV_ISA": isa} if isa else {})
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment,
                          timeout=300)
    if done.returncode:
        raise AssertionError("%s: exit %d\n%s" % (" ".join(command), done.returncode, done.stderr.decode()))
    return done.stdout.decode()


def pinned():
    with open(os.path.join(FOLDER, "story_greedy.txt"), encoding="utf-8") as file:
        return file.read().rstrip("\n")


class Story(unittest.TestCase):
    def test_size(self):
        self.assertLessEqual(json.loads(run(FOVEA, "inspect", "-m", MODEL, "--json"))["parameters"], 260000)
        self.assertLess(os.path.getsize(MODEL), 1000000)

    def test_greedy_text(self):
        for isa in ("scalar", "avx2", "avxvnni", "avx512", "avx512bf16"):  # a limit: what the processor lacks is not used
            for threads in ("1", "2"):
                text = run(FOVEA, "run", "-m", MODEL, "-p", "", "--temp", "0", "-t", threads, "-ctk", "f16", "-ctv", "f16", isa=isa)
                self.assertEqual(text.rstrip("\n"), pinned(), isa)

    def perplexities(self, isa):
        results = json.loads(run(FOVEA, "ppl", "-m", MODEL, "-f", HELD_OUT, "-c", "256", "--json", "--attention", "dense",
                                 "--attention", "window:window=32,sinks=4", isa=isa))
        return {result["attention"].split(":")[0]: result["ppl"] for result in results}

    def test_perplexity(self):
        for isa in ("scalar", "avx2", "avxvnni", "avx512", "avx512bf16"):
            found = self.perplexities(isa)
            print("%s: perplexity %.4f, window of 32 %.4f, pinned %.4f" % (isa, found["dense"], found["window"], PERPLEXITY))
            self.assertLess(abs(found["dense"] / PERPLEXITY - 1), 0.005)
            # names, colours and things are said again much later: a model that looks at them, and a window that is too short
            self.assertGreater(found["window"], 1.2 * found["dense"])

    def test_held_out_text(self):
        text = run(sys.executable, os.path.join(SOURCE, "tools", "story_text.py"), "--seed", HELD_OUT_SEED, "--stories",
                   HELD_OUT_STORIES)
        with open(HELD_OUT, encoding="utf-8") as file:
            self.assertEqual(text, file.read())

    def test_constants(self):
        """The board program with the constants of tools/model_image.py and the core in one file, on this machine."""
        with tempfile.TemporaryDirectory() as folder:
            image, program = os.path.join(folder, "image.c"), os.path.join(folder, "story")
            run(sys.executable, os.path.join(SOURCE, "tools", "model_image.py"), MODEL, image)
            run(sys.executable, os.path.join(SOURCE, "tools", "amalgamate.py"), folder)
            boards = os.path.join(SOURCE, "tests", "embedded", "boards")
            run(os.environ.get("CC", "cc"), "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-ffp-contract=off", "-I",
                os.path.join(SOURCE, "include"), "-I", os.path.join(SOURCE, "ports"), "-I", boards,
                os.path.join(SOURCE, "tests", "embedded", "story_board.c"), os.path.join(boards, "board.c"),
                os.path.join(boards, "start_hosted.c"), os.path.join(folder, "fovea.c"), image, "-o", program)
            lines = run(program).split("\n")
        self.assertEqual(lines[0], pinned())

    def test_constants_refuse(self):
        """A model that the tool does not know is named, and nothing is written."""
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "image.c")
            for name, says in (("qwen3_q4_0", "architecture qwen3"), ("llama_q4_0", "Q8_0"), ("llama_yarn_f32", "rope.scaling")):
                done = subprocess.run([sys.executable, os.path.join(SOURCE, "tools", "model_image.py"),
                                       os.path.join(FOLDER, name + ".gguf"), out], stderr=subprocess.PIPE)
                self.assertEqual(done.returncode, 1)
                self.assertIn(says, done.stderr.decode())
                self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
