#!/usr/bin/env python3
"""What the verbs do with the tiny models: results, JSON, limits, interruption, bad input.

Called as: verbs_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import cli_runner
from cli_runner import FOVEA, TEXT, CliTest, clean_environment, model, run
from tiny_gguf import TinyModel

LLAMA, GEMMA = model("llama_f32"), model("gemma3_f32")
CHAT = ("--chat-template", "chatml")


class Run(CliTest):
    def test_the_completion_follows_the_prompt_on_standard_output(self):
        done = self.ok("run", "-m", LLAMA, "-p", TEXT, "-n", "8", "--temp", "0")
        self.assertTrue(done.stdout.startswith(TEXT.encode()))
        self.assertTrue(done.stdout.endswith(b"\n"))
        bare = self.ok("run", "-m", LLAMA, "-p", TEXT, "-n", "8", "--temp", "0", "--no-display-prompt")
        self.assertEqual(TEXT.encode() + bare.stdout, done.stdout)

    def test_the_report(self):
        errors = self.ok("run", "-m", LLAMA, "-p", TEXT, "-n", "8").stderr.decode()
        for part in ("no chat template", "prompt: ", "decode: ", "tokens/s", "density 1.0000", "KV read per token",
                     "peak", "context: ", "attention: dense", "weights: ", "repacked", "stopped: ",
                     "decode keys: 0.0 % sinks, 0.0 % window, 0.0 % chosen, 100.0 % in rows that read all; time: 0.0 % choosing, "):
            self.assertIn(part, errors)

    def test_json(self):
        figures = self.document("run", "-m", LLAMA, "-p", TEXT, "-n", "8", "--temp", "0", "--json", "--ignore-eos")
        self.assertEqual(figures["generated_tokens"], 8)
        self.assertEqual(len(figures["tokens"]), 8)
        self.assertEqual(figures["prompt"]["tokens"], figures["prompt_tokens"])
        self.assertEqual(figures["decode"]["tokens"], 7)
        for phase in (figures["prompt"], figures["decode"]):
            self.assertEqual(phase["whole_keys"], phase["keys_read"])
            self.assertEqual(phase["sink_keys"] + phase["window_keys"] + phase["selected_keys"], 0)
            spent = phase["choose_ns"] + phase["read_ns"] + phase["product_ns"] + phase["other_ns"]
            self.assertTrue(0 < phase["read_ns"] < spent <= 1.1e9 * phase["seconds"] * figures["threads"])
        self.assertEqual(figures["stop"], "limit")
        self.assertEqual(figures["density"], 1)
        self.assertGreater(figures["bytes_per_token"], 0)
        self.assertGreater(figures["peak_memory_bytes"], 0)
        self.assertEqual(figures["context_tokens"], figures["prompt_tokens"] + 8)
        self.assertEqual(figures["training_context_tokens"], 256)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "there is one processor")
    def test_threads_follow_the_processors_that_may_be_used(self):
        one = min(os.sched_getaffinity(0))
        done = subprocess.run([FOVEA, "run", "-m", LLAMA, "-p", "ab", "-n", "2", "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=clean_environment(),
                              preexec_fn=lambda: os.sched_setaffinity(0, {one}))
        figures = json.loads(done.stdout)
        self.assertEqual((1, 1, "affinity"), (figures["threads"], figures["processors"], figures["processors_by"]))
        self.assertRegex(done.stderr.decode(), r"1 thread; 1 of %d processors \(affinity\)" % figures["processors_online"])

    def test_inspect_says_what_fits(self):
        memory = self.document("inspect", LLAMA, "-c", "1000000000", "--json")["memory"]
        self.assertTrue(0 < memory["fitting_tokens"] < 1000000000)
        self.assertGreater(memory["usable_bytes"], 0)
        self.assertIn("%d of the tokens fit" % 256, self.ok("inspect", LLAMA).stdout.decode())

    def test_a_context_beyond_memory_is_foreseen(self):
        done = run("run", "-m", LLAMA, "-p", "ab", "-n", "1", "-c", "1000000000")
        self.assertRegex(done.stderr.decode(), r"a full context of 1000000000 tokens would take \d+\.\d MiB .* about \d+ tokens fit")

    def test_long_contexts_are_chosen_from_unless_told_otherwise(self):
        chosen = "fovea:budget=0.12,floor=128,floor-share=0.25"
        for flags, attention in (((), "dense"), (("-c", "4096"), "dense"), (("-c", "8192"), chosen),
                                 (("-c", "8192", "--attention", "dense"), "dense")):
            self.assertEqual(attention, self.document("run", "-m", LLAMA, "-p", "ab", "-n", "1", "--json", *flags)["attention"])
        with tempfile.TemporaryDirectory() as folder:  # whoever goes on after a file goes on as it began
            path, text = os.path.join(folder, "x.fovea"), os.path.join(folder, "x.txt")
            with open(text, "w", encoding="utf-8") as file:
                file.write("ab " * 3500)
            self.ok("read", "-m", LLAMA, "-f", text, "-c", "8192", "-o", path)
            going_on = self.document("run", "-m", LLAMA, "--session", path, "-p", "ab", "-n", "1", "-c", "16384", "--json")
            self.assertEqual(chosen, going_on["attention"])

    def test_the_file_s_sampling_counts_below_flags(self):
        with tempfile.TemporaryDirectory() as folder:
            tiny = TinyModel().set("general.sampling.temp", 0.25).set("general.sampling.top_k", (5, "<i", 7))
            path = tiny.write(os.path.join(folder, "m.gguf"))
            common = ("run", "-m", path, "-p", "ab", "-n", "1", "-t", "1", "--top-p", "0.5")
            sampling = self.document(*common, "--json", "--temp", "0.8", env={"LLAMA_ARG_MIN_P": "0.125"})["sampling"]
            self.assertEqual({"temp": ("flag", 0.8), "top_k": ("file", 7), "top_p": ("flag", 0.5), "min_p": ("flag", 0.125),
                              "penalty_repeat": ("default", 1), "penalty_last_n": ("default", 64)},
                             {name: (one["from"], round(one["value"], 6)) for name, one in sampling.items()})
            self.assertIn(b"sampling: temp 0.25 (file), top_k 7 (file), top_p 0.5 (flag), min_p 0.05 (default)",
                          self.ok(*common).stderr)

    def test_verbose(self):
        done = self.ok("run", "-m", LLAMA, "-p", "in the", "-n", "1", "-v", "--verbose-prompt").stderr.decode()
        for part in ("note: model: llama, ", "note: tokenizer: ", "note: processor: ", "note: memory: ", "note: weights: "):
            self.assertIn(part, done)
        count = self.document("tokenize", "-m", LLAMA, "-p", "in the", "--json")["count"]
        self.assertIn("number of tokens in prompt = %d\n" % count, done)
        self.assertEqual(count, len(re.findall(r"^ *\d+ -> '.*'$", done, re.M)))

    def test_repacking_changes_bytes_and_not_the_text(self):
        common = ("run", "-m", model("llama_q4_k"), "-p", TEXT, "-n", "8", "--temp", "0", "--json")
        on, off = (self.document(*common, "--repack", mode) for mode in ("on", "off"))
        self.assertEqual(on["tokens"], off["tokens"])
        self.assertEqual(off["repacked_bytes"], 0)
        self.assertGreater(on["repacked_bytes"], 0)
        self.assertLessEqual(on["repacked_bytes"], on["weight_bytes"])
        for arguments, env, wanted in ((("--repack",), {}, on), (("--no-repack",), {}, off), (("-nr",), {}, off),
                                       ((), {"LLAMA_ARG_REPACK": "0"}, off), ((), {"LLAMA_ARG_REPACK": "1"}, on),
                                       ((), {"LLAMA_ARG_NO_REPACK": "1"}, off), ((), {"LLAMA_ARG_NO_REPACK": ""}, on), (("--repack=auto",), {}, on)):
            seen = self.document(*common, *arguments, env=env)
            self.assertEqual(seen["repacked_bytes"], wanted["repacked_bytes"], (arguments, env))
        for mode, wanted in (("on", on), ("off", off)):
            memory = self.document("inspect", model("llama_q4_k"), "--json", "--repack", mode)["memory"]
            self.assertEqual(memory["repacked_bytes"], wanted["repacked_bytes"])
        self.fails(2, "run", "--repack=maybe", says=("--repack takes one of: auto on off", "'maybe'"))

    def test_threads_and_batches_do_not_change_the_text(self):
        common = ("run", "-m", LLAMA, "-p", TEXT * 2, "-n", "12", "--temp", "0", "--json")
        texts = {tuple(self.document(*common, "-t", threads, "-ub", batch)["tokens"])
                 for threads in ("1", "3") for batch in ("1", "7", "512")}
        self.assertEqual(len(texts), 1)

    def test_guesses_show_in_the_report_and_not_in_the_text(self):
        prompt = "the rain in the inn on the ring " * 12
        for sampling in (("--temp", "0"), ("--temp", "0.2", "-s", "7"), ("--temp", "0", "--attention", "fovea:budget=0.3")):
            arguments = ("run", "-m", LLAMA, "-p", prompt, "-n", "60", "--ignore-eos", "--repeat-penalty", "0.3", *sampling,
                         "--json")
            guessing, plain = (self.document(*arguments, "--lookup", count) for count in ("15", "0"))
            self.assertEqual(guessing["tokens"], plain["tokens"])
            self.assertEqual(guessing["decode"]["tokens"], plain["decode"]["tokens"])
            self.assertEqual(plain["guessed_tokens"], 0)
            self.assertTrue(0 < guessing["right_guesses"] <= guessing["guessed_tokens"], guessing)
        self.assertRegex(self.ok(*arguments[:-1], "--lookup", "8").stderr.decode(), r"lookup: \d+ of \d+ guesses were right")
        self.assertEqual(run("run", "-m", LLAMA, "-p", "x", "--lookup", "16").returncode, 2)

    def test_a_seed_repeats_the_text(self):
        common = ("run", "-m", LLAMA, "-p", TEXT, "-n", "12", "--temp", "1.5", "--json")
        first, again, other = (self.document(*common, "-s", seed)["tokens"] for seed in ("7", "7", "8"))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_a_full_context_stops_and_says_so(self):
        done = self.ok("run", "-m", LLAMA, "-p", TEXT, "-c", "64", "--ignore-eos")
        self.assertIn(b"the context is full", done.stderr)
        figures = self.document("run", "-m", LLAMA, "-p", TEXT, "-c", "64", "--ignore-eos", "--json")
        self.assertEqual(figures["stop"], "context")
        self.assertEqual(figures["used_tokens"], 64)

    def test_a_prompt_that_does_not_fit_gives_both_numbers(self):
        tokens = self.document("tokenize", "-m", LLAMA, "-p", TEXT, "--json")["count"]
        self.fails(1, "run", "-m", LLAMA, "-p", TEXT, "-c", "16", says=("%d tokens" % tokens, "holds 16"))
        self.ok("run", "-m", LLAMA, "-p", TEXT, "-c", str(tokens), "-n", "1")

    def test_a_context_above_the_training_context_warns(self):
        done = self.ok("run", "-m", LLAMA, "-p", "ab", "-n", "1", "-c", "300")
        self.assertIn(b"warning", done.stderr)
        self.assertIn(b"256", done.stderr)

    def test_text_that_is_not_utf8_warns_with_its_place(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"in the \xff inn\n")
            file.flush()
            done = self.ok("run", "-m", LLAMA, "-f", file.name, "-n", "2")
            self.assertIn(b"byte 7 is 0xFF", done.stderr)
            self.assertTrue(done.stdout.startswith(b"in the \xff inn"))

    def test_the_prompt_from_standard_input_and_escapes(self):
        piped = self.ok("run", "-m", LLAMA, "-f", "-", "-n", "0", stdin=b"in\nthe\n").stdout
        self.assertEqual(piped, b"in\nthe\n")  # one newline dropped, one written after the text
        self.assertEqual(self.ok("run", "-m", LLAMA, "-p", "a\\nb", "-n", "0").stdout, b"a\\nb\n")
        self.assertEqual(self.ok("run", "-m", LLAMA, "-e", "-p", "a\\nb\\x41\\q", "-n", "0").stdout, b"a\nbA\\q\n")

    def test_only_a_file_loses_its_last_newline(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"in the rain\n\n")
            file.flush()
            from_file = self.ok("run", "-m", LLAMA, "-f", file.name, "-n", "0").stdout
        self.assertEqual(from_file, b"in the rain\n\n")  # one of its own, one after the answer
        self.assertEqual(self.ok("run", "-m", LLAMA, "-p", "in the rain\n", "-n", "0").stdout, b"in the rain\n\n")

    def test_sparse_attention_reads_less(self):
        figures = self.document("run", "-m", LLAMA, "-p", TEXT * 3, "-n", "4", "--json", "--ignore-eos", "--attention",
                                "window:window=16,sinks=4")
        self.assertLess(figures["density"], 0.5)
        self.assertEqual(figures["decode"]["sink_keys"] + figures["decode"]["window_keys"], figures["decode"]["keys_read"])
        self.assertEqual(4 * figures["decode"]["sink_keys"], figures["decode"]["window_keys"])

    def test_a_certificate_is_of_prompt_and_answer(self):
        """A prompt that sinks and window cover leaves nothing unread: the worst row is one of the answer's."""
        done = self.ok("run", "-m", LLAMA, "-p", "in the rain", "-n", "120", "--temp", "0", "--ignore-eos", "--json",
                       "--attention", "fovea:budget=0.3,window=16,sinks=16,dense-below=0,certificate=on")
        decode = json.loads(done.stdout)["decode"]
        self.assertGreater(decode["certificate_estimate"], 0.001)
        self.assertIn("of the worst row and head: %.4f by estimate" % decode["certificate_estimate"], done.stderr.decode())

    def test_every_cache_type(self):
        for kind in ("f32", "f16", "q8_0"):
            figures = self.document("run", "-m", LLAMA, "-p", TEXT, "-n", "2", "--json", "-ctk", kind, "-ctv", kind)
            self.assertEqual(figures["key_type"], kind)

    def test_every_tiny_model_runs(self):
        for name in sorted(os.listdir(cli_runner.MODELS)):
            if name.endswith(".gguf"):
                self.ok("run", "-m", os.path.join(cli_runner.MODELS, name), "-p", TEXT[:30], "-n", "3")


