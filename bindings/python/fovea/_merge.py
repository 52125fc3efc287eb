"""Attention over parts of the keys, merged: outputs and their log-sum-exps."""
from __future__ import annotations

import sys
from typing import Any, Sequence

import numpy

from ._arrays import Array, is_torch, plain


def as_numpy(array: Array) -> numpy.ndarray[Any, Any]:
    array = plain(array)
    if is_torch(array):
        array = (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()
    elif not isinstance(array, numpy.ndarray):
        array = numpy.from_dlpack(array)
    return numpy.asarray(array, numpy.float32)


def _like(result: numpy.ndarray[Any, Any], array: Array) -> Array:
    if is_torch(array):
        return sys.modules["torch"].from_numpy(numpy.ascontiguousarray(result)).to(array.dtype)
    return result.astype(array.dtype) if isinstance(array, numpy.ndarray) else result


def merge_states(outs: Sequence[Array], lses: Sequence[Array]) -> tuple[Array, Array]:
    """One attention out of several over keys that are in one of them only: exactly attention over all keys.

    Parameters
    ----------
    outs : sequence of [..., head_dim]
        What `attention(..., return_lse=True)` returned, all of one shape.
    lses : sequence of [...]
        Natural log-sum-exps beside them; -infinity where nothing was read.

    Returns (out, lse) of the same shapes and of the kind of the first one; zeros and -infinity where none has read anything.
    Raises ValueError for shapes. Merged in the order given, in f32. Method: Dao et al. 2022. C: include/fovea/state.h.

    >>> import numpy as np
    >>> out, lse = merge_states([np.full((1, 4), 2.0, np.float32), np.full((1, 4), 4.0, np.float32)], [np.zeros(1, np.float32)] * 2)
    >>> float(out[0, 0]), round(float(lse[0]), 4)
    (3.0, 0.6931)
    """
    if len(outs) != len(lses) or not outs:
        raise ValueError("merge_states: %d outputs and %d log-sum-exps" % (len(outs), len(lses)))
    parts, weights = [as_numpy(one) for one in outs], [as_numpy(one) for one in lses]
    for part, weight in zip(parts, weights):
        if part.shape != parts[0].shape or weight.shape != part.shape[:-1]:
            raise ValueError("merge_states: an output is [..., head_dim], all of one shape, its log-sum-exp [...]: not %s and %s beside %s"
                             % (part.shape, weight.shape, parts[0].shape))
    largest = numpy.maximum.reduce(weights)
    base = numpy.where(numpy.isfinite(largest), largest, numpy.float32(0))
    shares = [numpy.exp(weight - base) for weight in weights]
    total = sum(shares[1:], shares[0])
    divisor = numpy.where(total > 0, total, numpy.float32(1))
    out = sum((part * (share / divisor)[..., None] for part, share in zip(parts, shares)), numpy.zeros_like(parts[0]))
    with numpy.errstate(divide="ignore"):
        lse = base + numpy.log(total)
    return _like(out, outs[0]), _like(lse, lses[0])


def merge_state(v_a: Array, s_a: Array, v_b: Array, s_b: Array) -> tuple[Array, Array]:
    """FlashInfer's name for `merge_states` of two: v [tokens, heads, head_dim], s [tokens, heads]. Its older releases have `s` to
    base 2; here, and in what fovea returns, it is the natural logarithm."""
    return merge_states([v_a, v_b], [s_a, s_b])
