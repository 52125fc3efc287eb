#!/usr/bin/env python3
"""Functions under the names of others, with NumPy alone: what they compute, and that what they can't do is refused."""
import unittest

import numpy as np

import fovea
from fovea.flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache
from dense_numpy import arrays, dense


class DropInsTest(unittest.TestCase):
    def check(self, got, wanted):
        self.assertEqual(got.shape, wanted.shape)
        self.assertLessEqual(float(np.abs(got - wanted).max()), 3e-6)

    def test_sdpa_is_causal_from_the_top_left(self):
        for rows, keys in ((5, 9), (9, 9), (9, 5)):
            q, k, v = arrays(rows, rows, keys, 4, 2, 8)
            wanted = np.concatenate([dense(q[i:i + 1], k[:i + 1], v[:i + 1])[0] for i in range(rows)])
            one = [one.swapaxes(0, 1) for one in (q, k, v)]
            self.check(fovea.scaled_dot_product_attention(*one, is_causal=True, enable_gqa=True).swapaxes(0, 1), wanted)
            batch = [np.stack([x, x])[None] for x in one]
            got = fovea.scaled_dot_product_attention(*batch, is_causal=True, enable_gqa=True)
            self.assertEqual(got.shape, (1, 2, 4, rows, 8))
            self.check(got[0, 1].swapaxes(0, 1), wanted)
        self.assertEqual(fovea.scaled_dot_product_attention(q[:, 0], k[:, 0], v[:, 0], scale=1.0).shape, (9, 8))
        self.assertEqual(fovea.scaled_dot_product_attention(np.zeros((2, 0, 8), np.float32), k.swapaxes(0, 1), v.swapaxes(0, 1)).shape,
                         (2, 0, 8))

    def test_sdpa_refuses(self):
        q, k, v = (one.swapaxes(0, 1) for one in arrays(1, 5, 9, 4, 2, 8))
        with self.assertRaises(NotImplementedError):
            fovea.scaled_dot_product_attention(q, k, v, enable_gqa=True, dropout_p=0.1)
        with self.assertRaisesRegex(ValueError, "enable_gqa"):
            fovea.scaled_dot_product_attention(q, k, v)
        with self.assertRaisesRegex(ValueError, "head_dim"):
            fovea.scaled_dot_product_attention(q, k, v[..., :4], enable_gqa=True)

    def test_flash_attn_func(self):
        q, k, v = arrays(2, 7, 11, 4, 2, 8)
        for keywords, meaning in (({}, {"causal": False}), ({"causal": True}, {}), ({"window_size": (-1, 0)}, {}),
                                  ({"window_size": (3, 0)}, {"window": 4}), ({"causal": True, "window_size": (2, 5)}, {"window": 3}),
                                  ({"softcap": 2.0, "softmax_scale": 0.7}, {"causal": False, "softcap": 2.0, "scale": 0.7}),
                                  ({"window_size": (10, 11)}, {"causal": False})):
            out, lse, none = flash_attn_func(q[None], k[None], v[None], return_attn_probs=True, **keywords)
            wanted, wanted_lse = dense(q, k, v, **meaning)
            self.check(out[0], wanted)
            self.check(lse[0].T, wanted_lse)
            self.assertIsNone(none)

    def test_rows_that_see_nothing_are_zeros(self):
        q, k, v = arrays(3, 7, 4, 4, 2, 8)
        out, lse, _ = flash_attn_func(q[None], k[None], v[None], causal=True, return_attn_probs=True)
        self.assertTrue((out[0, :3] == 0).all() and (lse[0, :, :3] == -np.inf).all())
        self.check(out[0, 3:], dense(q[3:], k, v)[0])
        self.assertTrue((flash_attn_func(q[None], k[None, :0], v[None, :0]) == 0).all())

    def test_flash_attn_refuses(self):
        q, k, v = (one[None] for one in arrays(4, 5, 9, 4, 2, 8))
        for keywords in ({"dropout_p": 0.5}, {"alibi_slopes": np.ones(4)}):
            with self.assertRaises(NotImplementedError):
                flash_attn_func(q, k, v, **keywords)
        with self.assertRaisesRegex(ValueError, "batch, tokens, heads"):
            flash_attn_func(q[0], k[0], v[0])
        with self.assertRaises(NotImplementedError):
            flash_attn_with_kvcache(q, k, v, rotary_cos=np.ones((9, 4)))

    def test_varlen(self):
        q, k, v = arrays(5, 12, 20, 4, 2, 8)
        rows, keys = [0, 3, 3, 12], np.array([0, 8, 10, 20], np.int32)
        out, lse, _ = flash_attn_varlen_func(q, k, v, rows, keys, 9, 10, causal=True, return_attn_probs=True)
        for a, b, c, d in ((0, 3, 0, 8), (3, 12, 10, 20)):
            wanted, wanted_lse = dense(q[a:b], k[c:d], v[c:d])
            self.check(out[a:b], wanted)
            self.check(lse[:, a:b].T, wanted_lse)
        for bad in ([0, 3, 13, 14], [1, 3, 3, 12], [0, 3, 2, 12], [0, 12]):
            with self.assertRaises(ValueError):
                flash_attn_varlen_func(q, k, v, bad, keys, 9, 10)

    def test_kvcache(self):
        q, k, v = arrays(6, 2, 30, 4, 2, 8)
        lengths, new = [5, 11], 2
        k_cache, v_cache = np.zeros((3, 16, 2, 8), np.float32), np.zeros((3, 16, 2, 8), np.float32)
        rows = [2, 0]
        for i in range(2):
            k_cache[rows[i], :lengths[i]], v_cache[rows[i], :lengths[i]] = k[:lengths[i]], v[:lengths[i]]
        before = k_cache.copy()
        fresh = [np.stack([one[20:22], one[25:27]]) for one in (k, v)]
        out, lse = flash_attn_with_kvcache(np.stack([q, q]), k_cache, v_cache, *fresh, cache_seqlens=np.array(lengths, np.int32),
                                           cache_batch_idx=np.array(rows), causal=True, return_softmax_lse=True)
        for i in range(2):
            whole = [np.concatenate([one[:lengths[i]], part[i]]) for one, part in zip((k, v), fresh)]
            wanted, wanted_lse = dense(q, *whole)
            self.check(out[i], wanted)
            self.check(lse[i].T, wanted_lse)
            self.assertTrue((k_cache[rows[i], lengths[i]:lengths[i] + new] == fresh[0][i]).all())
        self.assertTrue((k_cache[1] == before[1]).all())
        with self.assertRaisesRegex(ValueError, "of a row of 16"):
            flash_attn_with_kvcache(np.stack([q, q]), k_cache, v_cache, *fresh, cache_seqlens=[3, 15], cache_batch_idx=rows)
        padded = flash_attn_with_kvcache(q[None], k[None], v[None], cache_seqlens=20, cache_leftpad=[6], causal=True)
        self.check(padded[0], dense(q, k[6:20], v[6:20])[0])

    def test_block_table(self):
        q, k, v = arrays(7, 1, 20, 4, 2, 8)
        table = np.array([[4, 0, 2, 5, 1, 3]], np.int32)
        k_cache, v_cache = np.zeros((6, 4, 2, 8), np.float32), np.zeros((6, 4, 2, 8), np.float32)
        for t in range(19):
            k_cache[table[0, t // 4], t % 4], v_cache[table[0, t // 4], t % 4] = k[t], v[t]
        out = flash_attn_with_kvcache(q[None], k_cache, v_cache, k[None, 19:], v[None, 19:], cache_seqlens=19, block_table=table,
                                      causal=True)
        self.check(out[0], dense(q, k, v)[0])
        self.assertTrue((k_cache[1, 3] == k[19]).all())
        with self.assertRaisesRegex(ValueError, "blocks are 0 to 5"):
            flash_attn_with_kvcache(q[None], k_cache, v_cache, cache_seqlens=3, block_table=np.array([[9]]))


if __name__ == "__main__":
    unittest.main()