class Conversation(CliTest):
    def test_needs_a_template(self):
        self.fails(1, "run", "-m", LLAMA, "-p", "x", "-cnv", says=("no chat template", "--chat-template"))
        self.fails(1, "run", "-m", LLAMA, "-p", "x", "-sys", "y", says=("-sys",))
        self.fails(2, "run", "-m", LLAMA, "-p", "x", "--chat-template", "alpaca", says=("alpaca", "chatml"))

    def test_a_prompt_without_a_terminal_is_one_turn(self):
        figures = self.document("run", "-m", LLAMA, "-p", "in", "-n", "4", "--json", *CHAT)
        self.assertTrue(figures["chat"])
        self.assertEqual(figures["context_tokens"], figures["prompt_tokens"] + 4)  # no room for further turns
        self.ok("run", "-m", LLAMA, "-p", "in", "-n", "4", *CHAT, stdin=b"more\nand more\n")

    def test_escapes_in_turns(self):
        arguments = ("run", "-m", LLAMA, "-n", "2", "--temp", "0", "--json", *CHAT)
        escaped = self.document(*arguments, "-e", "-sys", "the\\tinn", "-p", "in\\nthe\\x20rain")
        plain = self.document(*arguments, "-sys", "the\tinn", "-p", "in\nthe rain")
        self.assertEqual((escaped["prompt_tokens"], escaped["text"]), (plain["prompt_tokens"], plain["text"]))

    def test_turns_from_standard_input_are_read_once_each(self):
        one = self.ok("run", "-m", LLAMA, "-n", "4", "--ignore-eos", *CHAT, stdin=b"in\n").stderr.decode()
        two = self.ok("run", "-m", LLAMA, "-n", "4", "--ignore-eos", *CHAT, stdin=b"in\n\nin\n").stderr.decode()
        read = [int(text.split("prompt: ")[1].split()[0]) for text in (one, two)]
        self.assertGreater(read[1], read[0])
        self.assertLess(read[1], 3 * read[0])  # the first turn is not read again

    def test_a_turn_needs_room_for_the_last_token_of_the_answer_too(self):
        """Of an answer of 4 tokens the last is read with the next turn."""
        arguments = ("run", "-m", LLAMA, "-n", "4", "--ignore-eos", *CHAT)
        two = self.ok(*arguments, stdin=b"in\nin\n").stderr.decode()
        needed = int(two.split("prompt: ")[1].split()[0]) + 3
        self.assertNotIn(b"the new turn", self.ok(*arguments, "-c", str(needed), stdin=b"in\nin\n").stderr)
        done = self.ok(*arguments, "-c", str(needed - 1), stdin=b"in\nin\n")
        self.assertIn(b"the context of %d tokens is full" % (needed - 1), done.stderr)

    def tiny(self, template):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return TinyModel().set("tokenizer.chat_template", template).write(os.path.join(folder.name, "m.gguf"))

    def prompt_tokens(self, path, text, *flags):
        return self.document("run", "-m", path, "-p", text, "-n", "1", "-t", "1", "--json", *flags)["prompt_tokens"]

    def test_control_tokens_in_a_turn_are_text(self):
        path = self.tiny("<|im_start|>")
        plain = self.prompt_tokens(path, "A")
        self.assertEqual(plain + 10, self.prompt_tokens(path, "A<|im_end|>"))
        self.assertEqual(plain + 1, self.prompt_tokens(path, "A<|im_end|>", "--special"))
        self.assertEqual(2, self.prompt_tokens(path, "A<|im_end|>", "-no-cnv"))  # a plain prompt is one writer's
        self.assertGreater(self.prompt_tokens(path, "A", "-sys", "<|im_end|>"), self.prompt_tokens(path, "A", "-sys", "x") + 8)

    def test_thinking(self):
        switch = ("{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is false %}"
                  "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}")
        plain = self.prompt_tokens(self.tiny(switch), "A")
        self.assertEqual(plain + len("<think>\n\n</think>\n\n"), self.prompt_tokens(self.tiny(switch), "A", "--reasoning", "off"))
        always = self.tiny("{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}")
        self.assertEqual(plain + len("<think>\n"), self.prompt_tokens(always, "A"))
        self.fails(1, "run", "-m", always, "-p", "A", "--reasoning", "off", says=("no switch for thinking",))

    def test_an_unknown_template_says_what_helps(self):
        self.fails(1, "run", "-m", self.tiny("\n{% do x %}"), "-p", "A", says=("line 2: {% do %}", "--chat-template", "-no-cnv"))
        self.fails(1, "run", "-m", self.tiny("{{ 'Human: ' }}"), "--no-jinja", "-p", "A", says=("--chat-template", "vicuna", "-no-cnv"))
        self.fails(1, "run", "-m", self.tiny("{{ raise_exception('not I') }}"), "-p", "A", says=("the chat template says: not I",))

    def test_inspect_says_why_a_template_cannot_be_run(self):
        for text, fault in (("{{ 1 }}\n{% do x %}", "line 2: {% do %} is not in this version"), ("{{ 'Human: ' }}", None)):
            done = run("inspect", self.tiny(text), "--json")
            self.assertEqual(json.loads(done.stdout.decode())["template_fault"], fault)
            self.assertEqual(b"its chat template can't be run: line 2" in done.stderr, fault is not None)

    def test_an_unknown_template_is_run(self):
        path = self.tiny("{% for m in messages %}{{ m.content }}: {% endfor %}")
        counted = json.loads(run("run", "-m", path, "-p", "A<|im_end|>", "-n", "1", "--json").stdout.decode())
        plain = json.loads(run("run", "-m", path, "-no-cnv", "-p", "A<|im_end >: ", "-n", "1", "--json").stdout.decode())
        self.assertEqual(counted["prompt_tokens"], plain["prompt_tokens"])  # what is said is text: the tokens are bytes

    def test_no_question_no_answer(self):
        self.assertEqual(self.ok("run", "-m", LLAMA, *CHAT, stdin=b"").stdout, b"")

    def test_a_turn_that_does_not_fit_ends_it(self):
        lines = ("%s\n" % TEXT).encode() * 9
        done = self.ok("run", "-m", LLAMA, "-c", "200", "-n", "4", *CHAT, stdin=lines)
        self.assertIn(b"the context of 200 tokens is full", done.stderr)

    def test_a_zero_byte_is_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"a\0b")
            file.flush()
            self.fails(1, "run", "-m", LLAMA, "-f", file.name, *CHAT, says=("byte 1", "-no-cnv"))
            self.ok("run", "-m", LLAMA, "-f", file.name, "-n", "1", "-no-cnv")


