#!/usr/bin/env python3
"""The package with torch: against its scaled_dot_product_attention on 200 random shapes, tensors of all kinds, refusals."""
import random
import unittest

import numpy as np
import torch

import fovea
from fovea.flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache

sdpa = torch.nn.functional.scaled_dot_product_attention


def tensors(batch, heads, kv_heads, rows, keys, dim, kind=torch.float32):
    return [torch.randn(batch, h, n, dim).to(kind) for h, n in ((heads, rows), (kv_heads, keys), (kv_heads, keys))]


def far(got, wanted):
    return float((got.float() - wanted.float()).abs().max())


class TorchTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        random.seed(1)

    def test_200_random_shapes(self):
        worst = 0.0
        for _ in range(200):
            kv_heads, shared, dim = random.randint(1, 4), random.randint(1, 6), random.randint(1, 160)
            rows, keys, causal, window = random.randint(1, 160), random.randint(1, 400), random.random() < 0.5, 0
            q, k, v = tensors(random.randint(1, 3), kv_heads * shared, kv_heads, rows, keys, dim)
            scale = random.choice([None, 0.05, 0.5])
            mask = None
            if rows <= keys and random.random() < 0.3:  # bottom-right with a window, which torch says by a mask
                window = random.randint(1, keys)
                place, key = torch.arange(rows)[:, None] + keys - rows, torch.arange(keys)[None]
                mask = (key <= place) & (key > place - window)
                got = fovea.attention(q, k, v, "dense", True, scale, layout="HND", window=window)
            else:
                got = fovea.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)
            wanted = sdpa(q.double(), k.double(), v.double(), mask, is_causal=causal and mask is None, scale=scale, enable_gqa=True)
            direct = sdpa(q, k, v, mask, is_causal=causal and mask is None, scale=scale, enable_gqa=True)
            self.assertIs(type(got), torch.Tensor)
            self.assertEqual((got.shape, got.dtype), (direct.shape, direct.dtype))
            self.assertLessEqual(far(got, direct), 2e-5)
            worst = max(worst, far(got, wanted))
        print("largest difference to torch in float64: %.2g" % worst)

    def test_half_types_and_strides(self):
        for kind, within in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
            q, k, v = tensors(2, 6, 2, 30, 50, 64, kind)
            got = fovea.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            self.assertEqual(got.dtype, kind)
            self.assertLessEqual(far(got, sdpa(q.float(), k.float(), v.float(), enable_gqa=True)), within)
        q, k, v = tensors(2, 6, 2, 30, 50, 64)
        got = fovea.attention(*(one.transpose(1, 2) for one in (q, k, v)), "dense", False)
        self.assertTrue(torch.equal(got.transpose(1, 2), fovea.scaled_dot_product_attention(q, k, v, enable_gqa=True)))
        wide = torch.randn(2, 2, 50, 128)
        self.assertTrue(torch.equal(fovea.attention(q, wide[..., ::2], v, "dense", False, layout="HND"),
                                    fovea.attention(q, wide[..., ::2].contiguous(), v, "dense", False, layout="HND")))
        self.assertTrue(torch.equal(fovea.attention(q, k[:, :1].expand(2, 2, 50, 64), v, "dense", False, layout="HND"),
                                    fovea.attention(q, k[:, :1].repeat(1, 2, 1, 1), v, "dense", False, layout="HND")))

    def test_masks(self):
        q, k, v = tensors(2, 6, 2, 30, 50, 64)
        key, row = torch.arange(50), torch.arange(30)[:, None]
        padding = key >= torch.tensor([0, 7])[:, None, None, None]
        bias = torch.randn(6, 1, 50)
        for mask in ((key <= row + 20), padding & (key <= row + 20), torch.rand(30, 50) < 0.5, torch.rand(2, 6, 1, 50) < 0.5, bias,
                     torch.zeros(30, 50).masked_fill(key > row + 20, torch.finfo(torch.float32).min)):
            for kind, within in ((torch.float32, 5e-6), (torch.bfloat16, 3e-2)):
                same = [one.to(kind) for one in (q, k, v)] + [mask if mask.dtype == torch.bool else mask.to(kind)]
                got = fovea.scaled_dot_product_attention(*same, enable_gqa=True)
                self.assertEqual(got.dtype, kind)
                wide = [one.float() if one.dtype == kind else one for one in same]
                self.assertLessEqual(far(got, sdpa(*wide, enable_gqa=True)), within)
        nothing = (key <= row + 20) & (row > 3)  # torch gives zeros, too
        self.assertLessEqual(far(fovea.scaled_dot_product_attention(q, k, v, nothing, enable_gqa=True),
                                 sdpa(q, k, v, nothing, enable_gqa=True)), 5e-6)
        with self.assertRaisesRegex(NotImplementedError, "between the rows"):
            fovea.scaled_dot_product_attention(q, k, v, torch.randn(30, 50), enable_gqa=True)

    def test_history_is_refused(self):
        q, k, v = tensors(1, 2, 2, 3, 3, 8)
        k.requires_grad_()
        with self.assertRaisesRegex(NotImplementedError, "inference only"):
            fovea.scaled_dot_product_attention(q, k, v)
        with torch.no_grad():
            fovea.scaled_dot_product_attention(q, k, v)
        with torch.inference_mode():
            fovea.scaled_dot_product_attention(q, torch.nn.Parameter(k), v)

    def test_other_types_and_devices_are_refused(self):
        q, k, v = tensors(1, 2, 2, 3, 3, 8)
        with self.assertRaisesRegex(TypeError, "float64"):
            fovea.scaled_dot_product_attention(q.double(), k, v)
        with self.assertRaises((TypeError, NotImplementedError, RuntimeError, BufferError)):
            fovea.scaled_dot_product_attention(q.to("meta"), k, v)

    def test_cache_and_merging(self):
        q, k, v = (one[0].transpose(0, 1) for one in tensors(1, 4, 2, 20, 20, 32, torch.bfloat16))
        cache = fovea.Cache(2, 32, dtype="bf16", policy="dense")
        cache.append(k, v)
        got, lse = cache.attend(q, return_lse=True)
        self.assertEqual((got.dtype, lse.dtype), (torch.bfloat16, torch.float32))
        self.assertTrue(torch.equal(got, fovea.attention(q, k, v, "dense")))
        merged, merged_lse = fovea.merge_state(got, lse, got, torch.full_like(lse, -torch.inf))
        self.assertTrue(torch.equal(merged, got) and torch.equal(merged_lse, lse))

    def test_flash_attn_names(self):
        q, k, v = (one.transpose(1, 2) for one in tensors(2, 4, 2, 7, 7, 16))
        wanted = sdpa(*(one.transpose(1, 2) for one in (q, k, v)), is_causal=True, enable_gqa=True).transpose(1, 2)
        self.assertLessEqual(far(flash_attn_func(q, k, v, causal=True), wanted), 2e-6)
        ends = torch.tensor([0, 7, 14], dtype=torch.int32)
        got = flash_attn_varlen_func(*(one.reshape(14, -1, 16) for one in (q, k, v)), ends, ends, 7, 7, causal=True)
        self.assertLessEqual(far(got.reshape(2, 7, 4, 16), wanted), 2e-6)
        k_cache, v_cache = torch.zeros(2, 9, 2, 16), torch.zeros(2, 9, 2, 16)
        lengths = torch.zeros(2, dtype=torch.int32)
        got, lse = flash_attn_with_kvcache(q, k_cache, v_cache, k, v, cache_seqlens=lengths, causal=True, return_softmax_lse=True)
        self.assertLessEqual(far(got, wanted), 2e-6)
        self.assertEqual(lse.shape, (2, 4, 7))
        self.assertTrue(torch.equal(k_cache[:, :7], k))
        blocks = [torch.zeros(8, 4, 2, 16) for _ in range(2)]
        table = torch.tensor([[5, 1], [0, 7]], dtype=torch.int32)
        got = flash_attn_with_kvcache(q, *blocks, k, v, cache_seqlens=lengths, block_table=table, causal=True)
        self.assertLessEqual(far(got, wanted), 2e-6)

    def test_numpy_and_torch_see_the_same_bits(self):
        q, k, v = (one[0].transpose(0, 1).contiguous() for one in tensors(1, 4, 2, 20, 20, 32))
        self.assertTrue(np.array_equal(fovea.attention(q, k, v).numpy(), fovea.attention(q.numpy(), k.numpy(), v.numpy())))

    def test_an_index_takes_tensors(self):
        vectors = torch.randint(-8, 8, (50, 16))
        for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32):
            index = fovea.Index(16)
            index.add(vectors.to(kind), torch.arange(50) + 7)
            self.assertEqual(index.search(vectors[:4].to(kind), 1)[0][:, 0].tolist(), [7, 8, 9, 10])
        with self.assertRaises(NotImplementedError):
            index.search(torch.zeros(16, requires_grad=True), 1)


if __name__ == "__main__":
    unittest.main()
