#!/usr/bin/env python3
"""Every flag with a range takes its lowest and its highest value, and nothing beyond.

Called as: flag_ends_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import os
import sys
import tempfile

import cli_runner
from cli_runner import CliTest, model, run

LLAMA = model("llama_f32")
RUN = ("run", "-m", LLAMA, "-p", "the rain", "-no-cnv", "--json")
BIG = 1073741824
# flag, lowest, highest, below, above; None: no such value
SAMPLER = [
    ("--temp", "-1e9", "1e9", "-1.1e9", "1.1e9"),
    ("--top-k", "-1", "2147483647", "-2", "2147483648"),
    ("--top-p", "0", "1", "-0.001", "1.1e9"),
    ("--min-p", "0", "1", "-0.001", "1.1e9"),
    ("--repeat-penalty", "1e-9", "1e9", "0", "1.1e9"),
    ("--repeat-last-n", "-1", "2147483647", "-2", "2147483648"),
    ("--presence-penalty", "-1e9", "1e9", "-1.1e9", "1.1e9"),
    ("--frequency-penalty", "-1e9", "1e9", "-1.1e9", "1.1e9"),
    ("-s", "-1", "4294967295", "-2", "4294967296"),
    ("--poll", "0", "100", "-1", "101"),
    ("--prio", "-1", "0", "-2", "4"),
    ("--cpu-strict", "0", "1", "-1", "2"),
    ("-t", "-1", "3", "-2", "1025"),
    ("-ub", "1", "65536", "0", "65537"),
    ("-b", "1", "1048576", "0", "1048577"),
    ("-n", "-2", "1", "-3", str(BIG + 1)),
    ("-c", "0", "64", "-1", str(BIG + 1)),
]


class Ends(CliTest):
    def test_flags_of_run(self):
        for flag, low, high, below, above in SAMPLER:
            rest = () if flag in ("-n", "-c") else ("-n", "2", "-c", "64")
            if flag == "-n":
                rest = ("-c", "8")
            for value in (low, high):
                self.ok(*RUN, flag, value, *rest)
            for value in (below, above):
                self.fails(2, *RUN, flag, value, *rest, says=(flag, value))

    def test_seeds_that_are_drawn(self):
        """-1, and 2^32 - 1, as which llama.cpp reads it."""
        for seed in ("-1", "4294967295"):
            self.assertLess(self.document(*RUN, "-n", "1", "-s", seed)["seed"], 4294967295)
        self.assertEqual(4294967294, self.document(*RUN, "-n", "1", "-s", "4294967294")["seed"])

    def test_ends_that_switch_a_sampler_off(self):
        plain = self.document(*RUN, "-n", "8", "-s", "5", "--top-k", "0", "--top-p", "1", "--min-p", "0")["tokens"]
        self.assertEqual(plain, self.document(*RUN, "-n", "8", "-s", "5", "--top-k", "-1", "--top-p", "1e9", "--min-p", "0")["tokens"])
        greedy = self.document(*RUN, "-n", "8", "--temp", "0")["tokens"]
        for ends in (("--min-p", "1"), ("--top-p", "0"), ("--top-k", "1")):
            self.assertEqual(greedy, self.document(*RUN, "-n", "8", "-s", "7", "--temp", "5", *ends)["tokens"], ends)

    def test_penalties_see_the_prompt(self):
        """A negative penalty wants what the prompt has, as far as it looks back; a positive one anything else."""
        prompt = "the rain in the inn"
        greedy = ("run", "-m", LLAMA, "-no-cnv", "--json", "--temp", "0", "-n", "1", "-p", prompt)
        seen = self.document("tokenize", "-m", LLAMA, "-p", prompt, "--json")["ids"]
        plain = self.document(*greedy)["tokens"]
        self.assertNotIn(plain[0], seen)  # else nothing shows
        for flag in ("--presence-penalty", "--frequency-penalty"):
            self.assertIn(self.document(*greedy, flag, "-1e9")["tokens"][0], seen)
            self.assertEqual(seen[-1:], self.document(*greedy, flag, "-1e9", "--repeat-last-n", "1")["tokens"])
            self.assertEqual(plain, self.document(*greedy, flag, "-1e9", "--repeat-last-n", "0")["tokens"])
            self.assertEqual(plain, self.document(*greedy, flag, "1e9")["tokens"])

    def test_flags_of_ppl_eval_and_tune(self):
        with tempfile.TemporaryDirectory() as folder:
            text = os.path.join(folder, "text")
            with open(text, "w") as file:
                file.write("the rain in the inn " * 400)
            ppl = ("ppl", "-m", LLAMA, "-f", text, "-c", "32")
            self.assertEqual(1, self.document(*ppl, "--chunks", "1", "--score", "1", "--json")[0]["scored"])
            self.assertEqual(31, self.document(*ppl, "--chunks", "1", "--score", "31", "--json")[0]["scored"])
            self.fails(2, *ppl, "--score", "32", says=("--score", "31"))
            self.fails(2, *ppl, "--score", "0", says=("--score",))
            self.fails(2, *ppl, "--chunks", "0", says=("--chunks",))
            self.fails(2, *ppl, "--chunks", "-2", says=("--chunks",))
            self.ok("ppl", "-m", LLAMA, "-f", text, "-c", "4", "--chunks", "1")
            self.fails(2, "ppl", "-m", LLAMA, "-f", text, "-c", "3", says=("-c", "4"))
            everything = self.document(*ppl, "--json")[0]["tokens"]
            self.assertEqual(everything, self.document(*ppl, "--chunks", "-1", "--json")[0]["tokens"])
            tune = ("tune", "-m", LLAMA, "-f", text, "-c", "512", "--force", "-o", os.path.join(folder, "out"))
            self.ok(*tune, "--score", "16", "--bytes", "1")
            self.ok(*tune, "--score", "127", "--bytes", "0.001")
            self.fails(2, *tune, "--score", "128", says=("-c", "--score"))
            self.fails(2, *tune, "--score", "15", says=("--score",))
            self.fails(2, *tune, "--bytes", "1.001", says=("--bytes",))
            self.fails(2, *tune, "--bytes", "0.0009", says=("--bytes",))
        evaluate = ("eval", "-m", LLAMA, "--task", "needle", "--json")
        self.ok(*evaluate, "-c", "1024", "-n", "1", "--per-document", "1", "-s", "0")
        self.ok(*evaluate, "-c", "2048", "-n", "20", "--per-document", "20", "-s", "4294967295")
        self.fails(2, *evaluate, "-c", "255", says=("-c", "256"))
        self.fails(2, *evaluate, "--per-document", "21", says=("--per-document", "20"))
        self.fails(2, *evaluate, "-s", "4294967296", says=("-s",))

    def test_lists_of_bench(self):
        for flag, below, above in (("-p", None, "16777217"), ("-n", None, "16777217"), ("-d", None, "16777217"),
                                   ("-t", "0", "1025"), ("-b", "0", "1048577"), ("-ub", "0", "65537")):
            for value in filter(None, (below, above)):
                self.fails(2, "bench", "-m", LLAMA, flag, "1," + value, says=(flag, value))

    def test_not_a_number_is_no_value(self):
        for value in ("nan", "", " 1", "1x", "0x"):
            self.assertEqual(2, run(*RUN, "--top-p", value).returncode, value)
            self.assertEqual(2, run(*RUN, "--top-k", value).returncode, value)


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