class Interruption(CliTest):
    def start(self, *arguments, **options):
        return subprocess.Popen([FOVEA, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=clean_environment(), **options)

    def test_ctrl_c_prints_the_report_so_far(self):
        for seconds in (1, 4, 16, 64): # until it has measured something, on any machine
            program = self.start("bench", "attention", "--tokens", "512", "--layers", "2", "-r", "100000", "--json",
                                 stdin=subprocess.DEVNULL)
            time.sleep(seconds)
            program.send_signal(signal.SIGINT)
            out, _ = program.communicate(timeout=60)
            self.assertEqual(program.returncode, 130)
            if out:
                break
        self.assertGreater(json.loads(out)["median_ns"], 0)

    def test_ctrl_c_ends_a_completion(self):
        # a context far above the training context: the text would go on for long
        program = self.start("run", "-m", LLAMA, "-p", TEXT, "-c", "400000", "--ignore-eos", "--no-display-prompt",
                             stdin=subprocess.DEVNULL)
        program.stdout.read(64)
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=60)
        self.assertEqual(program.returncode, 130)
        self.assertIn(b"decode: ", errors)
        self.assertIn(b"stopped: interrupted", errors)

    def test_a_closed_pipe_ends_quietly(self):
        program = self.start("run", "-m", LLAMA, "-p", TEXT, "-c", "400000", "--ignore-eos", stdin=subprocess.DEVNULL)
        program.stdout.read(1)
        program.stdout.close()
        errors = program.stderr.read()
        program.stderr.close()
        self.assertEqual(program.wait(timeout=60), 1)
        self.assertNotIn(b"error", errors)

    def read_until(self, terminal, wanted, seconds=30):
        seen, end = b"", time.time() + seconds
        while wanted not in seen and time.time() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 4096)
        self.assertIn(wanted, seen)
        return seen

    def drain(self, file):
        """What is there already: the answers before this one."""
        while select.select([file], [], [], 0)[0] and os.read(file, 4096):
            pass

    def take(self, file, count):
        while count > 0:
            count -= len(os.read(file, count))

    def converse(self):
        try:
            ours, theirs = pty.openpty()
        except OSError as error:  # a plain chroot has no /dev/pts
            self.skipTest("no pseudo-terminal here: %s" % error)
        program = self.start("run", "-m", LLAMA, "-c", "400000", "--ignore-eos", *CHAT, stdin=theirs)
        os.close(theirs)
        return program, ours

    def test_ctrl_c_gives_the_prompt_back_and_ends_there(self):
        program, terminal = self.converse()
        try:
            self.read_until(program.stderr.fileno(), b"> ")
            for _ in range(2):
                self.drain(program.stdout.fileno())
                os.write(terminal, b"in the inn\n")
                self.take(program.stdout.fileno(), 64)  # it is answering
                program.send_signal(signal.SIGINT)
                self.read_until(program.stderr.fileno(), b"> ")
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=60)
            self.assertEqual(program.returncode, 130)
            self.assertIn(b"decode: ", errors)
        finally:
            program.kill()
            os.close(terminal)

    def test_end_of_input_ends_a_conversation(self):
        program, terminal = self.converse()
        try:
            self.read_until(program.stderr.fileno(), b"> ")
            os.write(terminal, b"\x04")
            program.communicate(timeout=60)
            self.assertEqual(program.returncode, 0)
        finally:
            program.kill()
            os.close(terminal)


