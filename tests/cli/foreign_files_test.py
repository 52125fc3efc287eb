#!/usr/bin/env python3
"""Files as other converters write them: what says nothing new, what says it under another name, what is one tensor for
several, what has biases or none. And the list of all keys that the usual writer can write (converter_keys.csv).

Called as: foreign_files_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import csv
import json
import os
import sys

import cli_runner
from cli_runner import SOURCE, TEXT, FolderTest, model, run
from gguf_maker import Gguf

MODELS = ("llama_f32", "qwen2_f32", "qwen3_f32", "gemma_f32", "gemma2_f32", "gemma3_f32", "granite_f32", "smollm3_f32",
          "olmo2_f32", "phi3_short_f32", "mistral3_f32")
READ = {  # keys of which another value makes another model; the tiny models have them or their defaults
    "vocab_size", "context_length", "embedding_length", "embedding_length_out", "block_count", "feed_forward_length",
    "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "attention.key_length_swa", "attention.value_length_swa", "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon", "attention.scale", "rope.dimension_count", "rope.dimension_count_swa",
    "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor",
    "rope.scaling.original_context_length", "attention.sliding_window", "attention.sliding_window_pattern",
    "attn_logit_softcapping", "final_logit_softcapping", "rope.scaling.finetuned", "embedding_scale", "residual_scale", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow"}
READ_BY = {("granite", "logit_scale"), ("mistral3", "attention.temperature_scale"), ("mistral3", "attention.temperature_length"),
           ("mistral3", "rope.scaling.yarn_log_multiplier"), ("mistral3", "rope.scaling.yarn_ext_factor")}
ONE = {"logit_scale", "attention.output_scale", "attention.causal"}
KINDS = {"uint32": "u32", "int32": "i32", "float32": "f32", "bool": "bool", "string": "string"}


def writer_keys():
    with open(os.path.join(SOURCE, "tests", "cli", "converter_keys.csv"), newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def value_of(row, number):
    """(kind, value) of a key with this number, as the writer would write it."""
    if row["type"] == "array":
        texts = row["key"].endswith("output_labels")
        return "array", ("string", ["a"] * number) if texts else ("i32", [number] * 2)
    kind = KINDS[row["type"]]
    return kind, str(number) if kind == "string" else type(1.0 if kind == "f32" else 1)(number)


class Foreign(FolderTest):
    def file(self, gguf, name="model.gguf"):
        return gguf.write(os.path.join(self.folder, name))

    def answer(self, gguf, *arguments):
        """Ids of a greedy continuation."""
        path = self.file(gguf)
        return self.document("run", "-m", path, "-p", TEXT, "-n", "6", "--temp", "0", "--json", "--ignore-eos", *arguments)["tokens"]

    def fault(self, gguf, *arguments):
        """Why the program does not run the file; None: it does."""
        done = run("inspect", self.file(gguf), "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["unsupported"]


class Keys(Foreign):
    def test_every_key_that_the_usual_writer_knows_has_an_answer(self):
        """With the value that means "none" all of them together change nothing; with another, the error names the key
        if the program does not go by it. "Not known" is no answer."""
        rows = [row for row in writer_keys() if row["key"].startswith("{arch}.")]
        self.assertGreater(len(rows), 100)
        for name in MODELS:
            all_of_them, plain = Gguf(name), Gguf(name)
            for row in rows:
                suffix = row["key"].replace("{arch}.", "").replace("{dense}", "dense_2")
                key = "%s.%s" % (plain.architecture, suffix)
                if suffix in READ or (plain.architecture, suffix) in READ_BY:
                    continue
                all_of_them.set(key, *value_of(row, 1 if suffix in ONE else 0))
                why = self.fault(Gguf(name).set(key, *value_of(row, 3)) if row["type"] != "bool" else
                                 Gguf(name).set(key, "bool", suffix not in ONE))
                if why:
                    self.assertIn(key, why)
                    self.assertNotIn("not known", why)
            self.assertIsNone(self.fault(all_of_them))
            self.assertEqual(self.answer(all_of_them), self.answer(plain))

    def test_keys_outside_of_the_architecture_are_nobodys_business(self):
        gguf = Gguf()
        for row in writer_keys():
            key = row["key"].replace("{id}", "0")
            if key.startswith(("{arch}.", "tokenizer.", "general.alignment", "general.architecture", "general.sampling",
                               "general.type")):
                continue
            gguf.set(key, *value_of(row, 1))
        self.assertEqual(self.answer(gguf), self.answer(Gguf()))

    def test_other_names_of_a_number_are_read(self):
        gemma = Gguf("gemma3_f32").set("gemma3.rope.freq_base_swa", "f32", 500.0)
        renamed = Gguf("gemma3_f32").set("gemma3.rope.local.freq_base", "f32", 500.0)
        del renamed.keys["gemma3.rope.freq_base_swa"]
        self.assertEqual(self.answer(renamed), self.answer(gemma))
        llama = Gguf()
        for old, new in (("llama.attention.key_length", "llama.attention.head_dim"),
                         ("llama.attention.layer_norm_rms_epsilon", "llama.attention.layer_norm_epsilon"),
                         ("llama.rope.freq_base", "llama.rope.global.freq_base")):
            llama.keys[new] = llama.keys.pop(old)
        self.assertEqual(self.answer(llama), self.answer(Gguf()))

    def test_other_names_must_agree(self):
        gguf = Gguf().set("llama.attention.head_dim", "u32", 8).set("llama.attention.layer_norm_epsilon", "f32", 1e-5)
        self.assertIsNone(self.fault(gguf))
        why = self.fault(gguf.set("llama.attention.head_dim", "u32", 16))
        for part in ("llama.attention.key_length", "llama.attention.head_dim", "--allow-key"):
            self.assertIn(part, why)
        self.assertIsNone(self.fault(gguf, "--allow-key", "llama.attention.head_dim"))

    def test_a_list_of_equal_numbers_is_the_number(self):
        gguf, plain = Gguf(), Gguf()
        for key in ("feed_forward_length", "attention.head_count", "attention.head_count_kv"):
            kind, value = plain.keys["llama." + key]
            gguf.set("llama." + key, "array", (kind, [value] * 2))
        gguf.set("llama.attention.layer_norm_rms_epsilon", "array", ("f32", [1e-5, 1e-5]))
        self.assertEqual(self.answer(gguf), self.answer(plain))
        why = self.fault(gguf.set("llama.attention.head_count_kv", "array", ("u32", [2, 1])))
        self.assertIn("llama.attention.head_count_kv", why)
        self.assertIn("same for all layers", why)
        self.assertIn("llama.attention.head_count_kv", self.fault(gguf.set("llama.attention.head_count_kv", "array", ("u32", []))))

    def test_pictures_without_a_use_are_passed_over(self):
        """One file with the part that sees, as Ollama keeps it: keys and tensors."""
        gguf = Gguf("gemma3_f32")
        for key, value in (("vision.block_count", 27), ("vision.image_size", 896), ("vision.attention.head_count", 16),
                           ("mm.tokens_per_image", 256)):
            gguf.set("gemma3." + key, "u32", value)
        gguf.set("gemma3.vision.attention.layer_norm_epsilon", "f32", 1e-6)
        for name in ("v.patch_embedding.weight", "mm.mm_input_projection.weight"):
            gguf.floats(name, [4, 2], [0.5] * 8)
        self.assertEqual(self.answer(gguf), self.answer(Gguf("gemma3_f32")))

    def test_an_unknown_key_can_be_allowed_by_its_name(self):
        gguf = Gguf().set("llama.brand_new", "u32", 1)
        why = self.fault(gguf)
        self.assertIn("llama.brand_new is not known", why)
        self.assertIn("--allow-key", why)
        self.assertIn("llama.brand_new", self.fault(gguf, "--allow-key", "llama.brand"))
        self.assertIsNone(self.fault(gguf, "--allow-key", "llama.x", "--allow-key", "llama.brand_new"))
        self.assertEqual(self.answer(gguf, "--allow-key", "llama.brand_new"), self.answer(Gguf()))
        moe = Gguf().set("llama.expert_count", "u32", 8)
        self.assertIn("llama.expert_count is 8", self.fault(moe))
        self.assertIsNone(self.fault(moe, "--allow-key", "llama.expert_count"))


class Architectures(Foreign):
    def perplexity(self, gguf):
        return self.document("ppl", "-m", self.file(gguf), "-f", self.text, "-c", "64", "--chunks", "1", "--json")[0]["ppl"]

    def test_granite_without_rotation(self):
        """Its converter says so by rope.scaling.finetuned: then every layer is like the one that smollm3 leaves out."""
        rotated = Gguf("granite_f32").set("granite.rope.scaling.finetuned", "bool", True)
        self.assertEqual(self.perplexity(rotated), self.perplexity(Gguf("granite_f32")))
        still = self.perplexity(rotated.set("granite.rope.scaling.finetuned", "bool", False))
        self.assertNotEqual(still, self.perplexity(Gguf("granite_f32")))
        self.assertIn("granite.rope.scaling.finetuned", self.fault(rotated.set("granite.rope.scaling.finetuned", "u32", 7)))

    def test_what_gemma2_is_where_its_file_is_silent(self):
        silent = Gguf("gemma2_f32")
        del silent.keys["gemma2.attn_logit_softcapping"], silent.keys["gemma2.final_logit_softcapping"]
        self.assertEqual(self.perplexity(silent), self.perplexity(Gguf("gemma2_f32")))
        wide = self.perplexity(silent.set("gemma2.attention.sliding_window", "u32", 4096))
        del silent.keys["gemma2.attention.sliding_window"]
        self.assertEqual(self.perplexity(silent), wide)

    def test_of_factors_for_long_and_short_texts_both_are_needed(self):
        for name, other in (("long", "short"), ("short", "long")):
            gguf = Gguf("phi3_short_f32")
            del gguf.tensors["rope_factors_%s.weight" % name]
            self.assertIn("rope_factors_%s.weight is not" % name, self.fault(gguf))
        self.assertIn("longrope", self.fault(Gguf().set("llama.rope.scaling.type", "string", "longrope")))

    def test_the_length_of_the_context_chooses_the_factors(self):
        """Contexts of up to 128 tokens, as the file says, turn by the short ones."""
        gguf, seen = Gguf("phi3_short_f32"), []
        for context in (128, 129):
            path = self.file(gguf)
            seen.append(self.document("run", "-m", path, "-p", TEXT[:40], "-n", "6", "-c", str(context), "--temp", "0", "--json",
                                      "--ignore-eos")["tokens"])
        short = gguf.tensors["rope_factors_short.weight"]
        gguf.tensors["rope_factors_long.weight"] = short
        self.assertNotEqual(seen[0], seen[1])
        self.assertEqual(self.document("run", "-m", self.file(gguf), "-p", TEXT[:40], "-n", "6", "-c", "129", "--temp", "0", "--json",
                                       "--ignore-eos")["tokens"], seen[0])

    def test_queries_that_grow(self):
        gguf = Gguf("mistral3_f32")
        with_scale = self.perplexity(gguf)
        self.assertNotEqual(self.perplexity(gguf.set("mistral3.attention.temperature_scale", "f32", 0.0)), with_scale)
        gguf.set("mistral3.attention.temperature_scale", "f32", 0.4).set("mistral3.attention.temperature_length", "u32", 16)
        self.assertEqual(self.perplexity(gguf), with_scale)
        gguf.set("mistral3.attention.temperature_length", "u32", 1).set("mistral3.context_length", "u32", 1 << 20)
        self.assertIn("too often", self.fault(gguf))

    def test_a_window_over_the_whole_context_is_none(self):
        self.assertIsNone(self.fault(Gguf().set("llama.attention.sliding_window", "u32", 256)))
        self.assertIn("sliding_window", self.fault(Gguf().set("llama.attention.sliding_window", "u32", 255)))


class Tensors(Foreign):
    def fuse(self, gguf, layer):
        """Query, key and value as one matrix, gate and up as one."""
        for new, parts in (("attn_qkv.weight", "qkv"), ("attn_qkv.bias", "qkv")):
            kind = new.split(".")[1]
            names = ["blk.%d.attn_%s.%s" % (layer, part, kind) for part in parts]
            if names[0] not in gguf.tensors:
                continue
            found = [gguf.tensors.pop(name) for name in names]
            rows = sum(tensor[0][-1] for tensor in found)
            gguf.tensors["blk.%d.%s" % (layer, new)] = (found[0][0][:-1] + [rows], found[0][1], b"".join(tensor[2] for tensor in found))
        gate, up = (gguf.tensors.pop("blk.%d.ffn_%s.weight" % (layer, part)) for part in ("gate", "up"))
        gguf.tensors["blk.%d.ffn_up.weight" % layer] = ([up[0][0], 2 * up[0][1]], up[1], gate[2] + up[2])

    def test_one_matrix_may_stand_for_three(self):
        for name, layers in (("llama_f32", 2), ("llama_q4_0", 1), ("llama_q8_0", 1), ("qwen2_f32", 2)):
            fused = Gguf(name)
            for layer in range(layers):
                self.fuse(fused, layer)
            self.assertEqual(self.answer(fused), self.answer(Gguf(name)), name)
            self.assertEqual(self.answer(fused, "--repack", "on"), self.answer(Gguf(name), "--repack", "off"), name)
        short = Gguf()
        self.fuse(short, 0)
        dimensions, kind, raw = short.tensors["blk.0.attn_qkv.weight"]
        short.tensors["blk.0.attn_qkv.weight"] = ([dimensions[0], dimensions[1] - 1], kind, raw[:-4 * dimensions[0]])
        self.assertIn("blk.0.attn_qkv.weight", self.fault(short))

    def test_biases_are_added_wherever_they_are(self):
        """Each bias alone changes what is said, as one of zeros does not."""
        plain, sizes = self.answer(Gguf()), {"attn_q": 48, "attn_k": 16, "attn_v": 16, "attn_output": 48, "ffn_gate": 80, "ffn_up": 80,
                                             "ffn_down": 48}
        seen = set()
        for name, size in sizes.items():
            bias = "blk.0.%s.bias" % name
            self.assertEqual(self.answer(Gguf().floats(bias, [size], [0.0] * size)), plain, name)
            gguf = Gguf().floats(bias, [size], [4.0 * (-1) ** (i // 3) for i in range(size)])
            done = self.document("ppl", "-m", self.file(gguf), "-f", self.text, "-c", "64", "--chunks", "1", "--json")
            seen.add(done[0]["ppl"])
        self.assertEqual(len(seen), len(sizes))

    def test_qwen2_without_biases_is_a_llama_that_turns_halves(self):
        gguf = Gguf("qwen2_f32")
        for name in [name for name in gguf.tensors if name.endswith(".bias")]:
            del gguf.tensors[name]
        zeros = Gguf("qwen2_f32")
        for name, (dimensions, _, _) in list(zeros.tensors.items()):
            if name.endswith(".bias"):
                zeros.floats(name, dimensions, [0.0] * dimensions[0])
        self.assertEqual(self.answer(gguf), self.answer(zeros))

    def test_a_qwen3_with_biases(self):
        gguf = Gguf("qwen3_f32").floats("blk.0.attn_q.bias", [96], [2.0] * 96)
        self.assertIsNone(self.fault(gguf))


class Tokens(Foreign):
    def test_of_tokens_with_one_text_the_first_is_taken(self):
        gguf = Gguf()
        element, tokens = gguf.keys["tokenizer.ggml.tokens"][1]
        doubled = list(tokens)
        doubled[-1] = tokens[260]
        gguf.set("tokenizer.ggml.tokens", "array", (element, doubled))
        gguf.keys["tokenizer.ggml.token_type"][1][1][-1] = 1
        path = self.file(gguf)
        ids = json.loads(self.ok("tokenize", "-m", path, "-p", TEXT, "--ids").stdout)
        self.assertEqual(ids, json.loads(self.ok("tokenize", "-m", model("llama_f32"), "-p", TEXT, "--ids").stdout))
        self.assertNotIn(len(tokens) - 1, ids)


class NoModels(Foreign):
    """What people hand over in place of a model: one sentence that says what it is and what to do."""

    def says(self, gguf, *parts):
        path = gguf if isinstance(gguf, str) else self.file(gguf)
        done = self.fails(1, "run", "-m", path, "-p", "x", says=parts)
        self.assertEqual(done.stderr.count(b"\n"), 1)

    def test_files_in_the_same_format(self):
        for kind, part in (("adapter", "adapter"), ("imatrix", "importance matrix"), ("mmproj", "projector"), ("vocab", "vocabulary")):
            gguf = Gguf().set("general.type", "string", kind)
            self.says(gguf, part)
            self.assertIn(part, self.fault(gguf))
        for architecture, part in (("clip", "projector"), ("controlvector", "control vector"), ("imatrix", "importance matrix")):
            self.says(Gguf().rename(architecture), part)
        bare = Gguf("gemma3_f32")
        bare.tensors = {}
        self.says(bare, "vocabulary only")
        self.ok("tokenize", "-m", self.file(bare), "-p", "x")
        nameless = Gguf()
        del nameless.keys["general.architecture"]
        self.says(nameless.set("general.type", "string", "imatrix"), "importance matrix")

    def test_types_of_the_past(self):
        for number, name, instead in ((4, "Q4_2", "Q4_0"), (31, "Q4_0_4_4", "Q4_0"), (36, "IQ4_NL_4_4", "IQ4_NL")):
            gguf = Gguf()
            dimensions, _, raw = gguf.tensors["blk.0.attn_q.weight"]
            gguf.tensors["blk.0.attn_q.weight"] = (dimensions, number, raw)
            self.says(gguf, "blk.0.attn_q.weight", name, "as " + instead)

    def test_other_formats(self):
        for begin, part in ((b"\x1f\x8b\x08", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd"), (b"\xfd7zXZ\0", "unxz"), (b"BZh9", "bunzip2"),
                            (b"7z\xbc\xaf", "7z archive"), (b"Rar!", "RAR"), (b"PK\x03\x04", "zip archive"),
                            (b"<!DOCTYPE html>", "web page"), (b"\xef\xbb\xbf\r\n <html>", "web page"), (b"{\"error\"", "JSON"),
                            (b"version https://git-lfs", "git lfs pull"), (b"\x80\x02ctorch", "PyTorch"), (b"algg", "adapter"),
                            (b"tjgg", "old GGML"), (bytes(64), "zeros"), (bytes(257) + b"ustar", "tar"), (b"hello", "name a GGUF file")):
            path = os.path.join(self.folder, "other.gguf")
            with open(path, "wb") as file:
                file.write(begin + b"\1" * 300)
            self.says(path, "is no GGUF file", part)


if __name__ == "__main__":
    if len(sys.argv) > 2 and not os.path.exists(model("llama_f32")):
        sys.exit(77)
    cli_runner.main()
