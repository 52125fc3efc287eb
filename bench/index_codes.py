#!/usr/bin/env python3
"""What codes of more bits, and queries of 6 bits, would save a scan, counted and not timed: the error of products by each kind of query, and
how many rows of 20,000 stay under the bound of the 10th nearest after codes of 1 bit, and after codes of 2 to 8 bits of those. Wants NumPy;
seconds. docs/lab/vector-index-codes.md has its figures.

    bench/index_codes.py [--data manifold|FILE.npy|FILE.gguf] [--rows 20000] [--queries 100]
"""
import argparse

import numpy

import index_data

K = 10
CONFIDENCE = 3.0
LINE = 64  # bytes that a row costs at least, wherever it lies


def grid_of(rotated, bits):
    """u [rows][n]: the grid points that point most nearly along the rows, as src/index/level_code.c finds them."""
    half = (2 ** bits - 1) / 2
    if bits == 1:
        return numpy.where(rotated > 0, 0.5, -0.5)
    most = numpy.abs(rotated).max(axis=1, keepdims=True)
    best, along = numpy.zeros_like(rotated), numpy.full((len(rotated), 1), -1.0)
    for share in numpy.linspace(0.9, 3, 24):
        u = numpy.clip(numpy.floor(rotated * ((half + 0.5) / most * share) + half + 0.5), 0, 2 * half) - half
        cosine = (rotated * u).sum(axis=1, keepdims=True) / numpy.linalg.norm(u, axis=1, keepdims=True)
        best, along = numpy.where(cosine > along, u, best), numpy.maximum(cosine, along)
    return best


def rounded_queries(q):
    """{name: q as that kind of query has it}; tables round sums of four, which no rounded q is: their error is given."""
    step = (q.max(axis=1, keepdims=True) - q.min(axis=1, keepdims=True)) / 63
    levels = 2 ** 15 - 1
    wide = numpy.abs(q).max(axis=1, keepdims=True) / levels
    return {"6 bits a channel": q.min(axis=1, keepdims=True) + numpy.round((q - q.min(axis=1, keepdims=True)) / step) * step,
            "16 bits a channel (rows of codes)": numpy.round(q / wide) * wide}


def table_error(q, signs):
    """Of sums of four in 8 bits with one step for all, as src/index/code_table.c rounds them: [queries][codes]."""
    fours = numpy.abs(q.reshape(len(q), -1, 4)).sum(axis=2).max(axis=1)
    step = (fours / 127)[:, None]
    error = numpy.zeros((len(q), len(signs)))
    for first in range(0, q.shape[1], 4):
        sums = q[:, first:first + 4] @ signs[:, first:first + 4].T
        error += numpy.round(sums / step) * step - sums
    return error


def print_queries(q, rotated):
    signs = numpy.where(rotated[:2000] > 0, 1.0, -1.0)
    length = numpy.linalg.norm(q, axis=1, keepdims=True) * numpy.sqrt(q.shape[1])
    own = numpy.sqrt(numpy.pi / 2 - 1) / numpy.sqrt(numpy.pi / 2)  # of a code of one bit, of many channels
    print("error of sum(+-q), in thousandths of |q| sqrt(n); the code's own is %.0f / sqrt(n) = %.1f" %
          (1000 * own, 1000 * own / numpy.sqrt(q.shape[1])))
    print("  %-36s %6.3f" % ("tables of sums of four in 8 bits", 1000 * numpy.sqrt(((table_error(q, signs) / length) ** 2).mean())))
    for name, rounded in rounded_queries(q).items():
        print("  %-36s %6.3f" % (name, 1000 * numpy.sqrt((((rounded - q) @ signs.T / length) ** 2).mean())))


def print_rows(base, queries, rotated, q):
    n = rotated.shape[1]
    square, rest = (rotated ** 2).sum(axis=1), (q ** 2).sum(axis=1)
    truth = square + rest[:, None] - 2 * q @ rotated.T
    limit = numpy.partition(truth, K - 1, axis=1)[:, K - 1:K]
    left, whole = None, base.shape[1] * 4
    print("rows under the bound of the %dth nearest, of %d; cache lines that are jumped to for a query" % (K, len(base)))
    for bits in (1, 2, 3, 4, 6, 8):
        u = grid_of(rotated, bits)
        product = square / (rotated * u).sum(axis=1)
        spread = numpy.sqrt(numpy.maximum(product ** 2 * (u ** 2).sum(axis=1) - square, 0) / (n - 1))
        low = square + rest[:, None] - 2 * product * (q @ u.T) - 2 * CONFIDENCE * spread * numpy.sqrt(rest)[:, None]
        under = low <= limit
        first = under if left is None else left
        both = first & under
        left = under if left is None else left
        after = both.sum(axis=1).mean()
        lines = -(-(n * bits // 8 + 12) // LINE) if bits > 1 else 0
        cost = first.sum(axis=1).mean() * lines + after * -(-whole // LINE)
        print("  %d bits%s: %8.1f rows, %8.1f lines" % (bits, " " if bits == 1 else " after 1", after, cost))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="manifold", help="manifold, FILE.npy or FILE.gguf")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    base, queries = index_data.load(arguments.data, arguments.rows)
    queries = queries[:: max(1, len(queries) // arguments.queries)][:arguments.queries]
    turn, _ = numpy.linalg.qr(numpy.random.default_rng(7).standard_normal((base.shape[1], base.shape[1])))
    centre = base.mean(axis=0)
    rotated, q = (base - centre) @ turn, (queries - centre) @ turn
    print("%s: %d x %d, %d queries" % (arguments.data, *base.shape, len(queries)))
    print_queries(q, rotated)
    print_rows(base, queries, rotated, q)


if __name__ == "__main__":
    main()
