#!/usr/bin/env python3
"""fovea.hnswlib and fovea.usearch with NumPy alone: what scripts for those packages do, and its errors."""
import os
import tempfile
import unittest

import numpy as np

import fovea
from fovea import hnswlib, usearch


class HnswlibTest(unittest.TestCase):
    def setUp(self):
        self.vectors = np.random.default_rng(0).standard_normal((200, 16), np.float32)
        self.index = hnswlib.Index(space="l2", dim=16)
        self.index.init_index(max_elements=210, ef_construction=100, M=16)
        self.index.add_items(self.vectors[:150])
        self.index.add_items(self.vectors[150:], np.arange(150, 200), num_threads=1)

    def test_a_script_runs(self):
        index = self.index
        index.set_ef(50)
        index.set_num_threads(1)
        labels, distances = index.knn_query(self.vectors[:5], k=3)
        self.assertEqual((labels.shape, labels.dtype, distances.dtype), ((5, 3), np.uint64, np.float32))
        self.assertEqual(labels[:, 0].tolist(), list(range(5)))
        self.assertEqual(index.knn_query(self.vectors[7])[0].tolist(), [[7]])
        self.assertTrue((index.knn_query(self.vectors[:5], 3, filter=lambda label: label % 2)[0] % 2 == 1).all())
        self.assertTrue((index.get_items([3, 199]) == self.vectors[[3, 199]]).all())
        self.assertEqual(index.get_items([3], return_type="list"), [self.vectors[3].tolist()])
        self.assertEqual((index.get_current_count(), index.element_count, index.get_max_elements(), index.max_elements), (200, 200, 210, 210))
        self.assertEqual((index.space, index.dim, index.M, index.ef_construction, index.ef), ("l2", 16, 16, 100, 50))
        index.add_items(self.vectors[9], 3)  # in the place of what was there
        self.assertTrue((index.get_items([3])[0] == self.vectors[9]).all())
        self.assertEqual(sorted(index.get_ids_list()), list(range(200)))

    def test_marks(self):
        index = self.index
        index.mark_deleted(7)
        self.assertNotEqual(index.knn_query(self.vectors[7])[0][0, 0], 7)
        self.assertNotIn(7, index.knn_query(self.vectors[7], 5, filter=lambda label: label < 100)[0])
        self.assertEqual(index.get_current_count(), 200)
        index.unmark_deleted(7)
        index.mark_deleted(8)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.bin")
            index.save_index(path)
            self.assertEqual((index.get_current_count(), sorted(index.get_ids_list())), (200, list(range(200))))
            other = hnswlib.Index(space="l2", dim=16)
            other.load_index(path, max_elements=300)
            self.assertEqual((other.get_current_count(), other.max_elements), (199, 300))
            with self.assertRaises(RuntimeError):
                hnswlib.Index(space="l2", dim=8).load_index(path)
        index.unmark_deleted(8)
        self.assertEqual(index.knn_query(self.vectors[8])[0].tolist(), [[8]])

    def test_deleted_elements_are_replaced(self):
        index = hnswlib.Index("ip", 16)
        index.init_index(3, allow_replace_deleted=True)
        index.add_items(self.vectors[:3])
        index.mark_deleted(1)
        index.add_items(self.vectors[5], 50, replace_deleted=True)
        self.assertEqual(sorted(index.get_ids_list()), [0, 2, 50])

    def test_errors_are_its_own(self):
        index = self.index
        index.mark_deleted(4)
        for call in (lambda: index.knn_query(self.vectors[0], k=201), lambda: index.knn_query(np.zeros(5)), lambda: index.get_items([999]),
                     lambda: index.get_items([4]), lambda: index.mark_deleted(4), lambda: index.mark_deleted(999), lambda: index.unmark_deleted(5),
                     lambda: index.add_items(self.vectors[:20], range(300, 320)), lambda: index.add_items(np.zeros((2, 3))),
                     lambda: index.add_items(self.vectors[:1], 400, replace_deleted=True), lambda: index.init_index(5),
                     lambda: index.resize_index(3), lambda: hnswlib.Index("l3", 4), lambda: hnswlib.Index("l2", 4).knn_query(np.zeros(4))):
            with self.assertRaises(RuntimeError):
                call()
        self.assertEqual(index.get_current_count(), 200)

    def test_brute_force(self):
        index = hnswlib.BFIndex("cosine", 16)
        index.init_index(max_elements=200)
        index.add_items(self.vectors)
        index.delete_vector(3)
        index.delete_vector(3)
        self.assertEqual(index.get_current_count(), 199)
        self.assertNotEqual(index.knn_query(self.vectors[3])[0][0, 0], 3)


