#!/usr/bin/env python3
"""The Python package beside torch's scaled_dot_product_attention, one thread, f32, in turn in one run: a table of ratios.

    bench/torch_pair.py [--runs N] [--only decode,sparse,prefill,small]

decode   one token, 32 heads over 8 KV heads of 128, dense, over a fovea.Cache of 8,192 and 32,768 keys. torch is called as
         people do (enable_gqa=True) and in its fastest form, the heads that share a KV head folded into rows
sparse   the same over 131,072 keys with fovea:budget=0.05, and the share of the softmax mass that was read, where scores have a
         standard deviation of 1 and of 4: at random, the worst case, for heads share what is read and pages of 16 are, and where
         neighbours and the heads of a group are half alike
prefill  8,192 tokens, 9 heads over 3 of 64, causal: fovea.attention dense and with fovea:budget=0.12
small    microseconds of Cache.attend, 1 token, 9/3 heads of 64, over 512 keys and over one: the latter is at most what Python adds

Each figure is the best of N calls; the median is beside it. Times are of the processor, of the one thread that works: what others
run takes none of it, but slows caches and memory. Wants torch and the installed package. 3 GB of memory.
"""
import argparse
import os
import statistics
import time

import torch

import fovea

SPARSE, PREFILL = "fovea:budget=0.05", "fovea:budget=0.12"
sdpa = torch.nn.functional.scaled_dot_product_attention


def in_turn(calls, runs, seconds=40.0):
    """Name -> sorted seconds; at least 3 runs, at most `runs`, and no new one after `seconds`."""
    seen, begin = {name: [] for name in calls}, time.perf_counter()
    for run in range(runs):
        if run >= 3 and time.perf_counter() - begin > seconds:
            break
        for name, call in calls.items():
            start = time.thread_time()
            call()
            seen[name].append(time.thread_time() - start)
    return {name: sorted(times) for name, times in seen.items()}


def ratios(title, seen, base, names, least):
    for name, bar in zip(names, least):
        times = seen[name]
        print("%-44s %7.2f times %s (median %.2f, wanted %g): %.3f ms" % (
            title + ", " + name, seen[base][0] / times[0], base, statistics.median(seen[base]) / statistics.median(times), bar, 1e3 * times[0]),
              flush=True)


def caches(keys):
    k, v, q = (torch.randn(1, heads, tokens, 128) for heads, tokens in ((8, keys), (8, keys), (32, 1)))
    cache = fovea.Cache(8, 128, dtype="f32", policy=("dense", SPARSE))
    cache.append(k[0], v[0], layout="HND")
    return q, k, v, cache


def decode(runs):
    for keys in (8192, 32768):
        q, k, v, cache = caches(keys)
        calls = {"torch": lambda: sdpa(q, k, v, enable_gqa=True), "torch folded": lambda: sdpa(q.reshape(1, 8, 4, 128), k, v),
                 "dense": lambda: cache.attend(q[0], layout="HND")}
        assert float((calls["torch"]()[0] - calls["dense"]()).abs().max()) <= 2e-5
        seen = in_turn(calls, runs)
        ratios("decode %d" % keys, seen, "torch", ["dense"], [5])
        ratios("decode %d" % keys, seen, "torch folded", ["dense"], [2])


def sparse(runs):
    q, k, v, cache = caches(131072)
    seen = in_turn({"torch": lambda: sdpa(q, k, v, enable_gqa=True), SPARSE: lambda: cache.attend(q[0], SPARSE, layout="HND")}, runs)
    ratios("decode 131072", seen, "torch", [SPARSE], [60])
    for alike in (0, 32):
        print("%44s mass read, %s: %.3f at a deviation of 1, %.3f at 4" % (
            "", "neighbours and heads half alike" if alike else "keys and heads at random", mass(alike, 1), mass(alike, 4)))


def mass(alike, deviation):
    """Share of the softmax mass that 16 queries of 4 heads read of 131,072 keys of one KV head. `alike`: half of the variance of so many
    neighbours is common to them, and of the 4 heads."""
    k, q = torch.randn(131072, 1, 128), torch.randn(16, 4, 128)
    if alike:
        k = 0.5 ** 0.5 * (k + torch.randn(131072 // alike, 1, 128).repeat_interleave(alike, 0))
        q = 0.5 ** 0.5 * (q + torch.randn(16, 1, 128))
    cache = fovea.Cache(1, 128, dtype="f32", policy=("dense", SPARSE))
    cache.append(k, k)
    lse = [torch.stack([cache.attend(deviation * one, policy, return_lse=True)[1] for one in q]) for policy in (SPARSE, "dense")]
    return float((lse[0] - lse[1]).exp().mean())


def prefill(runs):
    q, k, v = (torch.randn(1, heads, 8192, 64) for heads in (9, 3, 3))
    calls = {"torch": lambda: sdpa(q, k, v, is_causal=True, enable_gqa=True),
             "dense": lambda: fovea.attention(q, k, v, "dense", layout="HND"), PREFILL: lambda: fovea.attention(q, k, v, PREFILL, layout="HND")}
    assert float((calls["torch"]() - calls["dense"]()).abs().max()) <= 2e-5
    ratios("prefill 8192", in_turn(calls, min(runs, 5), 60), "torch", ["dense", PREFILL], [2.3, 4])


def small(runs):
    for keys in (512, 1):
        k, q = torch.randn(keys, 3, 64), torch.randn(9, 64)
        for kind, (key, query) in {"NumPy": (k.numpy(), q.numpy()), "torch": (k, q)}.items():
            cache = fovea.Cache(3, 64, policy="dense")
            cache.append(key, key)
            best = in_turn({"call": lambda: [cache.attend(query) for _ in range(100)]}, 20 * runs, 5)["call"][0]
            print("one call over %d keys, %s: %.2f us" % (keys, kind, 1e4 * best), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", default="decode,sparse,prefill,small")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fovea.set_num_threads(1)
    torch.manual_seed(0)
    parts = {"decode": decode, "sparse": sparse, "prefill": prefill, "small": small}
    print("torch %s, fovea %s with %s; load %.1f on %d processors" % (torch.__version__, fovea.__version__, fovea.isa(), os.getloadavg()[0],
                                                                      os.cpu_count() or 1))
    for name in options.only.split(","):
        parts[name](options.runs)


if __name__ == "__main__":
    main()
