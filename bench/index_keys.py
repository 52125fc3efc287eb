#!/usr/bin/env python3
"""The vector index over the keys of a real sequence, as an experiment: how much of dense attention's mass do the keys have that it finds, beside
what fovea's own choice of pages by 2-bit codes reads, at equal bytes? A model of the llama family runs over a real text; keys and queries of a
few layers are taken as the cache holds them, after rope. The last rows of the text are the queries, inner product is the metric.

    bench/index_keys.py MODEL.gguf [--tokens 8192] [--segments 1] [--layers 4,12,20] [--rows 32]

Wants NumPy (with a fast BLAS), gguf and fovea. With more segments the text is cut into so many sequences of --tokens, each with positions of its
own, whose keys are searched together: lengths beyond what the model was trained for. Every way reads the first 16 tokens and the newest 256
exactly, keys and values of f16; the rest differs. Bytes are those of a layer and a token: codes, keys and values that were read, and for the
index the f32 vectors of its rows. Keys and queries are kept in --keep FILE.npz for another run.
"""
import argparse
import os
import sys
import time

import fovea
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SINKS, WINDOW, BATCH = 16, 256, 512
BUDGETS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.25, 0.4)
COUNTS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHARES = (0.12, 0.16, 0.20, 0.25, 0.40)


class Llama:
    """As much of a llama as gives keys and queries. Rope turns neighbouring elements, as GGUF stores it."""

    def __init__(self, path):
        import gguf
        reader = gguf.GGUFReader(path)
        field = lambda name: reader.fields["llama." + name].contents()  # noqa: E731
        self.heads, self.kv_heads = field("attention.head_count"), field("attention.head_count_kv")
        self.epsilon, self.base = field("attention.layer_norm_rms_epsilon"), field("rope.freq_base")
        self.dim, self.layers = field("embedding_length") // self.heads, field("block_count")
        self.tensors = {one.name: one for one in reader.tensors}
        self.dequantize = gguf.dequantize

    def weight(self, name):
        one = self.tensors[name + ".weight"]
        return np.ascontiguousarray(self.dequantize(one.data, one.tensor_type), np.float32)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * self.weight(name)

    def turn(self, x):
        """x [tokens, heads, dim]"""
        angles = np.arange(len(x))[:, None] * self.base ** (-np.arange(0, self.dim, 2) / self.dim)
        turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None].astype(np.complex64)
        return np.ascontiguousarray(np.stack([turned.real, turned.imag], -1).reshape(x.shape), np.float32)

    def run(self, tokens, wanted):
        """{layer: (queries [tokens, heads, dim], keys)} of the layers `wanted`."""
        x, found = self.weight("token_embd")[tokens], {}
        for layer in range(max(wanted) + 1):
            at = "blk.%d." % layer
            y = self.norm(x, at + "attn_norm")
            q, k, v = (y @ self.weight(at + name).T for name in ("attn_q", "attn_k", "attn_v"))
            q, k = self.turn(q.reshape(len(x), self.heads, -1)), self.turn(k.reshape(len(x), self.kv_heads, -1))
            if layer in wanted:
                found[layer] = q, k
            if layer == max(wanted):
                return found
            out = fovea.attention(q, k, v.reshape(k.shape), "dense")
            x = x + out.reshape(len(x), -1) @ self.weight(at + "attn_output").T
            y = self.norm(x, at + "ffn_norm")
            gate, up, down = (self.weight(at + name) for name in ("ffn_gate", "ffn_up", "ffn_down"))
            for first in range(0, len(x), BATCH):
                part = y[first:first + BATCH]
                inner = part @ gate.T
                x[first:first + BATCH] += (inner / (1 + np.exp(-inner)) * (part @ up.T)) @ down.T
            print("layer %d" % layer, end="\r", file=sys.stderr)
        return found


def keys_of(options, layers):
    """{layer: (queries of the last rows, all keys)}; from --keep if it is there."""
    if options.keep and os.path.exists(options.keep):
        kept = np.load(options.keep)
        return {layer: (kept["q%d" % layer], kept["k%d" % layer]) for layer in layers}
    sys.path.insert(1, os.path.join(ROOT, "tools"))
    from document import reference_text
    engine, model = fovea.Engine(options.model, context=256), Llama(options.model)
    tokens = np.array(engine.tokenize(reference_text()), np.int64)
    need = options.tokens * options.segments
    if len(tokens) < need:
        raise SystemExit("the text has %d tokens, %d are wanted" % (len(tokens), need))
    parts = [model.run(part, layers) for part in tokens[:need].reshape(options.segments, -1)]
    found = {layer: (parts[-1][layer][0][-options.rows:], np.concatenate([part[layer][1] for part in parts])) for layer in layers}
    if options.keep:
        np.savez(options.keep, **{"%s%d" % (name, layer): array for layer, pair in found.items() for name, array in zip("qk", pair)})
    return found


class Truth:
    """Dense attention's weights of the rows, [rows][heads][keys]; keys as f16 holds them."""

    def __init__(self, queries, keys):
        self.rows, self.heads, self.dim = queries.shape
        self.keys, self.kv_heads = keys.astype(np.float16).astype(np.float32), keys.shape[1]
        self.group, self.count = self.heads // self.kv_heads, len(keys)
        self.first = self.count - self.rows  # position of the first row
        scores = np.einsum("rhd,khd->rhk", queries, self.keys.repeat(self.group, 1), optimize=True) / np.sqrt(self.dim)
        for row in range(self.rows):
            scores[row, :, self.first + row + 1:] = -np.inf
        self.weights = np.exp(scores - scores.max(-1, keepdims=True))
        self.weights /= self.weights.sum(-1, keepdims=True)
        self.dense_bytes = self.count * self.kv_heads * self.dim * 4


