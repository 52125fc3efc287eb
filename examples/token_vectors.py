#!/usr/bin/env python3
"""Vectors of texts by the token embeddings of a model: the mean of the rows of its tokens, rare ones weighing most. It knows words, not
their order: what a model made for embeddings does better (sentence_vectors.py). Wants fovea and NumPy.

    from token_vectors import TokenVectors
    TokenVectors("models/SmolLM2-135M-Instruct.Q4_1.gguf").embed_documents(["one text", "another"])
"""
import struct

import fovea
import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
Q8_0 = np.dtype([("scale", "<f2"), ("x", "i1", 32)])


def token_rows(path):
    """The matrix of token embeddings of a GGUF file, [tokens, width] f32: of type F32, F16 or Q8_0."""
    with open(path, "rb") as file:
        def take(code):
            return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]

        def value(kind):
            if kind == 8:
                return file.read(take("Q"))
            if kind == 9:
                inner, count = take("I"), take("Q")
                return [value(inner) for _ in range(count)]
            return take(SCALARS[kind])

        def text():
            return file.read(take("Q")).decode()

        if file.read(4) != b"GGUF":
            raise ValueError("%s: is no GGUF file" % path)
        take("I")
        tensors, fields = take("Q"), take("Q")
        metadata = {text(): value(take("I")) for _ in range(fields)}
        infos = {text(): ([take("Q") for _ in range(take("I"))], take("I"), take("Q")) for _ in range(tensors)}
        align = metadata.get("general.alignment", 32)
        (width, tokens), kind, offset = infos["token_embd.weight"]
        start = (file.tell() + align - 1) // align * align + offset
    if kind == 8:
        blocks = np.memmap(path, Q8_0, "r", start, (tokens, width // 32))
        return (blocks["scale"].astype(np.float32)[..., None] * blocks["x"]).reshape(tokens, width)
    if kind not in (0, 1):
        raise ValueError("%s: token embeddings are of type %d; F32, F16 and Q8_0 are read" % (path, kind))
    return np.array(np.memmap(path, ("<f4", "<f2")[kind], "r", start, (tokens, width)), np.float32)


class TokenVectors:
    """As LangChain's Embeddings: embed_documents, embed_query."""

    def __init__(self, model):
        self.engine = fovea.Engine(model, context=256)
        self.rows = token_rows(model)
        self.rows -= self.rows.mean(axis=0)
        self.rows /= np.linalg.norm(self.rows, axis=1, keepdims=True) + 1e-9
        self.seen = np.ones(len(self.rows), np.float32)  # texts that a token came in
        self.common = 0  # to the first texts

    def tokens(self, text):
        return np.unique(self.engine.tokenize(text.lower(), add_special=False)).astype(np.int64)

    def vector(self, tokens):
        if not len(tokens):
            return np.zeros(self.rows.shape[1], np.float32)
        weights = self.seen[tokens] ** -0.5
        return weights @ self.rows[tokens] / weights.sum() - self.common

    def embed_documents(self, texts):
        tokens = [self.tokens(" " + text) for text in texts]
        for one in tokens:
            self.seen[one] += 1
        vectors = np.stack([self.vector(one) for one in tokens])
        if np.ndim(self.common) == 0 and len(texts) > 1:
            self.common = vectors.mean(axis=0)
            vectors -= self.common
        return vectors

    def embed_query(self, text):
        return self.vector(self.tokens(" " + text))