class Perplexity(CliTest):
    FIELDS = ["attention", "model", "pass", "tokens", "scored", "ppl", "kl", "top1", "density", "bytes_per_token",
              "mass", "seconds"]

    def measure(self, *arguments):
        return self.document("ppl", "-m", LLAMA, "-p", TEXT * 6, "--json", *arguments)

    def test_lines_of_llama_perplexity(self):
        text = self.ok("ppl", "-m", LLAMA, "-p", TEXT * 6, "-c", "64", "--chunks", "2").stdout.decode()
        self.assertRegex(text, r"^\[1\]\d+\.\d{4},\[2\]\d+\.\d{4},\nFinal estimate: PPL = \d+\.\d{4} \+/- \d+\.\d{5}\n$")

    def test_json(self):
        rows = self.measure("-c", "64", "--chunks", "2", "--attention", "window:window=8,sinks=2", "--attention",
                            "pattern:window=8,block=16")
        self.assertEqual([row["attention"] for row in rows],
                         ["dense", "window:window=8,sinks=2", "pattern:window=8,block=16"])
        for row in rows:
            self.assertEqual([key for key in row if key in self.FIELDS], self.FIELDS)
            self.assertEqual((row["tokens"], row["scored"], row["pass"], row["mass"]), (128, 62, "prompt", None))
        self.assertEqual((rows[0]["kl"], rows[0]["top1"], rows[0]["density"]), (0, 1, 1))
        for row in rows[1:]:
            self.assertGreater(row["kl"], 0)
            self.assertLess(row["density"], 1)

    def test_the_table_has_the_figures_of_json(self):
        arguments = ("-c", "64", "--chunks", "2", "--attention", "window:window=8,sinks=2", "--mass")
        rows = self.measure(*arguments)
        text = self.ok("ppl", "-m", LLAMA, "-p", TEXT * 6, *arguments).stdout.decode()
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n") if line.startswith("| ")][2:]
        self.assertEqual(len(lines), 2)
        for cells, row in zip(lines, rows):
            self.assertEqual(cells[:7] + cells[8:], [
                row["attention"], "%.4f" % row["ppl"], "%+.2f %%" % (100 * (row["ppl"] / rows[0]["ppl"] - 1)), "%.5f" % row["kl"],
                "%.2f %%" % (100 * row["top1"]), "%.2f %%" % (100 * row["density"]), "%.0f" % row["bytes_per_token"],
                "%.2f %%" % (100 * row["mass"])])

    def test_both_passes_agree_where_nothing_is_left_out(self):
        prompt = self.measure("-c", "64", "--attention", "window:window=64")
        decode = self.measure("-c", "64", "--attention", "window:window=64", "--pass", "decode")
        self.assertEqual(decode[0]["pass"], "decode")
        self.assertEqual(prompt[0]["ppl"], decode[0]["ppl"])
        for rows in (prompt, decode):
            self.assertEqual(rows[1]["density"], 1)
            self.assertLess(rows[1]["kl"], 1e-9)

    def test_batches_do_not_change_the_figures(self):
        self.assertEqual(len({self.measure("-c", "64", "-ub", batch)[0]["ppl"] for batch in ("1", "5", "64")}), 1)

    def test_skip_and_score(self):
        self.assertEqual(self.measure("-c", "64", "--chunks", "1", "--score", "10")[0]["scored"], 10)
        self.assertNotEqual(self.measure("-c", "64", "--skip", "3")[0]["ppl"], self.measure("-c", "64")[0]["ppl"])

    def test_a_short_text_gives_both_numbers(self):
        self.fails(1, "ppl", "-m", LLAMA, "-p", "ab", "-c", "64", says=("2 tokens", "64"))


