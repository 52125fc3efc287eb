#!/usr/bin/env python3
"""The Python programs of examples/: the retriever over fovea.Index, vectors by a model's token embeddings, search in a text."""
import os
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, os.pardir)
EXAMPLES, MODELS = os.path.join(ROOT, "examples"), os.path.join(ROOT, "tests", "model")
sys.path.insert(1, EXAMPLES)
import retriever  # noqa: E402
import sentence_vectors  # noqa: E402
import token_vectors  # noqa: E402

TEXTS = ["the lamp on the tower is lit at dusk", "bread is baked at dawn", "the keeper climbs the tower", "sheep graze on the hill"]


class Letters:
    """Embeddings that a test can follow: how often each letter comes."""

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        return [text.count(chr(97 + i)) + 0.01 for i in range(26)]


def gguf(kind, data):
    """A file of one matrix [5][64] after another tensor, with metadata of a few types."""
    def text(one):
        return struct.pack("<Q", len(one)) + one

    metadata = text(b"a") + struct.pack("<IH", 2, 7) + text(b"b") + struct.pack("<IIQ", 9, 8, 2) + text(b"x") + text(b"yz")
    tensors = (text(b"other") + struct.pack("<IQIQ", 1, 8, 0, 0) + text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 5, kind, 32))
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + metadata + tensors
    return head + bytes(-len(head) % 32) + bytes(32) + data.tobytes()


class RetrieverTest(unittest.TestCase):
    def test_the_methods_of_a_vector_store(self):
        store = retriever.FoveaStore.from_texts(TEXTS, Letters(), [{"line": i, "odd": i % 2} for i in range(4)], ids=list("abcd"))
        found = store.similarity_search("bread is baked at dawn", k=2)
        self.assertEqual((found[0].page_content, found[0].metadata, found[0].id, len(found)), (TEXTS[1], {"line": 1, "odd": 1}, "b", 2))
        self.assertAlmostEqual(store.similarity_search_with_score(TEXTS[2], k=1)[0][1], 0, places=5)
        self.assertEqual({one.id for one in store.similarity_search("tower", k=4, filter={"odd": 0})}, {"a", "c"})
        self.assertEqual([one.id for one in store.similarity_search("tower", filter=lambda document: "sheep" in document.page_content)], ["d"])
        chain = store.as_retriever(search_kwargs={"k": 1})
        self.assertEqual(chain.invoke(TEXTS[3])[0].id, "d")
        self.assertEqual(chain.get_relevant_documents(TEXTS[0])[0].id, "a")
        store.add_texts(["sheep are shorn"], [{}], ids=["d"])  # in its place
        self.assertEqual(store.as_retriever(k=1).invoke("sheep are shorn")[0].page_content, "sheep are shorn")
        self.assertEqual(len(store.add_texts(["more", "and more"])), 2)
        store.delete(["a"])
        self.assertNotIn("a", [one.id for one in store.similarity_search(TEXTS[0], k=9)])
        store.delete()
        self.assertEqual((store.similarity_search("tower"), len(store.index)), ([], 0))
        self.assertEqual(retriever.FoveaStore(Letters()).similarity_search("tower"), [])


class VectorsTest(unittest.TestCase):
    def test_rows_of_all_types_are_read(self):
        rows = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
        scales = (np.abs(rows.reshape(5, 2, 32)).max(-1) / 127).astype(np.float16)
        blocks = np.zeros((5, 2), token_vectors.Q8_0)
        blocks["scale"], blocks["x"] = scales, np.round(rows.reshape(5, 2, 32) / scales[..., None].astype(np.float32))
        for kind, data, most in ((0, rows, 0), (1, rows.astype(np.float16), 2e-3), (8, blocks, 3e-2)):
            with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
                file.write(gguf(kind, data))
                file.flush()
                found = token_vectors.token_rows(file.name)
            self.assertEqual((found.shape, found.dtype), ((5, 64), np.float32))
            self.assertLessEqual(np.abs(found - rows).max(), most)
        self.assertEqual(token_vectors.token_rows(os.path.join(MODELS, "llama_f32.gguf")).shape, (304, 48))
        with self.assertRaises(ValueError):
            token_vectors.token_rows(__file__)
        with self.assertRaises(ValueError):
            token_vectors.token_rows(os.path.join(MODELS, "llama_bf16.gguf"))

    def test_lines(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("one two three four\nshort\n  one two  three four \nfive six seven eight\n")
            file.flush()
            self.assertEqual(sentence_vectors.lines_of([file.name], 4), ["one two three four", "five six seven eight"])

    def test_search_in_a_text(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n\n".join(text + " and nothing else" for text in TEXTS))
            file.flush()
            done = subprocess.run([sys.executable, os.path.join(EXAMPLES, "text_search.py"), TEXTS[1], "--text", file.name, "-k", "1",
                                   "--model", os.path.join(MODELS, "story.gguf")], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("4 paragraphs", done.stdout)
        self.assertIn(TEXTS[1], done.stdout.split(TEXTS[1], 1)[1])


if __name__ == "__main__":
    unittest.main()
