#!/usr/bin/env python3
"""`fovea eval` with a tiny model: what it prints, that it repeats, and what it refuses. The answers themselves are noise.

Called as: eval_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import json
import os
import sys

import cli_runner
from cli_runner import CliTest, model

LLAMA = model("llama_f32")
SMALL = ("-m", LLAMA, "-c", "1024", "-n", "3", "--per-document", "2")


class Eval(CliTest):
    def test_json(self):
        figures = self.document("eval", *SMALL, "--task", "needle,counting", "--attention", "window:window=32,sinks=4",
                                "--json")
        self.assertEqual(["dense", "window:window=32,sinks=4"], [p["attention"] for p in figures["policies"]])
        for policy in figures["policies"]:
            self.assertEqual(["needle", "counting"], [task["task"] for task in policy["tasks"]])
            for task in policy["tasks"]:
                self.assertEqual(3, task["questions"])
                self.check(figures, policy["attention"], task)
        self.assertEqual(1, figures["policies"][0]["density"])
        self.assertLess(figures["policies"][1]["density"], 0.5)

    def check(self, figures, attention, task):
        """The figures of a task against the list of the answers that differ."""
        mine = [d for d in figures["differences"] if d["attention"] == attention and d["task"] == task["task"]]
        better = sum(d["right"] and not d["dense_right"] for d in mine)
        worse = sum(d["dense_right"] and not d["right"] for d in mine)
        self.assertEqual(len(mine), better + worse)
        self.assertEqual(task["dense_right"] + better - worse, task["right"])
        self.assertAlmostEqual((better - worse) / task["questions"], task["difference"])
        self.assertEqual((better, worse), (task["better"], task["worse"]))
        self.assertEqual(2, task["documents"])
        self.assertLess(0, task["documents_95"] + (better + worse == 0))
        self.assertEqual(task["dense_right"] / task["questions"] >= 0.4, task["counts"])
        for d in mine:
            self.assertTrue(d["question"] and d["expected"] and 0 <= d["depth"] <= 1)

    def test_the_same_seed_gives_the_same_figures(self):
        first = self.ok("eval", *SMALL, "--task", "variables", "--json").stdout
        self.assertEqual(first, self.ok("eval", *SMALL, "--task", "variables", "--json", "-t", "1").stdout)

    def test_another_seed_makes_other_documents(self):
        arguments = ("eval", *SMALL, "--task", "needle", "--json", "--attention", "window:window=32,sinks=4", "-s")
        one, two = (self.document(*arguments, seed)["policies"][1]["density"] for seed in ("1", "2"))
        self.assertNotEqual(one, two)

    def test_the_decode_pass_reads_the_document_densely(self):
        figures = self.document("eval", *SMALL, "--task", "needle", "--pass", "decode", "--json", "--attention",
                                "window:window=32,sinks=4")
        self.assertEqual("decode", figures["pass"])

    def test_dense_questions_are_read_whole(self):
        arguments = ("eval", *SMALL, "--task", "needle", "--json", "--attention", "window:window=32,sinks=4")
        kept, dense = self.document(*arguments), self.document(*arguments, "--dense-questions")
        self.assertEqual((False, True), (kept["dense_questions"], dense["dense_questions"]))
        self.assertEqual(kept["policies"][0], dense["policies"][0])
        self.assertLess(kept["policies"][1]["density"], dense["policies"][1]["density"])

    def test_a_line_for_each_task(self):
        arguments = ("eval", *SMALL, "--task", "needle,imports", "--attention", "window:window=32,sinks=4")
        lines = [json.loads(line) for line in self.ok(*arguments, "--jsonl").stdout.splitlines()]
        whole = self.document(*arguments, "--json")
        self.assertEqual([["needle"], ["imports"]], [[t["task"] for t in one["policies"][1]["tasks"]] for one in lines])
        for i in (0, 1):
            self.assertEqual(whole["policies"][i]["tasks"], [t for one in lines for t in one["policies"][i]["tasks"]])
        self.assertEqual(whole["differences"], [d for one in lines for d in one["differences"]])
        said = self.ok(*arguments).stderr.decode()
        self.assertRegex(said, r"needle: 2 of 3 questions, \d+ s left in all")
        self.assertRegex(said, r"dense: \d+\.\d s of reading, \d+\.\d s of answering")

    def test_the_table(self):
        text = self.ok("eval", *SMALL, "--task", "needle").stdout.decode()
        self.assertIn("| needle", text)
        self.assertIn("of 3", text)

    def test_bad_usage(self):
        self.fails(2, "eval", says=("-m",))
        self.fails(2, "eval", *SMALL, "--task", "nedle", says=("nedle", "needle", "counting"))
        self.fails(2, "eval", *SMALL, "--attention", "windw", says=("windw",))
        self.fails(2, "eval", *SMALL, "-n", "0", says=("-n",))
        self.fails(2, "eval", *SMALL, "--json", "--jsonl", says=("--jsonl",))
        self.fails(1, "eval", "-m", LLAMA, "-c", "256", "--per-document", "20", "-n", "20", says=("256", "-c"))


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
