"""usearch's index over `fovea.Index`: change the import, and a script runs on.

    from fovea.usearch import Index

The same arguments, methods and matches. What differs: vectors are kept as f32, or of `dtype` "f16", "bf16" or "i8" as that, of metric "cos" with
length 1; they are scanned, and results exact, unless a graph is found to be less work; then `expansion_search` is the beam of one, and without one
as much is read as a recall of 0.95 wants. `view` maps the file, and a change of the index moves it into memory. User-defined metrics, `multi`, clusters and joins are not there.
"""
from __future__ import annotations

import os
from typing import Any, Iterator, NamedTuple, Union

import numpy

from ._index import NO_LABEL, Index as _Index
from ._index_arrays import labels_of, vectors_of

_METRICS = {"cos": "cosine", "ip": "ip", "l2sq": "l2"}
_KEPT = {"f16": "f16", "bf16": "bf16", "i8": "i8"}  # all else is f32
_Path = Union[str, "os.PathLike[str]"]


class Match(NamedTuple):
    """A key and how far its vector is."""

    key: int
    distance: float


class Matches:
    """What one query found, nearest first."""

    visited_members: int = 0
    computed_distances: int = 0

    def __init__(self, keys: Any, distances: Any) -> None:
        self.keys, self.distances = keys, distances

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, place: int) -> Match:
        return Match(int(self.keys[place]), float(self.distances[place]))

    def __iter__(self) -> Iterator[Match]:
        return (self[place] for place in range(len(self)))

    def to_list(self) -> list[tuple[int, float]]:
        """(key, distance) of each."""
        return [(match.key, match.distance) for match in self]

    def __repr__(self) -> str:
        return "fovea.usearch.Matches(%d)" % len(self)


class BatchMatches:
    """What several queries found: keys and distances [queries, count], of which the first `counts` of a row are there."""

    visited_members: int = 0
    computed_distances: int = 0

    def __init__(self, keys: Any, distances: Any, counts: Any) -> None:
        self.keys, self.distances, self.counts = keys, distances, counts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, query: int) -> Matches:
        return Matches(self.keys[query, :self.counts[query]], self.distances[query, :self.counts[query]])

    def __iter__(self) -> Iterator[Matches]:
        return (self[query] for query in range(len(self)))

    def to_list(self) -> list[tuple[int, float]]:
        """(key, distance) of all, query by query."""
        return [pair for matches in self for pair in matches.to_list()]

    def __repr__(self) -> str:
        return "fovea.usearch.BatchMatches(%d across %d queries)" % (int(self.counts.sum()), len(self))