class UsearchTest(unittest.TestCase):
    def setUp(self):
        self.vectors = np.random.default_rng(1).standard_normal((100, 16), np.float32)
        self.index = usearch.Index(ndim=16, metric="cos", dtype="f32", connectivity=16)
        self.keys = self.index.add(np.arange(100) + 1000, self.vectors)

    def test_a_script_runs(self):
        index = self.index
        self.assertEqual(self.keys.tolist(), list(range(1000, 1100)))
        matches = index.search(self.vectors[5], 3)
        self.assertEqual((len(matches), matches.keys[0], matches[0].key, matches.to_list()[0][0]), (3, 1005, 1005, 1005))
        self.assertLess(matches.distances[0], 1e-6)
        batch = index.search(self.vectors[:4], 200, threads=1)
        self.assertEqual((len(batch), batch.keys.shape, batch.counts.tolist(), batch[2][0].key), (4, (4, 200), [100] * 4, 1002))
        self.assertEqual(len(batch.to_list()), 400)
        near = index.search(self.vectors[:4], 10, radius=0.5)
        self.assertTrue(all(match.distance <= 0.5 for matches in near for match in matches) and (near.counts < 10).any())
        self.assertTrue(1005 in index and index.contains(1005) and not index.contains(5))
        self.assertEqual(index.contains([1005, 5]).tolist(), [True, False])
        self.assertEqual((index.count(1005), index.count([1005, 5]).tolist(), len(index), index.size, index.ndim), (1, [1, 0], 100, 100, 16))
        self.assertTrue(np.allclose(index.get(1005), self.vectors[5] / np.linalg.norm(self.vectors[5]), atol=1e-6))
        self.assertEqual((index.get(5), index[[1005, 5]][1], index.get([1005, 1006]).shape), (None, None, (2, 16)))
        self.assertEqual((index.remove(1005), index.remove(1005), index.remove([1006, 1007, 7])), (True, False, 2))
        self.assertTrue(index.rename(1008, 8) and not index.rename(1008, 9))
        self.assertEqual((sorted(index.keys)[0], len(index), index.vectors.shape, len(index.copy())), (8, 97, (97, 16), 97))
        self.assertEqual(index.add(None, self.vectors[:2]).tolist(), [97, 98])
        index.clear()
        self.assertEqual(len(index), 0)

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.usearch")
            self.index.save(path)
            for other in (usearch.Index.restore(path), usearch.Index.restore(path, view=True), usearch.Index(ndim=16, path=path)):
                self.assertEqual((len(other), other.metric, other.search(self.vectors[3], 1).keys.tolist()), (100, "cos", [1003]))
            other.load(path)
            self.assertEqual(len(fovea.Index.open(path)), 100)
            with self.assertRaises(TypeError):
                other.save(b"bytes")

    def test_errors_are_its_own(self):
        with self.assertRaises(RuntimeError):
            self.index.add(1000, self.vectors[0])
        for call in (lambda: self.index.add(1, np.zeros(3)), lambda: self.index.search(np.zeros(3)), lambda: usearch.Index().add(1, np.zeros(3))):
            with self.assertRaises(ValueError):
                call()
        halves = usearch.Index(ndim=3, metric="l2sq", dtype="f16")
        halves.add(1, np.array([0.1, 0.2, 0.3]))
        self.assertEqual((halves.dtype, halves.copy().dtype, usearch.Index(ndim=3, dtype="f64").dtype), ("f16", "f16", "f32"))
        for call in (lambda: usearch.Index(ndim=3, metric="haversine"), lambda: usearch.Index(ndim=3, multi=True)):
            with self.assertRaises(NotImplementedError):
                call()


if __name__ == "__main__":
    unittest.main()
