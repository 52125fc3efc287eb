#!/usr/bin/env python3
"""fovea.Cache with NumPy alone: what it holds, what it answers, its files, what it refuses."""
import os
import tempfile
import threading
import unittest

import numpy as np

import fovea
from dense_numpy import arrays


class CacheTest(unittest.TestCase):
    def cache(self, k, v, dtype="f32", policy=("dense", "fovea:budget=0.2"), **keywords):
        cache = fovea.Cache(k.shape[1], k.shape[2], dtype=dtype, policy=policy, **keywords)
        cache.append(k, v)
        return cache

    def test_attend_is_attention_bit_for_bit(self):
        q, k, v = arrays(1, 2500, 2500, 4, 2, 32)
        cache = fovea.Cache(2, 32, dtype="f32", policy=("dense", "fovea:budget=0.2"))
        for first in range(0, 2500, 700):
            cache.append(k[first:first + 700], v[first:first + 700])
        for policy in ("dense", "fovea:budget=0.2"):
            wanted, lse, report = fovea.attention(q, k, v, policy, return_lse=True, return_report=True)
            got, got_lse, got_report = cache.attend(q, policy, return_lse=True, return_report=True)
            self.assertTrue((got == wanted).all() and (got_lse == lse).all())
            self.assertEqual(got_report.keys_read, report.keys_read)
            self.assertTrue((cache.attend(q[-3:], policy) == wanted[-3:]).all())
            self.assertTrue((cache.attend(q[100:110], policy, first=100) == wanted[100:110]).all())
            self.assertTrue((cache.attend(q[-1], policy) == wanted[-1]).all())
        self.assertTrue((cache.attend(q.swapaxes(0, 1), layout="HND").swapaxes(0, 1) == cache.attend(q)).all())
        self.assertTrue((cache.attend(q[:9], "dense", causal=False) == fovea.attention(q[:9], k, v, "dense", False)).all())
        half = cache.attend(q[-2:].astype(np.float16))
        self.assertEqual(half.dtype, np.float16)

    def test_growing_past_its_first_room_changes_no_bit(self):
        q, k, v = arrays(2, 40, 9000, 2, 1, 16)
        at_once, grown = self.cache(k, v), fovea.Cache(1, 16, dtype="f32", policy=("dense", "fovea:budget=0.2"))
        for first in range(0, 9000, 1111):
            grown.append(k[first:first + 1111], v[first:first + 1111])
            grown.attend(q[:1], "fovea:budget=0.2")
        for policy in grown.policies:
            self.assertTrue((grown.attend(q, policy) == at_once.attend(q, policy)).all())
        self.assertEqual(grown.nbytes, at_once.nbytes)
        grown.truncate(10)
        self.assertLess(grown.nbytes, at_once.nbytes / 4)

    def test_truncate_evict_read(self):
        q, k, v = arrays(3, 1, 1100, 4, 2, 16)
        cache = self.cache(k, v)
        cache.truncate(1090)
        cache.evict([3, 7, 3])
        cache.evict(0)
        kept = np.delete(np.arange(1090), [0, 3, 7])
        self.assertEqual(len(cache), len(kept))
        keys, values = cache.read()
        self.assertTrue((keys == k[kept]).all() and (values == v[kept]).all())
        self.assertTrue((cache.attend(q, "dense") == fovea.attention(q, k[kept], v[kept], "dense")).all())
        self.assertTrue((cache.read(5, 2)[0] == k[kept[5:7]]).all())
        for call in (lambda: cache.truncate(5000), lambda: cache.truncate(-1), lambda: cache.evict([2, 9999]),
                     lambda: cache.evict(-1), lambda: cache.read(0, 0), lambda: cache.read(1080, 20)):
            with self.assertRaises(ValueError):
                call()
        self.assertEqual(len(cache), len(kept))

    def test_save_and_wake(self):
        q, k, v = arrays(4, 5, 5000, 4, 2, 16)
        for dtype in ("f32", "f16", "bf16", "q8_0", "q4_0"):
            cache = self.cache(k, v, dtype)
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "cache")
                cache.save(path)
                cache.save(path)
                self.assertEqual(os.listdir(folder), ["cache"])
                woken = fovea.Cache.wake(path, ("dense", "fovea:budget=0.2"))
                self.assertEqual((len(woken), woken.dtype, woken.nbytes), (5000, dtype, cache.nbytes))
                for policy in woken.policies:
                    self.assertTrue((woken.attend(q, policy) == cache.attend(q, policy)).all())
                woken.append(k[:1], v[:1])
                with self.assertRaises(fovea.ArgumentError):
                    fovea.Cache.wake(path, max_tokens=100)
                with open(path, "r+b") as file:
                    file.seek(9000)
                    byte = file.read(1)
                    file.seek(9000)
                    file.write(bytes([byte[0] ^ 1]))
                with self.assertRaisesRegex(fovea.CorruptError, "damaged"):
                    fovea.Cache.wake(path)
                os.truncate(path, 100)
                with self.assertRaises(fovea.CorruptError):
                    fovea.Cache.wake(path)
                with self.assertRaises(OSError):
                    fovea.Cache.wake(os.path.join(folder, "no"))
                with self.assertRaises(fovea.FileError):
                    cache.save(os.path.join(folder, "no", "cache"))

    def test_refusals_leave_it_as_it_was(self):
        q, k, v = arrays(5, 3, 60, 4, 2, 16)
        cache = self.cache(k[:40], v[:40], "f16", "fovea", max_tokens=50)
        with self.assertRaisesRegex(fovea.FullError, "has room for 50"):
            cache.append(k, v)
        large = k[:2].copy()
        large[1, 1, 3] = 1e6
        with self.assertRaises(fovea.RangeError):
            cache.append(large, v[:2])
        large[1, 1, 3] = np.inf
        with self.assertRaisesRegex(fovea.NotFiniteError, "token 1, head 1, element 3"):
            cache.append(large, v[:2])
        for bad in ((k[:2, :1], v[:2]), (k[:2], v[:3]), (k[None, :2], v[None, :3]), (k[:2, :, :8], v[:2, :, :8])):
            with self.assertRaises(ValueError):
                cache.append(*bad)
        self.assertEqual(len(cache), 40)
        with self.assertRaisesRegex(ValueError, "40 tokens, 2 heads of 16"):
            cache.attend(q[:, :3])
        with self.assertRaises(ValueError):
            cache.attend(q, first=38)
        with self.assertRaises(ValueError):
            cache.attend(q, scale=2000.0)
        with self.assertRaisesRegex(fovea.PolicyError, "made for the policies"):
            self.cache(k, v, policy="dense").attend(q, "fovea")
        for shape in ((0, 8), (2, 2000), (2, 8, 0)):
            with self.assertRaises(ValueError):
                fovea.Cache(*shape)
        with self.assertRaises(ValueError):
            fovea.Cache(2, 8, dtype="f64")
        with self.assertRaisesRegex(RuntimeError, "not made"):
            fovea.Cache.__new__(fovea.Cache).attend(q)
        with self.assertRaisesRegex(ValueError, "rows are at most"):
            fovea.Cache(2, 16).attend(q)

    def test_a_second_thread_is_refused(self):
        q, k, v = arrays(6, 2000, 4000, 8, 2, 64)
        cache, outcomes = self.cache(k, v), []
        wanted = cache.attend(q, "dense")

        def work():
            try:
                outcomes.append(bool((cache.attend(q, "dense") == wanted).all()))
            except RuntimeError:
                outcomes.append("refused")

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertIn(True, outcomes)
        self.assertNotIn(False, outcomes)
        self.assertTrue((cache.attend(q, "dense") == wanted).all())


if __name__ == "__main__":
    unittest.main()