class Index:
    """usearch.index.Index.

    >>> import numpy as np
    >>> index = Index(ndim=3, metric="cos")
    >>> index.add(42, np.array([0.2, 0.6, 0.4]))
    array([42], dtype=uint64)
    >>> matches = index.search(np.array([0.2, 0.6, 0.4]), 10)
    >>> matches[0].key, matches[0].distance < 0.001, 42 in index
    (42, True, True)
    """

    def __init__(self, *, ndim: int = 0, metric: Any = "cos", dtype: Any = None, connectivity: int | None = None,
                 expansion_add: int | None = None, expansion_search: int | None = None, multi: bool = False,
                 path: _Path | None = None, view: bool = False, enable_key_lookups: bool = True) -> None:
        name = str(getattr(metric, "name", metric)).lower()
        if name not in _METRICS:
            raise NotImplementedError("metric is cos, ip or l2sq, not %r" % (metric,))
        if multi:
            raise NotImplementedError("multi: a key has one vector")
        self.metric, self.expansion_search = name, expansion_search
        self.connectivity, self.expansion_add = connectivity or 16, expansion_add or 200
        self.path, self.multi = path, False
        self.dtype = _KEPT.get(str(getattr(dtype, "name", dtype)).lower(), "f32")
        self._index = self._made(ndim) if ndim else None
        if path is not None and os.path.exists(path):
            self.load(path)
        if self._index is not None:
            self._tell(self._index)

    def _made(self, ndim: int) -> _Index:
        return _Index(ndim, _METRICS[self.metric], dtype="q8" if self.dtype == "i8" else self.dtype)

    def _tell(self, index: _Index) -> None:
        index._link = (min(256, (self.connectivity + 31) // 32 * 32), self.expansion_add, 0, False)

    @property
    def _held(self) -> _Index:
        if self._index is None:
            raise ValueError("the index was made without ndim")
        return self._index

    def add(self, keys: Any, vectors: Any, *, copy: bool = True, threads: int = 0, log: Any = False, progress: Any = None,
            dtype: Any = None) -> Any:
        """Adds vectors under new keys, None for the numbers from `len(index)` on; the keys. `log`, `progress`, `copy` and `dtype` are of no account."""
        rows, _ = vectors_of(vectors)
        if rows.shape[1] != self.ndim:
            raise ValueError("The number of vector dimensions doesn't match!")
        start = len(self)
        labels = numpy.arange(start, start + len(rows), dtype=numpy.uint64) if keys is None else labels_of(keys)
        if any(label in self._held for label in labels.tolist()) or len(numpy.unique(labels)) < len(labels):
            raise RuntimeError("Duplicate keys not allowed in high-level wrappers")
        self._held.add(rows, labels, threads=threads or None)
        return labels

    def search(self, vectors: Any, count: int = 10, radius: float = float("inf"), *, threads: int = 0, exact: bool = False,
               log: Any = False, progress: Any = None, dtype: Any = None) -> Any:
        """Matches of one vector, BatchMatches of rows of them: those up to `radius` of the `count` nearest. `exact`: by a scan."""
        rows, is_one = vectors_of(vectors)
        if rows.shape[1] != self.ndim:
            raise ValueError("The number of vector dimensions doesn't match!")
        keys, distances = self._held.search(rows, count, ef=0 if exact else self.expansion_search, threads=threads or None)
        is_there = (keys != NO_LABEL) & (distances <= radius)
        counts = is_there.sum(axis=1)
        if is_one:
            return Matches(keys[0, :counts[0]], distances[0, :counts[0]])
        keys[~is_there], distances[~is_there] = 0, numpy.nan
        return BatchMatches(keys, distances, counts)

    def contains(self, keys: Any) -> Any:
        """Whether a key, or each of several, is there."""
        if numpy.ndim(keys) == 0:
            return keys in self._held
        return numpy.array([key in self._held for key in keys], bool)

    def count(self, keys: Any) -> Any:
        """Vectors of a key, or of each of several: 0 or 1."""
        found = self.contains(keys)
        return int(found) if numpy.ndim(keys) == 0 else found.astype(numpy.uint64)

    def get(self, keys: Any, dtype: Any = None) -> Any:
        """The vector of a key, or those of several, as a tuple if one is missing; None is for what is not there."""
        if numpy.ndim(keys) == 0:
            return self._held[keys] if keys in self._held else None
        found = tuple(self._held[key] if key in self._held else None for key in keys)
        return numpy.array(found) if all(one is not None for one in found) else found

    def remove(self, keys: Any, *, compact: bool = False, threads: int = 0) -> Any:
        """Removes a key, or several; how many were there."""
        there = [key for key in dict.fromkeys(labels_of(keys).tolist()) if key in self._held]
        self._held.remove(there)
        return bool(there) if numpy.ndim(keys) == 0 else len(there)

    def rename(self, from_: int, to: int) -> bool:
        """Gives the vector of a key another one; whether there is such a key."""
        if from_ not in self._held:
            return False
        vector = self._held[from_]
        self._held.add(vector, to)
        self._held.remove(from_)
        return True

    def save(self, path_or_buffer: _Path | None = None, progress: Any = None) -> None:
        """Writes the file: whole, or not at all."""
        self._held.save(self._path(path_or_buffer))

    def _path(self, path: _Path | None) -> _Path:
        chosen = self.path if path is None else path
        if not isinstance(chosen, (str, os.PathLike)):
            raise TypeError("an index is saved to a path and read from one, not %r" % (chosen,))
        return chosen

    def load(self, path_or_buffer: _Path | None = None, progress: Any = None) -> None:
        """Takes the index of a file that `save` or `fovea.Index.save` wrote."""
        self._index = _Index.open(self._path(path_or_buffer))
        self.metric = next(name for name, ours in _METRICS.items() if ours == self._index.metric)
        self.dtype = "i8" if self._index.dtype == "q8" else self._index.dtype
        self._tell(self._index)

    view = load

    @staticmethod
    def restore(path_or_buffer: _Path, view: bool = False, **keywords: Any) -> Index:
        """The index of a file."""
        index = Index(**keywords)
        index.load(path_or_buffer)
        return index

    def copy(self) -> Index:
        """Another one of the same vectors."""
        twin = Index(ndim=self.ndim, metric=self.metric, dtype=self.dtype, connectivity=self.connectivity, expansion_add=self.expansion_add,
                     expansion_search=self.expansion_search)
        twin._held.add(self.vectors, self.keys)
        return twin

    def clear(self) -> None:
        """Forgets all vectors."""
        self._index = self._made(self.ndim)
        self._tell(self._index)

    reset = clear

    @property
    def keys(self) -> numpy.ndarray[Any, Any]:
        """All keys, rising."""
        return self._held.labels

    @property
    def vectors(self) -> numpy.ndarray[Any, Any]:
        """The vectors of `keys`."""
        return self._held.vectors(self.keys)

    @property
    def ndim(self) -> int:
        """Elements of a vector."""
        return self._held.dimension

    @property
    def size(self) -> int:
        """Vectors."""
        return len(self._held)

    @property
    def memory_usage(self) -> int:
        """Bytes of memory, or of the file that is mapped."""
        return self._held.nbytes

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)

    def __contains__(self, keys: Any) -> Any:
        return self.contains(keys)

    def __getitem__(self, keys: Any) -> Any:
        return self.get(keys)

    def __delitem__(self, keys: Any) -> None:
        self.remove(keys)

    def __repr__(self) -> str:
        return "fovea.usearch.Index(ndim=%d, metric=%s, size=%d)" % (self.ndim, self.metric, len(self))
