#!/usr/bin/env python3
"""What a type of cached keys and values costs: perplexity, and how far predictions are from those with the first type.

    tools/texts.py FOLDER
    tools/cache_types.py MODEL FOLDER/technical.txt... [--types f16,bf16] [--context 8192] [--score 512] [--threads 1] [--exact]

reads the first CONTEXT tokens of each text densely once for each type and compares the predictions of the last SCORE of them, as
`fovea ppl -c CONTEXT --chunks 1 --score SCORE` does for policies; it prints a table. Needs the package of bindings/python.
"""
import argparse
import os

import numpy

import fovea


def log_probabilities(options, cache_type, text):
    """[score, vocabulary] of the last tokens but one, and the tokens that follow them."""
    engine = fovea.Engine(options.model, context=options.context, threads=options.threads, dtype=cache_type,
                          exact_activations=options.exact)
    tokens = engine.tokenize(text)[:options.context]
    if len(tokens) < options.context:
        raise SystemExit("the text has %d tokens: a --context of %d can't be had" % (len(tokens), options.context))
    sequence = engine.sequence()
    first = len(tokens) - 1 - options.score
    sequence.feed(tokens[:first], None)
    rows = numpy.array(sequence.feed(tokens[first:-1], "all"))
    for row in rows:
        row -= row.max()
        row -= numpy.log(numpy.exp(row, dtype=numpy.float64).sum())
    return rows, tokens[first + 1:]


def perplexity(rows, following):
    return float(numpy.exp(-numpy.mean([row[token] for row, token in zip(rows, following)], dtype=numpy.float64)))


def divergence(base, rows):
    return float(numpy.mean([numpy.sum(numpy.exp(b.astype(numpy.float64)) * (b.astype(numpy.float64) - r)) for b, r in zip(base, rows)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--types", default="f16,bf16")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--score", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--exact", action="store_true", help="f32 activations: slow")
    options = parser.parse_args()
    print("| model | text | activations | type | perplexity | against the first | KL | top-1 |")
    print("|---|---|---|---|---:|---:|---:|---:|", flush=True)
    for path in options.texts:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        base = None
        for cache_type in options.types.split(","):
            rows, following = log_probabilities(options, cache_type, text)
            base = rows if base is None else base
            same = numpy.mean(base.argmax(axis=1) == rows.argmax(axis=1))
            print("| %s | %s | %s | %s | %.4f | %+.2f %% | %.5f | %.1f %% |"
                  % (os.path.basename(options.model), os.path.splitext(os.path.basename(path))[0],
                     "exact" if options.exact else "int8", cache_type, perplexity(rows, following),
                     100 * (perplexity(rows, following) / perplexity(base, following) - 1), divergence(base, rows), 100 * same),
                  flush=True)


if __name__ == "__main__":
    main()
