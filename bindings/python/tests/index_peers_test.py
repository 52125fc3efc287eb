#!/usr/bin/env python3
"""fovea.hnswlib and fovea.usearch beside the packages of those names: the same script, the same results. Wants hnswlib and usearch, which
`make test-python` installs from PyPI; what is not there is skipped by name."""
import os
import tempfile
import unittest

import numpy as np

import fovea.hnswlib
import fovea.usearch

try:
    import hnswlib
except ImportError:
    hnswlib = None
try:
    import usearch.index
    import usearch
except ImportError:
    usearch = None

VECTORS = np.random.default_rng(3).standard_normal((2000, 24), np.float32)
QUERIES = np.random.default_rng(4).standard_normal((40, 24), np.float32)


def agree(test, keys, distances, other_keys, other_distances, tolerance=1e-3):
    """Nearly all neighbours are the same: peers find most of them, and what both find is as far."""
    right = sum(len(set(a) & set(b)) for a, b in zip(np.atleast_2d(keys).tolist(), np.atleast_2d(other_keys).tolist()))
    test.assertGreaterEqual(right / np.asarray(keys).size, 0.98)
    same = np.asarray(keys) == np.asarray(other_keys)
    test.assertTrue(np.allclose(np.asarray(distances)[same], np.asarray(other_distances)[same], atol=tolerance, rtol=tolerance))


@unittest.skipIf(hnswlib is None, "NO hnswlib HERE: pip install hnswlib")
class BesideHnswlibTest(unittest.TestCase):
    def script(self, module, space):
        """What scripts do; each result as it comes."""
        index = module.Index(space=space, dim=24)
        index.init_index(max_elements=2100, ef_construction=200, M=32)
        index.add_items(VECTORS[:1500])
        index.add_items(VECTORS[1500:], np.arange(1500, 2000))
        index.set_ef(400)
        index.mark_deleted(17)
        index.add_items(VECTORS[:3] * 2, [5, 6, 7])
        found = [index.knn_query(QUERIES, k=10), index.knn_query(QUERIES, k=5, filter=lambda label: label % 3 == 0)]
        with tempfile.TemporaryDirectory() as folder:
            index.save_index(os.path.join(folder, "x"))
            loaded = module.Index(space=space, dim=24)
            loaded.load_index(os.path.join(folder, "x"))
        loaded.set_ef(400)
        index.unmark_deleted(17)
        says = (index.get_current_count(), index.get_max_elements(), sorted(index.get_ids_list()) == list(range(2000)), index.space, index.dim,
                index.ef, index.M, index.ef_construction, index.element_count, index.max_elements)
        return found + [loaded.knn_query(QUERIES, k=10)], says, index.get_items([5, 9])

    def errors(self, module):
        index = module.Index(space="l2", dim=4)
        index.init_index(3)
        index.add_items(np.eye(4)[:2])
        names = []
        for call in (lambda: index.knn_query(np.zeros(4), k=9), lambda: index.get_items([9]), lambda: index.mark_deleted(9),
                     lambda: index.unmark_deleted(1), lambda: index.add_items(np.eye(4), range(10, 14)), lambda: index.add_items(np.eye(3)),
                     lambda: index.resize_index(1), lambda: index.init_index(3), lambda: module.Index(space="l3", dim=3)):
            try:
                call()
                names.append(None)
            except RuntimeError as error:
                names.append(str(error))
        return names

    def test_the_same_script(self):
        for space in ("l2", "ip", "cosine"):
            ours, says, items = self.script(fovea.hnswlib, space)
            theirs, wanted, their_items = self.script(hnswlib, space)
            self.assertEqual(says, wanted)
            self.assertTrue(np.allclose(items, their_items, atol=1e-5), space)
            for (labels, distances), (other, other_distances) in zip(ours, theirs):
                self.assertEqual((labels.dtype, labels.shape, distances.dtype), (other.dtype, other.shape, other_distances.dtype))
                agree(self, labels, distances, other, other_distances)

    def test_the_same_errors(self):
        self.assertEqual(self.errors(fovea.hnswlib), self.errors(hnswlib))

    def test_all_public_names_are_there(self):
        for name in ("Index", "BFIndex"):
            self.assertEqual([one for one in dir(getattr(hnswlib, name)) if not one.startswith("_") and one != "num_threads"
                              and not hasattr(self.made(name), one)], [])

    @staticmethod
    def made(name):
        return getattr(fovea.hnswlib, name)("l2", 3)


@unittest.skipIf(usearch is None, "NO usearch HERE: pip install usearch")
class BesideUsearchTest(unittest.TestCase):
    def script(self, kind, metric):
        index = kind(ndim=24, metric=metric, dtype="f32", expansion_search=400)
        keys = index.add(np.arange(2000) + 7, VECTORS)
        removed = index.remove(9), index.remove([10, 11, 1])
        one, batch, exact = index.search(QUERIES[0], 10), index.search(QUERIES, 10), index.search(QUERIES, 10, exact=True)
        few = index.search(QUERIES, 5000)
        with tempfile.TemporaryDirectory() as folder:
            index.save(os.path.join(folder, "x"))
            restored = kind.restore(os.path.join(folder, "x"))
        says = (keys.tolist()[:3], removed, len(index), 8 in index, index.contains([8, 9]).tolist(), index.count([8, 9]).tolist(), len(one),
                len(batch), few.keys.shape, bool((few.counts > 1900).all()), index.ndim, index.size, len(restored), index.get(9), sorted(index.keys)[:4], len(one.to_list()))
        return (one, batch, exact, restored.search(QUERIES, 10)), says

    def test_the_same_script(self):
        for metric in ("cos", "ip", "l2sq"):
            ours, says = self.script(fovea.usearch.Index, metric)
            theirs, wanted = self.script(usearch.index.Index, metric)
            self.assertEqual(says, wanted)
            for found, other in zip(ours, theirs):
                agree(self, found.keys, found.distances, other.keys, other.distances)


if __name__ == "__main__":
    unittest.main()