class Bench(CliTest):
    FIELDS = ("build_commit build_number cpu_info gpu_info backends model_filename model_type model_size model_n_params "
              "n_batch n_ubatch n_threads type_k type_v n_gpu_layers n_prompt n_gen n_depth test_time avg_ns stddev_ns "
              "avg_ts stddev_ts attn density samples_ns samples_ts").split()

    def test_json(self):
        rows = self.document("bench", "-m", LLAMA, "-p", "8,16", "-n", "4", "-d", "0,32", "-r", "2", "-o", "json")
        self.assertEqual([(row["n_prompt"], row["n_gen"], row["n_depth"]) for row in rows],
                         [(8, 0, 0), (16, 0, 0), (0, 4, 0), (8, 0, 32), (16, 0, 32), (0, 4, 32)])
        for row in rows:
            self.assertEqual([key for key in row if key in self.FIELDS], self.FIELDS)
            self.assertEqual(len(row["samples_ns"]), 2)
            self.assertGreater(row["avg_ts"], 0)
        once = self.document("bench", "-m", LLAMA, "-p", "8,16", "-n", "4", "-d", "0,32", "-r", "1", "-o", "json")
        self.assertEqual([row["kv_read"] for row in once], [row["kv_read"] for row in rows])

    def test_markdown(self):
        lines = self.ok("bench", "-m", LLAMA, "-p", "8", "-n", "4", "-d", "32", "-r", "1").stdout.decode().split("\n")
        self.assertIn("t/s", lines[0])
        self.assertIn(" pp8 @ d32 |", lines[2])
        self.assertIn(" tg4 @ d32 |", lines[3])

    def test_csv_and_lists(self):
        lines = self.ok("bench", "-m", LLAMA, "-p", "4-16*2", "-n", "0", "-t", "1,2", "-r", "1", "-o", "csv", "-ctk",
                        "f16,q8_0").stdout.decode().strip().split("\n")
        self.assertEqual(len(lines), 1 + 3 * 2 * 2)
        self.assertTrue(lines[0].startswith("build_commit,build_number,"))
        self.assertEqual({line.count('","') for line in lines[1:]}, {lines[0].count(",")})

    def test_a_micro_batch_is_no_larger_than_its_batch(self):
        rows = self.document("bench", "-m", LLAMA, "-p", "8", "-n", "0", "-r", "1", "-b", "4,64", "-ub", "16", "-o", "json")
        self.assertEqual([(row["n_batch"], row["n_ubatch"]) for row in rows], [(4, 4), (64, 16)])

    def test_pairs_and_threads(self):
        rows = self.document("bench", "-m", LLAMA, "-p", "0", "-n", "0", "-pg", "8,2", "-pg", "4,3", "-t", "1,2", "-r", "1", "-o", "json")
        self.assertEqual([(row["n_threads"], row["n_prompt"], row["n_gen"]) for row in rows],
                         [(1, 8, 2), (1, 4, 3), (2, 8, 2), (2, 4, 3)])

    def bench(self, *flags):
        return self.ok("bench", "-m", LLAMA, "-p", "8", "-n", "0", "-r", "1", "-t", "1", *flags)

    def test_every_flag_of_llama_bench(self):
        for flags in (("-fa", "0,1"), ("-fa", "on"), ("-ngl", "0,99"), ("-sm", "none"), ("-mg", "0"), ("-lm", "mmap"),
                      ("-nkvo", "0,1"), ("-nopo", "0"), ("-ts", "1/1"), ("--no-host", "0"), ("-mmp", "0,1"), ("-dio", "0"),
                      ("-ncmoe", "0"), ("-ot", "a=CPU"), ("-dev", "none"), ("-fitt", "1024"), ("-fitc", "4096"),
                      ("--numa", "distribute"), ("--offline",)):
            self.assertIn("note: %s has no effect" % flags[0], self.bench(*flags).stderr.decode(), flags)
        for flags in (("-embd", "0"), ("--repack", "1"), ("-C", "0x0"), ("--cpu-strict", "0"), ("--poll", "0"), ("--delay", "0"),
                      ("--prio", "0"), ("-v",), ("--progress",), ("--no-warmup",)):
            self.assertNotIn("has no effect", self.bench(*flags).stderr.decode(), flags)
        self.fails(2, "bench", "-m", LLAMA, "-embd", "0,1", says=("-embd 1", "no embeddings"))
        self.assertEqual(b"Available devices:\n  (none)\n", self.ok("bench", "--list-devices").stdout)

    def test_threads_are_placed_by_lists(self):
        mask = "0x%x" % (1 << min(os.sched_getaffinity(0)))
        rows = self.document("bench", "-m", LLAMA, "-p", "8", "-n", "0", "-r", "1", "-t", "1", "-C", "0x0," + mask,
                             "--cpu-strict", "0,1", "--poll", "0,100", "-o", "json")
        self.assertEqual([(m, s, p) for m in ("0x0", mask) for s in (False, True) for p in (0, 100)],
                         [(row["cpu_mask"], row["cpu_strict"], row["poll"]) for row in rows])
        self.fails(2, "bench", "-m", LLAMA, "-C", "1,g", says=("-C takes", "'g'"))
        self.fails(2, "bench", "-m", LLAMA, "--poll", "101", says=("--poll",))

    def test_sql_and_a_second_output(self):
        done = self.bench("-o", "sql", "-oe", "jsonl", "-ctk", "f16")
        base = sqlite3.connect(":memory:")
        base.row_factory = sqlite3.Row
        base.executescript(done.stdout.decode())
        rows = [dict(row) for row in base.execute("SELECT * FROM llama_bench")]
        self.assertEqual((1, 8, 0, "f16"), (len(rows), rows[0]["n_prompt"], rows[0]["n_gen"], rows[0]["type_k"]))
        figures = json.loads(done.stderr.decode().strip().split("\n")[-1])
        self.assertAlmostEqual(rows[0]["avg_ts"], figures["avg_ts"], delta=1e-6 * figures["avg_ts"])

    def test_a_delay_is_waited_for_between_tests(self):
        began = time.monotonic()
        self.ok("bench", "-m", LLAMA, "-p", "8", "-n", "4", "-r", "1", "-t", "1", "--delay", "1")
        self.assertGreater(time.monotonic() - began, 1)

    def test_share_of_the_limit(self):
        for row in self.document("bench", "-m", LLAMA, "-p", "8", "-n", "4", "-t", "1,2", "-r", "2", "-o", "json"):
            self.assertIn(row["limit"], ("compute", "memory"))
            for name in ("limit_share", "peak_gflops", "peak_gb_per_s"):
                self.assertGreater(row[name], 0)

    def test_machine(self):
        seen = self.document("bench", "machine", "-t", "2", "--json")
        self.assertEqual([column["threads"] for column in seen["measured"]], [1, 2])
        for column in seen["measured"]:
            for name in ("f32_gflops", "l1_gb_per_s", "l2_gb_per_s", "l3_gb_per_s", "dram_gb_per_s"):
                self.assertGreater(column[name], 0)
        scalar = self.document("bench", "machine", "-t", "1", "--json", env={"FV_ISA": "scalar"})
        self.assertEqual((scalar["isa"], len(scalar["measured"])), ("scalar", 1))
        self.assertIsNone(scalar["measured"][0]["int8_gops"])  # no loop of plain C stands for an instruction
        self.fails(1, "bench", "machine", env={"FV_ISA": "mmx"}, says=("FV_ISA=mmx",))
        self.assertIn("f32 multiply-add", self.ok("bench", "machine", "-t", "1").stdout.decode())

    def test_attention_of_the_core_alone(self):
        for pass_name in ("prefill", "decode"):
            for spec in ("dense", "window:window=32", "pattern:block=16,window=8"):
                row = self.document("bench", "attention", "--heads", "4", "--kv-heads", "2", "--head-dim", "24",
                                    "--layers", "3", "--tokens", "100", "--pass", pass_name, "--kv-type", "q8_0",
                                    "--attention", spec, "-r", "2", "--json")
                self.assertEqual((row["pass"], row["attention"], row["kv_type"]), (pass_name, spec, "q8_0"))
                self.assertLessEqual(row["min_ns"], row["median_ns"])
                self.assertEqual(row["choose_ns"], 0)
                self.assertGreater(row["read_ns"], 0)
                self.assertGreater(row["peak_gflops"], 0)
                self.assertGreater(row["peak_gb_per_s"], 0)
                if spec == "dense":
                    self.assertEqual(row["keys_read"], 2 * (100 if pass_name == "decode" else 5050))


