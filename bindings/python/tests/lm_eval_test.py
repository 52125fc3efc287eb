#!/usr/bin/env python3
"""The model `fovea` of lm-eval: log-likelihoods beside what the engine and `fovea ppl` say, a task from end to end. FV_PROGRAM names
the program, or it is the one in build/; without one that part is left out."""
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import fovea

try:
    import lm_eval
    from lm_eval.api.instance import Instance
    from fovea.lm_eval import FoveaLM
except ImportError:
    lm_eval = None

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
MODEL = os.environ.get("FV_MODEL", os.path.join(ROOT, "tests", "model", "story.gguf"))
TEXT = "Once upon a time there was a little girl. She had a dog and a red ball. " * 5


def requests(kind, *arguments):
    return [Instance(request_type=kind, doc={}, arguments=one, idx=i) for i, one in enumerate(arguments)]


@unittest.skipUnless(lm_eval, "lm-eval is not installed")
class LmEvalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = FoveaLM(path=MODEL, max_length=512)

    def rows(self, tokens):
        logits = self.model.engine.sequence().feed(tokens, "all").astype(np.float64)
        return logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(1, keepdims=True)

    def test_loglikelihoods(self):
        pairs = [("Once upon a time", " there was a girl"), ("Once upon a time", " there was a dog"), ("", "a little dog")]
        found = self.model.loglikelihood(requests("loglikelihood", *pairs), disable_tqdm=True)
        for (context, continuation), (logprob, greedy) in zip(pairs, found):
            tokens = self.model.tok_encode(context + continuation)
            first = len(self.model.tok_encode(context)) if context else 1
            rows = self.rows(tokens)
            wanted = sum(rows[i - 1, tokens[i]] for i in range(first, len(tokens)))
            self.assertAlmostEqual(logprob, wanted, places=3)
            self.assertEqual(greedy, all(rows[i - 1].argmax() == tokens[i] for i in range(first, len(tokens))))

    def test_answers(self):
        plain, cut = self.model.generate_until(requests("generate_until", ("Once upon a time", {"until": [], "max_gen_toks": 12}),
                                                        ("Once upon a time", {"until": [" "], "max_gen_toks": 12})), disable_tqdm=True)
        self.assertEqual(cut.strip(), plain[:max(len(cut), 0)].strip())
        self.assertNotIn(" ", cut)

    def test_perplexity_is_that_of_the_program(self):
        program = os.environ.get("FV_PROGRAM", os.path.join(ROOT, "build", "fovea"))
        if not os.path.exists(program) or not self.model.engine.info["adds_bos"]:
            self.skipTest("the program is not built, or the model has no beginning token")
        tokens = self.model.tok_encode(TEXT)
        (found,) = self.model.loglikelihood_rolling(requests("loglikelihood_rolling", (TEXT,)), disable_tqdm=True)
        said = subprocess.run([program, "ppl", "-m", MODEL, "-p", TEXT, "-c", str(len(tokens)), "--score", str(len(tokens) - 1), "--json"],
                              check=True, capture_output=True).stdout
        wanted = json.loads(said)[0]["ppl"]
        self.assertLess(abs(math.exp(-found / (len(tokens) - 1)) / wanted - 1), 1e-3)

    def test_a_task_from_end_to_end(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "texts.jsonl"), "w") as file:
                file.write(json.dumps({"text": TEXT}) + "\n")
            with open(os.path.join(folder, "task.yaml"), "w") as file:
                file.write("task: fovea_text\ndataset_path: json\ndataset_kwargs: {data_files: {test: %s}}\ntest_split: test\n"
                           "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
                           "metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]\n" % os.path.join(folder, "texts.jsonl"))
            command = [sys.executable, "-m", "fovea.lm_eval", "run", "--model", "fovea", "--model_args",
                       "path=%s,attention=fovea:budget=0.5;window=64,max_length=512" % MODEL, "--tasks", "fovea_text", "--include_path",
                       folder, "--output_path", folder]
            done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, HF_HUB_OFFLINE="1", HF_HOME=folder))
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            self.assertIn("word_perplexity", done.stdout)

    def test_the_entry_point_names_the_class(self):
        import importlib.metadata
        points = importlib.metadata.entry_points()
        named = points.select(group="lm_eval.models") if hasattr(points, "select") else points.get("lm_eval.models", ())
        if not any(point.name == "fovea" for point in named):
            self.skipTest("the package is not installed")
        self.assertIs([point for point in named if point.name == "fovea"][0].load(), FoveaLM)


if __name__ == "__main__":
    unittest.main()
