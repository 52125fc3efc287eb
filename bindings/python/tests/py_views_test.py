#!/usr/bin/env python3
"""What people look at: HTML and figures of what an answer read, and quality against bytes of a tiny model."""
import json
import os
import re
import unittest
from html.parser import HTMLParser

import numpy as np

import fovea

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tests", "model", "story.gguf")
TEXT = "Once upon a time there was a little girl who lived in a house. The house had a red door and a dog. " * 20
try:
    import matplotlib
except ImportError:
    matplotlib = None


class Spans(HTMLParser):
    """Texts of the spans in each div, by class; tags must be closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.styles = [], {}, []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.open.append((tag, dict(attributes).get("class", "")))
        if tag == "span":
            self.texts.setdefault(self.open[-2][1], []).append("")
            self.styles.append(dict(attributes).get("style", ""))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "span":
            self.texts[self.open[-2][1]][-1] += data


def reads():
    pages = tuple("<b>page & %d</b> ANSWER DOCUMENT\n" % number for number in range(12)) + ("the end",)
    weights = np.zeros((3, 13), np.float32)
    weights[0, 4], weights[0, 0], weights[0, 7] = 0.5, 0.3, 0.2
    weights[1, 5] = 1
    weights[2, 12] = 1
    return fovea.Reads(("READS", " </script>$x$", "\n"), pages, weights, 16, 12, 192)


class ReadsTest(unittest.TestCase):
    def test_html(self):
        view = reads()
        page = view._repr_html_()
        spans = Spans(page)
        self.assertEqual(tuple(spans.texts["answer"]), view.tokens)
        self.assertEqual(tuple(spans.texts["document"]), view.pages[:12])
        found = json.loads(re.search(r"reads=(\[.*?\]),pages", page).group(1))
        self.assertEqual(found, [[[4, 0.5], [7, 0.2]], [[5, 1.0]], []])  # no sinks, no neighbours
        shades = [style for style in spans.styles if style]
        self.assertEqual(len(shades), 12)
        self.assertEqual([shades[0], shades[5]], ["background:rgba(242,142,43,0.000)", "background:rgba(242,142,43,0.900)"])
        name = re.compile(r'id="(fovea-reads-[\d-]+)"')
        self.assertNotEqual(name.search(page).group(1), name.search(view._repr_html_()).group(1))
        self.assertIn("script", fovea.Reads((), ("a",), np.zeros((0, 1), np.float32), 16, 1, 1)._repr_html_())

    @unittest.skipUnless(matplotlib, "no matplotlib")
    def test_figure(self):
        figure = reads().figure()
        self.assertEqual(len(figure.axes[0].get_yticklabels()), 3)
        self.assertEqual(figure.axes[0].images[0].get_array().shape, (3, 12))
        figure.draw_without_rendering()

    @unittest.skipIf(matplotlib, "matplotlib is here")
    def test_without_matplotlib(self):
        with self.assertRaisesRegex(ImportError, "pip install matplotlib"):
            reads().figure()


class BenchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = fovea.Engine(MODEL, context=1024)
        cls.tokens = cls.engine.tokenize(TEXT)[:500]
        cls.bench = fovea.bench(cls.engine, cls.tokens, ("fovea:budget=1", "fovea:budget=0.1,window=32", "dense"), 100)

    def test_rows(self):
        dense, whole, part = self.bench.rows
        self.assertEqual((dense.policy, dense.divergence, dense.same_top, dense.density), ("dense", 0.0, 1.0, 1.0))
        self.assertLess(whole.divergence, 1e-9)
        self.assertTrue(0.1 < part.density < 0.5 and part.bytes < dense.bytes and part.divergence > 1e-6, part)
        self.assertEqual((self.bench.tokens, self.bench.compared), (500, 100))
        every = self.engine.sequence().feed(self.tokens, "all")[399:499].astype(np.float64)
        loss = np.log(np.exp(every).sum(-1)) - every[np.arange(100), self.tokens[400:]]
        self.assertAlmostEqual(dense.perplexity, float(np.exp(loss.mean())), 6)

    def test_views(self):
        self.assertEqual(str(self.bench).count("\n"), 4)
        page = self.bench._repr_html_()
        self.assertEqual((page.count("<circle"), page.count("<tr>")), (3, 4))
        if matplotlib:
            figure = self.bench.figure()
            self.assertEqual(len(figure.axes[0].lines), 3)
            figure.draw_without_rendering()

    def test_refusals(self):
        for text in ([], [1]):
            with self.assertRaisesRegex(ValueError, "2 tokens"):
                fovea.bench(self.engine, text)
        with self.assertRaises(fovea.FoveaError):
            fovea.bench(self.engine, self.tokens * 3)


if __name__ == "__main__":
    unittest.main()
