#!/usr/bin/env python3
"""Masks of scaled_dot_product_attention and windows of flash-attn, with NumPy alone: each form against the formula, and how
many calls it takes."""
import unittest

import numpy as np

import fovea
from fovea._mask import runs_of, window_spans
from fovea.flash_attn import flash_attn_func, flash_attn_varlen_func
from dense_numpy import arrays


def masked(q, k, v, mask):
    """[heads, tokens, head_dim] in float64; `mask` broadcasts to [heads, L, S]. A row that sees nothing gives zeros."""
    q, k, v = (one.astype(np.float64) for one in (q, k, v))
    k, v = (np.repeat(one, len(q) // len(k), 0) for one in (k, v))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e300))
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300) @ v


def forms(rows, keys):
    """Name -> (mask, most calls it may take)."""
    row, key = np.arange(rows)[:, None] + keys - rows, np.arange(keys)[None]
    document = np.sort(np.random.default_rng(3).integers(0, 3, keys))
    packed = (document[None] == document[keys - rows:, None]) & (key <= row)
    return {"causal": (key <= row, 1), "top-left": (key <= row - keys + rows, 1), "window": ((key <= row) & (key > row - 7), 1),
            "all": (key < 1 << 30 | row * 0, 1), "padding on the left": ((key <= row) & (key >= 5), 1),
            "padding on the right": ((key <= row) & (key < keys - 4), 2), "window and padding": ((key <= row) & (key > row - 7) & (key > 4), 1),
            "packed": (packed, 4), "prefix": ((key <= row) | (key < keys - rows + 6), 2), "ahead": (key <= row + 3, 2),
            "both sides": (abs(key - row) < 4, 2), "from the row on": (key >= row, 1), "nothing": ((key < 0) & (row > 0), 0),
            "holes": ((key <= row) & (key % 3 != 1), rows), "two kinds": (key % 2 == row % 4 // 2, 2)}


class MaskTest(unittest.TestCase):
    def check(self, got, wanted):
        self.assertEqual(got.shape, wanted.shape)
        self.assertLessEqual(float(np.abs(got - wanted).max()), 5e-6)

    def test_forms(self):
        for rows, keys in ((30, 30), (14, 30), (1, 30)):
            q, k, v = (one.swapaxes(0, 1) for one in arrays(rows, rows, keys, 4, 2, 8))
            for name, (mask, most) in forms(rows, keys).items():
                with self.subTest(name, rows=rows):
                    self.assertLessEqual(len(runs_of(mask)), most)
                    got = fovea.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
                    self.check(got, masked(q, k, v, mask))
                    least = np.where(mask, 0, -np.inf).astype(np.float32)
                    self.assertTrue((fovea.scaled_dot_product_attention(q, k, v, least, enable_gqa=True) == got).all())

    def test_random_masks(self):
        rng = np.random.default_rng(1)
        for _ in range(20):
            q, k, v = (rng.standard_normal((2, h, n, 8), np.float32) for h, n in ((4, 9), (2, 12), (2, 12)))
            shape = [size if rng.random() < 0.6 else 1 for size in (2, 4, 9, 12)][rng.integers(0, 3):]
            mask = rng.random(shape) < 0.7
            got = fovea.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
            for b in range(2):
                whole = np.broadcast_to(mask, (2, 4, 9, 12))[b]
                self.check(got[b], masked(q[b], k[b], v[b], whole))

    def test_what_is_added_to_keys(self):
        rng = np.random.default_rng(2)
        q, k, v = (rng.standard_normal((2, h, n, 8), np.float32) for h, n in ((4, 9), (2, 12), (2, 12)))
        for shape in ((12,), (1, 12), (4, 1, 12), (2, 1, 1, 12), (2, 4, 1, 12)):
            bias = rng.standard_normal(shape).astype(np.float32)
            bias[..., 3] = -np.inf
            got = fovea.scaled_dot_product_attention(q, k, v, bias, scale=0.5, enable_gqa=True)
            whole = np.broadcast_to(bias, (2, 4, 9, 12))
            for b in range(2):
                self.check(got[b], masked(q[b] * 0.5 * np.sqrt(8), k[b], v[b], whole[b]))

    def test_refusals(self):
        q = np.ones((1, 2, 3, 8), np.float32)
        for mask, error, said in ((np.eye(3, dtype=np.float32), NotImplementedError, "differ between the rows"),
                                  (np.full((3, 3), np.nan, np.float32), ValueError, "NaN"), (np.ones((4, 3), bool), ValueError, "broadcast"),
                                  (np.ones((1, 1, 1, 1, 1, 3), bool), ValueError, "broadcast")):
            with self.assertRaisesRegex(error, said):
                fovea.scaled_dot_product_attention(q, q, q, mask)
        with self.assertRaisesRegex(ValueError, "one of them"):
            fovea.scaled_dot_product_attention(q, q, q, np.ones((3, 3), bool), is_causal=True)
        with self.assertRaisesRegex(NotImplementedError, "side by side"):
            fovea.scaled_dot_product_attention(q, q, q, np.array([[True, False, True]]), policy="fovea")

    def test_a_policy_under_a_mask(self):
        q, k, v = (one.swapaxes(0, 1) for one in arrays(5, 300, 300, 4, 2, 8))
        mask = np.tril(np.ones((300, 300), bool))
        wanted = fovea.attention(q, k, v, "fovea:budget=0.3,window=16", layout="HND")
        got = fovea.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True, policy="fovea:budget=0.3,window=16")
        self.assertTrue((got == wanted).all())

    def test_windows_of_flash_attn(self):
        for rows, keys in ((12, 12), (7, 15), (15, 7)):
            q, k, v = arrays(6, rows, keys, 4, 2, 8)
            place, key = np.arange(rows)[:, None] + keys - rows, np.arange(keys)[None]
            for left in (-1, 0, 3, 40):
                for right in (-1, 0, 2, 40):
                    mask = ((key >= place - left) if left >= 0 else True) & ((key <= place + right) if right >= 0 else key >= 0)
                    mask = np.broadcast_to(mask, (rows, keys))
                    self.assertLessEqual(len(window_spans(rows, keys, left, right)), 4)
                    out, lse, _ = flash_attn_func(q[None], k[None], v[None], window_size=(left, right), return_attn_probs=True)
                    self.check(out[0].swapaxes(0, 1), masked(*(one.swapaxes(0, 1) for one in (q, k, v)), mask))
                    self.assertTrue(((lse[0] == -np.inf) == ~mask.any(1)).all())

    def test_varlen_in_blocks(self):
        q, k, v = arrays(7, 5, 16, 4, 2, 8)
        blocks = [one.reshape(4, 4, 2, 8)[[3, 1, 0, 2]] for one in (k, v)]  # block b of the keys lies in table[b]
        table = np.array([[2, 1], [3, 0]], np.int32)
        got = flash_attn_varlen_func(q, *blocks, [0, 2, 5], [0, 7, 13], 3, 7, causal=True, block_table=table)
        wanted = flash_attn_varlen_func(q, np.concatenate([k[:7], k[8:14]]), np.concatenate([v[:7], v[8:14]]), [0, 2, 5], [0, 7, 13], 3, 7,
                                        causal=True)
        self.assertTrue((got == wanted).all())
        with self.assertRaisesRegex(ValueError, "blocks for all"):
            flash_attn_varlen_func(q, *blocks, [0, 2, 5], [0, 9, 13], 3, 9, block_table=table)


if __name__ == "__main__":
    unittest.main()
