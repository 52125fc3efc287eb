#!/usr/bin/env python3
"""Checks the guesses of `fovea serve`: answers take fewer steps, and nothing else tells of them.

Called as: serve_lookup_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments].
"""
import random
import tempfile
import unittest

from cli_runner import model, run
from serve_answers_test import text_of, together
from serve_runner import Server, main, tiny_model

PROMPT = "the rain in the inn on the ring " * 12
REPEATS = {"prompt": PROMPT, "max_tokens": 60, "temperature": 0, "repeat_penalty": 0.3, "ignore_eos": True}
DRAWN = dict(REPEATS, temperature=1.1, repeat_penalty=1, seed=7, logprobs=1)  # says something else now and then; in every bit


class LookupTest(unittest.TestCase):
    """Two servers of the same model, one of which guesses."""

    @classmethod
    def setUpClass(cls):
        flags = ("-np", "3", "-c", "3072")
        cls.guessing, cls.plain = (Server(model("llama_q4_0"), *flags, "--lookup", count) for count in ("15", "0"))

    @classmethod
    def tearDownClass(cls):
        codes = [server.stop() for server in (cls.guessing, cls.plain)]
        assert codes == [0, 0], codes

    @staticmethod
    def complete(server, fields, **more):
        status, answer = server.post("/v1/completions", dict(fields, **more))
        assert status == 200, answer
        return answer

    def choices(self, server, fields, **more):
        """What an answer says, without its times and names."""
        answer = self.complete(server, fields, **more)
        return answer["choices"], {key: value for key, value in answer["usage"].items() if not key.endswith("details")}

    def alike(self, fields, **more):
        guessed = self.guessing.metric("fovea:right_guesses_total")
        wanted = self.choices(self.plain, fields, **more)
        self.assertEqual(self.choices(self.guessing, fields, **more), wanted, more)
        for server in (self.guessing, self.plain):
            server.await_metric("llamacpp:requests_processing", 0)  # an answer is told before its last step is counted
        return wanted, self.guessing.metric("fovea:right_guesses_total") - guessed

    def test_fewer_steps_than_tokens(self):
        steps = [server.metric("llamacpp:n_decode_total") for server in (self.guessing, self.plain)]
        _, right = self.alike(REPEATS)
        steps = [server.metric("llamacpp:n_decode_total") - before for server, before in zip((self.guessing, self.plain), steps)]
        self.assertEqual(steps[1], 60)  # the prompt's last row has the first token
        self.assertEqual(steps[0], 60 - right)
        self.assertLess(steps[0], 45)
        self.assertLessEqual(self.guessing.metric("fovea:right_guesses_total"), self.guessing.metric("fovea:guessed_tokens_total"))
        self.assertEqual(self.plain.metric("fovea:guessed_tokens_total"), 0)

    def test_the_same_answers(self):
        drawn = random.Random(3)
        right, guessed = 0, self.guessing.metric("fovea:guessed_tokens_total")
        for case in range(24):
            fields = dict(drawn.choice((REPEATS, DRAWN)), max_tokens=drawn.choice((1, 2, 17, 60)), seed=case)
            more = drawn.choice(({}, {"n": 3}, {"prompt": [PROMPT, PROMPT[9:]]}, {"cache_prompt": False},
                                 {"fovea": {"attention": "fovea:budget=0.3,window=16,dense-below=0"}}, {"logit_bias": {"9": 2}}))
            right += self.alike(fields, **more)[1]
        self.assertGreater(right, 40)
        self.assertGreater(self.guessing.metric("fovea:guessed_tokens_total") - guessed, right + 10)

    def test_stop_texts_anywhere_among_guesses(self):
        (choices, _), right = self.alike(DRAWN, max_tokens=40)
        text = choices[0]["text"]
        self.assertGreater(right, 0)
        for begin in range(1, len(text) - 4, 5):
            (choices, _), _ = self.alike(DRAWN, max_tokens=40, stop=[text[begin:begin + 3]])
            self.assertEqual(choices[0]["finish_reason"], "stop")
        # what is held after an answer is cut is what it said: the next turn finds it
        self.alike(dict(DRAWN, prompt=PROMPT + text[:20]))

    def test_streams_and_company(self):
        alone = [self.choices(self.plain, DRAWN, seed=seed)[0] for seed in range(6)]
        company = together(*[lambda seed=seed: self.choices(self.guessing, DRAWN, seed=seed)[0] for seed in range(6)])
        self.assertEqual(company, alone)
        self.assertEqual(text_of(self.guessing.stream("/v1/completions", DRAWN)), self.complete(self.plain, DRAWN)["choices"][0]["text"])

    def test_a_context_fills_alike(self):
        (choices, usage), right = self.alike(REPEATS, prompt=PROMPT * 2, max_tokens=-1)
        self.assertEqual((choices[0]["finish_reason"], usage["total_tokens"]), ("length", 1025))
        self.assertGreater(right, 0)

    def test_nothing_is_guessed_where_steps_are_told_or_timed(self):
        before = self.guessing.metric("fovea:guessed_tokens_total")
        self.complete(self.guessing, REPEATS, fovea={"reads": {"passages": 4}})
        self.complete(self.guessing, REPEATS, fovea={"deadline_ms": 60000})
        self.guessing.await_metric("llamacpp:requests_processing", 0)
        self.assertEqual(self.guessing.metric("fovea:guessed_tokens_total"), before)


class FullMemoryTest(unittest.TestCase):
    """Segments of 1,024 tokens, 16 of which are all that there is."""

    def test_guesses_alone_make_no_answer_fail(self):
        with tempfile.TemporaryDirectory() as folder:
            path = tiny_model(folder, **{"llama.context_length": 1 << 20})
            server = Server(path, "-np", "1", "--cache-limit", "1", "--attention", "dense")
            token = server.post("/tokenize", {"content": "u"})[1]["tokens"][0]
            fields = {"prompt": "u" * 16371, "temperature": 0, "logit_bias": {str(token): 1000}, "stop": "uuuuuuu"}
            status, answer = server.post("/v1/completions", fields)
            self.assertEqual(status, 200, answer)
            self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
            server.await_metric("llamacpp:requests_processing", 0)
            self.assertGreater(server.metric("fovea:guessed_tokens_total"), server.metric("fovea:right_guesses_total"))
            self.assertEqual(server.post("/v1/completions", dict(fields, prompt=fields["prompt"] + "u" * 9))[0], 503)
            self.assertEqual(server.stop(), 0)


class FlagTest(unittest.TestCase):
    def test_as_many_as_a_step_takes(self):
        self.assertEqual(run("serve", "-m", model("llama_q4_0"), "--lookup", "16").returncode, 2)


if __name__ == "__main__":
    main()
