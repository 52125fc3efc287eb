"""Nearest neighbours among vectors: an index of them, searched from Python."""
from __future__ import annotations

import os
import tempfile
import threading
from typing import Any, Callable, Iterator, NamedTuple

import numpy

from . import _fovea
from ._errors import ArgumentError
from ._index_arrays import Array, Filter, filter_of, labels_of, vectors_of

NO_LABEL = 2 ** 64 - 1
_METRICS = ("l2", "ip", "cosine")
_KINDS = ("auto", "flat", "graph")
_TYPES = {"f32": 0, "f16": 16, "bf16": 17, "q8": 8, "q7": 7, "q6": 6, "q5": 5, "q4": 4, "q3": 3, "q2": 2}


class SearchReport(NamedTuple):
    """What a search read. Codes are of one bit a channel; rows are vectors whose distance was computed; visits are rows of the graph
    that walks came by. Of the queries `walks` were answered by a walk, `lists` by the vectors that a filter lets pass, the others
    by a scan of all codes."""

    queries: int
    codes: int
    rows: int
    bytes: int
    visits: int
    walks: int
    lists: int


def _thread_count(threads: int | None) -> int:
    if threads is not None and not 1 <= threads <= 1024:
        raise ValueError("threads: 1 to 1024, or None for those of fovea.set_num_threads(), not %r" % (threads,))
    return threads or 0


