#!/usr/bin/env python3
"""`fovea ppl --kl-divergence-base`: files of llama-perplexity's form made here, whole, cut and altered.

Called as: kld_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import math
import os
import struct
import sys
import tempfile

import cli_runner
from cli_runner import CliTest, model

LLAMA = model("llama_f32")
CONTEXT, CHUNKS = 16, 2


class Base(CliTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "base.kld")
        tensors = self.document("inspect", LLAMA, "--json")["tensors"]
        self.vocabulary = next(t["shape"][1] for t in tensors if t["name"] == "token_embd.weight")

    def write(self, row, magic=b"_logits_", vocabulary=None, token=5, step=1, cut=0):
        vocabulary = vocabulary or self.vocabulary
        rooms = 2 * ((vocabulary + 1) // 2)
        data = magic + struct.pack("<3I", CONTEXT, vocabulary, CHUNKS)
        data += struct.pack("<%di" % (CONTEXT * CHUNKS), *[token + step * (i % 7) for i in range(CONTEXT * CHUNKS)])
        data += row(rooms) * (CHUNKS * (CONTEXT - 1 - CONTEXT // 2))
        with open(self.path, "wb") as file:
            file.write(data[:len(data) - cut])

    def uniform(self, rooms):
        return struct.pack("<2f", 0, -math.log(self.vocabulary)) + bytes(2 * rooms)

    def one_token(self, rooms):
        """All but token 3 are as good as impossible."""
        return struct.pack("<2f", 16 / 65535, -16) + struct.pack("<%dH" % rooms, *[65535 * (i == 3) for i in range(rooms)])

    def test_a_uniform_base(self):
        self.write(self.uniform)
        dense, window = self.document("ppl", "-m", LLAMA, "--kl-divergence-base", self.path, "--attention",
                                      "window:window=4,sinks=1", "--json")
        self.assertEqual(self.path, dense["base"])
        self.assertEqual(CHUNKS * (CONTEXT - 1 - CONTEXT // 2), dense["scored"])
        self.assertGreater(dense["kl"], 0)
        self.assertGreater(window["kl"], 0)
        self.assertNotEqual(dense["kl"], window["kl"])
        self.assertLess(dense["kl"], 2 * math.log(self.vocabulary))
        first = self.document("ppl", "-m", LLAMA, "--kl-divergence-base", self.path, "--chunks", "1", "--json")[0]
        self.assertEqual((CONTEXT, CONTEXT - 1 - CONTEXT // 2), (first["tokens"], first["scored"]))

    def test_every_row_is_that_of_its_position(self):
        """Each row is certain of the token that follows: KL is then the loss, row by row, or nothing like it."""
        tokens = [(7 * i + i * i) % self.vocabulary for i in range(CONTEXT * CHUNKS)]
        scored = [c * CONTEXT + p + 1 for c in range(CHUNKS) for p in range(CONTEXT // 2, CONTEXT - 1)]
        rooms = 2 * ((self.vocabulary + 1) // 2)
        data = b"_logits_" + struct.pack("<3I", CONTEXT, self.vocabulary, CHUNKS)
        data += struct.pack("<%di" % len(tokens), *tokens)
        for place in scored:
            data += struct.pack("<2f", 17 / 0x1234, -17)
            data += struct.pack("<%dH" % rooms, *[0x1234 * (i == tokens[place]) for i in range(rooms)])
        with open(self.path, "wb") as file:
            file.write(data)
        dense = self.document("ppl", "-m", LLAMA, "--kl-divergence-base", self.path, "--json")[0]
        self.assertEqual(len(scored), dense["scored"])
        self.assertAlmostEqual(math.log(dense["ppl"]), dense["kl"], places=4)
        self.assertLessEqual(dense["top1"], 0.5)  # noise does not know the next token

    def test_a_certain_base_gives_the_loss_of_its_token(self):
        self.write(self.one_token, token=3, step=0)
        dense = self.document("ppl", "-m", LLAMA, "--kl-divergence-base", self.path, "--json")[0]
        self.assertAlmostEqual(math.log(dense["ppl"]), dense["kl"], places=4)

    def test_bad_files(self):
        arguments = ("ppl", "-m", LLAMA, "--kl-divergence-base", self.path)
        self.fails(1, *arguments, says=("base.kld",))
        self.write(self.uniform, magic=b"_logitz_")
        self.fails(1, *arguments, says=("base.kld", "save-all-logits"))
        self.write(self.uniform, cut=1)
        self.fails(1, *arguments, says=("cut short",))
        self.write(self.uniform, vocabulary=self.vocabulary + 2)
        self.fails(1, *arguments, says=("vocabulary",))
        self.write(self.uniform, token=self.vocabulary)
        self.fails(1, *arguments, says=("token 0",))
        self.write(lambda rooms: struct.pack("<2f", float("nan"), 0) + bytes(2 * rooms))
        self.assertIn(b"no valid scale", cli_runner.run(*arguments).stderr)

    def test_it_excludes_what_the_file_says(self):
        self.write(self.uniform)
        self.fails(2, "ppl", "-m", LLAMA, "--kl-divergence-base", self.path, "-c", "16", says=("-c",))
        self.fails(2, "ppl", "-m", LLAMA, "--kl-divergence-base", self.path, "-p", "x", says=("-p",))


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
