#!/usr/bin/env python3
"""Decoding one token through the Python package beside torch's scaled_dot_product_attention, in turn in one run: ratios.

    bench/torch_pair.py [--runs N] [KEYS ...]

32 query heads over 8 KV heads of 128, f32, one thread each; the best of N calls of each. torch is called as people do
(enable_gqa=True) and in its fastest form, the heads that share a KV head folded into rows. Wants torch and the installed package.
"""
import argparse
import time

import torch

import fovea

HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128
SPARSE = "fovea:budget=0.05"


def pair(keys, runs):
    """Name -> best seconds."""
    sdpa = torch.nn.functional.scaled_dot_product_attention
    k, v, q = (torch.randn(1, heads, tokens, HEAD_DIM) for heads, tokens in ((KV_HEADS, keys), (KV_HEADS, keys), (HEADS, 1)))
    cache = fovea.Cache(KV_HEADS, HEAD_DIM, dtype="f32", policy=("dense", SPARSE))
    cache.append(k[0], v[0], layout="HND")
    calls = {"torch": lambda: sdpa(q, k, v, enable_gqa=True),
             "folded": lambda: sdpa(q.reshape(1, KV_HEADS, HEADS // KV_HEADS, HEAD_DIM), k, v),
             "dense": lambda: cache.attend(q[0], layout="HND"), "sparse": lambda: cache.attend(q[0], SPARSE, layout="HND")}
    assert float((calls["torch"]()[0] - calls["dense"]()).abs().max()) <= 2e-5
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(runs):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("keys", type=int, nargs="*", default=[8192, 32768])
    options = parser.parse_args()
    torch.set_num_threads(1)
    fovea.set_num_threads(1)
    for keys in options.keys:
        best = pair(keys, options.runs)
        print("%d keys: torch / dense %.2f, folded / dense %.2f, torch / %s %.1f"
              % (keys, best["torch"] / best["dense"], best["folded"] / best["dense"], SPARSE, best["torch"] / best["sparse"]))


if __name__ == "__main__":
    main()
