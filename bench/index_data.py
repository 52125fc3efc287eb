#!/usr/bin/env python3
"""Vectors for benchmarks of the index: a smooth surface of few dimensions bent into many, as embeddings are, or what a file holds.
Wants NumPy; for the embedding matrix of a .gguf file the package gguf as well.

    bench/index_data.py [--rows 1000000] [--dimension 128] [--intrinsic 16] [--seed 1] -o BASE.npy --queries QUERIES.npy
"""
import argparse

import numpy

BLOCK = 65536
QUERIES = 1000


def manifold(rows, dimension, intrinsic, seed, stream):
    """rows points of the surface of `seed`; streams differ in their points. The same for any BLOCK of the same size."""
    shape = numpy.random.default_rng(seed)
    chart = shape.standard_normal((intrinsic, dimension), dtype=numpy.float32) * numpy.float32(0.5)
    offset = shape.standard_normal(dimension, dtype=numpy.float32)
    points = numpy.random.default_rng([seed, stream])
    out = numpy.empty((rows, dimension), dtype=numpy.float32)
    for first in range(0, rows, BLOCK):
        part = out[first:first + BLOCK]
        part[:] = points.standard_normal((len(part), intrinsic), dtype=numpy.float32) @ chart + offset
        part /= 1 + numpy.abs(part)
        part += numpy.float32(0.02) * points.standard_normal(part.shape, dtype=numpy.float32)
    return out


def hold_out(matrix):
    """Base and queries: every so manieth row is a query."""
    step = max(2, len(matrix) // QUERIES)
    is_query = numpy.arange(len(matrix)) % step == step // 2
    return numpy.ascontiguousarray(matrix[~is_query]), numpy.ascontiguousarray(matrix[is_query])


def gguf_embeddings(path):
    """The embedding matrix of a model, as f32."""
    import gguf
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name == "token_embd.weight":
            return gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
    raise SystemExit("%s: has no token_embd.weight" % path)


def load(source, rows, dimension=128, intrinsic=16, seed=1):
    """Base and queries of `source`: "manifold", FILE.npy or FILE.gguf; at most `rows` rows, 0 = all."""
    if source == "manifold":
        return (manifold(rows or 1000000, dimension, intrinsic, seed, 0), manifold(QUERIES, dimension, intrinsic, seed, 1))
    matrix = gguf_embeddings(source) if source.endswith(".gguf") else numpy.load(source).astype(numpy.float32)
    if rows and rows < len(matrix):
        matrix = matrix[numpy.linspace(0, len(matrix) - 1, rows).astype(numpy.int64)]
    return hold_out(matrix)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="manifold", help="manifold, FILE.npy or FILE.gguf")
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--intrinsic", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--queries", required=True)
    arguments = parser.parse_args()
    base, queries = load(arguments.data, arguments.rows, arguments.dimension, arguments.intrinsic, arguments.seed)
    numpy.save(arguments.output, base)
    numpy.save(arguments.queries, queries)


if __name__ == "__main__":
    main()
