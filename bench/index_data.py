#!/usr/bin/env python3
"""Vectors for benchmarks of the index: a smooth surface of few dimensions bent into many, as embeddings are, or what a file holds.
Wants NumPy; for the embedding matrix of a .gguf file the package gguf as well.

    bench/index_data.py [--rows 1000000] [--dimension 128] [--intrinsic 16] [--seed 1] -o BASE.npy --queries QUERIES.npy
    bench/index_data.py --data FILE --spread [--unit]: in how many dimensions vectors spread around where they lie
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


def unlike(rows, dimension, intrinsic, seed, deviation):
    """Vectors of lognormal lengths of that deviation, and queries from another surface: what an inner product may meet."""
    lengths = numpy.random.default_rng([seed, 2]).lognormal(0.0, deviation, (rows, 1)).astype(numpy.float32)
    return manifold(rows, dimension, intrinsic, seed, 0) * lengths, manifold(QUERIES, dimension, intrinsic, seed + 1, 1)


def load(source, rows, dimension=128, intrinsic=16, seed=1):
    """Base and queries of `source`: "manifold", "unlike", "unlike-even", FILE.npy or FILE.gguf; at most `rows` rows, 0 = all."""
    if source in ("unlike", "unlike-even"):
        return unlike(rows or 1000000, dimension, intrinsic, seed, 0.5 if source == "unlike" else 0.0)
    if source == "manifold":
        return (manifold(rows or 1000000, dimension, intrinsic, seed, 0), manifold(QUERIES, dimension, intrinsic, seed, 1))
    matrix = gguf_embeddings(source) if source.endswith(".gguf") else numpy.load(source).astype(numpy.float32)
    if rows and rows < len(matrix):
        matrix = matrix[numpy.linspace(0, len(matrix) - 1, rows).astype(numpy.int64)]
    return hold_out(matrix)


def spread(base, unit, sample=4096, probes=256, near=20):
    """Median of Levina and Bickel's estimate (2004) around some of a sample; by what is above 19 the library has 64 neighbours, not 32."""
    rows = base[numpy.linspace(0, len(base) - 1, min(sample, len(base))).astype(numpy.int64)].astype(numpy.float64)
    if unit:
        rows /= numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    chosen = rows[numpy.linspace(0, len(rows) - 1, probes).astype(numpy.int64)]
    square = (chosen ** 2).sum(axis=1)[:, None] + (rows ** 2).sum(axis=1) - 2 * chosen @ rows.T
    square = numpy.maximum(numpy.sort(square, axis=1)[:, 1:near + 1], 1e-30)
    logarithms = numpy.log(square[:, -1:] / square[:, :-1]).sum(axis=1)
    return float(numpy.median(2 * (near - 1) / numpy.maximum(logarithms, 1e-30)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="manifold", help="manifold, unlike, unlike-even, FILE.npy or FILE.gguf")
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--intrinsic", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output")
    parser.add_argument("--queries")
    parser.add_argument("--spread", action="store_true", help="print the dimensions that vectors spread in")
    parser.add_argument("--unit", action="store_true", help="of vectors of length 1, as for cosine")
    arguments = parser.parse_args()
    if not arguments.spread and not (arguments.output and arguments.queries):
        parser.error("-o and --queries, or --spread")
    base, queries = load(arguments.data, arguments.rows, arguments.dimension, arguments.intrinsic, arguments.seed)
    if arguments.spread:
        print("%s: %d x %d spread in %.1f dimensions" % (arguments.data, *base.shape, spread(base, arguments.unit)))
        return
    numpy.save(arguments.output, base)
    numpy.save(arguments.queries, queries)


if __name__ == "__main__":
    main()