class Inspect(CliTest):
    def test_text(self):
        text = self.ok("inspect", LLAMA, "-c", "128").stdout.decode()
        for part in ("GGUF version 3", "architecture: llama, supported", "llama.context_length", "token_embd.weight",
                     "first 8 of 304", "memory for a context of 128 tokens"):
            self.assertIn(part, text)

    def test_parts_of_the_memory_add_up(self):
        text = self.ok("inspect", LLAMA, "-c", "100000").stdout.decode().split("\nmemory for ")[1]
        mib = {line.split()[0]: float(line.split()[1]) for line in text.strip().split("\n")[1:]}
        self.assertAlmostEqual(mib["cache"], mib["keys"] + mib["values"], delta=0.11)
        self.assertAlmostEqual(mib["together"], mib["weights"] + mib["cache"] + mib["scratch"], delta=0.16)

    def test_json(self):
        seen = self.document("inspect", "-m", GEMMA, "--json", "-c", "128")
        self.assertTrue(seen["supported"])
        self.assertEqual(seen["architecture"], "gemma3")
        self.assertEqual(seen["file_bytes"], os.path.getsize(GEMMA))
        self.assertEqual(seen["memory"]["context_tokens"], 128)
        self.assertEqual(sum(kind["tensors"] for kind in seen["types"]), len(seen["tensors"]))
        entries = {entry["key"]: entry for entry in seen["metadata"]}
        self.assertEqual(entries["tokenizer.ggml.tokens"]["count"], 304)
        for tensor in seen["tensors"]:
            self.assertLessEqual(tensor["offset"] + tensor["bytes"], seen["file_bytes"])

    def test_a_file_that_can_not_be_run_is_shown(self):
        with open(LLAMA, "rb") as file:
            data = file.read()
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            value = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5)
            at = data.index(value) + len(value)
            file.write(data[:at] + b"llamb" + data[at + 5:])
            file.flush()
            seen = self.document("inspect", file.name, "--json")
            self.assertFalse(seen["supported"])
            self.assertIn("llamb", seen["unsupported"])
            self.assertIsNone(seen["memory"])
            self.assertIn(b"this version can't run the file", self.ok("inspect", file.name).stdout)
            self.fails(1, "run", "-m", file.name, "-p", "x", says=("llamb",))


