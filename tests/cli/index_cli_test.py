#!/usr/bin/env python3
"""fovea index: build, search, insert, delete, inspect and bench over .npy, .fvecs, .bvecs and .ivecs.

Called as: index_cli_test.py BUILD/fovea SOURCE_FOLDER.
"""
import array
import math
import os
import random
import re
import struct

import cli_runner
from cli_runner import FolderTest

NO_LABEL = 2 ** 64 - 1


def npy(kind, rows, code, shape=None, order="False"):
    """The bytes of a .npy: `code` is array's letter, `kind` NumPy's."""
    flat = [x for row in rows for x in row] if rows and isinstance(rows[0], (list, tuple)) else list(rows)
    shape = shape or ((len(rows), len(rows[0])) if rows and isinstance(rows[0], (list, tuple)) else (len(rows),))
    header = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (kind, order, shape)
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + array.array(code, flat).tobytes()


def vecs(rows, code):
    return b"".join(struct.pack("<i", len(row)) + array.array(code, row).tobytes() for row in rows)


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<H", data[8:10])[0]
    header = data[10:10 + length].decode()
    code = {"<u8": "Q", "<f4": "f"}[re.search(r"'descr': '(...)'", header).group(1)]
    rows, columns = map(int, re.search(r"\((\d+), (\d+)\)", header).groups())
    flat = array.array(code, data[10 + length:])
    assert len(flat) == rows * columns and (10 + length) % 64 == 0
    return [list(flat[i * columns:(i + 1) * columns]) for i in range(rows)]


def l2(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b))