def by_pages(truth, queries, budgets):
    """[(bytes, mass, seconds)] of fovea's own choice: the mass is what the log-sum-exp of what was read lacks to that of all."""
    texts = ["fovea:budget=%g,window=%d" % (budget, WINDOW) for budget in budgets]
    cache = fovea.Cache(truth.kv_heads, truth.dim, dtype="f16", policy=("dense", *texts))
    plain = fovea.Cache(truth.kv_heads, truth.dim, dtype="f16", policy="dense")
    for one in (cache, plain):
        one.append(truth.keys, truth.keys)
    every = [cache.attend(queries[row:row + 1], "dense", first=truth.first + row, return_lse=True)[1] for row in range(truth.rows)]
    points = []
    for text in texts:
        mass, read, start = [], 0, time.perf_counter()
        for row in range(truth.rows):
            _, lse, report = cache.attend(queries[row:row + 1], text, first=truth.first + row, return_lse=True, return_report=True)
            mass.append(np.exp(lse - every[row]))
            read += report.bytes_read
        points.append((read / truth.rows, float(np.mean(mass)), (time.perf_counter() - start) / truth.rows))
    return points, (cache.nbytes - plain.nbytes) / truth.count / truth.kv_heads


def by_index(truth, queries, kind, counts, build_ef):
    """The same of an index for each KV head, asked by the query heads that share it, a token at a time. "flat" computes all that may be among the
    results within three standard deviations of a code's error, "coarse" within a half; "graph" walks with a beam of twice the results."""
    confidence = {"coarse": 0.5}.get(kind, 3.0)
    near = np.zeros(truth.count, bool)
    near[:SINKS] = True
    end = truth.first - WINDOW
    near[end:] = True
    indexes, start = [], time.perf_counter()
    for head in range(truth.kv_heads):
        index = fovea.Index(truth.dim, "ip", "graph" if kind == "graph" else "flat")
        index.add(truth.keys[SINKS:end, head], range(SINKS, end))
        if kind == "graph":
            index.build(ef=build_ef)
        indexes.append(index)
    build = time.perf_counter() - start
    points = []
    for count in counts:
        mass, read, start = [], 0, time.perf_counter()
        found = []
        for row in range(truth.rows):
            for head, index in enumerate(indexes):
                group = slice(head * truth.group, (head + 1) * truth.group)
                labels, _, report = index.search(queries[row, group], count, ef=2 * count if kind == "graph" else 0, threads=1,
                                                 confidence=confidence, return_report=True)
                found.append((row, group.start, labels))
                read += report.bytes + len(np.unique(labels)) * truth.dim * 2  # values; keys were read to be found
        seconds = (time.perf_counter() - start) / truth.rows
        for row, first, labels in found:
            for at, wanted in enumerate(labels):
                weights = truth.weights[row, first + at]
                wanted = wanted[wanted < truth.count].astype(np.int64)
                mass.append(weights[near].sum() + weights[wanted].sum())
        newest = (SINKS + WINDOW) * truth.kv_heads * truth.dim * 4
        points.append((read / truth.rows + newest, float(np.mean(mass)), seconds))
    return points, sum(index.nbytes for index in indexes) / truth.count / truth.kv_heads, build


def at_share(points, wanted):
    """Mass at so many bytes, linear in their logarithm; NaN beyond what was measured."""
    points = sorted(points)
    return float(np.interp(np.log(wanted), [np.log(one[0]) for one in points], [one[1] for one in points], left=np.nan))


def tell(name, truth, points, bytes_a_key, build=0.0):
    cells = " ".join("%6.4f" % at_share(points, share * truth.dense_bytes) for share in SHARES)
    middle = min(points, key=lambda one: abs(one[0] - 0.16 * truth.dense_bytes))
    print("  %-8s %s  %8.2f ms  %6.1f B a key  built in %.1f s" % (name, cells, middle[2] * 1e3, bytes_a_key, build), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--layers", default="4,12,20")
    parser.add_argument("--rows", type=int, default=32, help="queries: the last tokens")
    parser.add_argument("--keep", help="FILE.npz: keys and queries, written or read")
    parser.add_argument("--kinds", default="flat,coarse,graph")
    parser.add_argument("--build-ef", type=int, default=100, help="beam of the walks that make a graph")
    parser.add_argument("--details", action="store_true", help="all points")
    options = parser.parse_args()
    layers = [int(layer) for layer in options.layers.split(",")]
    for layer, (queries, keys) in keys_of(options, layers).items():
        truth = Truth(queries, keys)
        near = truth.weights[..., :SINKS].sum(-1) + truth.weights[..., truth.first - WINDOW:].sum(-1)
        print("layer %d, %d keys: %.4f of the mass is on the first and newest; mass read at shares of dense attention's bytes:"
              % (layer, truth.count, near.mean()))
        print("  %-8s %s" % ("", " ".join("%5.0f%%" % (100 * share) for share in SHARES)))
        fovea.set_num_threads(1)
        points, extra = by_pages(truth, queries, BUDGETS)
        tell("pages", truth, points, extra)
        found = {"pages": points}
        for kind in options.kinds.split(","):
            fovea.set_num_threads(0)
            points, extra, build = by_index(truth, queries, kind, COUNTS, options.build_ef)
            tell(kind, truth, points, extra, build)
            found[kind] = points
        for name, points in found.items() if options.details else ():
            for read, mass, seconds in points:
                print("    %-8s %9.0f bytes %6.2f %%  mass %.4f  %.2f ms" % (name, read, 100 * read / truth.dense_bytes, mass, 1e3 * seconds))
        fovea.set_num_threads(0)


if __name__ == "__main__":
    main()
