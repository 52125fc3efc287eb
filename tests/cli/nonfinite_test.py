#!/usr/bin/env python3
"""Damaged weights: a number that is not finite ends every verb with a sentence, whatever the type of weights, caches and kernels,
and no perplexity is printed for it.

Called as: nonfinite_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import glob
import json
import os
import struct
import sys

import cli_runner
from cli_runner import MODELS, FolderTest, model, run

SCALES = {"Q4_0": 0, "Q4_1": 0, "Q5_0": 0, "Q5_1": 0, "Q8_0": 0, "IQ4_NL": 0, "IQ4_XS": 0, "Q4_K": 0, "Q5_K": 2, "Q2_K": 82, "Q3_K": 108,
          "Q6_K": 208, "F16": 0, "IQ3_XXS": 0, "IQ3_S": 0, "IQ2_XXS": 0, "IQ2_XS": 0, "IQ2_S": 0}  # where a block's f16 scale, or one of its scales, lies
NAN16, INF16 = b"\x01\x7e", b"\x00\xfc"


class NonFinite(FolderTest):
    def damaged(self, name, tensor, infinite=False):
        """A copy of the tiny model `name` whose tensor has a NaN, or an infinity, in its second row; None if it has no such
        tensor, or of a type without a scale that could be one."""
        with open(model(name), "rb") as file:
            data = bytearray(file.read())
        all_tensors = self.document("inspect", model(name), "--json")["tensors"]
        found = next((entry for entry in all_tensors if entry["name"] == tensor), None)
        if not found:
            return None
        at = found["offset"] + (found["bytes"] // found["shape"][1] if len(found["shape"]) > 1 else 4)
        if found["type"] == "F32":
            data[at:at + 4] = struct.pack("<f", float("-inf" if infinite else "nan"))
        elif found["type"] == "BF16":
            data[at:at + 2] = b"\x80\xff" if infinite else b"\xc0\x7f"
        elif found["type"] in SCALES:
            at += SCALES[found["type"]]
            data[at:at + 2] = INF16 if infinite else NAN16
        else:
            return None
        path = os.path.join(self.folder, "damaged.gguf")
        with open(path, "wb") as file:
            file.write(data)
        return path

    def ends(self, path, *more, env=None):
        self.fails(1, "ppl", "-m", path, "-f", self.text, "-c", "64", "--chunks", "1", "-t", "2", *more, env=env)
        done = run("ppl", "-m", path, "-f", self.text, "-c", "64", "--chunks", "1", "--json", *more, env=env)
        said = done.stderr.decode()
        self.assertTrue(done.returncode == 1 and "not finite" in said and "damaged" in said and path in said, said)

    def test_every_type_of_weights(self):
        for path in sorted(glob.glob(os.path.join(MODELS, "*.gguf"))):
            name = os.path.splitext(os.path.basename(path))[0]
            if name == "story":
                continue
            tried = 0
            for tensor in ("blk.0.attn_v.weight", "blk.0.attn_qkv.weight", "blk.0.ffn_down.weight", "blk.0.ffn_gate.weight"):
                path = self.damaged(name, tensor, infinite="gate" in tensor)
                if path:
                    tried += 1
                    with self.subTest(name=name, tensor=tensor):
                        self.ends(path)
            self.assertTrue(tried > 1 or "mxfp4" in name, name)

    def test_every_kernel_and_cache(self):
        for name in ("llama_q4_0", "gemma3_q8_0", "llama_bf16"):
            path = self.damaged(name, "blk.0.attn_k.weight")
            for isa in ("scalar", "avx2", "best"):
                for cache in ("f32", "f16", "bf16", "q8_0", "q4_0"):
                    with self.subTest(name=name, isa=isa, cache=cache):
                        self.ends(path, "-ctk", cache, "-ctv", cache, env={} if isa == "best" else {"FV_ISA": isa})
            self.ends(path, "--exact-activations", "-nr")
            self.ends(path, "--attention", "fovea", "--pass", "decode")
            self.ends(path, "--attention", "window:window=16,sinks=4")

    def test_a_norm_is_looked_at_when_a_file_is_opened(self):
        self.fails(1, "run", "-m", self.damaged("qwen3_f32", "blk.0.attn_q_norm.weight"), "-p", "a",
                   says=("blk.0.attn_q_norm.weight", "element 1 is not finite", "damaged"))

    def test_a_soft_cap_hides_nothing(self):
        """tanh of a NaN or an infinity is a number."""
        path = self.damaged("gemma3_f32", "token_embd.weight")
        for infinite in (False, True):
            self.damaged("gemma3_f32", "token_embd.weight", infinite)
            done = run("run", "-m", path, "-p", "in the rain", "-n", "4", "-no-cnv")
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"token_embd.weight", done.stderr)

    def test_all_verbs_say_where(self):
        path = self.damaged("llama_q8_0", "blk.0.attn_q.weight")
        for verb in (("run", "-m", path, "-p", "in the rain", "-n", "4", "-no-cnv"), ("bench", "-m", path, "-p", "8", "-n", "4", "-r", "1"),
                     ("eval", "-m", path, "-c", "512", "--task", "needle", "-n", "1"),
                     ("tune", "-m", path, "-f", self.text, "-c", "512", "--score", "16", "-o", os.path.join(self.folder, "out"))):
            done = run(*verb)
            said = done.stderr.decode()
            self.assertEqual(done.returncode, 1, said)
            self.assertIn("a query of layer 0 (blk.0.attn_q.*, attn_norm)", said)
            self.assertIn("fovea inspect --check", said)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out")))

    def test_inspect_looks_through_all_tensors(self):
        for name, tensor, unit in (("llama_q4_k", "blk.0.attn_v.weight", "blocks"), ("llama_f16", "token_embd.weight", "elements")):
            done = run("inspect", "--check", self.damaged(name, tensor))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout.decode(), r"1 with numbers that are not finite\n  %s +1 of \d+ %s not finite, the first at \d+\n"
                             % (tensor, unit))
            self.assertIn(b"1 of ", done.stderr)
            done = run("inspect", "--check", "--json", self.damaged(name, tensor, infinite=True))
            self.assertEqual(done.returncode, 1)
            found = json.loads(done.stdout.decode())["check"]
            self.assertEqual([(entry["name"], entry["fault"], entry["bad_blocks"]) for entry in found], [(tensor, "not finite", 1)])
            self.assertIsNone(self.document("inspect", "--json", self.damaged(name, tensor))["check"])
        for path in glob.glob(os.path.join(MODELS, "*.gguf")):
            self.assertEqual(self.document("inspect", "--check", "--json", path)["check"], [], path)

    def test_a_tensor_of_zeros_is_remarked_on(self):
        """What a download leaves that was not finished."""
        with open(model("llama_q8_0"), "rb") as file:
            data = bytearray(file.read())
        entry = next(entry for entry in self.document("inspect", model("llama_q8_0"), "--json")["tensors"]
                     if entry["name"] == "blk.0.ffn_up.weight")
        data[entry["offset"]:entry["offset"] + entry["bytes"]] = bytes(entry["bytes"])
        path = os.path.join(self.folder, "zero.gguf")
        with open(path, "wb") as file:
            file.write(data)
        self.assertRegex(self.ok("inspect", "--check", path).stdout.decode(), r"blk.0.ffn_up.weight +nothing but zeros")

    def test_tensors_are_checked_before_anything_is_done_where_asked_for(self):
        path = self.damaged("llama_q5_k", "blk.0.ffn_down.weight")
        for verb in (("run", "-p", "a", "-n", "1", "-no-cnv"), ("ppl", "-f", self.text, "-c", "64"), ("bench", "-p", "8", "-n", "0")):
            done = run(*verb, "-m", path, "--check-tensors")
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"tensor blk.0.ffn_down.weight: 1 of its ", done.stderr)
        self.ok("run", "-m", model("llama_q5_k"), "-p", "a", "-n", "1", "--check-tensors")

    def test_a_perplexity_beyond_any_number_is_not_printed(self):
        """Finite logits of a model that is certain of the wrong token: exp of the loss overflows."""
        name = "llama_f32"
        with open(model(name), "rb") as file:
            data = bytearray(file.read())
        found = [entry for entry in self.document("inspect", model(name), "--json")["tensors"] if entry["name"] == "output_norm.weight"][0]
        values = struct.unpack_from("<%df" % found["shape"][0], data, found["offset"])
        struct.pack_into("<%df" % len(values), data, found["offset"], *(1e6 * value for value in values))
        path = os.path.join(self.folder, "certain.gguf")
        with open(path, "wb") as file:
            file.write(data)
        done = self.fails(1, "ppl", "-m", path, "-f", self.text, "-c", "64", "--chunks", "1", says=("beyond any number",))
        self.assertNotIn(b"inf", done.stdout)

    def test_what_a_cache_cannot_hold_says_what_to_take(self):
        with open(model("qwen2_f32"), "rb") as file:
            data = bytearray(file.read())
        found = [entry for entry in self.document("inspect", model("qwen2_f32"), "--json")["tensors"]
                 if entry["name"] == "blk.0.attn_v.bias"][0]
        data[found["offset"]:found["offset"] + 4] = struct.pack("<f", 1e5)
        path = os.path.join(self.folder, "large.gguf")
        with open(path, "wb") as file:
            file.write(data)
        for verb in (("run", "-m", path, "-p", "in the rain", "-n", "4", "-no-cnv"), ("ppl", "-m", path, "-f", self.text, "-c", "64")):
            done = run(*verb, "-ctv", "f16")
            self.assertEqual(done.returncode, 1)
            for part in ("token 0", "a value of layer 0", "65504", "f16", "take f32 or bf16 for values", "-ctv"):
                self.assertIn(part, done.stderr.decode())
            self.ok(*verb, "-ctv", "bf16")


if __name__ == "__main__":
    if not os.path.exists(model("llama_f32")):
        sys.exit(77)
    cli_runner.main()
