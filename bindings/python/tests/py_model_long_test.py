#!/usr/bin/env python3
"""Memory after many calls over a tiny model: FV_RUNS calls in all (200; 100,000 by hand), those that are refused, too."""
import os
import unittest

import fovea

RUNS = int(os.environ.get("FV_RUNS", "200"))
MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tests", "model", "story.gguf")


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class ModelLongTest(unittest.TestCase):
    def test_memory_does_not_grow(self):
        engine = fovea.Engine(MODEL, context=128, batch=64, threads=1)
        held, watch, sampler = engine.sequence(), fovea._fovea.Watch(engine), fovea.Sampler(engine.vocabulary)
        held.feed(engine.tokenize("Once upon a time"), None)

        def refused(call):
            with self.assertRaises((ValueError, OSError, RuntimeError)):
                call()

        def once():
            fork = held.fork()
            sampler.next(fork.feed([5]))
            sampler.accept([4])
            fork.feed([6, 7], "all")
            engine.step([(fork, [8]), (held.fork(), [9])])
            fork.truncate(3)
            watch._feed(fork, b"\5\0\0\0", False)
            watch._pages(3)
            fork.attention = "dense"
            engine.detokenize(engine.tokenize("a b c") + fork.tokens[:fork.report.keys_read > 0])
            engine.chat([{"role": "user", "content": "x"}], "chatml")
            for bad in (lambda: fork.feed([10 ** 8]), lambda: engine.sequence("nonsense"), lambda: engine.sequence(context=9999),
                        lambda: engine.detokenize([10 ** 7]), lambda: fork.wake("/nonexistent"), lambda: engine.step([(fork, [1])] * 2),
                        lambda: engine.chat([{"role": "x", "content": "x"}], "chatml")):
                refused(bad)

        calls = 20  # of a round
        for _ in range(50):
            once()
        before = resident()
        for _ in range(RUNS // calls):
            once()
        self.assertLess(resident() - before, 512 * 1024 + 32 * RUNS // calls)

    def test_engines_go_whole(self):
        for _ in range(10):
            fovea.Engine(MODEL, context=64, threads=2).sequence().feed([5])
        before = resident()
        for _ in range(max(RUNS // 100, 5)):
            fovea.Engine(MODEL, context=64, threads=2).sequence().feed([5])
        self.assertLess(resident() - before, 2 << 20)


if __name__ == "__main__":
    unittest.main()
