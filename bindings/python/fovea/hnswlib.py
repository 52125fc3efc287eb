"""hnswlib's classes over `fovea.Index`: change the import, and a script runs on.

    from fovea import hnswlib

The same arguments, methods, properties and errors. What differs: an index is scanned, and exact, unless a graph is found to be less
work; then `ef` is the beam of one with `M` rounded to 32, 64, ... neighbours, which is made by the first query after vectors were added. Files are
those of `fovea.Index`, without the elements that are marked as deleted.
"""
from __future__ import annotations

import os
from typing import Any, Callable, Union

import numpy

from ._index import NO_LABEL, Index as _Index
from ._index_arrays import labels_of, vectors_of

_METRICS = {"l2": "l2", "ip": "ip", "cosine": "cosine"}
_Path = Union[str, "os.PathLike[str]"]
_Filter = Union[Callable[[int], bool], None]


class Index:
    """hnswlib.Index.

    >>> import numpy as np
    >>> index = Index(space="l2", dim=4)
    >>> index.init_index(max_elements=10, ef_construction=200, M=16)
    >>> index.add_items(np.eye(4), [10, 11, 12, 13])
    >>> labels, distances = index.knn_query([0, 1, 0, 0], k=2)
    >>> labels
    array([[11, 10]], dtype=uint64)
    """

    def __init__(self, space: str, dim: int) -> None:
        if space not in _METRICS:
            raise RuntimeError("Space name must be one of l2, ip, or cosine.")
        self.space, self.dim = space, dim
        self.ef, self.num_threads = 10, 0
        self.M, self.ef_construction, self.max_elements = 16, 200, 0
        self._index: _Index | None = None
        self._marked: dict[int, Any] = {}  # vectors of those that are marked as deleted: they are not in the index
        self._replaces = False

    @property
    def _held(self) -> _Index:
        if self._index is None:
            raise RuntimeError("The index is not initiated.")
        return self._index

    def init_index(self, max_elements: int, M: int = 16, ef_construction: int = 200, random_seed: int = 100,
                   allow_replace_deleted: bool = False) -> None:
        """Makes it empty, once."""
        if self._index is not None:
            raise RuntimeError("The index is already initiated.")
        self._take(_Index(self.dim, _METRICS[self.space], seed=random_seed), max_elements, M, ef_construction)
        self._replaces = allow_replace_deleted

    def _take(self, index: _Index, max_elements: int, M: int, ef_construction: int) -> None:
        index._link = (min(256, (M + 31) // 32 * 32), max(1, ef_construction), 0, False)
        self._index, self._marked = index, {}
        self.M, self.ef_construction, self.max_elements = M, ef_construction, max_elements

    def _threads(self, num_threads: int) -> int | None:
        wanted = self.num_threads if num_threads <= 0 else num_threads
        return wanted or None

    def add_items(self, data: Any, ids: Any = None, num_threads: int = -1, replace_deleted: bool = False) -> None:
        """Adds vectors, or puts them in the place of those of the same ids."""
        index, (rows, _) = self._held, vectors_of(data, "data")
        if rows.shape[1] != self.dim:
            raise RuntimeError("Wrong dimensionality of the vectors")
        if replace_deleted and not self._replaces:
            raise RuntimeError("Replacement of deleted elements is disabled in constructor")
        labels = numpy.arange(len(rows), dtype=numpy.uint64) + numpy.uint64(self.get_current_count()) if ids is None else labels_of(ids)
        if len(labels) != len(rows):
            raise RuntimeError("Wrong dimensionality of the labels")
        last = dict(zip(labels.tolist(), range(len(rows))))  # of rows with one id the last counts
        is_old = numpy.array([label in index for label in last], bool)
        new = int(len(last) - is_old.sum())
        if replace_deleted:
            for label in [label for label in self._marked if label not in last][:new]:
                del self._marked[label]
        returns = sum(label in self._marked for label in last)
        if self.get_current_count() + new - returns > self.max_elements:
            raise RuntimeError("The number of elements exceeds the specified limit")
        keys, places = numpy.array(list(last), numpy.uint64), numpy.array(list(last.values()), numpy.int64)
        if is_old.any():
            index.update(rows[places[is_old]], keys[is_old], threads=self._threads(num_threads))
        index.add(rows[places[~is_old]], keys[~is_old], threads=self._threads(num_threads))
        for label in last:
            self._marked.pop(label, None)

    def knn_query(self, data: Any, k: int = 1, num_threads: int = -1, filter: _Filter = None) -> tuple[Any, Any]:
        """Labels and distances, [rows, k] each. RuntimeError if there are fewer than k."""
        rows, _ = vectors_of(data, "data")
        if rows.shape[1] != self.dim:
            raise RuntimeError("Wrong dimensionality of the vectors")
        labels, distances = self._held._search(rows, k, 0.0, max(self.ef, k), filter, self._threads(num_threads))[:2]
        if k and (labels == NO_LABEL).any():
            raise RuntimeError("Cannot return the results in a contiguous 2D array. Probably ef or M is too small")
        return labels, distances

    def set_ef(self, ef: int) -> None:
        """The beam of queries over a graph."""
        self.ef = ef

    def set_num_threads(self, num_threads: int) -> None:
        """Of calls that say nothing else."""
        self.num_threads = num_threads

    def mark_deleted(self, label: int) -> None:
        """Queries no longer find it."""
        if label in self._marked:
            raise RuntimeError("The requested to delete element is already deleted")
        if label not in self._held:
            raise RuntimeError("Label not found")
        self._marked[int(label)] = self._held[label]
        self._held.remove(label)

    def unmark_deleted(self, label: int) -> None:
        """Queries find it again."""
        if label not in self._marked:
            raise RuntimeError("The requested to undelete element is not deleted" if label in self._held else "Label not found")
        self._held.add(self._marked.pop(label), label)

    def resize_index(self, new_size: int) -> None:
        """The most elements that it may hold."""
        if new_size < self.get_current_count():
            raise RuntimeError("Cannot resize, max element is less than the current number of elements")
        self.max_elements = new_size

    def save_index(self, path_to_index: _Path) -> None:
        """Writes the file: whole, or not at all. What is marked as deleted is not in it."""
        self._held.save(path_to_index)

    def load_index(self, path_to_index: _Path, max_elements: int = 0, allow_replace_deleted: bool = False) -> None:
        """The index of a file that `save_index` or `fovea.Index.save` wrote."""
        index = _Index.open(path_to_index)
        if (index.dimension, index.metric) != (self.dim, _METRICS[self.space]):
            raise RuntimeError("%s: holds vectors of %d, %s" % (os.fspath(path_to_index), index.dimension, index.metric))
        self._take(index, max(max_elements, len(index)), self.M, self.ef_construction)
        self._replaces = allow_replace_deleted

    def get_items(self, ids: Any = None, return_type: str = "numpy") -> Any:
        """The vectors of these ids, of space "cosine" with length 1: an array, or lists (return_type "list")."""
        if return_type not in ("numpy", "list"):
            raise RuntimeError('return_type should be "numpy" or "list"')
        labels = labels_of([] if ids is None else ids)
        try:
            if self._marked.keys() & set(labels.tolist()):
                raise KeyError
            vectors = self._held.vectors(labels)
        except KeyError:
            raise RuntimeError("Label not found") from None
        return vectors if return_type == "numpy" else vectors.tolist()

    def get_ids_list(self) -> list[int]:
        """All ids, those that are marked as deleted among them."""
        ids: list[int] = self._held.labels.tolist()
        return ids + list(self._marked)

    def get_max_elements(self) -> int:
        """As `init_index` or `resize_index` said."""
        return self.max_elements

    def get_current_count(self) -> int:
        """Elements, those that are marked as deleted among them."""
        return len(self._held) + len(self._marked)

    @property
    def element_count(self) -> int:
        """`get_current_count()`."""
        return 0 if self._index is None else self.get_current_count()

    def index_file_size(self) -> int:
        """Bytes of its file, about."""
        return self._held.nbytes

    def __repr__(self) -> str:
        return "<fovea.hnswlib.%s(space='%s', dim=%d)>" % (type(self).__name__, self.space, self.dim)


class BFIndex(Index):
    """hnswlib.BFIndex: scanned, whatever its size."""

    def _take(self, index: _Index, max_elements: int, M: int, ef_construction: int) -> None:
        super()._take(index, max_elements, M, ef_construction)
        index._kind = "flat"

    def init_index(self, max_elements: int, M: int = 16, ef_construction: int = 200, random_seed: int = 100,
                   allow_replace_deleted: bool = False) -> None:
        """Makes it empty; only `max_elements` is of account."""
        super().init_index(max_elements, random_seed=random_seed)

    def delete_vector(self, label: int) -> None:
        """Takes it out. Nothing if it is not there."""
        if label in self._held:
            self._held.remove(label)
