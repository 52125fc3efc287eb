#!/usr/bin/env python3
"""fovea.Index with NumPy alone: what it finds, holds, takes and refuses, its files, filters, graph and threads."""
import copy
import os
import pickle
import tempfile
import threading
import unittest

import numpy as np

import fovea

NO_LABEL = 2 ** 64 - 1


def clustered(seed, rows, dimension, clusters=20):
    """Vectors about centres, as embeddings lie."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dimension), np.float32) * 2
    return centres[rng.integers(clusters, size=rows)] + rng.standard_normal((rows, dimension), np.float32)


def distances_of(vectors, queries, metric):
    vectors, queries = vectors.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return ((queries[:, None] - vectors[None]) ** 2).sum(-1)
    if metric == "cosine":
        vectors, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, queries))
    return 1 - queries @ vectors.T


class IndexTest(unittest.TestCase):
    def setUp(self):
        self.vectors, self.queries = clustered(1, 700, 24), clustered(1, 12, 24) + np.float32(0.3)

    def index(self, metric="l2", kind="auto", vectors=None, labels=None):
        vectors = self.vectors if vectors is None else vectors
        index = fovea.Index(vectors.shape[1], metric, kind)
        index.add(vectors, labels)
        return index

    def nearest(self, k, vectors=None, labels=None, metric="l2", queries=None):
        vectors = self.vectors if vectors is None else vectors
        found = np.argsort(distances_of(vectors, self.queries if queries is None else queries, metric), axis=1, kind="stable")[:, :k]
        return found if labels is None else np.asarray(labels)[found]

    def test_what_is_found_is_the_nearest(self):
        for metric in ("l2", "ip", "cosine"):
            index = self.index(metric)
            labels, distances = index.search(self.queries, 5)
            self.assertTrue((labels == self.nearest(5, metric=metric)).all(), metric)
            self.assertEqual((labels.dtype, distances.dtype), (np.uint64, np.float32))
            wanted = np.sort(distances_of(self.vectors, self.queries, metric), axis=1)[:, :5]
            self.assertTrue(np.allclose(distances, wanted, atol=2e-3, rtol=1e-4))
            one, near = index.search(self.queries[3], 5)
            self.assertTrue((one == labels[3]).all() and (near == distances[3]).all())
        self.assertEqual((index.dimension, index.metric, index.kind, len(index)), (24, "cosine", "flat", 700))

    def test_rows_are_kept_as_is_said(self):
        for dtype, least in (("f32", 1), ("f16", 0.97), ("bf16", 0.9), ("q8", 0.97), ("q4", 0.7), ("q2", 0.3)):
            for lean in (False, True):
                index = fovea.Index(24, "cosine", "graph", dtype=dtype)
                index.add(self.vectors)
                index.build(ef=60, lean=lean)
                labels, _ = index.search(self.queries, 5, ef=150)
                found = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(labels, self.nearest(5, metric="cosine"))])
                self.assertGreaterEqual(found, least - 0.02, (dtype, lean))
                again = pickle.loads(pickle.dumps(index))
                self.assertEqual((again.dtype, again.kind), (dtype, "graph"))
                self.assertTrue((again.search(self.queries, 5, ef=150)[0] == labels).all())
        self.assertLess(np.abs(index[3] - self.vectors[3] / np.linalg.norm(self.vectors[3])).max(), 0.5)
        finer = fovea.Index(24, "cosine", "flat", refine=4)
        finer.add(self.vectors)
        self.assertGreaterEqual(np.mean(finer.search(self.queries, 5)[0] == self.nearest(5, metric="cosine")), 0.98)
        for call in (lambda: fovea.Index(3, dtype="q9"), lambda: fovea.Index(3, refine=9), lambda: fovea.Index(3, dtype="q8", refine=4)):
            self.assertRaises(ValueError, call)
        with self.assertRaises(fovea.RangeError):
            fovea.Index(3, dtype="f16").add([[1e5, 0, 0]])

    def test_auto_asks_the_library_whether_a_graph_is_less_work(self):
        index = self.index(vectors=clustered(5, 300, 24))
        index.search(self.queries, 5)
        self.assertEqual((index.kind, index._scanned), ("flat", 300))
        index.add(clustered(6, 100, 24), np.arange(300, 400))
        index.search(self.queries, 5)
        self.assertEqual(index._scanned, 300)  # asked again when there are twice as many

    def test_all_kinds_of_numbers_are_taken(self):
        whole = np.round(self.vectors * 8)
        wanted = self.index(vectors=whole).search(whole[:4], 3)
        for kind in (np.float16, np.float32, np.float64, np.int8, np.int64):
            index = self.index(vectors=whole.astype(kind))
            self.assertTrue(all((a == b).all() for a, b in zip(index.search(whole[:4].astype(kind), 3), wanted)), kind)
        wide = np.zeros((700, 50), np.float32)
        wide[:, ::2][:, :24] = whole
        self.assertTrue((self.index(vectors=wide[:, ::2][:, :24]).search(whole[:4].tolist(), 3)[0] == wanted[0]).all())
        self.assertTrue((self.index(vectors=np.asfortranarray(whole)).search(whole[:4], 3)[0] == wanted[0]).all())
        with self.assertRaisesRegex(TypeError, "an index takes numbers"):
            self.index(vectors=whole.astype(complex))

    def test_labels(self):
        labels = np.random.default_rng(2).permutation(2 ** 40 + np.arange(700, dtype=np.uint64) * np.uint64(977))
        index = self.index(labels=labels)
        self.assertTrue((index.search(self.queries, 4)[0] == self.nearest(4, labels=labels)).all())
        self.assertTrue((index.labels == np.sort(labels)).all())
        self.assertEqual(list(index)[:2], sorted(labels.tolist())[:2])
        self.assertTrue((index[int(labels[9])] == self.vectors[9]).all())
        self.assertTrue((index.vectors(labels[5:8]) == self.vectors[5:8]).all())
        self.assertTrue(int(labels[0]) in index and labels[0] in index and 5 not in index and -1 not in index and "a" not in index)
        for call in (lambda: index[5], lambda: index.vectors([int(labels[0]), 5]), lambda: index.__delitem__(5)):
            with self.assertRaises(KeyError):
                call()
        few = fovea.Index(2)
        few.add([[1, 2], [3, 4]], [2 ** 64 - 2, 2 ** 63])
        few.add([5, 6], 7)
        self.assertEqual(list(few), [7, 2 ** 63, 2 ** 64 - 2])
        for bad in ([1.5], ["a"], 2.0, None):
            with self.assertRaises(TypeError):
                few.remove(bad)
        for bad in ([-1], [NO_LABEL], [7], [7, 7], 2 ** 64):
            with self.assertRaises(ValueError):
                few.add([[1, 1]] * (len(bad) if isinstance(bad, list) else 1), bad)
        with self.assertRaisesRegex(ValueError, "2 vectors have 3 labels"):
            few.add([[1, 2], [3, 4]], [1, 2, 3])
        self.assertEqual(len(few), 3)

    def test_remove_and_update(self):
        index = self.index()
        index.remove(range(0, 700, 7))
        del index[1]
        kept = np.array([i for i in range(700) if i % 7 and i != 1])
        self.assertTrue((index.search(self.queries, 4)[0] == self.nearest(4, self.vectors[kept], kept)).all())
        changed = self.vectors.copy()
        changed[kept[:50]] = clustered(9, 50, 24)
        index.update(changed[kept[:50]], kept[:50])
        self.assertEqual(len(index), len(kept))
        self.assertTrue((index.search(self.queries, 4)[0] == self.nearest(4, changed[kept], kept)).all())
        bad = changed[:3].copy()
        bad[2, 5] = np.nan
        for call in (lambda: index.remove([2, 0]), lambda: index.remove([2, 2]), lambda: index.update(changed[:2], [2, 0]),
                     lambda: index.update(bad, [2, 3, 4]), lambda: index.update(changed[:2], [2, 2])):
            with self.assertRaises(ValueError):
                call()
        self.assertTrue((index.search(self.queries, 4)[0] == self.nearest(4, changed[kept], kept)).all())

    def test_filters(self):
        index, third = self.index(), np.arange(700) % 3 == 0
        wanted = self.nearest(4, self.vectors[third], np.flatnonzero(third))
        numbers = np.flatnonzero(third)
        for chosen in (third, third[:699], numbers, numbers[::-1].tolist(), set(numbers.tolist()), lambda label: label % 3 == 0):
            self.assertTrue((index.search(self.queries, 4, filter=chosen)[0] == wanted).all())
        for chosen in ([], np.zeros(700, bool), np.zeros(0, bool), lambda label: False):
            labels, distances = index.search(self.queries, 2, filter=chosen)
            self.assertTrue((labels == NO_LABEL).all() and np.isinf(distances).all())
        far = self.index(labels=np.arange(700, dtype=np.uint64) << np.uint64(50))
        self.assertTrue((far.search(self.queries, 4, filter=numbers.astype(np.uint64) << np.uint64(50))[0] == wanted << 50).all())
        with self.assertRaisesRegex(ZeroDivisionError, "division"):
            index.search(self.queries, 4, filter=lambda label: 1 // (label - label))
        for call in (lambda: index.remove(3), lambda: len(index), lambda: index.search(self.queries[0])):
            with self.assertRaisesRegex(RuntimeError, "cannot use the index"):
                index.search(self.queries, 4, filter=lambda label: call())
        other = self.index()
        inner = index.search(self.queries, 4, filter=lambda label: other.search(self.queries[0], 1)[0][0] >= 0 and third[label])
        self.assertTrue((inner[0] == wanted).all())
        with self.assertRaises(ValueError):
            index.search(self.queries, 4, filter=np.zeros((2, 2), bool))

    def test_within_a_distance(self):
        index, exact = self.index(), distances_of(self.vectors, self.queries, "l2")
        radius = float(np.median(np.sort(exact, axis=1)[:, 20]))
        found = index.within(self.queries, radius)
        for (labels, distances), row in zip(found, exact):
            self.assertEqual(sorted(labels.tolist()), np.flatnonzero(row <= radius).tolist())
            self.assertTrue((np.diff(distances) >= 0).all())
        one = index.within(self.queries[0], radius, filter=lambda label: label < 300)
        self.assertEqual(sorted(one[0].tolist()), np.flatnonzero(exact[0][:300] <= radius).tolist())
        one[0][:] = 0  # the caller's own
        with self.assertRaises(ValueError):
            index.within(self.queries, float("nan"))
        with self.assertRaises(ZeroDivisionError):
            index.within(self.queries, radius, filter=lambda label: 1 // 0)

    def test_the_degree_is_automatic_or_what_is_said(self):
        for said, degree in ((None, 32), (0, 32), (64, 64), (32, 32)):
            index = self.index(kind="graph")
            index.build(degree=said, ef=20)
            self.assertEqual(index.degree, degree)
            index.add(self.queries, np.arange(9000, 9000 + len(self.queries), dtype=np.uint64))
            self.assertEqual(index.degree, degree)

    def test_a_graph(self):
        vectors, queries = clustered(4, 1500, 16, 40), clustered(4, 1520, 16, 40)[1500:]
        index = self.index(kind="graph", vectors=vectors)
        self.assertEqual(index.kind, "flat")
        labels, distances, report = index.search(queries, 10, ef=80, return_report=True)
        self.assertEqual((index.kind, index.degree, report.walks, report.queries), ("graph", 32, 20, 20))
        self.assertTrue(0 < report.visits < 1500 * 20)
        truth, _, scan = index.search(queries, 10, ef=0, return_report=True)
        self.assertEqual((scan.visits, scan.codes), (0, 1500 * 20))
        right = sum(len(set(a) & set(b)) for a, b in zip(labels.tolist(), truth.tolist()))
        self.assertGreaterEqual(right, 190)
        again = self.index(kind="graph", vectors=vectors)
        told = []
        with self.assertRaises(ZeroDivisionError):
            again.build(progress=lambda done, total: 1 // 0)
        with self.assertRaisesRegex(RuntimeError, "cannot use the index"):
            again.build(progress=lambda done, total: len(again))
        self.assertEqual(again.kind, "flat")
        again.build(threads=2, progress=lambda done, total: told.append((done, total)))
        self.assertTrue(told == sorted(told) and told[-1][0] <= told[-1][1] == 1500)
        self.assertTrue((again.search(queries, 10, ef=80, threads=3)[0] == labels).all())
        index.calibrate(queries)
        found = index.search(queries, 10, recall=0.9)[0]
        self.assertGreaterEqual(sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist())), 180)
        with self.assertRaises(fovea.ShapeError):
            index.calibrate(queries[:, 1:])
        index.remove(0)
        index.add(vectors[0] + 9, 5000)
        index.update(queries[0], 7)
        self.assertEqual((index.kind, index.search(queries[0], 1, ef=80)[0][0], index.search(vectors[0] + 9, 1, ef=80)[0][0]), ("graph", 7, 5000))
        self.assertEqual(index.search(queries, 10, recall=1.0)[0].shape, (20, 10))
        self.assertEqual(index.search(queries, 10, ef=0)[0].shape, (20, 10))
        self.assertTrue((self.index(vectors=vectors).search(queries, 10)[0] == truth).all())

    def test_files(self):
        index = self.index("cosine")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.fvi")
            index.save(path)
            index.save(path)
            self.assertEqual(os.listdir(folder), ["x.fvi"])
            opened = fovea.Index.open(path)
            opened.check()
            self.assertEqual((len(opened), opened.metric, opened.nbytes > os.path.getsize(path)), (700, "cosine", True))
            for a, b in zip(opened.search(self.queries, 5), index.search(self.queries, 5)):
                self.assertTrue((a == b).all())
            self.assertTrue(5 in opened and 700 not in opened and (opened[5] == index[5]).all())
            opened.remove(5)
            self.assertEqual(len(fovea.Index.open(path)), 700)
            opened.save(path)
            self.assertEqual(len(fovea.Index.open(path)), 699)
            with open(path, "r+b") as file:
                file.seek(-100, 2)
                file.write(b"\xff\xff")
            with self.assertRaisesRegex(fovea.CorruptError, "damaged"):
                fovea.Index.open(path).check()
            os.truncate(path, 100)
            for name, error in (("x.fvi", fovea.CorruptError), ("no", fovea.FileError)):
                with self.assertRaises(error):
                    fovea.Index.open(os.path.join(folder, name))
            with self.assertRaises(OSError):
                index.save(os.path.join(folder, "no", "x"))

    def test_changes_go_to_a_journal(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.fvi")
            self.index().save(path)
            changed = fovea.Index.open(path, journal=True)
            changed.add(self.vectors[0] + 1, 900)
            changed.remove([3, 4])
            with self.assertRaises(fovea.FileError):
                fovea.Index.open(path, journal=True)  # one at a time
            del changed
            again = fovea.Index.open(path)
            self.assertTrue(len(again) == 699 and 900 in again and 3 not in again and (again[900] == self.vectors[0] + 1).all())

    def test_pickled_and_copied(self):
        index = self.index("ip")
        for twin in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index), copy.copy(index)):
            self.assertTrue((twin.search(self.queries, 5)[0] == index.search(self.queries, 5)[0]).all())
            twin.remove(3)
        self.assertIn(3, index)

    def test_none_one_and_few(self):
        empty = fovea.Index(3)
        labels, distances = empty.search([[0, 0, 0]], 2)
        self.assertTrue((labels == NO_LABEL).all() and np.isinf(distances).all())
        self.assertEqual((len(empty), list(empty), empty.within([0, 0, 0], 9.0)[0].size), (0, [], 0))
        empty.add(np.empty((0, 3)))
        graph = fovea.Index(3, kind="graph")
        graph.add([1, 2, 3])
        for label in range(1, 5):
            self.assertEqual(graph.search([1, 2, 3], 1)[0][0], 0)
            graph.add([label, 0, 0])
        self.assertEqual(graph.search([1, 2, 3], 9)[0][5:].tolist(), [NO_LABEL] * 4)
        self.assertEqual(graph.search(np.empty((0, 3)), 4)[0].shape, (0, 4))

    def test_refusals(self):
        index = self.index()
        bad = self.vectors[:3].copy()
        bad[1, 4] = np.inf
        with self.assertRaisesRegex(fovea.NotFiniteError, "1.*4"):
            index.add(bad, [1000, 1001, 1002])
        with self.assertRaises(fovea.NotFiniteError):
            index.search(bad)
        with self.assertRaises(fovea.NotFiniteError):
            index.add(np.full((1, 24), 1e300), [1000])
        with self.assertRaises(fovea.RangeError):
            index.add(np.full((1, 24), 1e20), [1000])
        with self.assertRaisesRegex(fovea.ShapeError, "23.*24"):
            index.add(self.vectors[:, :23], range(1000, 1700))
        with self.assertRaises(fovea.ShapeError):
            index.search(self.queries[:, :5])
        for call in (lambda: index.search(self.queries, 0), lambda: index.search(self.queries, 2 ** 40),
                     lambda: index.search(self.queries, recall=0.0), lambda: index.search(self.queries, ef=-1),
                     lambda: index.search(self.queries, threads=0), lambda: index.search(self.queries, confidence=-1.0),
                     lambda: index.search(self.queries[None]), lambda: index.build(degree=33), lambda: index.build(ef=0),
                     lambda: fovea.Index(0), lambda: fovea.Index(70000), lambda: fovea.Index(3, "dot"), lambda: fovea.Index(3, kind="tree")):
            with self.assertRaises(ValueError):
                call()
        self.assertEqual(len(index), 700)
        with self.assertRaisesRegex(RuntimeError, "not made"):
            len(fovea.Index.__new__(fovea.Index))

    def test_threads_search_while_others_change_it(self):
        index, stop, wrong = self.index(), threading.Event(), []
        allowed = set(range(700)) | set(range(10000, 10100))

        def search():
            while not stop.is_set():
                labels, distances = index.search(self.queries, 5)
                if not set(labels.ravel().tolist()) <= allowed or not (np.diff(distances) >= 0).all():
                    wrong.append(labels)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            index.add(self.vectors[:100] + np.float32(turn), range(10000, 10100))
            index.search(self.queries, 5, filter=lambda label: len(bytes(label % 3)) < 2)
            self.assertIn(10099, index)
            index.remove(range(10000, 10100))
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual((wrong, len(index)), ([], 700))
        self.assertTrue((index.search(self.queries, 5)[0] == self.nearest(5)).all())


if __name__ == "__main__":
    unittest.main()
