#!/usr/bin/env python3
"""Our index beside its peers, over one set of vectors in one run: seconds to build (--threads) and those of all processors, bytes, and
queries a second of one thread's time at recalls 0.90, 0.95 and 0.99 of the 10 nearest, interpolated over the beam (for ours also over the
recall that is asked for, by which it picks beam or scan). Prints a table; it is no test. --keep: the lines go into
bench/results/MACHINE/index.csv, too, from which tools/bench_tables.py makes a table.
Wants NumPy, and of hnswlib, faiss-cpu and usearch those that are to be compared; a peer that is not installed is left out.

    bench/index_pair.py [--data manifold|unlike|unlike-even|FILE.npy|FILE.gguf] [--rows 200000] [--metric l2|ip|cosine] [--only NAME,...] [--enough 0.99] [--progress] [--keep]
"""
import argparse
import ctypes
import math
import os
import sys
import time

import numpy

import index_data
import results_csv

HERE = os.path.dirname(os.path.abspath(__file__))
K = 10
BEAMS = [10, 14, 20, 28, 40, 56, 80, 112, 160, 240, 320, 480, 640, 960, 1280, 2560]
PROBES = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512]
RECALLS = [0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995]  # what a search with a recall is asked for
METRICS = {"l2": 0, "ip": 1, "cosine": 2}
TARGETS = [0.90, 0.95, 0.99]
KEYS = ["data", "rows", "dimension", "metric", "build_threads", "index"]


class Config(ctypes.Structure):
    """fv_index_config"""
    _fields_ = [("seed", ctypes.c_uint64), ("dimension", ctypes.c_uint32), ("metric", ctypes.c_uint32),
                ("isa_limit", ctypes.c_uint32), ("row_type", ctypes.c_uint32),
                ("refine_bits", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 9)]


class LinkConfig(ctypes.Structure):
    """fv_index_link_config"""
    _fields_ = [("degree", ctypes.c_uint32), ("beam", ctypes.c_uint32), ("rounds", ctypes.c_uint32),
                ("if_less", ctypes.c_uint32), ("lean", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 3),
                ("progress", ctypes.c_void_p), ("progress_context", ctypes.c_void_p)]


class Search(ctypes.Structure):
    """fv_index_search"""
    _fields_ = [("queries", ctypes.c_void_p), ("count", ctypes.c_size_t), ("filter_bits", ctypes.c_void_p),
                ("filter_words", ctypes.c_size_t), ("filter", ctypes.c_void_p), ("filter_context", ctypes.c_void_p),
                ("parallel", ctypes.c_void_p), ("dimension", ctypes.c_uint32), ("k", ctypes.c_uint32),
                ("confidence", ctypes.c_float), ("beam", ctypes.c_uint32), ("recall", ctypes.c_float), ("reserved", ctypes.c_uint32 * 7)]


class Info(ctypes.Structure):
    """fv_index_info"""
    _fields_ = [("rows", ctypes.c_uint64), ("memory_bytes", ctypes.c_uint64), ("file_bytes", ctypes.c_uint64),
                ("rest", ctypes.c_uint64 * 6)]