def _count_of(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise ValueError("%s is 1 to %d, not %r" % (name, most, value))
    return value


class Index(_fovea.Index):
    """Vectors under labels, searched for those nearest to a query.

    Parameters
    ----------
    dimension : int
        Elements of a vector, 1 to 65,535.
    metric : "l2", "ip" or "cosine"
        The sum of squared differences; 1 - product, for vectors of any length; 1 - cosine. The smaller the nearer.
    kind : "auto", "flat" or "graph"
        What `search` uses. "flat" scans a code of each vector and computes what may be near: exact, nearly always. "graph" walks
        from neighbour to neighbour; the graph is made by the first search that wants it, or by `build`. "auto" makes one
        if the library finds that walks are less work than scans: hardly of a few thousand. It looks again when there are twice as many.
    dtype : "f32", "f16", "bf16" or "q8" to "q2"
        What vectors are kept as: f16 up to 65,504, "q8" and so on as codes of so many bits a channel. Distances are those from what is
        kept; fewer bits tell fewer apart.
    refine : 0 or 2 to 8
        Bits a channel of a second code of each vector, which scans read of what the first lets pass: fewer vectors are computed. Not for
        a dtype that is a code itself.
    seed : int
        Of the rotation before vectors are coded. The same vectors, seed and calls give the same index on every machine.

    Any number of threads may search and change it at the same time: a search sees the index before a change or after it, never a part
    of it. Results are the same bits for any number of threads. Calls let the GIL go. Vectors are NumPy arrays, torch tensors on a CPU, what has
    ``__dlpack__``, or lists; f32 is read where it lies, all else is converted to it. C: include/fovea/index.h.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> vectors = rng.standard_normal((1000, 32), np.float32)
    >>> index = Index(32, metric="cosine")
    >>> index.add(vectors)
    >>> labels, distances = index.search(vectors[:3] + 0.01, k=2)
    >>> labels[:, 0]
    array([0, 1, 2], dtype=uint64)
    >>> index.remove(1)
    >>> len(index), 1 in index, 2 in index
    (999, False, True)
    """

    _kind: str = "auto"
    _link: tuple[int, int, int, bool] = (0, 0, 0, False)  # degree, ef, rounds, lean; 0: as the library has it
    _building: threading.Lock
    _scanned: int = 0  # vectors of which "auto" found that a scan is less work

    def __init__(self, dimension: int, metric: str = "l2", kind: str = "auto", *, seed: int = 0, dtype: str = "f32", refine: int = 0) -> None:
        if metric not in _METRICS or kind not in _KINDS or dtype not in _TYPES:
            raise ValueError("metric is one of %s, kind of %s, and dtype of %s, not %r, %r and %r" %
                             (_METRICS, _KINDS, tuple(_TYPES), metric, kind, dtype))
        if not 1 <= dimension <= 65535:
            raise ArgumentError("the dimension is 1 to 65,535, not %r" % (dimension,))
        super().__init__(dimension, _METRICS.index(metric), seed, _TYPES[dtype], refine)
        self._kind, self._building = kind, threading.Lock()

    @classmethod
    def open(cls, path: str | os.PathLike[str], kind: str = "auto", *, journal: bool = False) -> Index:
        """The index of a file, mapped: processes share its memory, and it may be larger than that. The first change moves it into
        memory; `save` makes that the file's.

        journal : opens it for change, one process at a time: what `add`, `update` and `remove` did is durable when they return, in a
        journal beside the file, whatever ends the process. `save` to `path` takes it into the file, as much of it does by itself.

        Raises FileError, CorruptError (damaged, cut short, no index), UnsupportedError (of another version), ValueError (kind).
        Milliseconds, whatever its size; `check` reads all of it.
        """
        if kind not in _KINDS:
            raise ValueError("kind is one of %s, not %r" % (_KINDS, kind))
        index = cls.__new__(cls)
        index._open(path, journal)
        index._kind, index._building = kind, threading.Lock()
        return index

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the index in the place of what is at `path`: whole and durable, or not at all. FileError. O(bytes)."""
        self._save(path)

    def check(self) -> None:
        """Reads all that a file holds; CorruptError says what is damaged. Nothing to do for an index in memory."""
        self._check()

    def add(self, vectors: Array, labels: Any = None, *, threads: int | None = None) -> None:
        """Adds vectors, [rows, dimension] or one of [dimension]. The first ones decide the centre that all are coded about: add a
        good sample of them at first.

        labels : whole numbers, 0 to 2^64 - 2, each a new one; by default the numbers of the rows, counted from `len(index)`.
        threads : of this call, 1 to 1024; by default those of `fovea.set_num_threads`.

        Raises ValueError: shapes (ShapeError), NaN or infinity (NotFiniteError), a magnitude above 1e15 (RangeError), a label that
        is there already or twice (ArgumentError); TypeError for elements that are no numbers. Nothing is added then.
        """
        rows, _ = vectors_of(vectors)
        self._add(rows, None if labels is None else self._labels_for(rows, labels), _thread_count(threads))

    def update(self, vectors: Array, labels: Any, *, threads: int | None = None) -> None:
        """Puts vectors in the place of those of `labels`, all of which are there. All or nothing; raises as `add` and `remove`."""
        rows, _ = vectors_of(vectors)
        self._update(rows, self._labels_for(rows, labels), _thread_count(threads))

    def remove(self, labels: Any) -> None:
        """Removes the vectors of these labels. ArgumentError, a ValueError, if one is not there or named twice: nothing is removed
        then."""
        self._remove(labels_of(labels))

    def build(self, *, degree: int | None = None, ef: int = 200, rounds: int | None = None, lean: bool = False,
              threads: int | None = None, progress: Callable[[int, int], object] | None = None) -> None:
        """Makes the graph that searches walk, from all vectors: minutes for a million. It grows and shrinks with `add`, `update` and
        `remove`. A search that wants one makes it, if there is none.

        degree : neighbours of each vector, a multiple of 32 up to 256; None or 0: 32, or 64 of many vectors that spread in many
        directions, as a sample of them shows. ef : beam of the walks that look for them. rounds : of such walks. lean : without codes
        of neighbours: less than half of the memory, and slower. progress : called now and then with how much is done, and of how much.
        Ctrl-C, or what it raises, leaves the index as it was.
        """
        for name, value, most in (("degree", degree or 32, 256), ("ef", ef, 65536), ("rounds", rounds or 1, 16)):
            _count_of(name, value, most)
        link = (degree or 0, ef, rounds or 0, lean)
        self._link_graph(*link, False, progress, _thread_count(threads))
        self._link = link
        if self._kind == "flat":
            self._kind = "graph"

    def calibrate(self, queries: Array | None = None, *, threads: int | None = None) -> None:
        """Measures what walks find with which beams: what `recall` goes by. `build` does it with vectors of the index; queries that
        are unlike them (texts for pictures, users for goods) want it done with some hundreds of theirs. `save` keeps it."""
        rows = numpy.empty((0, self.dimension), numpy.float32) if queries is None else vectors_of(queries, "queries")[0]
        self._calibrate(rows, None, _thread_count(threads))

    def search(self, queries: Array, k: int = 10, recall: float = 0.95, ef: int | None = None, filter: Filter = None, *,
               threads: int | None = None, confidence: float = 3.0, return_report: bool = False) -> Any:
        """The `k` nearest of each query, nearest first, of equal ones the smaller label first.

        Parameters
        ----------
        queries : [count, dimension], or [dimension] of one
        recall : share of the `k` nearest that is to be found, above 0 and up to 1. A scan finds all; where there is a graph, the
            index takes what is less work by what it measured (`calibrate`).
        ef : the beam of walks over the graph, in place of `recall`: the larger, the more is found. 0 is a scan.
        filter : which labels may be results: an array of bool with an element for each label (labels beyond are out), an array or
            set of the labels themselves, or a function that is asked `filter(label)` for those whose codes are near. A function
            takes the GIL each time and one thread; it cannot use this index.
        threads : of this call, 1 to 1024; by default those of `fovea.set_num_threads`.
        confidence : standard deviations within which the error of a code is taken to lie.
        return_report : a SearchReport as well.

        Returns
        -------
        labels, distances
            uint64 and f32 [count, k], or [k] for one query. Where there are fewer than k: 2^64 - 1 and infinity.

        Raises ValueError (shapes, NaN, numbers out of range), TypeError, what a filter raises.
        """
        if not 0 < recall <= 1:
            raise ValueError("recall is above 0, at most 1, not %r" % (recall,))
        if ef is not None and not 0 <= ef <= 65536:
            raise ValueError("ef is 0 to 65,536, not %r" % (ef,))
        rows, is_one = vectors_of(queries, "queries")
        beam = max(ef, k) if ef else 0
        labels, distances, said = self._search(rows, k, recall if ef is None else 0.0, beam, filter_of(filter), threads, confidence)
        found = (labels[0], distances[0]) if is_one else (labels, distances)
        return found + (said,) if return_report else found

    def _search(self, rows: numpy.ndarray[Any, Any], k: int, recall: float, beam: int, chosen: Any, threads: int | None,
                confidence: float = 3.0) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any], SearchReport]:
        """With a filter as the extension takes it, and a recall of 0 where `beam` says all."""
        _count_of("k", k, 2 ** 31)
        if self._kind == "flat":
            recall, beam = 0.0, 0
        if recall or beam:
            self._want_graph()
        labels = numpy.empty((len(rows), k), numpy.uint64)
        distances = numpy.empty((len(rows), k), numpy.float32)
        said = self._nearest(rows, k, beam, recall, confidence, chosen, _thread_count(threads), labels, distances)
        return labels, distances, SearchReport(*said)

    def within(self, queries: Array, radius: float, filter: Filter = None, *, threads: int | None = None,
               confidence: float = 3.0) -> Any:
        """All vectors of which the distance is at most `radius`, nearest first: (labels, distances) of one query, or a list of such
        for rows of them. By a scan; the rest is as in `search`."""
        rows, is_one = vectors_of(queries, "queries")
        found = [(numpy.frombuffer(labels, numpy.uint64), numpy.frombuffer(distances, numpy.float32)) for labels, distances in
                 self._within(rows, radius, confidence, filter_of(filter), _thread_count(threads))]
        return found[0] if is_one else found

    def vectors(self, labels: Any) -> numpy.ndarray[Any, Any]:
        """The vectors of these labels, f32 [count, dimension]; of metric "cosine" with length 1. KeyError if one is not there."""
        wanted = labels_of(labels)
        out = numpy.empty((len(wanted), self.dimension), numpy.float32)
        self._vectors(wanted, out)
        return out

    def _labels_for(self, rows: numpy.ndarray[Any, Any], labels: Any) -> numpy.ndarray[Any, Any]:
        array = labels_of(labels)
        if len(array) != len(rows):
            raise ValueError("%d vectors have %d labels" % (len(rows), len(array)))
        return array

    def _want_graph(self) -> None:
        """Makes the graph if searches are to walk and there is none."""
        def is_wanted() -> bool:
            info = self._info
            return not info["degree"] and info["rows"] >= (2 if self._kind == "graph" else max(2, 2 * self._scanned))

        if self._kind != "flat" and is_wanted():
            with self._building:
                if is_wanted():
                    self._link_graph(*self._link, self._kind == "auto", None, 0)
                    self._scanned = 0 if self._info["degree"] else len(self)

    @property
    def labels(self) -> numpy.ndarray[Any, Any]:
        """All labels, rising: uint64. O(rows)."""
        if not len(self):
            return numpy.empty(0, numpy.uint64)
        found: numpy.ndarray[Any, Any] = numpy.sort(self.within(numpy.zeros(self.dimension, numpy.float32), numpy.inf)[0])
        return found

    @property
    def dimension(self) -> int:
        """Elements of a vector."""
        return self._info["dimension"]

    @property
    def metric(self) -> str:
        """"l2", "ip" or "cosine"."""
        return _METRICS[self._info["metric"]]

    @property
    def dtype(self) -> str:
        """What vectors are kept as."""
        return next(name for name, number in _TYPES.items() if number == self._info["row_type"])

    @property
    def kind(self) -> str:
        """"graph" if there is one now, else "flat"."""
        return "graph" if self._info["degree"] else "flat"

    @property
    def degree(self) -> int:
        """Neighbours of each vector in the graph; 0 if there is none."""
        return self._info["degree"]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds, or of the file that is mapped."""
        return self._info["memory_bytes"] + self._info["file_bytes"]

    def __len__(self) -> int:
        """Vectors."""
        return self._info["rows"]

    def __contains__(self, label: object) -> bool:
        try:
            number = int(labels_of(label)[0])
        except (TypeError, ValueError):
            return False
        return self._contains(number)

    def __getitem__(self, label: int) -> numpy.ndarray[Any, Any]:
        """The vector of a label. KeyError."""
        vector: numpy.ndarray[Any, Any] = self.vectors(label)[0]
        return vector

    def __delitem__(self, label: int) -> None:
        if label not in self:
            raise KeyError(label)
        self.remove(label)

    def __iter__(self) -> Iterator[int]:
        """All labels, rising."""
        return iter(self.labels.tolist())

    def __repr__(self) -> str:
        return "<fovea.Index: %d vectors of %d, %s, %s>" % (len(self), self.dimension, self.metric, self.kind)

    def __reduce__(self) -> Any:
        """Pickled as the bytes of its file."""
        with tempfile.TemporaryDirectory(prefix="fovea-index-") as folder:
            path = os.path.join(folder, "index")
            self.save(path)
            with open(path, "rb") as file:
                return _from_bytes, (type(self), file.read(), self._kind)


def _from_bytes(cls: type[Index], data: bytes, kind: str) -> Index:
    with tempfile.TemporaryDirectory(prefix="fovea-index-") as folder:
        path = os.path.join(folder, "index")
        with open(path, "wb") as file:
            file.write(data)
        return cls.open(path, kind)  # what is mapped outlives its name
