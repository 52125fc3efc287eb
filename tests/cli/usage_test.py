#!/usr/bin/env python3
"""Command lines: help, wrong flags, the environment, the text of --attention. Needs no model but the tiny ones.

Called as: usage_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os
import subprocess

import cli_runner
from cli_runner import CliTest, model, run

VERBS = ("run", "ppl", "bench", "inspect", "tokenize")


def auto_type(figures):
    """What keys and values are where nobody names a type."""
    return "bf16" if figures["isa"] == "avx512bf16" else "f16"


class Help(CliTest):
    def test_each_verb_has_help_on_standard_output(self):
        for verb in VERBS:
            for flag in ("-h", "--help"):
                done = self.ok(verb, flag)
                self.assertIn(b"usage: fovea " + verb.encode(), done.stdout)
                self.assertEqual(done.stderr, b"")
        for other in ("attention", "machine"):
            self.assertIn(b"usage: fovea bench " + other.encode(), self.ok("bench", other, "--help").stdout)

    def test_overall_help_names_the_verbs(self):
        text = self.ok("--help").stdout.decode()
        for verb in VERBS:
            self.assertIn("\n  " + verb, text)

    def test_version(self):
        self.assertRegex(self.ok("--version").stdout.decode(), r"^fovea \d+\.\d+\.\d+\n$")
        self.assertRegex(self.ok("run", "--version").stdout.decode(), r"^fovea \d+\.\d+\.\d+\n$")


class WrongUsage(CliTest):
    def test_one_line_and_the_nearest_flag(self):
        for verb, flag, nearest in (("run", "--tmep", "--temp"), ("run", "--ctx", "--ctx-size"), ("run", "-cn", "-cnv"),
                                    ("ppl", "--chunk", "--chunks"), ("bench", "--n-promt", "--n-prompt"),
                                    ("inspect", "--jsn", "--json"), ("tokenize", "--detokenise", "--detokenize"),
                                    ("run", "--no-conversatoin", "--no-conversation"),
                                    ("run", "--no-display-promt", "--no-display-prompt")):
            done = self.fails(2, verb, flag, says=("'%s'" % flag, "did you mean '%s'" % nearest))
            self.assertEqual(done.stderr.count(b"\n"), 1)

    def test_verbs(self):
        self.fails(2, says=("no verb",))
        self.fails(2, "rnu", says=("did you mean 'run'",))

    def test_values(self):
        self.fails(2, "run", "-c", "many", says=("-c takes a whole number", "'many'"))
        self.fails(2, "run", "-c", "-5", says=("from 0 to",))
        self.fails(2, "run", "-n", "99999999999999999999", says=("-n takes",))
        self.fails(2, "run", "--temp", "nan", says=("--temp takes a number",))
        self.fails(2, "run", "--temp", "1x", says=("--temp takes a number",))
        self.fails(2, "run", "-ctk", "q4_1", says=("f32 f16 q8_0 bf16 q4_0 auto", "'q4_1'"))
        self.fails(2, "run", "-m", says=("-m needs a value",))
        self.fails(2, "run", "--ignore-eos=1", says=("takes no value",))
        self.fails(2, "run", "loose", says=("'loose'",))

    def test_what_is_missing_or_excludes(self):
        self.fails(2, "run", "-p", "x", says=("-m FILE",))
        self.fails(2, "ppl", "-m", model("llama_f32"), says=("-f, -p",))
        self.fails(2, "tokenize", "-m", model("llama_f32"), says=("-p, -f and --stdin",))
        self.fails(2, "run", "-m", model("llama_f32"), says=("no prompt",))
        self.fails(2, "run", "-m", "x", "-p", "a", "-f", "b", says=("-p and -f",))
        self.fails(2, "run", "-m", "x", "-p", "a", "-cnv", "-no-cnv", says=("exclude",))
        self.fails(2, "bench", "-p", "1", says=("-m FILE",))
        self.fails(2, "bench", "-m", "x", "-p", "4-", says=("'4-'",))
        self.fails(2, "bench", "-m", "x", "-r", "0", says=("-r takes",))
        self.fails(2, "bench", "attention", "--heads", "4", "--kv-heads", "3", says=("does not divide",))
        self.fails(2, "ppl", "-m", model("llama_f32"), "-p", "x", "-c", "64", "--score", "64", says=("63 positions",))

    def test_flags_of_llama_cpp_that_would_change_the_result_are_refused(self):
        for flag in ("-hf", "--grammar", "--mirostat", "--lora", "--rope-scale", "--context-shift"):
            self.fails(2, "run", flag, "x", says=(flag + ":",))
        self.fails(2, "ppl", "--prompt-cache", "x", says=("--prompt-cache:", "run"))

    def test_flags_of_llama_cpp_without_effect_are_noted(self):
        done = self.ok("run", "-m", model("llama_f32"), "-p", "ab", "-n", "1", "-ngl", "99", "-fa", "on", "-fa",
                       "--no-mmap", "--mlock", "-tb", "4")
        for flag in ("-ngl", "-fa", "--no-mmap", "--mlock", "-tb"):
            self.assertIn("note: %s has no effect" % flag, done.stderr.decode())

    def test_where_threads_run(self):
        place = min(os.sched_getaffinity(0))
        for flags in (("-C", "%x" % (1 << place)), ("-C", "0x%x" % (1 << place), "--cpu-strict", "1"), ("--prio", "-1"),
                      ("-Cr", "%d-%d" % (place, place), "--poll", "0")):
            self.ok("run", "-m", model("llama_f32"), "-p", "ab", "-n", "1", "-t", "2", *flags)
        self.fails(2, "run", "-m", model("llama_f32"), "-p", "ab", "-C", "g", says=("hexadecimal",))
        self.fails(2, "bench", "attention", "-Cr", "3", says=("-Cr takes",))
        self.fails(2, "bench", "machine", "-Cr", "3-1", says=("-Cr takes",))
        self.fails(2, "run", "--prio", "4", says=("--prio takes",))
        self.fails(1, "run", "-m", model("llama_f32"), "-p", "ab", "-Cr", "1023-1023", says=("none of the processors",))


class Environment(CliTest):
    def test_names_of_llama_cpp(self):
        figures = self.document("run", "-p", "ab", "-n", "1", "--json",
                                env={"LLAMA_ARG_MODEL": model("llama_f32"), "LLAMA_ARG_CTX_SIZE": "77"})
        self.assertEqual(figures["context_tokens"], 77)

    def test_an_argument_wins(self):
        figures = self.document("run", "-p", "ab", "-n", "1", "--json", "-m", model("llama_f32"), "-c", "78",
                                env={"LLAMA_ARG_MODEL": "/nowhere", "LLAMA_ARG_CTX_SIZE": "77"})
        self.assertEqual(figures["context_tokens"], 78)

    def test_a_wrong_value_names_the_variable(self):
        self.fails(2, "run", "-p", "x", env={"LLAMA_ARG_CTX_SIZE": "x"}, says=("LLAMA_ARG_CTX_SIZE",))

    def test_an_empty_variable_is_not_set(self):
        env = {"LLAMA_ARG_CTX_SIZE": "", "LLAMA_ARG_TEMPERATURE": "", "LLAMA_ARG_CACHE_TYPE_K": "", "LLAMA_ARG_MODEL": ""}
        figures = self.document("run", "-p", "ab", "-n", "1", "--json", "-m", model("llama_f32"), env=env)
        self.assertEqual((256, auto_type(figures)), (figures["training_context_tokens"], figures["key_type"]))
        self.fails(2, "run", "-p", "ab", env=env, says=("no model",))

    def test_types_by_the_instruction_set(self):
        llama = model("llama_f32")
        text = ("-p", "the rain in the inn")
        for isa in ("scalar", None):
            env = {"FV_ISA": isa} if isa else {}
            figures = self.document("run", "-n", "1", "--json", "-m", llama, *text, env=env)
            wanted = auto_type(figures)
            print("%s: %s" % (figures["isa"], wanted))
            self.assertEqual((wanted, wanted), (figures["key_type"], figures["value_type"]))
            report = self.ok("run", "-n", "1", "-m", llama, *text, env=env).stderr.decode()
            self.assertIn("K %s, V %s" % (wanted, wanted), report)
            mixed = self.document("run", "-n", "1", "--json", "-m", llama, *text, "-ctv", "q8_0", env=dict(env, LLAMA_ARG_CACHE_TYPE_K="auto"))
            self.assertEqual((wanted, "q8_0"), (mixed["key_type"], mixed["value_type"]))
            before = self.document("run", "-n", "1", "--json", "-m", llama, *text, "-ctk", "f16", "-ctv", "f16", env=env)
            self.assertEqual(("f16", "f16"), (before["key_type"], before["value_type"]))
            rows = self.document("bench", "-m", llama, "-p", "4", "-n", "0", "-r", "1", "-ctk", "auto,f32", "-o", "json", env=env)
            self.assertEqual([(wanted, wanted), ("f32", wanted)], [(row["type_k"], row["type_v"]) for row in rows])
            figures = self.document("ppl", "-m", llama, "-p", "the rain in the inn " * 8, "-c", "16", "--json", env=env)[0]
            self.assertEqual((wanted, wanted), (figures["key_type"], figures["value_type"]))
            memory = self.document("inspect", llama, "--json", env=env)["memory"]
            self.assertEqual((wanted, wanted), (memory["key_type"], memory["value_type"]))

    def test_spellings(self):
        for arguments in (("--ctx-size=66",), ("--ctx_size", "66"), ("-c", "66")):
            figures = self.document("run", "-p", "ab", "-n", "1", "--json", "-m", model("llama_f32"), *arguments)
            self.assertEqual(figures["context_tokens"], 66)


class Attention(CliTest):
    def refused(self, spec, *says):
        self.fails(2, "run", "-m", model("llama_f32"), "-p", "x", "--attention", spec, says=("--attention:",) + says)

    def test_unknown_names_and_keys_list_the_right_ones(self):
        self.refused("sparse", "dense, window, pattern")
        self.refused("", "dense, window, pattern")
        self.refused("window:windw=3", "'windw'", "window, sinks")
        self.refused("pattern:budget=0.1", "'budget'", "window, block, globals, log-stride, landmarks")
        self.refused("dense:window=1", "no keys")
        self.refused("window:", "window, sinks")
        self.refused("window:window=3,", "window, sinks")

    def test_fovea(self):
        keys = "selector, budget, pages, top-p, floor, floor-share, cap, window, sinks"
        self.refused("fovea:windw=3", "'windw'", keys)
        for share in ("1.5", "0", "nan", "-0.1", "1e-1", "inf", "", "0.1.2"):
            self.refused("fovea:budget=" + share, "above 0, at most 1")
            self.refused("fovea:top-p=" + share, "above 0, at most 1")
        self.refused("fovea:pages=9", "at least 10")
        self.refused("fovea:pages=50,budget=0.1", "one of budget, pages and top-p")
        self.refused("fovea:budget=0.1,budget=0.1", "budget is given twice")
        self.refused("fovea:selector=quest", "'quest'", "there are: shadow, cascade")
        self.refused("fovea:selector=cascade,top-p=0.9", "selector=shadow")
        self.refused("fovea:selector=cascade,certificate=on", "selector=shadow")
        self.refused("fovea:dense-below=some", "auto or a whole number")
        self.refused("fovea:tail=on", "off or codes")
        self.refused("fovea:tail=codes,certificate=on", "no certificate")
        self.refused("fovea:certificate=1", "off or on")
        for quality in ("0", "nan", "-1", "1e9", ""):
            self.refused("fovea:quality=" + quality, "above 0")

    def test_values(self):
        self.refused("window:window=0", "from 1 to")
        self.refused("window:window=-1", "'-1'")
        self.refused("window:window", "needs a value")
        self.refused("window:sinks=1e3", "'1e3'")
        self.refused("pattern:block=20", "a multiple of 16")
        self.refused("pattern:landmarks=yes", "off or on")
        self.refused("pattern:globals=1+", "none")
        self.refused("pattern:globals=" + "+".join(map(str, range(17))), "at most 16")

    def test_every_key_is_taken(self):
        for spec in ("dense", "window", "window:window=8,sinks=2", "pattern",
                     "pattern:window=4,block=16,globals=0+3,log-stride=off,landmarks=off", "pattern:globals=none"):
            figures = self.document("run", "-m", model("llama_f32"), "-p", "ab" * 20, "-n", "2", "--json",
                                    "--attention", spec)
            self.assertEqual(figures["attention"], spec)


class Output(CliTest):
    def test_a_full_disk_is_an_error(self):
        tiny = ("-m", model("llama_f32"), "-p", "abcdef" * 20)
        for arguments in (("--help",), ("run", "--help"), ("run",) + tiny + ("-n", "2"),
                          ("run", "--json") + tiny + ("-n", "2"), ("ppl", "-c", "8", "--json") + tiny,
                          ("ppl", "-c", "8") + tiny, ("tokenize",) + tiny, ("tokenize", "--ids") + tiny,
                          ("inspect", model("llama_f32")), ("inspect", "--json", model("llama_f32")),
                          ("bench", "-m", model("llama_f32"), "-p", "4", "-n", "0", "-r", "1"),
                          ("bench", "attention", "--tokens", "64", "--layers", "1", "-r", "1", "--json")):
            with open("/dev/full", "wb") as full:
                done = run(*arguments, stdout=full)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(b"No space left", done.stderr, arguments)

    def test_closed_descriptors(self):
        command = [cli_runner.FOVEA, "run", "-m", model("llama_f32"), "-p", "ab", "-n", "1"]
        for closed, code in (("<&-", 0), (">&-", 1), ("2>&-", 0)):
            done = subprocess.run(["sh", "-c", 'exec "$@" ' + closed, "sh"] + command, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, code, (closed, done.stderr))

    def test_what_only_the_server_needs_is_not_loaded(self):
        loaded = subprocess.run([cli_runner.FOVEA], stdout=subprocess.PIPE, timeout=60,
                                env=dict(os.environ, LD_TRACE_LOADED_OBJECTS="1")).stdout  # glibc lists and ends
        if b"libc" not in loaded:
            self.skipTest("this C library lists no libraries")
        for library in (b"microhttpd", b"gnutls"):
            self.assertNotIn(library, loaded)

    def test_no_colour_and_no_bar_without_a_terminal(self):
        done = self.ok("run", "-m", model("llama_f32"), "-p", "ab" * 60, "-n", "2", "--temp", "0")  # at random ESC may come
        self.assertNotIn(b"\x1b", done.stdout + done.stderr)
        self.assertNotIn(b"\r", done.stderr)


if __name__ == "__main__":
    cli_runner.main()