class Ours:
    """The library itself, through its C calls."""

    def __init__(self, base, metric, arguments):
        self.library = ctypes.CDLL(os.path.join(arguments.build, "libfovea.so"))
        self.library.fv_pool_parallel.restype = ctypes.c_void_p
        self.library.fv_pool_parallel.argtypes = [ctypes.c_void_p]
        self.metric, self.arguments, self.dimension = metric, arguments, base.shape[1]
        self.index = ctypes.c_void_p()
        pool, config = ctypes.c_void_p(), Config()
        message = ctypes.create_string_buffer(4096)
        call = self.call
        call("fv_pool_open", ctypes.byref(pool), ctypes.c_uint32(arguments.threads), message)
        parallel = ctypes.c_void_p(self.library.fv_pool_parallel(pool))
        self.library.fv_index_config_default(ctypes.c_uint32(self.dimension), ctypes.c_uint32(METRICS[metric]), ctypes.byref(config))
        self.config_change(config)
        call("fv_index_make", ctypes.byref(self.index), ctypes.byref(config), message)
        call("fv_index_add", self.index, ctypes.c_size_t(len(base)), ctypes.c_uint32(self.dimension),
             base.ctypes.data_as(ctypes.c_void_p), None, parallel, message)
        self.link(parallel, message)
        self.library.fv_pool_close(pool)

    def link(self, parallel, message):
        config = LinkConfig()
        self.library.fv_index_link_config_default(ctypes.byref(config))
        config.degree = self.arguments.degree or config.degree
        config.beam = self.arguments.build_beam or config.beam
        config.rounds = self.arguments.rounds or config.rounds
        self.link_change(config)
        self.call("fv_index_link", self.index, ctypes.byref(config), parallel, message)

    def config_change(self, config):
        """For those who measure other indexes."""

    def link_change(self, config):
        """And other graphs."""

    def call(self, name, *values):
        status = getattr(self.library, name)(*values)
        if status:
            raise RuntimeError("%s: %d %s" % (name, status, bytes(values[-1])[:200]))

    def memory(self):
        info = Info()
        self.library.fv_index_info_get(self.index, ctypes.byref(info))
        return info.memory_bytes

    def search(self, queries, effort):
        search = Search()
        self.library.fv_index_search_default(ctypes.c_uint32(self.dimension), ctypes.byref(search))
        search.queries, search.count, search.k = queries.ctypes.data, len(queries), K
        if isinstance(effort, float):
            search.recall = effort
        else:
            search.beam = effort
        labels = numpy.empty((len(queries), K), dtype=numpy.uint64)
        distances = numpy.empty((len(queries), K), dtype=numpy.float32)
        message = ctypes.create_string_buffer(4096)
        self.call("fv_index_nearest", self.index, ctypes.byref(search), labels.ctypes.data_as(ctypes.c_void_p),
                  distances.ctypes.data_as(ctypes.c_void_p), None, message)
        return labels.astype(numpy.int64)

    def close(self):
        self.library.fv_index_close(self.index)

    efforts = BEAMS
    ways = {"fovea graph": BEAMS, "fovea by recall": RECALLS}  # of one index


class OursFlat(Ours):
    """The scan of all codes."""
    efforts = [0]
    ways = {"fovea flat": [0]}

    def link(self, parallel, message):
        pass


class Hnswlib:
    """hnswlib with its usual M of 16 and efConstruction of 200."""
    efforts = BEAMS

    def __init__(self, base, metric, arguments):
        import hnswlib
        self.index = hnswlib.Index(space=metric, dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=16, ef_construction=200, random_seed=1)
        self.index.add_items(base, num_threads=arguments.threads)

    def memory(self):
        return self.index.index_file_size()

    def search(self, queries, effort):
        self.index.set_ef(effort)
        return self.index.knn_query(queries, k=K, num_threads=1)[0].astype(numpy.int64)


class Usearch:
    """usearch in f32, with connectivity and expansion of the same meaning as hnswlib's."""
    efforts = BEAMS

    def __init__(self, base, metric, arguments):
        from usearch.index import Index
        self.index = Index(ndim=base.shape[1], metric={"l2": "l2sq", "ip": "ip", "cosine": "cos"}[metric], dtype="f32",
                           connectivity=16, expansion_add=200)
        self.index.add(numpy.arange(len(base), dtype=numpy.uint64), base, threads=arguments.threads)

    def memory(self):
        return self.index.memory_usage

    def search(self, queries, effort):
        self.index.expansion_search = effort
        found = self.index.search(queries, K, threads=1)
        return numpy.asarray(found.keys).astype(numpy.int64).reshape(len(queries), K)


