#!/usr/bin/env python3
"""Documents that are read once: fovea read, run --session, --prompt-cache, and inspect of what they leave.

Called as: read_once_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import signal
import subprocess
import time

import cli_runner
from cli_runner import FOVEA, TEXT, FolderTest, clean_environment, model, run

LLAMA, GEMMA = model("llama_f32"), model("gemma3_f32")
CHAT = ("--chat-template", "chatml")
PLAIN = ("-n", "10", "--json", "-s", "5", "--temp", "0.9", "--repeat-penalty", "1.3", "--repeat-last-n", "-1", "-c", "4000")


class SessionTest(FolderTest):
    def path(self, name):
        return os.path.join(self.folder, name)

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def ids(self, text, *flags):
        return self.document("tokenize", "-m", LLAMA, "-p", text, "--json", "--ids", *flags)["tokens"]

    def read(self, text, name="kept", *flags, gguf=LLAMA):
        with open(self.path("document"), "w") as file:
            file.write(text)
        kept = self.path(name)
        figures = self.document("read", "-m", gguf, "-f", self.path("document"), "-o", kept, "-c", "4000", "--json", *flags)
        return kept, figures


class Read(SessionTest):
    def test_a_question_to_a_session_is_answered_as_after_the_whole_text(self):
        document, question = TEXT * 40, "\nthe inn"
        for gguf, flags in ((LLAMA, ()), (LLAMA, ("--attention", "fovea:question=0")), (GEMMA, ()), (LLAMA, ("-ctk", "q8_0", "-ctv", "q4_0"))):
            kept, figures = self.read(document.rstrip(), "kept", *flags, gguf=gguf)
            self.assertEqual(figures["file"], kept)
            self.assertEqual(figures["bytes"], os.path.getsize(kept))
            before = self.bytes_of(kept)
            after = self.document("run", "-m", gguf, "-no-cnv", "--session", kept, "-p", question, *PLAIN)
            whole = self.document("run", "-m", gguf, "-no-cnv", "-p", document.rstrip() + question, *PLAIN, *flags)
            self.assertEqual(after["reused_tokens"], figures["tokens"])
            self.assertEqual(whole["reused_tokens"], 0)
            self.assertEqual(after["prompt_tokens"] + figures["tokens"], whole["prompt_tokens"], gguf)
            self.assertEqual(after["tokens"], whole["tokens"], (gguf, flags))
            self.assertEqual(after["attention"], flags[1] if "--attention" in flags else "dense")
            self.assertEqual(self.bytes_of(kept), before)

    def test_a_document_in_a_turn_is_completed_by_its_question(self):
        document = (TEXT * 20).rstrip()
        for name in ("chatml", "llama3", "mistral", "gemma"):
            chat = ("--chat-template", name)
            kept, figures = self.read(document + "\n\n", "kept", "--chat", *chat)
            self.assertEqual(self.document("inspect", kept, "--json")["ends"], "in a turn of the user, which is open")
            after = self.document("run", "-m", LLAMA, *chat, "--session", kept, "-p", "the inn", *PLAIN)
            whole = self.document("run", "-m", LLAMA, *chat, "-p", document + "\n\nthe inn", *PLAIN)
            self.assertTrue(after["chat"])
            self.assertEqual(after["reused_tokens"] + after["prompt_tokens"], whole["prompt_tokens"], name)
            self.assertEqual(after["tokens"], whole["tokens"], name)

    def test_saving_goes_on_where_a_conversation_was(self):
        kept, figures = self.read(TEXT * 5, "kept", "--chat", *CHAT)
        common = ("-m", LLAMA, *CHAT, "--temp", "0", "-n", "6", "-c", "4000", "--ignore-eos", "--session", kept)
        whole = self.ok("run", *common, stdin=b"the inn\nher tin\n").stdout
        first = self.ok("run", *common, "-st", "-p", "the inn", "--save")
        self.assertIn(b"reused %d tokens" % figures["tokens"], first.stderr)
        info = self.document("inspect", kept, "--json")
        self.assertEqual(info["ends"], "after an answer")
        self.assertGreater(info["tokens"], figures["tokens"] + 6)
        second = self.ok("run", *common, "-st", "-p", "her tin").stdout
        self.assertEqual(first.stdout + second, whole)

    def test_no_prompt_goes_on_with_the_text(self):
        text = (TEXT * 3).rstrip()
        kept, _ = self.read(text)
        after = self.document("run", "-m", LLAMA, "-no-cnv", "--session", kept, *PLAIN)
        whole = self.document("run", "-m", LLAMA, "-no-cnv", "-p", text, *PLAIN)
        self.assertEqual(after["tokens"], whole["tokens"])

    def test_what_does_not_fit_is_a_sentence_and_nothing_is_lost(self):
        kept, figures = self.read(TEXT * 3, "kept", "-ctk", "f16", "-ctv", "f16")
        before = self.bytes_of(kept)
        common = ("run", "-no-cnv", "--session", kept, "-p", "in", "-n", "1", "--save")
        self.fails(1, *common, "-m", model("llama_q8_0"), says=(kept, "another model", "llama_f32.gguf"))
        self.fails(1, *common, "-m", LLAMA, "--attention", "fovea", says=("shadow",))
        self.fails(1, *common, "-m", LLAMA, "-ctk", "q8_0", says=(kept, "keys are of type f16", "-ctk q8_0"))
        self.fails(1, *common, "-m", LLAMA, "-ctv", "f32", says=("values are of type f16", "-ctv f32"))
        self.fails(1, *common, "-m", LLAMA, "--exact-activations", says=("activations",))
        self.fails(1, *common, "-m", LLAMA, "-c", "16", says=("%d tokens" % (figures["tokens"] + 1), "holds 16"))
        self.fails(1, "run", "-no-cnv", "-m", LLAMA, "--session", self.path("none"), "-p", "in", says=("none", "open"))
        self.assertEqual(self.bytes_of(kept), before)
        self.document("run", "-no-cnv", "-m", LLAMA, "--session", kept, "-p", "in", "-n", "1", "--json",
                      "--attention", "window:window=16,sinks=4")

    def test_types_given_by_hand_are_the_file_s_or_an_error(self):
        kept, _ = self.read(TEXT * 3, "kept", "-ctk", "q8_0", "-ctv", "f16")
        common = ("run", "-no-cnv", "-m", LLAMA, "--session", kept, "-p", "in", "-n", "3", "--json", "--temp", "0")
        plain = self.document(*common)
        self.assertEqual((plain["key_type"], plain["value_type"]), ("q8_0", "f16"))
        self.assertEqual(self.document(*common, "-ctk", "q8_0", "-ctv", "f16")["tokens"], plain["tokens"])
        self.fails(1, *common, "-ctk", "f16", says=("keys are of type q8_0", "-ctk f16"))

    def test_types_that_nobody_names_are_the_file_s(self):
        question = ("run", "-no-cnv", "-m", LLAMA, "-n", "3", "--json", "--temp", "0")
        for held in ("f16", "bf16"):
            types = ("-ctk", held, "-ctv", held)
            kept, read = self.read(TEXT * 3, "kept", *types)
            named = self.document(*question, *types, "--session", kept, "-p", "in")
            cached = self.document(*question, *types, "--prompt-cache", self.path("cache-" + held), "-p", TEXT * 3)
            for isa in ("scalar", None):
                for flags in ((), ("-ctk", "auto", "-ctv", "auto")):
                    env = {"FV_ISA": isa} if isa else {}
                    went_on = self.document(*question, *flags, "--session", kept, "-p", "in", env=env)
                    self.assertEqual((held, held), (went_on["key_type"], went_on["value_type"]))
                    self.assertEqual(read["tokens"], went_on["reused_tokens"])
                    again = self.document(*question, *flags, "--prompt-cache", self.path("cache-" + held), "-p", TEXT * 3, env=env)
                    self.assertEqual((held, held), (again["key_type"], again["value_type"]))
                    self.assertEqual(cached["prompt_tokens"] + cached["reused_tokens"] - 1, again["reused_tokens"])
            self.assertEqual(named["tokens"], went_on["tokens"])
            self.assertEqual(cached["tokens"], again["tokens"])

    def test_noise_is_of_its_seed(self):
        kept, figures = self.read(TEXT * 20, "kept", "-ctk", "q4_0", "-ctv", "q8_0")
        before = self.bytes_of(kept)
        common = ("run", "-no-cnv", "-m", LLAMA, "--session", kept, "-p", "the inn", "-n", "40", "--json", "--temp", "0", "--ignore-eos", "-c", "4000")
        stored = self.document(*common)
        noisy = [self.document(*common, "--session-dither", str(seed)) for seed in (1, 1, 2)]
        self.assertEqual(noisy[0]["tokens"], noisy[1]["tokens"])
        self.assertEqual((noisy[0]["key_type"], noisy[0]["value_type"]), ("f16", "f16"))
        self.assertEqual(noisy[0]["reused_tokens"], figures["tokens"])
        self.assertNotEqual(noisy[0]["tokens"], noisy[2]["tokens"])
        self.assertNotEqual(noisy[0]["tokens"], stored["tokens"])
        self.assertEqual(self.document(*common, "--session-dither", "-1")["tokens"], stored["tokens"])
        self.assertEqual(self.document(*common, "--session-dither", "1", "-ctk", "f32", "-ctv", "f32")["key_type"], "f32")
        self.fails(1, *common, "--session-dither", "1", "-ctk", "q8_0", says=("q8_0", "no room for noise", "f32 or f16"))
        self.fails(2, "run", "-m", LLAMA, "--session-dither", "1", says=("--session-dither needs --session",))
        self.fails(2, *common, "--session-dither", "x", says=("--session-dither",))
        self.assertEqual(self.bytes_of(kept), before)

    def test_usage(self):
        self.fails(2, "read", "-m", LLAMA, "-o", "x", says=("-f",))
        self.fails(2, "read", "-m", LLAMA, "-f", "x", says=("-o",))
        self.fails(2, "run", "-m", LLAMA, "--save", says=("--session",))
        self.fails(2, "run", "-m", LLAMA, "--prompt-cache-ro", says=("--prompt-cache",))
        self.fails(2, "run", "-m", LLAMA, "--session", "a", "--prompt-cache", "b", says=("exclude",))
        self.fails(2, "run", "-m", LLAMA, "--session", "a", "-sys", "b", says=("-sys",))
        self.fails(1, "read", "-m", LLAMA, "-f", self.text, "-o", self.path("k"), "-c", "16", says=("holds 16", "-c"))
        self.assertFalse(os.path.exists(self.path("k")))
        self.fails(1, "read", "-m", LLAMA, "-f", self.text, "-c", "4000", "-o", self.path("no/folder"), says=("can't be written",))

    def test_an_interrupted_reading_leaves_no_file(self):
        with open(self.path("long"), "w") as file:
            file.write(TEXT * 3000)
        kept = self.path("kept")
        process = subprocess.Popen([FOVEA, "read", "-m", LLAMA, "-f", self.path("long"), "-o", kept, "-c", "200000", "-ub", "16"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("kept")], [])


class PromptCache(SessionTest):
    def run_cached(self, text, *flags):
        return self.document("run", "-m", LLAMA, "-no-cnv", "--prompt-cache", self.path("cache"), "-p", text, *PLAIN, *flags)

    def test_the_longest_common_beginning_is_reused_and_the_file_brought_up_to_date(self):
        text = TEXT * 30
        plain = self.document("run", "-m", LLAMA, "-no-cnv", "-p", text, *PLAIN)
        first = self.run_cached(text)
        self.assertEqual((first["reused_tokens"], first["tokens"]), (0, plain["tokens"]))
        made = self.bytes_of(self.path("cache"))
        again = self.run_cached(text)
        self.assertEqual((again["reused_tokens"], again["tokens"]), (plain["prompt_tokens"] - 1, plain["tokens"]))
        self.assertEqual(self.bytes_of(self.path("cache")), made)  # all of the prompt was in it
        changed = TEXT * 20 + "her tin " * 30
        other, wanted = self.run_cached(changed), self.document("run", "-m", LLAMA, "-no-cnv", "-p", changed, *PLAIN)
        self.assertEqual(other["tokens"], wanted["tokens"])
        self.assertTrue(0 < other["reused_tokens"] < other["prompt_tokens"] - 1)
        self.assertEqual(self.document("inspect", self.path("cache"), "--json")["tokens"], wanted["prompt_tokens"])

    def test_read_only_all_and_an_empty_prompt(self):
        text = TEXT * 4
        open(self.path("cache"), "w").close()  # an empty file is made, as one that is not there
        first = self.run_cached(text, "--prompt-cache-all", "--ignore-eos")
        info = self.document("inspect", self.path("cache"), "--json")
        self.assertEqual(info["tokens"], first["prompt_tokens"] + 10)
        before = self.bytes_of(self.path("cache"))
        self.run_cached("the inn", "--prompt-cache-ro", "--prompt-cache-all")
        self.assertEqual(self.bytes_of(self.path("cache")), before)
        longer = self.document("run", "-m", LLAMA, "-no-cnv", "--prompt-cache", self.path("cache"), *PLAIN)
        self.assertEqual(longer["prompt_tokens"], info["tokens"])
        self.assertEqual(longer["reused_tokens"], info["tokens"] - 1)

    def test_a_conversation_and_a_sliding_window(self):
        for gguf, flags in ((LLAMA, CHAT), (GEMMA, ("-no-cnv",))):
            cache = self.path("cache-%d" % (gguf == GEMMA))
            common = ("run", "-m", gguf, *flags, *PLAIN, "-p")
            cached = ("--prompt-cache", cache)
            for text in (TEXT * 60, TEXT * 60, TEXT * 2 + "her", TEXT * 59 + "tin"):
                plain, kept = self.document(*common, text), self.document(*common, text, *cached)
                self.assertEqual(plain["tokens"], kept["tokens"], (gguf, text[-8:]))

    def test_a_file_of_another_model_is_not_overwritten(self):
        self.run_cached(TEXT)
        before = self.bytes_of(self.path("cache"))
        self.fails(1, "run", "-m", model("llama_q8_0"), "-no-cnv", "--prompt-cache", self.path("cache"), "-p", TEXT, "-n", "1",
                   says=("another model",))
        with open(self.path("cache"), "wb") as file:
            file.write(b"something else that is longer than a header is" * 10)
        self.fails(1, "run", "-m", LLAMA, "-no-cnv", "--prompt-cache", self.path("cache"), "-p", TEXT, "-n", "1",
                   says=("no session file",))
        self.assertNotEqual(self.bytes_of(self.path("cache")), before)
        self.assertEqual(len(self.bytes_of(self.path("cache"))), 460)


class SessionFolder(SessionTest):
    def run_kept(self, text, *flags, gguf=LLAMA):
        return self.document("run", "-m", gguf, "-no-cnv", "--session-dir", self.path("store"), "-p", text, *PLAIN, *flags)

    def files(self):
        return sorted(os.listdir(self.path("store")))

    def test_prompts_that_begin_alike_share_what_was_read(self):
        text = TEXT * 80
        plain = self.document("run", "-m", LLAMA, "-no-cnv", "-p", text, *PLAIN)
        first = self.run_kept(text)
        self.assertEqual((first["reused_tokens"], first["tokens"]), (0, plain["tokens"]))
        self.assertEqual(len(self.files()), 1)
        again = self.run_kept(text)
        self.assertEqual((again["reused_tokens"], again["tokens"]), (plain["prompt_tokens"] // 1024 * 1024, plain["tokens"]))
        self.assertEqual(len(self.files()), 1)
        other = TEXT * 50 + "her thin tin " * 40
        self.assertEqual(self.run_kept(other)["tokens"], self.document("run", "-m", LLAMA, "-no-cnv", "-p", other, *PLAIN)["tokens"])
        self.assertGreaterEqual(self.run_kept(other)["reused_tokens"], 1024)
        for flags in (("--attention", "fovea"), ("-ctk", "q8_0")):
            self.assertEqual(self.run_kept(text, *flags)["reused_tokens"], 0)  # it would be another text
        self.assertEqual(self.run_kept(TEXT)["reused_tokens"], 0)
        with open(os.path.join(self.path("store"), self.files()[0]), "r+b") as file:
            file.seek(-5000, os.SEEK_END)
            file.write(b"damaged")
        self.assertEqual(self.run_kept(text)["tokens"], plain["tokens"])

    def test_the_limit(self):
        self.run_kept(TEXT * 60)
        size = os.path.getsize(os.path.join(self.path("store"), self.files()[0]))
        kept = self.files()
        self.run_kept("in " + TEXT * 60, "--session-limit", str(size // 2))  # no file of its own fits
        self.assertEqual(self.files(), kept)
        self.run_kept("on " + TEXT * 60, "--session-limit", str(size * 3 // 2))
        self.assertEqual(len(self.files()), 1)
        self.assertNotEqual(self.files(), kept)
        self.fails(2, "run", "-m", LLAMA, "--session-dir", "a", "--session", "b", says=("exclude",))
        self.fails(1, "run", "-m", LLAMA, "--session-dir", self.text, "-p", "in", says=("is no folder",))


class Inspect(SessionTest):
    def test_a_session_file(self):
        kept, figures = self.read(TEXT * 4, "kept", "--attention", "fovea:tail=codes", "-ctk", "f16")
        info = self.document("inspect", kept, "--json")
        self.assertEqual((info["kind"], info["version"], info["tokens"], info["whole"]), ("session", 1, figures["tokens"], True))
        self.assertEqual((info["key_type"], info["shadow"], info["tail"], info["model"]), ("f16", True, True, "llama_f32.gguf"))
        text = self.ok("inspect", kept).stdout.decode()
        for part in ("session, version 1", "whole", "llama_f32.gguf", "%d," % figures["tokens"], "fovea", "K f16", "a tail"):
            self.assertIn(part, text)

    def test_a_pipe_is_not_waited_for(self):
        os.mkfifo(self.path("pipe"))
        self.fails(1, "inspect", self.path("pipe"), says=("no regular file",), timeout=20)

    def test_a_damaged_file_is_shown_as_far_as_it_goes_and_fails(self):
        kept, _ = self.read(TEXT * 4)
        good = self.bytes_of(kept)
        for place, shown in ((40, False), (1000, False), (len(good) - 4096, True)):
            with open(kept, "wb") as file:
                file.write(good[:place] + bytes([good[place] ^ 1]) + good[place + 1:])
            done = run("inspect", kept, "--json")
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"damaged", done.stderr)
            self.assertEqual(b'"whole": false' in done.stdout, shown)
        with open(kept, "wb") as file:
            file.write(good[:-1])
        self.fails(1, "inspect", kept, says=("should have %d" % len(good),))


if __name__ == "__main__":
    cli_runner.main()
