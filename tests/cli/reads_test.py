#!/usr/bin/env python3
"""What is said about reading: the share of the mass (`ppl --mass`, `--by-head`), the passages of `run --show-reads`, and the
shares and vectors of `tune`.

Called as: reads_test.py BUILD/fovea SOURCE_FOLDER. Exit 77 if the tiny models are missing.
"""
import csv
import json
import os
import re
import shutil
import sys

import cli_runner
from cli_runner import FolderTest, TEXT, model

LLAMA, GEMMA = model("llama_f32"), model("gemma3_f32")
CHOOSING = "fovea:budget=0.3,window=16,sinks=16,dense-below=0"


class Mass(FolderTest):
    def test_dense_reads_all_and_a_window_less(self):
        arguments = ("ppl", "-m", LLAMA, "-f", self.text, "-c", "256", "--chunks", "1", "--attention",
                     "window:window=32,sinks=4", "--attention", CHOOSING, "--mass", "--json")
        for kind in ("prompt", "decode"):
            dense, window, chosen = self.document(*arguments, "--pass", kind)
            self.assertAlmostEqual(1, dense["mass"], places=4)
            self.assertLess(window["mass"], 0.99)
            self.assertTrue(0.5 * chosen["density"] < chosen["mass"] < 1)  # with random weights, next to the density

    def test_without_it_there_is_none(self):
        self.assertIsNone(self.document("ppl", "-m", LLAMA, "-f", self.text, "-c", "64", "--chunks", "1", "--json")[0]["mass"])

    def test_the_same_figures_for_any_number_of_threads(self):
        arguments = ("ppl", "-m", LLAMA, "-f", self.text, "-c", "256", "--chunks", "1", "--attention", CHOOSING, "--mass",
                     "--json")
        one, three = (self.document(*arguments, "-t", threads) for threads in ("1", "3"))
        for figures in one + three:
            figures.pop("seconds")
        self.assertEqual(one, three)

    def test_by_head(self):
        path = os.path.join(self.folder, "heads.csv")
        figures = self.document("ppl", "-m", GEMMA, "-f", self.text, "-c", "128", "--chunks", "1", "--attention",
                                "window:window=32,sinks=4", "--by-head", path, "--json")
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        window = [float(row["mass"]) for row in rows if row["attention"] != "dense"]
        self.assertAlmostEqual(figures[1]["mass"], sum(window) / len(window), places=4)
        self.assertEqual(len(rows), len({(row["attention"], row["layer"], row["head"]) for row in rows}))
        self.assertEqual({"5"}, {row["layer"] for row in rows})  # the other six layers have a window of their own
        self.fails(1, "ppl", "-m", LLAMA, "-f", self.text, "-c", "64", "--chunks", "1", "--json", "--by-head",
                   os.path.join(self.folder, "none", "heads.csv"), says=("can't be written",))


class Reads(FolderTest):
    def setUp(self):
        super().setUp()
        with open(self.text, "w") as file:
            file.write(TEXT * 6)

    def test_words_and_passages(self):
        figures = self.document("run", "-m", LLAMA, "-f", self.text, "-n", "8", "--temp", "0", "--json", "--ignore-eos",
                                "-no-cnv", "--show-reads", "--attention", CHOOSING)
        self.assertEqual(figures["text"], "".join(word["word"] for word in figures["reads"]))
        for word in figures["reads"]:
            shares = [passage["share"] for passage in word["passages"]]
            self.assertEqual(sorted(shares, reverse=True), shares)
            for passage in word["passages"]:
                self.assertEqual(0, passage["position"] % 16)
                self.assertTrue(0 < passage["share"] <= 1)
                self.assertTrue(passage["text"])

    def test_the_terminal(self):
        done = self.ok("run", "-m", LLAMA, "-f", self.text, "-n", "4", "--temp", "0", "--ignore-eos", "-no-cnv",
                       "--show-reads")
        self.assertIn(b"what each word read most", done.stderr)
        self.assertIn(b" % at ", done.stderr)
        self.assertNotIn(b" % at ", done.stdout)