class Tokenize(CliTest):
    UGLY = "Ünïcode — naïve café \U0001F600\u200d\U0001F525 日本語 \t\n  two  spaces\r\n\u0301combining <0x41> \\n "

    def ids(self, text, path, *arguments):
        out = self.ok("tokenize", "-m", path, "--stdin", "--ids", *arguments, stdin=text).stdout
        return out, json.loads(out)

    def test_what_goes_in_comes_out(self):
        for path in (LLAMA, GEMMA, model("qwen2_f32")):
            for text in (self.UGLY, "", " ", "\n", TEXT, "a\0b"):
                for flags in ((), ("--no-bos",)):
                    out, _ = self.ids(text.encode(), path, *flags)
                    back = self.ok("tokenize", "-m", path, "--detokenize", "--stdin", *flags, stdin=out).stdout
                    self.assertEqual(back, text.encode(), (path, text, flags))

    def test_lines_of_llama_tokenize(self):
        out = self.ok("tokenize", "-m", LLAMA, "-p", "in the", "--show-count").stdout.decode()
        ids = self.ids(b"in the", LLAMA)[1]
        lines = out.strip("\n").split("\n")
        self.assertEqual(lines[-1], "Total number of tokens: %d" % len(ids))
        self.assertEqual([int(line.split(" -> ")[0]) for line in lines[:-1]], ids)
        self.assertEqual("".join(line.split(" -> ")[1][1:-1] for line in lines[:-1]), "in the")

    def test_beginning_of_text(self):
        with_bos, without = self.ids(b"in", GEMMA)[1], self.ids(b"in", GEMMA, "--no-bos")[1]
        self.assertEqual(with_bos[1:], without)

    def test_control_tokens_are_text_unless_asked_for(self):
        plain, parsed = self.ids(b"<bos>", GEMMA)[1], self.ids(b"<bos>", GEMMA, "--parse-special")[1]
        self.assertGreater(len(plain), len(parsed))
        back = self.ok("tokenize", "-m", GEMMA, "--detokenize", "-p", "[2, 2]", "--parse-special").stdout
        self.assertEqual(back, b"<bos>")  # of two, one is taken for what encoding added
        back = self.ok("tokenize", "-m", GEMMA, "--detokenize", "-p", "[2, 2]", "--parse-special", "--no-bos").stdout
        self.assertEqual(back, b"<bos><bos>")

    def test_sources(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"in\\n\n")
            file.flush()
            from_file = self.ok("tokenize", "-m", LLAMA, "--ids", "-f", file.name).stdout
        self.assertEqual(from_file, self.ids(b"in\\n\n", LLAMA)[0])
        self.assertEqual(self.ok("tokenize", "-m", LLAMA, "--ids", "-e", "-p", "in\\n").stdout, self.ids(b"in\n", LLAMA)[0])

    def test_escapes_are_for_arguments(self):
        self.assertEqual(self.ids(b"in\\n", LLAMA, "-e"), self.ids(b"in\\n", LLAMA))

    def test_wrong_ids(self):
        self.fails(1, "tokenize", "-m", LLAMA, "--detokenize", "-p", "[1, 304]", says=("303",))
        self.fails(1, "tokenize", "-m", LLAMA, "--detokenize", "-p", "99999999999999999999", says=("303",))
        self.fails(1, "tokenize", "-m", LLAMA, "--detokenize", "-p", "1 x", says=("byte 2",))


