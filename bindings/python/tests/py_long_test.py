#!/usr/bin/env python3
"""What takes many calls or a long one: memory after FV_RUNS calls of each kind (200; 100,000 by hand), the price of a small call, Ctrl-C."""
import os
import signal
import tempfile
import threading
import time
import unittest

import numpy as np

import fovea

RUNS = int(os.environ.get("FV_RUNS", "200"))
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")  # which keeps what was freed, and is slow


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def calls(folder):
    """Name -> a call, also those that raise."""
    q, k = np.ones((3, 2, 8), np.float32), np.ones((3, 1, 8), np.float32)
    nan = k.copy()
    nan[1, 0, 2] = np.nan
    kept, path = fovea.Cache(1, 8, policy=("dense", "fovea")), os.path.join(folder, "cache")
    kept.append(k, k)

    def refused(call, *arguments):
        try:
            call(*arguments)
        except ValueError:
            return
        raise AssertionError("was not refused")

    def round_trip():
        cache = fovea.Cache(1, 8)
        cache.append(k, k)
        cache.attend(q)
        cache.evict(1)
        cache.read()
        cache.truncate(0)

    def file():
        kept.save(path)
        fovea.Cache.wake(path)

    return {"attention": lambda: fovea.attention(q, k, k, return_lse=True, return_report=True),
            "copied": lambda: fovea.attention(q, k[::-1], k.astype(np.float16), "dense"),
            "attend": lambda: kept.attend(q, return_lse=True, return_report=True),
            "refused shape": lambda: refused(fovea.attention, q, k[:2], k), "refused NaN": lambda: refused(fovea.attention, q, nan, k),
            "refused policy": lambda: refused(fovea.Policy, "fovea:x=1"), "refused append": lambda: refused(kept.append, nan, k),
            "policy": lambda: fovea.Policy("fovea", budget=0.25), "cache": round_trip, "file": file,
            "merge": lambda: fovea.merge_state(q, q[..., 0], q, q[..., 0])}


class LongTest(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "the address sanitizer keeps what was freed")
    def test_memory_does_not_grow(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, call in calls(folder).items():
                runs = RUNS if name != "file" else max(1, RUNS // 100)
                for _ in range(min(runs, 1000)):
                    call()
                before = resident()
                for _ in range(runs):
                    call()
                self.assertLess(resident() - before, 1 << 20, name)  # 100,000 lost objects are several MB

    def test_a_small_call_costs_little(self):
        """All of a call over one key, an upper bound of what Python adds to C. Best of many, for the machine may be busy."""
        q = np.ones((1, 1, 8), np.float32)
        cache = fovea.Cache(1, 8, policy="dense")
        cache.append(q, q)
        best = 1.0
        for _ in range(200):
            begin = time.perf_counter()
            for _ in range(50):
                cache.attend(q)
            best = min(best, (time.perf_counter() - begin) / 50)
        print("a small call takes %.2f us" % (best * 1e6), end=" ")
        self.assertLess(best, 50e-6)  # a defect, not a measurement: 4 us on a machine of 2026

    @unittest.skipIf(SANITIZED, "slices take long under sanitizers")
    def test_interrupt(self):
        """Ctrl-C ends a call that would take long: about 30 slices."""
        q, k = np.ones((12000, 8, 128), np.float32), np.ones((12000, 1, 128), np.float32)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
        self.addCleanup(signal.signal, signal.SIGINT, before)
        begin = time.perf_counter()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with self.assertRaises(KeyboardInterrupt):
            fovea.attention(q, k, k, "dense")
        stopped = time.perf_counter() - begin
        begin = time.perf_counter()
        fovea.attention(q[:1000], k[-11000:], k[-11000:], "dense", False)
        self.assertLess(stopped, 6 * (time.perf_counter() - begin) + 2)  # a twelfth of the work


if __name__ == "__main__":
    unittest.main()