class Tune(FolderTest):
    def tune(self, *more):
        path = os.path.join(self.folder, "shares.json")
        self.said = self.ok("tune", "-m", LLAMA, "-f", self.text, "-c", "512", "--score", "32", "--bytes", "0.2", "--attention",
                            "fovea:window=16,sinks=16,dense-below=0", "--force", "-o", path, *more).stdout.decode()
        return path

    def made(self, *more):
        with open(self.tune(*more)) as file:
            return json.load(file)["made"]

    def test_the_notes_are_what_is_said(self):
        made = self.made()
        uniform, tuned = re.search(r"KL (\S+) with equal shares, (\S+) with these", self.said).groups()
        self.assertNotEqual(uniform, tuned)
        self.assertAlmostEqual(float(uniform), made["kl_uniform"], delta=1e-6 + 1e-3 * made["kl_uniform"])
        self.assertAlmostEqual(float(tuned), made["kl_tuned"], delta=1e-6 + 1e-3 * made["kl_tuned"])
        self.assertEqual((512, 32), (made["context"], made["scored"]))

    def test_skipped_tokens_are_not_read(self):
        first = self.made("--skip", "3")["kl_of_head"]
        self.assertNotEqual(first, self.made()["kl_of_head"])
        self.assertEqual(first, self.made("--skip", "3")["kl_of_head"])

    def test_shares_are_written_and_used(self):
        path = self.tune()
        with open(path) as file:
            made = json.load(file)
        shares = [share for heads in made["shares"] for share in heads]
        self.assertTrue(all(128 <= share <= 4096 for share in shares))
        self.assertAlmostEqual(1024, sum(shares) / len(shares), delta=2)
        arguments = ("ppl", "-m", LLAMA, "-f", self.text, "-c", "256", "--chunks", "1", "--attention", CHOOSING, "--json")
        done = self.ok(*arguments, "--tune", path)
        self.assertIn(b"divided by " + path.encode(), done.stderr)
        self.assertNotIn(b"divided by", self.ok(*arguments).stderr)
        self.assertNotEqual(json.loads(done.stdout)[1]["kl"], self.document(*arguments)[1]["kl"])

    def test_what_lies_beside_the_model_is_made_anew(self):
        beside = os.path.join(self.folder, "model.gguf")
        shutil.copyfile(LLAMA, beside)
        with open(beside + ".fovea.json", "w") as file:
            file.write("{")
        arguments = ("ppl", "-m", beside, "-f", self.text, "-c", "64", "--chunks", "1")
        self.ok(*arguments)  # dense attention does not use it
        self.fails(1, *arguments, "--attention", CHOOSING, says=("model.gguf.fovea.json",))
        self.ok(*arguments, "--attention", CHOOSING, "--tune", "none")
        self.ok("tune", "-m", beside, "-f", self.text, "-c", "512", "--score", "32", "--bytes", "0.2", "--attention",
                "fovea:window=16,sinks=16,dense-below=0", "--force")
        with open(beside + ".fovea.json") as file:
            self.assertIn("shares", json.load(file))

    def test_bad_files_are_refused(self):
        path = self.tune()
        with open(path) as file:
            made = json.load(file)
        arguments = ("ppl", "-m", LLAMA, "-f", self.text, "-c", "64", "--chunks", "1", "--tune", path)
        for change, says in (({"format": 4}, "format"), ({"model": {}}, "another model"), ({"shares": []}, "shares"),
                             ({"shares": [[0]] * len(made["shares"])}, "share")):
            with open(path, "w") as file:
                json.dump({**made, **change}, file)
            self.fails(1, *arguments, says=("shares.json", says))
        with open(path, "w") as file:
            file.write("{")
        self.fails(1, *arguments, says=("shares.json",))
        self.fails(1, *arguments[:-1], os.path.join(self.folder, "none.json"), says=("none.json",))

    def test_bad_usage(self):
        self.fails(2, "tune", "-m", LLAMA, says=("-f",))
        self.fails(2, "tune", "-m", LLAMA, "-f", self.text, "--attention", "dense", says=("--attention",))
        self.fails(2, "tune", "-m", LLAMA, "-f", self.text, "--bytes", "2", says=("--bytes",))
        self.fails(1, "tune", "-m", LLAMA, "-f", self.text, "-c", "100000", says=("tokens",))


if __name__ == "__main__":
    if not os.path.exists(LLAMA):
        sys.exit(77)
    cli_runner.main()