class BadFiles(CliTest):
    def test_no_file_no_model_no_text(self):
        for verb, flag in (("run", "-p"), ("ppl", "-p"), ("tokenize", "-p"), ("bench", "-d")):
            self.assertEqual(run(verb, "-m", "/nowhere/x.gguf", flag, "1", "-o", "csv").returncode if verb == "bench"
                             else run(verb, "-m", "/nowhere/x.gguf", flag, "1").returncode, 1)
        self.fails(1, "inspect", "/nowhere/x.gguf", says=("/nowhere/x.gguf",))
        self.fails(1, "run", "-m", LLAMA, "-f", "/nowhere/x.txt", says=("/nowhere/x.txt", "No such file"))
        self.fails(1, "run", "-m", cli_runner.MODELS, "-p", "x", says=("tests/model",))

    def test_a_truncated_model(self):
        with open(LLAMA, "rb") as file:
            data = file.read()
        for count in (0, 3, 4, 20, 100, 5000, len(data) // 2, len(data) - 1):
            with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
                file.write(data[:count])
                file.flush()
                done = self.fails(1, "run", "-m", file.name, "-p", "x", says=(os.path.basename(file.name),))
                self.assertEqual(done.stderr.count(b"\n"), 1)
                shown = run("inspect", file.name)
                self.assertEqual((shown.returncode, shown.stderr), (1, done.stderr))
                self.assertEqual(b"\ndamaged: " in shown.stdout, count >= 24)

    def test_what_can_be_seen_of_a_damaged_model(self):
        with open(LLAMA, "rb") as file:
            data = file.read()
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(data[:len(data) // 2])
            file.flush()
            done = run("inspect", file.name, "--json")
            self.assertEqual(done.returncode, 1)
            seen, whole = json.loads(done.stdout), self.document("inspect", LLAMA, "--json")
            self.assertEqual(seen["metadata"], whole["metadata"])
            self.assertEqual(seen["tensors"], whole["tensors"])
            self.assertEqual(whole["faults"], [])
            cut = [tensor["name"] for tensor in whole["tensors"] if tensor["offset"] + tensor["bytes"] > len(data) // 2]
            self.assertEqual(seen["fault_count"], len(cut))
            for name, fault in zip(cut, seen["faults"]):
                self.assertIn("tensor %s needs bytes" % name, fault)
            self.assertIn(cut[0], seen["unsupported"])

    def test_no_permission(self):
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        with tempfile.NamedTemporaryFile() as file:
            os.chmod(file.name, 0)
            self.fails(1, "run", "-m", file.name, "-p", "x", says=("Permission denied",))
            self.fails(1, "run", "-m", LLAMA, "-f", file.name, says=("Permission denied",))


if __name__ == "__main__":
    if len(sys.argv) > 2 and not os.path.exists(LLAMA):
        print("skipped: no tiny models in tests/model")
        sys.exit(77)
    cli_runner.main()
