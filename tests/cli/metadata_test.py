#!/usr/bin/env python3
"""What a model file says is read, or said to be unreadable: every known key is absent, read, or an error with a name.

Called as: metadata_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os

import cli_runner
from cli_runner import FolderTest, run
from tiny_gguf import TinyModel

FLAG, ID = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.eos_token_id"
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"


class Metadata(FolderTest):
    def tiny(self, **keys):
        """A tiny model with some keys of tokenizer.ggml set to something else; None: without the key."""
        made = TinyModel()
        for key, value in keys.items():
            key = "tokenizer.ggml." + key
            if value is None:
                del made.metadata[key]
            else:
                made.set(key, value)
        return made.write(os.path.join(self.folder, "m.gguf"))

    def ids(self, path, *more):
        return self.ok("tokenize", "-m", path, "-p", "a", "--ids", *more).stdout

    def test_integers_of_0_and_1_are_flags(self):
        for kind, layout in ((0, "<B"), (1, "<b"), (4, "<I"), (5, "<i"), (10, "<Q")):
            self.assertEqual(self.ids(self.tiny(add_bos_token=(kind, layout, 1))), b"[257, 97]\n")
            self.assertEqual(self.ids(self.tiny(add_bos_token=(kind, layout, 0))), b"[97]\n")

    def test_what_is_no_flag_is_an_error_that_names_key_found_and_wanted(self):
        for value, found in (("true", "the string 'true'"), (2, "the u32 2"), (1.0, "the f32 1"), ([True], "an array of 1 bool")):
            path = self.tiny(add_bos_token=value)
            for verb in (("tokenize", "-m", path, "-p", "a"), ("run", "-m", path, "-p", "a", "-no-cnv"),
                         ("ppl", "-m", path, "-f", self.text), ("inspect", path)):
                if verb[0] == "inspect":  # shows what it can, and why it is not all
                    self.assertIn(found, self.ok(*verb).stdout.decode())
                    continue
                self.fails(1, *verb, says=(FLAG, found, "must be a truth value"))

    def test_every_key_of_the_tokenizer_that_has_another_type(self):
        for key, value in (("bos_token_id", "257"), ("eot_token_id", -1.5), ("eom_token_id", [1]), ("fim_pad_token_id", "x"),
                           ("add_eos_token", "no"), ("model", 3), ("pre", 1)):
            self.fails(1, "tokenize", "-m", self.tiny(**{key: value}), "-p", "a", says=("tokenizer.ggml." + key, "must be"))
        spm = {"model": "llama", "add_space_prefix": "yes"}
        self.fails(1, "tokenize", "-m", self.tiny(**spm), "-p", "a", says=("add_space_prefix", "the string 'yes'"))

    def test_other_keys_of_another_type(self):
        path = os.path.join(self.folder, "m.gguf")
        for key, value in (("general.architecture", 7), ("llama.block_count", "one"), ("llama.rope.freq_base", "10000"),
                           ("llama.attention.head_count", [2, 1]), ("tokenizer.chat_template", 1)):
            TinyModel().set(key, value).write(path)
            self.fails(1, "run", "-m", path, "-p", "a", "-n", "1", says=(key, "it must be"))

    def test_an_id_beyond_the_vocabulary_is_remarked_on_by_every_verb(self):
        path = self.tiny(eos_token_id=999999)
        for verb in (("tokenize", "-m", path, "-p", "a"), ("run", "-m", path, "-p", "a", "-n", "1", "-no-cnv"),
                     ("ppl", "-m", path, "-f", self.text, "-c", "64", "--chunks", "1"), ("inspect", path),
                     ("bench", "-m", path, "-p", "8", "-n", "0", "-r", "1")):
            said = self.ok(*verb).stderr.decode()
            self.assertIn("warning: %s: %s is 999999, the vocabulary has 262 tokens" % (path, ID), said)

    def test_minus_one_is_how_some_writers_say_none(self):
        for value in ((5, "<i", -1), 4294967295):
            done = self.ok("tokenize", "-m", self.tiny(eos_token_id=value), "-p", "a")
            self.assertEqual(done.stderr, b"")

    def test_a_missing_pretokenizer_is_remarked_on(self):
        path = self.tiny(pre=None)
        for verb in (("tokenize", "-m", path, "-p", "a"), ("run", "-m", path, "-p", "a", "-n", "1", "-no-cnv"), ("inspect", path)):
            self.assertIn("warning: %s: tokenizer.ggml.pre" % path, self.ok(*verb).stderr.decode())
        self.assertEqual(self.ok("tokenize", "-m", self.tiny(), "-p", "a").stderr, b"")

    def test_a_beginning_that_is_asked_for_and_not_there_is_remarked_on(self):
        path = self.tiny(pre="chatglm-bpe", add_bos_token=True, bos_token_id=None)
        self.assertIn(b"to be added, and the vocabulary has none", self.ok("tokenize", "-m", path, "-p", "a").stderr)

    def test_a_doubled_beginning_is_remarked_on_once(self):
        path = self.tiny(add_bos_token=True)
        for verb in (("tokenize", "-m", path, "-p", "<s>a", "--parse-special"),
                     ("run", "-m", path, "-p", "<s>a", "-n", "1", "-no-cnv", "--special")):
            done = run(*verb)
            if done.returncode == 2:  # a version whose prompts read control tokens without a flag
                done = run(*verb[:-1])
            self.assertEqual(done.stderr.count(b"two beginning-of-text tokens"), 1, done.stderr)
        self.assertEqual(self.ok("tokenize", "-m", path, "-p", "a").stderr, b"")

    def test_files_that_are_no_model(self):
        path = os.path.join(self.folder, "m.gguf")
        for key, value, says in (("general.type", "adapter", "an adapter (LoRA)"), ("general.type", "imatrix", "importance matrix"),
                                 ("general.type", "mmproj", "projector"), ("general.architecture", "clip", "projector")):
            TinyModel().set(key, value).write(path)
            self.fails(1, "run", "-m", path, "-p", "a", says=(says, "name "))
        made = TinyModel()
        made.tensors = []
        made.write(path)
        self.fails(1, "run", "-m", path, "-p", "a", says=("vocabulary only", "fovea tokenize"))
        self.ok("tokenize", "-m", path, "-p", "a")

    def test_a_missing_tensor_is_not_blamed_on_an_architecture(self):
        made = TinyModel()
        made.tensors = [tensor for tensor in made.tensors if "attn_k" not in tensor[0]]
        done = self.fails(1, "run", "-m", made.write(os.path.join(self.folder, "m.gguf")), "-p", "a",
                          says=("blk.0.attn_k.weight is missing",))
        self.assertNotIn(b"llama was made", done.stderr)


if __name__ == "__main__":
    cli_runner.main()
