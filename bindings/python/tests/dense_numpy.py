#!/usr/bin/env python3
"""Dense attention in float64 as the formula says, and random arrays: what the tests of the Python package compare with."""
import numpy as np


def dense(q, k, v, causal=True, scale=None, window=None, softcap=0.0):
    """[tokens, heads, head_dim] -> out and log-sum-exps [tokens, heads]; queries are the last rows."""
    rows, heads, dim = q.shape
    shared = heads // k.shape[1]
    k, v = (np.repeat(np.asarray(one, np.float64), shared, 1) for one in (k, v))
    scores = np.einsum("ihd,jhd->hij", np.asarray(q, np.float64), k) * (dim ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    place, key = np.arange(rows)[:, None] + len(k) - rows, np.arange(len(k))[None]
    hidden = np.zeros((rows, len(k)), bool)
    if causal:
        hidden |= key > place
    if window:
        hidden |= key <= place - window
    scores = np.where(hidden, -np.inf, scores)
    largest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", weights / total, v), (largest + np.log(total))[..., 0].T


def arrays(seed, rows, keys, heads, kv_heads, dim):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32)
            for shape in ((rows, heads, dim), (keys, kv_heads, dim), (keys, kv_heads, dim))]
