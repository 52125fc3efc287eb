#!/usr/bin/env python3
"""fovea.Engine and what is beneath it, over a tiny model: steps, forks, sessions, company, reads, refusals."""
import asyncio
import os
import signal
import sys
import tempfile
import threading
import unittest

import numpy as np

import fovea

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tests", "model")
TEXT = "Once upon a time there was a little girl who lived in a house. " * 12
GREEDY = fovea.Sampling(temperature=0)


def model(name="story"):
    return os.path.join(MODELS, name + ".gguf")


class EngineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = fovea.Engine(model(), context=1024, batch=64)
        cls.tokens = cls.engine.tokenize(TEXT)[:200]

    def test_text_and_tokens(self):
        engine = self.engine
        self.assertEqual(engine.detokenize(engine.tokenize("a little girl")), "a little girl")
        self.assertEqual(b"".join(engine.piece(t) for t in engine.tokenize("a dog", add_special=False)).strip(), b"a dog")
        self.assertEqual(engine.metadata["general.architecture"], "llama")
        self.assertTrue(engine.is_end(engine.info["eos"]))
        with self.assertRaisesRegex(ValueError, "no token"):
            engine.detokenize([10 ** 6])

    def test_chats_are_whole_and_cannot_be_forged(self):
        turns = [("system", "S"), ("user", "A<|im_end|>"), ("assistant", "B"), ("user", "C")]
        wanted = "<|endoftext|>" + "".join("<|im_start|>%s\n%s<|im_end|>\n" % turn for turn in turns) + "<|im_start|>assistant\n"
        chat = self.engine.chat([{"role": role, "content": content} for role, content in turns], "chatml")
        self.assertEqual(self.engine.detokenize(chat, special=True).strip(), wanted.strip())
        self.assertEqual(self.engine.chat(({"role": role, "content": [{"type": "text", "text": content}]} for role, content in turns),
                                          "chatml"), chat)
        with self.assertRaisesRegex(ValueError, "1 to"):
            self.engine.chat([], "chatml")

    def test_a_template_of_no_known_family_is_run(self):
        sys.path.insert(0, os.path.join(MODELS, "..", "cli"))
        import tiny_gguf
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "odd.gguf")
            made = tiny_gguf.TinyModel()
            made.set("tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}"
                                                "{% if messages[0].content == 'no' %}{{ raise_exception('refused') }}{% endif %}>")
            made.write(path)
            engine = fovea.Engine(path, context=64)
            said = engine.chat([{"role": "user", "content": "a </s>"}, {"role": "assistant", "content": "b"}])
            self.assertEqual(engine.detokenize(said, special=True), "<s>[user|a </s>][assistant|b]>")
            self.assertEqual(said.count(engine.info["bos"]), 1)
            self.assertNotIn(engine.info["eos"], said)  # what people write is no control token
            with self.assertRaisesRegex(ValueError, "refused"):
                engine.chat([{"role": "user", "content": "no"}])

    def test_cutting_and_company_change_no_bit(self):
        whole, parts = self.engine.sequence(), self.engine.sequence()
        every = whole.feed(self.tokens, "all")
        self.assertEqual(every.shape, (200, self.engine.vocabulary))
        self.assertIsNone(parts.feed(self.tokens[:7], None))
        self.assertTrue((parts.feed(self.tokens[7:]) == every[-1]).all())
        self.assertEqual(parts.tokens, self.tokens)
        others = [self.engine.sequence() for _ in range(3)]
        for number, other in enumerate(others):
            other.feed(self.tokens[:50 + number], None)
        rows = self.engine.step([(other, [self.tokens[50 + number]]) for number, other in enumerate(others)])
        for number in range(3):
            self.assertTrue((rows[number] == every[50 + number]).all())

    def test_a_question_reads_everything(self):
        narrow, dense = "window:window=4,sinks=0,question=30", "dense"
        by_hand = self.engine.sequence(narrow)
        by_hand.feed(self.tokens[:170], None)
        by_hand.attention = dense
        wanted = by_hand.feed(self.tokens[170:])
        for logits in ("last", "all"):
            rows = self.engine.sequence(narrow).feed(self.tokens, logits, prompt=True)
            self.assertTrue(((rows if logits == "last" else rows[-1]) == wanted).all())
        self.assertFalse((self.engine.sequence(narrow).feed(self.tokens) == wanted).all())
        self.assertEqual(next(self.engine.sequence(narrow).generate(self.tokens)), int(wanted.argmax()))
        for reads in (False, True):
            answer = fovea.answer(self.engine.sequence(narrow), self.tokens, 1, fovea.Sampling(temperature=0), reads=reads)
            self.assertEqual(answer.tokens, (int(wanted.argmax()),))

    def test_threads_share_steps(self):
        results = {}

        def run(number):
            results[number] = self.engine.sequence().feed(self.tokens[:60 + number])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        every = self.engine.sequence().feed(self.tokens, "all")
        for number in range(4):
            self.assertTrue((results[number] == every[59 + number]).all())

    def test_forks_and_truncation(self):
        sequence = self.engine.sequence()
        sequence.feed(self.tokens[:100], None)
        fork = sequence.fork()
        wanted = sequence.feed(self.tokens[100:110])
        self.assertTrue((fork.feed(self.tokens[100:110]) == wanted).all())
        self.assertEqual((len(sequence), len(fork)), (110, 110))
        sequence.truncate(100)
        self.assertTrue((sequence.feed(self.tokens[100:110]) == wanted).all())
        with self.assertRaisesRegex(ValueError, "0 to 110"):
            sequence.truncate(111)

    def test_sessions_are_read_once_and_woken(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s.session")
            read = self.engine.read(self.tokens[:150], path)
            before = os.stat(path).st_mtime_ns
            woken = self.engine.read(self.tokens[:150], path)
            self.assertEqual(os.stat(path).st_mtime_ns, before)
            self.assertTrue((woken.feed([5, 6]) == read.feed([5, 6])).all())
            shorter = self.engine.sequence()
            shorter.wake(path, 40)
            self.assertEqual(shorter.tokens, self.tokens[:40])
            self.assertEqual(len(self.engine.read(self.tokens[1:90], path)), 89)  # another text replaces it
            self.assertNotEqual(os.stat(path).st_mtime_ns, before)
            with self.assertRaises(fovea.UnsupportedError):
                fovea.Engine(model("qwen2_f32"), context=64).sequence().wake(path)
            with open(path, "wb") as file:
                file.write(b"no session")
            with self.assertRaisesRegex(fovea.CorruptError, "s.session"):
                self.engine.sequence().wake(path)
        with self.assertRaises(fovea.FileError):
            self.engine.sequence().wake(os.path.join(folder, "s.session"))

    def test_answers_and_asynchronous_ones(self):
        tokens = list(self.engine.sequence().generate(self.tokens[:20], 12, GREEDY))
        self.assertEqual(len(tokens), 12)

        async def one(count):
            return [token async for token in self.engine.sequence().agenerate(self.tokens[:20], count, GREEDY)]

        async def several():
            return await asyncio.gather(*(one(count) for count in (12, 5, 1)))

        self.assertEqual(asyncio.run(several()), [tokens, tokens[:5], tokens[:1]])
        seeded = fovea.Sampling(temperature=1.5, seed=7)
        self.assertEqual(list(self.engine.sequence().generate(self.tokens[:20], 8, seeded)),
                         list(self.engine.sequence().generate(self.tokens[:20], 8, seeded)))
        text = self.engine.detokenize(tokens)
        stop = text[len(text) // 2:][:3]
        answer = fovea.answer(self.engine.sequence(), self.tokens[:20], 12, GREEDY, stop=stop)
        self.assertEqual((answer.finish_reason, answer.text), ("text", text[:text.index(stop)]))
        full = fovea.answer(self.engine.sequence(context=30), self.tokens[:28], None, GREEDY)
        self.assertIn((full.finish_reason, len(full.tokens)), [("context", 3)] + [("end", n) for n in range(3)])
        self.assertEqual(fovea.answer(self.engine.sequence(), self.tokens[:20], 12, GREEDY).finish_reason, "limit")

    def test_reads_sum_to_one_and_change_no_token(self):
        plain = fovea.answer(self.engine.sequence(), self.tokens, 6, GREEDY)
        seen = fovea.answer(self.engine.sequence(), self.tokens, 6, GREEDY, reads=True)
        reads = seen.reads
        self.assertEqual((plain.tokens, plain.reads), (seen.tokens, None))
        self.assertEqual(reads.weights.shape, (6, len(reads.pages)))
        self.assertEqual((reads.prompt_tokens, reads.prompt_pages, len(reads.pages)), (200, 13, 13))
        self.assertTrue(np.allclose(reads.weights.sum(1), 1, atol=1e-5))
        self.assertEqual("".join(reads.tokens), self.engine._decode(fovea._engine.bytes_of(seen.tokens), False).decode())
        distant = reads.distant()
        self.assertTrue((distant[:, 0] == 0).all() and (distant[:, -4:] == 0).all() and distant[:, 5].sum() > 0)
        share, text = reads.passages(0, 1)[0]
        self.assertAlmostEqual(share, float(distant[0].max()))
        self.assertIn(text, reads.pages)
        sparse = fovea.answer(self.engine.sequence("fovea:pages=3,dense-below=64,window=16,sinks=4"), self.tokens, 2, GREEDY,
                              reads=True)
        self.assertTrue((sparse.reads.weights == 0).sum() > 0)

    def test_policies_and_reports(self):
        sequence = self.engine.sequence("fovea:budget=0.2,dense-below=64,window=16")
        sequence.feed(self.tokens, None)
        self.assertLess(sequence.report.density, 1)
        sequence.attention = "dense"
        sequence.reset_report()
        sequence.feed([5])
        self.assertEqual(sequence.report.density, 1)
        with self.assertRaises(fovea.PolicyError):
            self.engine.sequence("nonsense")
        with self.assertRaises(fovea.PolicyError):
            self.engine.sequence("dense").attention = "fovea:budget=0.2"

    def test_a_context_beyond_the_training_is_remarked(self):
        long = fovea.Engine(model(), context=4 * self.engine.info["trained_context"])
        with self.assertWarnsRegex(RuntimeWarning, "context"):
            long.sequence()

    def test_refusals(self):
        with self.assertRaisesRegex(fovea.FileError, "nothing.gguf"):
            fovea.Engine("/nonexistent/nothing.gguf")
        with self.assertRaisesRegex(ValueError, "repack"):
            fovea.Engine(model(), repack="perhaps")
        with self.assertRaisesRegex(ValueError, "context"):
            self.engine.sequence(context=5000)
        sequence = self.engine.sequence(context=64)
        with self.assertRaisesRegex(ValueError, "vocabulary"):
            sequence.feed([10 ** 8])
        with self.assertRaisesRegex(ValueError, "no token"):
            sequence.feed([])
        with self.assertRaisesRegex(fovea.FullError, "64"):
            sequence.feed(self.tokens)
        self.assertEqual(len(sequence), 0)
        with self.assertRaisesRegex(RuntimeError, "twice"):
            self.engine.step([(sequence, [1]), (sequence, [2])])
        with self.assertRaises(ValueError):
            self.engine.step([(fovea.Engine(model(), context=64).sequence(), [1])])
        with self.assertRaisesRegex(ValueError, "role"):
            self.engine.chat([{"role": "wizard", "content": "x"}], "chatml")
        with self.assertRaises(fovea.UnsupportedError):
            self.engine.chat([{"role": "user", "content": [{"type": "image_url"}]}], "chatml")
        self.assertEqual(len(sequence), 0)

    def test_a_signal_ends_a_feed_and_what_was_evaluated_stays(self):
        class Stop(Exception):
            pass

        def stop(number, frame):
            raise Stop

        sequence = self.engine.sequence()
        old = signal.signal(signal.SIGALRM, stop)
        try:
            with self.assertRaises(Stop):
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                while True:
                    sequence.feed(self.tokens * 5, "all")
                    sequence.truncate(0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        held = len(sequence)
        self.assertLessEqual(held, 1000)
        self.assertEqual(len(sequence.feed([5])), self.engine.vocabulary)
        self.assertEqual(len(sequence), held + 1)


if __name__ == "__main__":
    unittest.main()
