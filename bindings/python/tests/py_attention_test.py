#!/usr/bin/env python3
"""fovea.attention, Policy, Report and merging, with NumPy alone."""
import gc
import os
import threading
import unittest
import weakref

import numpy as np

import fovea
from fovea import _fovea
from dense_numpy import arrays, dense


class Wrapped:
    """An array that has DLPack and nothing else."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**keywords)


class AttentionTest(unittest.TestCase):
    def check(self, got, wanted, within=1e-5):
        self.assertEqual(got.shape, wanted.shape)
        self.assertLessEqual(float(np.abs(np.asarray(got, np.float64) - wanted).max()), within)

    def test_dense_on_random_shapes(self):
        rng = np.random.default_rng(1)
        for seed in range(60):
            kv_heads, shared, dim, keys = (int(rng.integers(1, most)) for most in (4, 5, 97, 200))
            causal = bool(rng.integers(2))
            rows = int(rng.integers(1, keys + 1)) if causal else int(rng.integers(1, 200))
            window = int(rng.integers(1, keys + 9)) if causal and seed % 3 == 0 else None
            softcap = 3.0 if seed % 5 == 0 else 0.0
            q, k, v = arrays(seed, rows, keys, kv_heads * shared, kv_heads, dim)
            out, lse = fovea.attention(q, k, v, "dense", causal, 0.3, True, window=window, softcap=softcap)
            wanted, wanted_lse = dense(q, k, v, causal, 0.3, window, softcap)
            self.check(out, wanted)
            self.check(lse, wanted_lse)

    def test_layouts_batches_and_strides_change_no_bit(self):
        q, k, v = (np.stack([one, one[::-1]]) for one in arrays(2, 20, 30, 6, 2, 16))
        plain = fovea.attention(q, k, v, "dense")
        wide = np.zeros((2, 30, 2, 40), np.float32)
        wide[..., 8:24] = k
        self.assertTrue((fovea.attention(q, wide[..., 8:24], v, "dense") == plain).all())
        gaps = np.zeros(k.shape[:-1] + (32,), np.float32)
        gaps[..., ::2] = k
        self.assertTrue((fovea.attention(q, gaps[..., ::2], v, "dense") == plain).all())
        self.assertTrue((fovea.attention(q, k, v[:, ::-1][:, ::-1], "dense") == plain).all())
        swapped, lse = fovea.attention(*(one.swapaxes(1, 2) for one in (q, k, v)), "dense", layout="HND", return_lse=True)
        self.assertTrue((swapped.swapaxes(1, 2) == plain).all())
        self.assertEqual(lse.shape, (2, 6, 20))
        self.assertTrue((lse.swapaxes(1, 2) == fovea.attention(q, k, v, "dense", return_lse=True)[1]).all())
        for i in range(2):
            self.assertTrue((fovea.attention(q[i], k[i], v[i], "dense") == plain[i]).all())
        q.setflags(write=False)  # inputs are only read
        self.assertTrue((fovea.attention(q, k, v, "dense") == plain).all())

    def test_dlpack_and_types(self):
        q, k, v = arrays(3, 9, 9, 2, 1, 8)
        plain = fovea.attention(q, k, v, "dense")
        self.assertTrue((fovea.attention(Wrapped(q), Wrapped(k), Wrapped(v), "dense") == plain).all())
        half = fovea.attention(*(one.astype(np.float16) for one in (q, k, v)), "dense")
        self.assertEqual(half.dtype, np.float16)
        self.check(half, plain.astype(np.float64), 4e-3)
        for bad in (np.float64, np.int32, ">f4", np.complex64):
            with self.assertRaisesRegex(TypeError, "key: elements are"):
                fovea.attention(q, k.astype(bad), v)
        with self.assertRaisesRegex(TypeError, "neither a NumPy array nor a tensor"):
            fovea.attention(q, [1.0], v)

    def test_errors_name_sizes(self):
        q, k, v = arrays(4, 5, 7, 4, 2, 8)
        for arguments, said in (((q, k[:, :, :4], v), "key: f32 \\[7, 2, 4\\]"), ((q, k, v[:6]), "value: f32 \\[6, 2, 8\\]"),
                                ((q[:, :3], k, v), "multiple"), ((q[None], k, v), "same axes"),
                                ((q[..., :4], k, v), "query: f32 \\[5, 4, 4\\]"), ((q[:0], k, v), "sizes are 1"),
                                ((k, q, q), "multiple"), ((q[0, 0], k, v), "3 axes"), ((q[None, None], k, v), "5 axes")):
            with self.assertRaisesRegex(ValueError, said):
                fovea.attention(*arguments, policy="dense")
        with self.assertRaises(fovea.ShapeError):
            fovea.attention(np.tile(q, (2, 1, 1)), k, v, "dense")
        with self.assertRaisesRegex(fovea.PolicyError, "causal"):
            fovea.attention(q, k, v, "fovea", causal=False)
        with self.assertRaises(fovea.ArgumentError):
            fovea.attention(q, k, v, "dense", False, window=3)
        for keywords in ({"scale": 0.0}, {"scale": float("nan")}, {"window": 0}, {"layout": "BHSD"}, {"softcap": -1.0}):
            with self.assertRaises(ValueError):
                fovea.attention(q, k, v, "dense", **keywords)
        k[3, 1, 5] = np.nan
        with self.assertRaisesRegex(fovea.NotFiniteError, "token 3, head 1, element 5"):
            fovea.attention(q, k, v)

    def test_sparse_reads_what_it_says(self):
        q, k, v = arrays(5, 600, 4096, 4, 2, 32)
        out, report = fovea.attention(q, k, v, "fovea:budget=0.1", return_report=True)
        self.assertTrue(np.isfinite(out).all())
        self.assertGreater(report.density, 0.08)
        self.assertLess(report.density, 0.2)
        self.assertEqual(sum(report.reasons.values()), report.keys_read)
        self.assertEqual(report.bytes, report.bytes_read)
        self.assertIn("keys read", report._repr_html_())
        self.assertIsNone(report.estimate)
        whole, report = fovea.attention(q, k, v, "fovea:budget=1", return_report=True)
        self.assertEqual(report.density, 1.0)
        self.assertTrue((whole == fovea.attention(q, k, v, "dense")).all())
        report = fovea.attention(q[-1:], k, v, "fovea:budget=0.1,certificate=on", return_report=True)[1]
        self.assertGreater(report.estimate, 0)
        self.assertLessEqual(report.estimate, report.bound)

    def test_slices_and_threads_change_no_bit(self):
        q, k, v = arrays(6, 700, 1000, 16, 4, 640)  # large enough to be cut: see WORK_SLICE
        q, k, v = (np.stack([one] * 2) for one in (q, k, v))
        fovea.set_num_threads(1)
        for policy, causal in (("dense", True), ("dense", False), ("fovea:budget=0.2", True)):
            out, lse, report = fovea.attention(q, k, v, policy, causal, None, True, True)
            end = 1000 - 700 + 400 if causal else 1000  # what rows to 400 see
            part = fovea.attention(q[1, 300:400], k[1, :end], v[1, :end], policy, causal)
            self.assertTrue((part == out[1, 300:400]).all())
            self.assertTrue((lse[0] == lse[1]).all())
            visible = sum(range(301, 1001)) if causal else 700 * 1000
            self.assertEqual(report.keys_visible, 2 * 4 * visible)
        fovea.set_num_threads(3)
        self.assertTrue((fovea.attention(q[0], k[0], v[0], policy) == out[0]).all())
        self.assertEqual(fovea.get_num_threads(), 3)
        fovea.set_num_threads(0)
        with self.assertRaises(ValueError):
            fovea.set_num_threads(1025)

    def test_a_forked_child_has_threads_of_its_own(self):
        q, k, v = arrays(7, 300, 300, 8, 2, 64)
        fovea.set_num_threads(2)
        wanted = fovea.attention(q, k, v, "dense")
        child = os.fork()
        if child == 0:
            os._exit(0 if (fovea.attention(q, k, v, "dense") == wanted).all() else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        fovea.set_num_threads(0)

    def test_threads_at_the_same_time(self):
        q, k, v = arrays(8, 200, 400, 8, 2, 64)
        wanted, found = fovea.attention(q, k, v), []
        threads = [threading.Thread(target=lambda: found.append((fovea.attention(q, k, v) == wanted).all())) for _ in range(4)]
        for thread in threads:
            thread.start()
        fovea.set_num_threads(2)  # the pool that they have is closed when they are done
        for thread in threads:
            thread.join()
        fovea.set_num_threads(0)
        self.assertEqual(found, [True] * 4)

    def test_arrays_are_given_back(self):
        class Watched(np.ndarray):
            pass

        q, k, v = (one.view(Watched) for one in arrays(9, 4, 4, 2, 1, 8))
        watched = [weakref.ref(one) for one in (q, k, v)]
        fovea.attention(q, k, v)
        with self.assertRaises(ValueError):
            fovea.attention(q, k[:, :, :3], v)
        del q, k, v
        gc.collect()
        self.assertEqual([one() for one in watched], [None] * 3)

    def test_every_status_has_a_class(self):
        from fovea._errors import BY_STATUS
        statuses = {value for name, value, _ in _fovea.statuses() if name != "FV_OK"}
        self.assertEqual(statuses, set(BY_STATUS))

    def test_policy(self):
        policy = fovea.Policy("fovea", budget=0.12, window=256, certificate=True)
        self.assertEqual(str(policy), "fovea:budget=0.12,window=256,certificate=on")
        self.assertTrue(policy.chooses and policy.certificate)
        self.assertEqual((policy.window, policy.pages, round(policy.budget, 6)), (256, 0, 0.12))
        self.assertEqual({policy, fovea.Policy(policy.text)}, {policy})
        self.assertEqual(fovea.Policy(policy), policy)
        with self.assertRaisesRegex(fovea.PolicyError, "budget"):
            fovea.Policy("fovea", budget=2.0)
        with self.assertRaises(fovea.PolicyError):
            fovea.Policy("dense\0")
        with self.assertRaises(AttributeError):
            policy.budget = 0.5

    def test_merging_parts_is_the_whole(self):
        q, k, v = arrays(10, 6, 90, 4, 2, 16)
        whole, whole_lse = fovea.attention(q, k, v, "dense", False, return_lse=True)
        parts = [fovea.attention(q, k[a:b], v[a:b], "dense", False, return_lse=True) for a, b in ((0, 7), (7, 50), (50, 90))]
        out, lse = fovea.merge_states([one for one, _ in parts], [one for _, one in parts])
        self.check(out, whole.astype(np.float64), 1e-6)
        self.check(lse, whole_lse.astype(np.float64), 2e-6)
        nothing = (np.zeros_like(whole), np.full_like(whole_lse, -np.inf))
        out, lse = fovea.merge_state(whole, whole_lse, *nothing)
        self.assertTrue((out == whole).all() and (lse == whole_lse).all())
        out, lse = fovea.merge_state(*nothing, *nothing)
        self.assertTrue((out == 0).all() and (lse == -np.inf).all())
        with self.assertRaises(ValueError):
            fovea.merge_state(whole, whole_lse[:3], whole, whole_lse)


if __name__ == "__main__":
    unittest.main()