class IndexTest(FolderTest):
    DIM, ROWS = 12, 300

    def setUp(self):
        super().setUp()
        random.seed(3)
        self.rows = [[random.gauss(0, 1) for _ in range(self.DIM)] for _ in range(self.ROWS)]
        self.queries = [[random.gauss(0, 1) for _ in range(self.DIM)] for _ in range(7)]
        self.put("data.npy", npy("<f4", self.rows, "f"))
        self.put("queries.npy", npy("<f4", self.queries, "f"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def truth(self, k, rows=None, distance=l2):
        rows = rows or dict(enumerate(self.rows))
        return [sorted(rows, key=lambda label: (distance(rows[label], query), label))[:k] for query in self.queries]

    def build(self, *flags, data="data.npy"):
        return self.document("index", "build", self.path(data), "-o", self.path("x.fvi"), "--json", *flags)

    def search(self, *flags, queries="queries.npy"):
        found = self.document("index", "search", self.path("x.fvi"), self.path(queries), "--json", "--labels-out",
                              self.path("labels.npy"), "--distances-out", self.path("distances.npy"), *flags)
        return found, read_npy(self.path("labels.npy")), read_npy(self.path("distances.npy"))

    def test_build_and_search(self):
        made = self.build()
        self.assertEqual({key: made[key] for key in ("vectors", "dimension", "kind")},
                         {"vectors": self.ROWS, "dimension": self.DIM, "kind": "flat"})
        self.assertEqual(made["bytes"], os.path.getsize(self.path("x.fvi")))
        found, labels, distances = self.search("-k", "5")
        self.assertEqual(labels, self.truth(5))
        self.assertEqual((found["queries"], found["codes"], found["kind"]), (7, 7 * self.ROWS, "flat"))
        self.assertGreater(found["qps"], 0)
        for query, row, near in zip(self.queries, labels, distances):
            self.assertEqual(near, sorted(near))
            self.assertAlmostEqual(near[0], l2(query, self.rows[row[0]]), places=4)
        text = self.ok("index", "search", self.path("x.fvi"), self.path("queries.npy"), "-k", "2").stdout.decode()
        self.assertRegex(text, r"^0 %d:[0-9.]+ %d:" % tuple(self.truth(2)[0]))

    def test_metrics(self):
        for metric, product in (("ip", lambda a, b: 1 - sum(x * y for x, y in zip(a, b))),
                                ("cosine", lambda a, b: 1 - sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b))):
            self.build("--metric", metric)
            _, labels, distances = self.search("-k", "3")
            self.assertEqual(labels, self.truth(3, distance=product))
            self.assertAlmostEqual(distances[0][0], product(self.rows[labels[0][0]], self.queries[0]), places=4)

    def test_graph(self):
        made = self.build("--kind", "graph", "--build-ef", "60")
        self.assertEqual(made["kind"], "graph")
        info = self.document("index", "inspect", self.path("x.fvi"), "--check", "--json")
        self.assertEqual((info["kind"], info["degree"], info["vectors"], info["metric"]), ("graph", 32, self.ROWS, "l2"))
        self.assertEqual(made["degree"], 32)
        found, labels, _ = self.search("-k", "5", "--ef", "100")
        self.assertEqual(found["kind"], "graph")
        self.assertGreater(found["visits"], 0)
        right = sum(len(set(a) & set(b)) for a, b in zip(labels, self.truth(5)))
        self.assertGreaterEqual(right, 33)
        self.put("truth.npy", npy("<i8", self.truth(5), "q"))
        lines = self.document("index", "bench", self.path("x.fvi"), self.path("queries.npy"), "--truth", self.path("truth.npy"),
                              "-k", "5", "-t", "1", "--json")
        self.assertEqual([line["ef"] for line in lines], sorted(line["ef"] for line in lines))
        self.assertGreaterEqual(lines[-1]["recall"], 0.99)
        self.assertTrue(all(line["qps"] > 0 for line in lines))

    def test_the_degree_is_automatic_or_what_is_said(self):
        for flags, degree in (([], 32), (["--degree", "auto"], 32), (["-R", "32"], 32), (["--degree", "64"], 64), (["-R", "256"], 256)):
            self.assertEqual(self.build("--kind", "graph", "--build-ef", "20", *flags)["degree"], degree)
            self.assertEqual(self.document("index", "inspect", self.path("x.fvi"), "--check", "--json")["degree"], degree)
        self.assertEqual(self.build("--kind", "flat")["degree"], 0)
        said = self.ok("index", "build", self.path("data.npy"), "-o", self.path("y.fvi"), "--kind", "graph", "-R", "64").stdout.decode()
        self.assertIn(", 64 neighbours each, ", said)
        for wrong in ("0", "40", "288", "many"):
            self.fails(2, "index", "build", self.path("data.npy"), "-o", self.path("y.fvi"), "--degree", wrong, says=("--degree", wrong))

    def test_rows_are_kept_as_is_said(self):
        for rows, lean, least in (("f16", False, 33), ("q8", True, 33), ("q4", False, 25), ("q3", True, 20)):
            self.build("--kind", "graph", "--build-ef", "60", "--rows", rows, *["--lean"] * lean)
            info = self.document("index", "inspect", self.path("x.fvi"), "--check", "--json")
            self.assertEqual((info["rows"], info["lean"], info["version"]), (rows, lean, 3 if lean else 2))
            _, labels, _ = self.search("-k", "5", "--ef", "100")
            self.assertGreaterEqual(sum(len(set(a) & set(b)) for a, b in zip(labels, self.truth(5))), least)
        self.build("--kind", "flat", "--rows", "bf16", "--refine", "4")
        _, labels, _ = self.search("-k", "5")
        self.assertGreaterEqual(sum(len(set(a) & set(b)) for a, b in zip(labels, self.truth(5))), 33)
        self.fails(1, "index", "build", self.path("data.npy"), "-o", self.path("y.fvi"), "--rows", "q4", "--refine", "4",
                   says=("refine_bits",))
        self.build("--kind", "graph", "--build-ef", "60", "--rows", "q3", "--lean")
        self.assertIn("lean graph, l2, %d vectors of dimension %d as q3" % (self.ROWS, self.DIM),
                      self.ok("index", "inspect", self.path("x.fvi")).stdout.decode())
        self.fails(2, "index", "build", self.path("data.npy"), "-o", self.path("y.fvi"), "--rows", "q9", says=("q9",))

    def test_a_recall_chooses_the_least_work(self):
        self.rows = [[random.gauss(0, 1) for _ in range(self.DIM)] for _ in range(4000)]
        self.queries = [[random.gauss(0, 1) for _ in range(self.DIM)] for _ in range(100)]
        self.put("more.npy", npy("<f4", self.rows, "f"))
        self.put("many.npy", npy("<f4", self.queries, "f"))
        self.build("--kind", "graph", "--build-ef", "60", data="more.npy")
        found, labels, _ = self.search("-k", "5", "--recall", "0.9", queries="many.npy")
        self.assertEqual((found["kind"], found["walks"]), ("graph", 100))
        self.assertLess(found["codes"], 100 * 4000)
        truth = self.truth(5)
        self.assertGreaterEqual(sum(len(set(a) & set(b)) for a, b in zip(labels, truth)) / 500, 0.89)
        found, labels, _ = self.search("-k", "5", "--recall", "1", queries="many.npy")
        self.assertEqual((found["kind"], found["walks"], labels), ("flat", 0, truth))

    def test_insert_and_delete(self):
        for kind in ("flat", "graph"):
            self.build("--kind", kind)
            more = [[random.gauss(0, 1) for _ in range(self.DIM)] for _ in range(20)]
            self.put("more.fvecs", vecs(more, "f"))
            self.put("new.npy", npy("<u8", [1000 + i for i in range(20)], "Q"))
            made = self.document("index", "insert", self.path("x.fvi"), self.path("more.fvecs"), "--labels", self.path("new.npy"), "--json")
            self.assertEqual((made["vectors"], made["kind"]), (self.ROWS + 20, kind))
            self.put("old.ivecs", vecs([[i for i in range(0, 300, 3)]], "i"))
            made = self.document("index", "delete", self.path("x.fvi"), self.path("old.ivecs"), "--json")
            self.assertEqual((made["vectors"], made["kind"]), (self.ROWS + 20 - 100, kind))
            left = {i: row for i, row in enumerate(self.rows) if i % 3}
            left.update({1000 + i: row for i, row in enumerate(more)})
            self.assertEqual(self.search("-k", "6", "--ef", "0")[1], self.truth(6, left))
            self.fails(1, "index", "delete", self.path("x.fvi"), self.path("old.ivecs"), says=("no vector has the label 0",))
            self.fails(1, "index", "insert", self.path("x.fvi"), self.path("more.fvecs"), "--labels", self.path("new.npy"),
                       says=("label 1000 is there already",))
            self.assertEqual(self.document("index", "inspect", self.path("x.fvi"), "--check", "--json")["vectors"], 220)

    def test_changes_wait_in_a_journal_until_they_are_folded(self):
        self.build("--kind", "graph", "--build-ef", "60")
        file, journal = self.path("x.fvi"), self.path("x.fvi.journal")
        with open(file, "rb") as before:
            bytes_before = before.read()
        self.put("new.npy", npy("<u8", [1000 + i for i in range(7)], "Q"))
        self.put("old.npy", npy("<u8", [4, 5], "Q"))
        made = self.document("index", "insert", file, self.path("queries.npy"), "--labels", self.path("new.npy"), "--json")
        self.assertEqual((made["vectors"], made["waiting_calls"], made["bytes"]), (self.ROWS + 7, 1, len(bytes_before)))
        self.document("index", "delete", file, self.path("old.npy"), "--json")
        self.put("moved.npy", npy("<f4", self.queries[:1], "f"))
        self.put("six.npy", npy("<u8", [6], "Q"))
        self.document("index", "update", file, self.path("moved.npy"), "--labels", self.path("six.npy"), "--json")
        with open(file, "rb") as after:
            self.assertEqual(after.read(), bytes_before)
        info = self.document("index", "inspect", file, "--check", "--json")
        self.assertEqual((info["vectors"], info["waiting_calls"], info["waiting_vectors"], info["removed"], info["bytes"]),
                         (self.ROWS + 5, 3, 11, 3, len(bytes_before)))
        self.assertEqual(info["journal_bytes"], os.path.getsize(journal))
        self.assertIn("3 changes of 11 vectors wait", self.ok("index", "inspect", file).stdout.decode())
        waiting = self.search("-k", "3", "--ef", "0")[1:]
        self.assertEqual(waiting[0][0][:2], [6, 1000])
        made = self.document("index", "fold", file, "--json")
        self.assertEqual((made["waiting_calls"], made["journal_bytes"], made["bytes"]), (0, 0, os.path.getsize(file)))
        self.assertEqual(self.search("-k", "3", "--ef", "0")[1:], waiting)
        self.fails(2, "index", "update", file, self.path("moved.npy"), says=("--labels",))
        self.document("index", "delete", file, self.path("six.npy"), "--json")
        with open(journal, "r+b") as damaged:
            damaged.seek(70)
            damaged.write(b"\xff")
        for arguments in (("inspect", file), ("delete", file, self.path("new.npy")), ("search", file, self.path("queries.npy"))):
            self.fails(1, "index", *arguments, says=("x.fvi.journal", "damaged"))

    def test_filters(self):
        self.build()
        self.put("bools.npy", npy("|b1", [i % 10 == 4 for i in range(self.ROWS)], "B"))
        bits = bytearray(40)
        for i in range(4, self.ROWS, 10):
            bits[i // 8] |= 1 << i % 8
        self.put("bits", bytes(bits))
        want = self.truth(4, {i: row for i, row in enumerate(self.rows) if i % 10 == 4})
        for name in ("bools.npy", "bits"):
            self.assertEqual(self.search("-k", "4", "--filter", self.path(name))[1], want)

    def test_fewer_than_k(self):
        self.put("few.npy", npy("<f4", self.rows[:3], "f"))
        self.build(data="few.npy")
        _, labels, distances = self.search("-k", "5")
        self.assertEqual(labels[0][3:], [NO_LABEL] * 2)
        self.assertEqual(distances[0][3:], [math.inf] * 2)

    def test_types(self):
        whole = [[random.randint(0, 100) for _ in range(self.DIM)] for _ in range(50)]
        halves = npy("<f2", [[struct.unpack("<H", struct.pack("<e", x))[0] for x in row] for row in whole], "H")
        for name, data in (("a.npy", npy("|u1", whole, "B")), ("b.npy", npy("|i1", whole, "b")), ("c.bvecs", vecs(whole, "B")),
                           ("d.npy", halves), ("e.fvecs", vecs(whole, "f"))):
            self.put(name, data)
            self.build(data=name)
            labels = self.search("-k", "1", queries=name)[1]
            self.assertEqual(labels, [[i] for i in range(50)], name)

    def test_bad_files_are_named(self):
        good = npy("<f4", self.rows, "f")
        for name, data, said in (("cut.npy", good[:-1], "want more"), ("head.npy", good[:40], "cut short"),
                                 ("order.npy", npy("<f4", self.rows, "f", order="True"), "Fortran order"),
                                 ("type.npy", npy("<f8", self.rows, "d"), "its type"), ("one.npy", npy("<f4", [1.0, 2.0], "f"), "two dimensions"),
                                 ("ragged.fvecs", vecs([[1, 2, 3], [1, 2]] + [[1] * 4], "f"), "elements"),
                                 ("nan.npy", npy("<f4", [[1, math.nan]], "f"), "element 1 is nan"),
                                 ("x.txt", b"hello", "no .npy")):
            self.put(name, data)
            self.fails(1, "index", "build", self.path(name), "-o", self.path("y.fvi"), says=(said,))
            self.assertFalse(os.path.exists(self.path("y.fvi")))
        self.build()
        self.put("wide.npy", npy("<f4", [[1.0] * 13], "f"))
        self.fails(1, "index", "search", self.path("x.fvi"), self.path("wide.npy"), says=("dimension 13", "12"))
        self.fails(1, "index", "search", self.path("data.npy"), self.path("queries.npy"), says=("is no index",))
        with open(self.path("x.fvi"), "r+b") as file:
            file.seek(-100, 2)
            file.write(b"\xff")
        self.fails(1, "index", "inspect", self.path("x.fvi"), "--check", says=("damaged",))
        self.fails(1, "index", "insert", self.path("x.fvi"), self.path("data.npy"), says=("damaged",))

    def test_usage(self):
        self.assertIn(b"--metric", self.ok("index", "--help").stdout)
        self.fails(2, "index", says=("build, search",))
        self.fails(2, "index", "build", self.path("data.npy"), says=("-o",))
        self.fails(2, "index", "search", self.path("x.fvi"), says=("second file",))
        self.fails(2, "index", "inspect", "a", "b", says=("one file",))
        self.fails(2, "index", "build", self.path("data.npy"), "-o", "x", "--metric", "l3", says=("l2",))


if __name__ == "__main__":
    cli_runner.main()
