"""What an index takes, as arrays of the one kind that the extension reads: vectors, labels, filters."""
from __future__ import annotations

import operator
from typing import Any, Callable, Iterable, Union

import numpy

from ._merge import as_numpy

Array = Any  # NumPy's ndarray, torch.Tensor on a CPU, what has __dlpack__, or nested sequences of numbers
Floats = "numpy.ndarray[Any, numpy.dtype[numpy.float32]]"
Labels = "numpy.ndarray[Any, numpy.dtype[numpy.uint64]]"
Filter = Union[Array, Callable[[int], bool], None]

_SPARE = 1 << 24  # bits beyond 64 for each label that a set of labels may take; more of them are looked up in a list


def vectors_of(vectors: Array, name: str = "vectors") -> tuple[numpy.ndarray[Any, Any], bool]:
    """As f32 [rows, dimension] without gaps, and whether it was one vector. No copy of what is so already."""
    if hasattr(vectors, "__dlpack__") and not isinstance(vectors, numpy.ndarray):
        array = as_numpy(vectors)
    else:
        array = numpy.asarray(vectors)
        if array.dtype.kind not in "fiub" and str(array.dtype) != "bfloat16":
            raise TypeError("%s: elements are %s; an index takes numbers" % (name, array.dtype))
    if array.ndim not in (1, 2):
        raise ValueError("%s has %d axes: one is a vector, two are rows of them" % (name, array.ndim))
    with numpy.errstate(over="ignore"):  # what is too large becomes infinite, and is refused with its place
        array = numpy.ascontiguousarray(array, numpy.float32)
    return (array[None], True) if array.ndim == 1 else (array, False)


def labels_of(labels: Any) -> numpy.ndarray[Any, Any]:
    """As uint64 [count]: a whole number, or a sequence of them."""
    array = numpy.asarray(labels)
    if array.dtype.kind not in "iu":  # beyond 2^63 NumPy makes floats of lists, and of nothing, too
        items = list(labels) if array.ndim or isinstance(labels, (set, frozenset)) else [labels]
        try:
            array = numpy.array([operator.index(item) for item in items], object)
        except TypeError:
            raise TypeError("labels are whole numbers, not %s" % (array.dtype,)) from None
    array = array.reshape(-1)
    if array.size and array.dtype.kind != "u" and (array.min() < 0 or array.max() > 2 ** 64 - 1):
        raise ValueError("a label is 0 to 2^64 - 2, not %d" % (array.min() if array.min() < 0 else array.max()))
    return numpy.ascontiguousarray(array, numpy.uint64)


def bits_of(allowed: numpy.ndarray[Any, Any]) -> tuple[numpy.ndarray[Any, Any]]:
    """A bool for each label, as bits."""
    packed = numpy.packbits(allowed, bitorder="little")
    words = numpy.zeros((packed.size + 7) // 8 * 8, numpy.uint8)
    words[:packed.size] = packed
    return (words.view("<u8").astype(numpy.uint64, copy=False),)


def listed(labels: Iterable[int], are_allowed: bool) -> tuple[numpy.ndarray[Any, Any], bool]:
    """Labels that may be results, or that may not."""
    return numpy.unique(labels_of(labels)), are_allowed


def filter_of(chosen: Filter) -> Any:
    """As the extension takes it: None, (bits,), (labels, whether they are allowed), or a function."""
    if chosen is None or callable(chosen):
        return chosen
    if isinstance(chosen, (set, frozenset)):
        chosen = list(chosen)
    array = numpy.asarray(chosen)
    if array.dtype == bool:
        if array.ndim != 1:
            raise ValueError("a filter is a bool for each label: one axis, not %d" % array.ndim)
        return bits_of(array)
    labels, _ = listed(chosen, True)
    if not labels.size or int(labels[-1]) >= 64 * labels.size + _SPARE:
        return labels, True
    allowed = numpy.zeros(int(labels[-1]) + 1, bool)
    allowed[labels.astype(numpy.int64)] = True
    return bits_of(allowed)
