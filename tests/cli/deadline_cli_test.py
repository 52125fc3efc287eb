#!/usr/bin/env python3
"""--deadline and --on-deadline of run and bench: what is reported, what ends an answer, what is refused. The deadlines are so far or
so near that no machine's speed decides.

Called as: deadline_cli_test.py BUILD/fovea SOURCE_FOLDER.
"""
import os

import cli_runner
from cli_runner import TEXT, FolderTest, model, run

LLAMA = model("llama_f32")
FAR, NEAR = "86400000", "0.001"  # a day; a microsecond, in which no machine makes one product
RUN = ("run", "-m", LLAMA, "-no-cnv", "-p", TEXT, "-n", "8", "--temp", "0", "--ignore-eos", "--no-display-prompt")


class Deadline(FolderTest):
    def test_time_enough_changes_nothing(self):
        for on in ("best", "fail"):
            done = self.ok(*RUN, "--deadline", FAR, "--on-deadline", on)
            self.assertEqual(done.stdout, self.ok(*RUN).stdout)
            self.assertIn(b"deadline: 8.64e+07 ms, %s: of 7 tokens 0 were cut short, 0 failed, 0 were late" % on.encode(), done.stderr)

    def test_late_tokens_are_cut_short_and_counted(self):
        figures = self.document(*RUN, "--json", "--deadline", NEAR)
        self.assertEqual(figures["deadline"], {"ms": 0.001, "on": "best", "tokens": 7, "cut": 7, "late": 7, "failed": 0})
        self.assertEqual(figures["stop"], "limit")
        self.assertIsNone(self.document(*RUN, "--json")["deadline"])

    def test_a_late_token_ends_the_answer(self):
        done = run(*RUN, "--deadline", NEAR, "--on-deadline", "fail")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"of 1 tokens 0 were cut short, 1 failed, 0 were late", done.stderr)
        self.assertIn(b"stopped: a token was not through the layers in time", done.stderr)
        self.assertEqual(done.stdout, self.ok(*RUN, "-n", "1").stdout)  # chosen from the prompt's logits, which had time

    def test_what_was_cut_short_is_not_taken_for_read(self):
        cache, kept = os.path.join(self.folder, "cache"), os.path.join(self.folder, "kept")
        common = (*RUN, "-c", "200", "--deadline", NEAR)
        done = self.ok(*common, "--prompt-cache", cache, "--prompt-cache-all")
        self.assertIn(b"it is not kept in " + cache.encode(), done.stderr)
        prompt = self.document(*RUN, "--json")["prompt_tokens"]
        self.assertEqual(self.document("inspect", cache, "--json")["tokens"], prompt)  # without the answer
        self.ok("read", "-m", LLAMA, "-f", self.text, "-o", kept, "-c", "3000")
        done = self.ok(*RUN, "-c", "3000", "--deadline", NEAR, "--session", kept, "--save")
        self.assertIn(b"kept keeps them as they are", done.stderr)
        before = self.document("inspect", kept, "--json")["tokens"]
        done = run(*RUN, "-c", "3000", "--deadline", NEAR, "--on-deadline", "fail", "--session", kept, "--save")
        self.assertEqual(done.returncode, 1)
        added = self.document("inspect", kept, "--json")["tokens"] - before
        self.assertGreater(added, prompt - 2)  # what was read is saved all the same, the token that was late too

    def test_bench_counts(self):
        bench = ("bench", "-m", LLAMA, "-p", "0", "-n", "4", "-r", "2", "--no-warmup")
        result = self.document(*bench, "--json", "--deadline", NEAR)[0]
        self.assertEqual([result["deadline_" + name] for name in ("ms", "tokens", "cut", "late")], [0.001, 8, 8, 8])
        self.assertNotIn("deadline_ms", self.document(*bench, "--json")[0])
        self.assertEqual(run(*bench, "--deadline", NEAR, "--on-deadline", "fail").returncode, 1)

    def test_what_is_refused(self):
        for flags, words in ((("--deadline", "0"), b"--deadline takes a number"), (("--deadline", "soon"), b"not 'soon'"),
                             (("--deadline", "-5"), b"--deadline"), (("--on-deadline", "fail"), b"--on-deadline needs --deadline MS"),
                             (("--deadline", "5", "--on-deadline", "never"), b"one of: best fail")):
            for verb in (RUN, ("bench", "-m", LLAMA)):
                done = run(*verb, *flags)
                self.assertEqual(done.returncode, 2, flags)
                self.assertIn(words, done.stderr)
        done = run(*RUN, "--deadline", "5", "--attention", "fovea:certificate=on,quality=0.1")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--deadline: a deadline and a policy of quality 0.1 exclude each other", done.stderr)


if __name__ == "__main__":
    cli_runner.main()