class Faiss:
    """An index of faiss by the text of its factory."""
    efforts = PROBES
    text, variable = "", "nprobe"

    def __init__(self, base, metric, arguments):
        import faiss
        self.faiss = faiss
        faiss.omp_set_num_threads(arguments.threads)
        self.metric = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.unit = metric == "cosine"
        base = self.ready(base)
        lists = 2 ** round(math.log2(4 * math.sqrt(len(base))))
        text = self.text.format(lists=lists, half=base.shape[1] // 2)
        self.index = faiss.index_factory(base.shape[1], text, self.metric)
        if self.variable == "efSearch":
            self.index.hnsw.efConstruction = 200
        self.index.train(base[:: max(1, len(base) // (lists * 64))])
        self.index.add(base)
        self.space = faiss.ParameterSpace()
        faiss.omp_set_num_threads(1)

    def ready(self, vectors):
        if not self.unit:
            return vectors
        return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)

    def memory(self):
        return len(self.faiss.serialize_index(self.index))

    def search(self, queries, effort):
        if self.variable == "efSearch":
            self.index.hnsw.efSearch = effort
        else:
            self.space.set_index_parameters(self.index, "nprobe=%d,k_factor_rf=%d" % (effort, 20))
        self.faiss.omp_set_num_threads(1)
        return self.index.search(self.ready(queries), K)[1]


class FaissHnsw(Faiss):
    efforts = BEAMS
    text, variable = "HNSW16,Flat", "efSearch"


class FaissPq(Faiss):
    text = "IVF{lists},PQ{half}x4fs,Refine(Flat)"


class FaissRabitq(Faiss):
    text = "IVF{lists},RaBitQfs,Refine(Flat)"


METHODS = {"fovea graph": Ours, "hnswlib": Hnswlib, "usearch": Usearch, "faiss hnsw": FaissHnsw, "faiss ivf-pq-fs": FaissPq,
           "faiss ivf-rabitq": FaissRabitq, "fovea flat": OursFlat}


def true_labels(base, queries, metric):
    """[queries][K], by products in blocks."""
    best = None
    for first in range(0, len(base), 50000):
        part = base[first:first + 50000]
        score = queries @ part.T
        length = numpy.einsum("ij,ij->i", part, part)
        if metric == "l2":
            score = 2 * score - length
        elif metric == "cosine":
            score /= numpy.sqrt(numpy.maximum(length, 1e-30))
        top = numpy.argpartition(-score, K, axis=1)[:, :K]
        scores, labels = numpy.take_along_axis(score, top, axis=1), top + first
        if best is not None:
            scores, labels = numpy.hstack([best[0], scores]), numpy.hstack([best[1], labels])
        order = numpy.argsort(-scores, axis=1)[:, :K]
        best = (numpy.take_along_axis(scores, order, axis=1), numpy.take_along_axis(labels, order, axis=1))
    return best[1]


def distances_of(base, queries, labels, metric):
    """[queries][K] in f64."""
    out = numpy.empty(labels.shape)
    for i, query in enumerate(queries.astype(numpy.float64)):
        rows = base[labels[i]].astype(numpy.float64)
        if metric == "l2":
            out[i] = ((rows - query) ** 2).sum(axis=1)
        else:
            out[i] = -(rows @ query) / (numpy.linalg.norm(rows, axis=1) * numpy.linalg.norm(query) if metric == "cosine" else 1)
    return out


class Judge:
    """Says what share of the nearest was found. What is as near as the last of them is right, whatever its label."""

    def __init__(self, base, queries, metric):
        self.of = lambda labels: distances_of(base, queries, labels, metric)
        nearest = self.of(true_labels(base, queries, metric))
        self.last = nearest.max(axis=1, keepdims=True) + 1e-5 * numpy.abs(nearest).max()

    def recall(self, found):
        missing = found < 0
        distances = self.of(numpy.where(missing, 0, found))
        return float(numpy.mean((distances <= self.last) & ~missing))


def at_recall(points, target):
    """Queries a second at that recall, or None: linear in the logarithm between the two points around it."""
    points = sorted(points)
    for (low, slow), (high, fast) in zip(points, points[1:]):
        if low <= target <= high:
            share = (target - low) / (high - low) if high > low else 1
            return math.exp(math.log(slow) + share * (math.log(fast) - math.log(slow)))
    return points[0][1] if points and points[0][0] >= target else None


def ways_of(name, method):
    """{name: efforts}, of what was built once."""
    return getattr(method, "ways", {name: method.efforts})


def measure(method, efforts, queries, judge, repeats, enough=0.995):
    """[(recall, queries a second of processor time, effort)], up to a recall of `enough`; the best of a few runs of at most two seconds."""
    points = []
    for effort in efforts:
        best = math.inf
        for _ in range(repeats):
            start = time.process_time()
            found = method.search(queries, effort)
            best = min(best, time.process_time() - start)
            if best > 2:
                break
        points.append((judge.recall(found), len(queries) / best, effort))
        if points[-1][0] >= enough:
            break
    return points


def row_of(name, seconds, busy, memory, points):
    pairs = [(recall, qps) for recall, qps, _ in points]
    row = {"index": name, "build_s": seconds, "build_cpu_s": busy, "bytes": memory}
    row.update(("qps_%.0f" % (100 * target), at_recall(pairs, target)) for target in TARGETS)
    return dict(row, most_recall=max(pairs)[0])


def print_row(row, points):
    cells = ["%8.0f" % row[key] if row[key] else "%8s" % "-" for key in row if key.startswith("qps_")]
    print("%-18s %8.1f %8.1f %8.1f  %s  %.4f" % (row["index"], row["build_s"], row["build_cpu_s"], row["bytes"] / 1e6, " ".join(cells),
                                                 row["most_recall"]), flush=True)
    for recall, qps, effort in points:
        print("    %6g  %.4f  %8.0f" % (effort, recall, qps), flush=True)


def said(arguments, text):
    if arguments.progress:
        print("%s  %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)


def results_of(build):
    """The machine is named by what its processor runs, as by all benchmarks."""
    command = [os.path.join(build, "fovea"), "bench", "attention", "--tokens", "16", "--layers", "1", "-t", "1", "-r", "1", "--json"]
    return results_csv.results_path(results_csv.document_of(command)["isa"], "index")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="manifold", help="manifold, unlike (queries from another surface, vectors of lognormal lengths), unlike-even (lengths alike), FILE.npy or FILE.gguf")
    parser.add_argument("--rows", type=int, default=200000, help="at most; 0: all of a file")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--intrinsic", type=int, default=16)
    parser.add_argument("--metric", choices=sorted(METRICS), default="l2")
    parser.add_argument("--threads", type=int, default=2, help="that build; one searches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="names of the table, with commas")
    parser.add_argument("--enough", type=float, default=0.995, help="recall at which beams are not made wider; at least 0.99")
    parser.add_argument("--progress", action="store_true", help="what is being built and measured, on standard error")
    parser.add_argument("--details", action="store_true", help="each beam, too")
    parser.add_argument("--keep", action="store_true", help="into bench/results")
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build"))
    for name in ("degree", "build-beam", "rounds"):
        parser.add_argument("--" + name, type=int, default=0, help="of our graph; 0: as the library has it")
    arguments = parser.parse_args()
    if arguments.enough < TARGETS[-1]:
        parser.error("--enough is %g at least" % TARGETS[-1])
    said(arguments, "reading " + arguments.data)
    base, queries = index_data.load(arguments.data, arguments.rows, arguments.dimension, arguments.intrinsic)
    said(arguments, "looking for the true neighbours")
    judge = Judge(base, queries, arguments.metric)
    print("%s: %d x %d, %s, %d queries" % (arguments.data, *base.shape, arguments.metric, len(queries)))
    results = results_of(arguments.build) if arguments.keep else None
    about = {"data": os.path.basename(arguments.data), "rows": len(base), "dimension": base.shape[1], "metric": arguments.metric,
             "queries": len(queries), "build_threads": arguments.threads}
    print("%-18s %8s %8s %8s  %s  %s" % ("", "build s", "CPU s", "MB", " ".join("%8s" % ("qps %.2f" % t) for t in TARGETS), "most"), flush=True)
    for name, kind in METHODS.items():
        if arguments.only and name not in arguments.only.split(","):
            continue
        try:
            said(arguments, "building " + name)
            start, busy = time.perf_counter(), time.process_time()
            method = kind(base, arguments.metric, arguments)
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            for way, efforts in ways_of(name, method).items():
                said(arguments, "measuring " + way)
                points = measure(method, efforts, queries, judge, arguments.repeats, arguments.enough)
                row = row_of(way, seconds, busy, method.memory(), points)
                print_row(row, points if arguments.details else [])
                if results:
                    results_csv.add_rows(results, KEYS, [{**about, **row}])
            if hasattr(method, "close"):
                method.close()
            del method
        except (ImportError, RuntimeError, ValueError) as error:
            print("%-18s left out: %s" % (name, error), flush=True)


if __name__ == "__main__":
    main()
