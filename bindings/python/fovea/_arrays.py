"""Attention over arrays in one call, and what the other front doors share: outputs of the caller's kind, layouts, torch."""
from __future__ import annotations

import sys
from typing import Any

import numpy

from . import _fovea
from ._policy import Policy
from ._report import Report

Array = Any  # NumPy's ndarray, torch.Tensor on a CPU, or what has __dlpack__

_LAYOUTS = {"NHD": False, "HND": True}
_tensor: type | None = None  # torch.Tensor, once one has come


def is_torch(array: Array) -> bool:
    """Whether it is a tensor of torch; torch itself is never imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def heads_first(layout: str) -> bool:
    """Whether heads come before tokens in `layout`."""
    try:
        return _LAYOUTS[layout]
    except (KeyError, TypeError):
        raise ValueError("layout is 'NHD' ([batch,] tokens, heads, head_dim) or 'HND' ([batch,] heads, tokens, head_dim), not %r"
                         % (layout,)) from None


def plain(array: Array) -> Array:
    """The array as the extension takes it: a tensor of torch without its history, if nobody records one."""
    global _tensor
    kind = type(array)
    if kind is numpy.ndarray or (kind is _tensor and not array.requires_grad) or not is_torch(array):
        return array
    torch = sys.modules["torch"]
    if _tensor is None:
        _fovea.set_exporter(torch.Tensor, torch.utils.dlpack.to_dlpack)
        _tensor = torch.Tensor
    if array.requires_grad and torch.is_grad_enabled():
        raise NotImplementedError("fovea is for inference only, it has no backward pass: call it under torch.no_grad() or "
                                  "torch.inference_mode(), or detach() its arguments")
    return array.detach() if array.requires_grad or kind is not torch.Tensor else array


def empty(like: Array, shape: Any) -> Array:
    """An array of `shape`, of the kind and type of `like`; float32 of NumPy's for what is neither NumPy's nor torch's and of a
    type that NumPy lacks."""
    if type(like) is numpy.ndarray:
        return numpy.empty(shape, like.dtype)
    if type(like) is _tensor or is_torch(like):
        torch = sys.modules["torch"]
        if shape == like.shape:  # twice as fast
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        return like.new_empty(shape)
    return numpy.empty(tuple(shape), numpy.float16 if str(getattr(like, "dtype", "")).endswith("float16") and
                       not str(like.dtype).endswith("bfloat16") else numpy.float32)


def lse_for(query: Array, is_heads_first: bool) -> numpy.ndarray[Any, Any]:
    """Where log-sum-exps go: [batch] [tokens] heads, whatever the layout of the query."""
    shape = list(query.shape[:-1])
    if is_heads_first and len(shape) > 1:
        shape[-2], shape[-1] = shape[-1], shape[-2]
    return numpy.empty(shape, numpy.float32)


def lse_out(lse: numpy.ndarray[Any, Any], query: Array, is_heads_first: bool) -> Array:
    """The same in the query's layout and of its kind."""
    if is_heads_first and lse.ndim > 1:
        lse = numpy.ascontiguousarray(lse.swapaxes(-1, -2))
    return sys.modules["torch"].from_numpy(lse) if is_torch(query) else lse


def scale_of(scale: float | None) -> float:
    """As C takes it: 0 for 1 / sqrt(head_dim)."""
    if scale is None:
        return 0.0
    if not scale > 0:
        raise ValueError("scale is above 0, at most 1024, or None for 1 / sqrt(head_dim); not %r" % (scale,))
    return scale


def window_of(window: int | None) -> int:
    """As C takes it: 0 for none."""
    if window is None:
        return 0
    if window < 1:
        raise ValueError("window is the number of newest tokens that a row sees, its own included: 1 or more, or None; not %r"
                         % (window,))
    return window


def results(out: Array, lse: Array | None, said: dict[str, Any] | None) -> Any:
    """`out`, or a tuple of it and what else was asked for."""
    if lse is None and said is None:
        return out
    return (out,) + (() if lse is None else (lse,)) + (() if said is None else (Report(**said),))


def attention(q: Array, k: Array, v: Array, policy: str | Policy = "fovea:budget=0.12", causal: bool = True,
              scale: float | None = None, return_lse: bool = False, return_report: bool = False, *, layout: str = "NHD",
              softcap: float = 0.0, window: int | None = None) -> Any:
    """Attention over arrays: softmax(scale * q k^T) v over the keys that `policy` reads.

    Parameters
    ----------
    q : [tokens, heads, head_dim], or with a batch before; f32, f16 or bf16
        NumPy, torch (CPU), or what has ``__dlpack__``. Strides are free; there is no copy unless the last axis has gaps. Two
        axes are one token. Heads are a multiple of those of `k`; consecutive ones share a KV head (GQA, MQA).
    k, v : the same axes, of one shape
        head_dim is 1 to 1024 and that of `q`.
    policy : Policy or its text
        "dense" reads every key. "fovea:budget=0.12" reads 12 % of them, those that weigh most; see Policy.
    causal : bool
        Query i of n sits at key position keys - n + i and reads up to it: fewer queries than keys are the last rows
        (flash-attn's alignment; torch's is `scaled_dot_product_attention`). Policies that choose need it.
    scale : float
        Of scores; None is 1 / sqrt(head_dim).
    softcap : float
        score = softcap * tanh(score / softcap); 0 is off.
    window : int
        The model's own sliding window: a row sees its last `window` keys and the policy does not apply. Needs `causal`.
    layout : "NHD" or "HND"
        Whether tokens come before heads.

    Returns
    -------
    out
        Shape and type of `q`, NumPy's or torch's as `q` is. Then, if asked for, `lse`, the natural log-sum-exp of the scores
        read, f32, the shape of `q` without its last axis, to merge with attention over other keys (`merge_states`); and a
        `Report`.

    Raises
    ------
    ValueError (ShapeError, PolicyError, NotFiniteError and RangeError are such), TypeError for types of elements, MemoryError,
    NotImplementedError where torch records a history: there is no backward pass.

    The same bits for any number of threads, any strides, whatever else is in the batch. Without the GIL; Ctrl-C works. Memory:
    about one batch of keys and values, which are copied; who decodes token by token keeps a `Cache`. C:
    include/fovea/array_attention.h.

    >>> import numpy as np
    >>> q, k, v = (np.ones((5, heads, 8), np.float32) for heads in (4, 2, 2))
    >>> attention(q, k, v, "dense").shape
    (5, 4, 8)
    """
    is_heads_first = False if layout == "NHD" else heads_first(layout)
    q, k, v = plain(q), plain(k), plain(v)
    out = empty(q, q.shape)
    lse = lse_for(q, is_heads_first) if return_lse else None
    said = _fovea.attention(q, k, v, out, lse, policy if type(policy) is str else str(policy), causal, scale_of(scale), softcap,
                            window_of(window), is_heads_first, return_report)
    if lse is None and said is None:
        return out
    return results(out, None if lse is None else lse_out(lse, q, is_heads_first), said)
