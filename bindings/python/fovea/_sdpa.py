"""torch's scaled_dot_product_attention, by its name and arguments."""
from __future__ import annotations

import sys
from typing import Any

import numpy

from ._arrays import Array, attention, empty, is_torch
from ._mask import attend, runs_of
from ._merge import as_numpy
from ._policy import Policy

_LEAST = -1e30  # what a mask adds to hide a key: -infinity or a type's least number


def _joined(parts: list[Array]) -> Array:
    """Rows of several calls, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return sys.modules["torch"].cat(parts, -2) if is_torch(parts[0]) else numpy.concatenate(parts, -2)


def _split(mask: numpy.ndarray[Any, Any]) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any] | None]:
    """A mask that is added as which keys are seen and, if it is no mere mask, what is added to each key: [..., 1, keys]."""
    if not (mask < numpy.inf).all():
        raise ValueError("attn_mask has a NaN or +infinity")
    seen = mask > (_LEAST if mask.dtype.itemsize > 2 else -6e4)
    if not (mask[seen] != 0).any():
        return seen, None
    bias = numpy.where(seen, mask, -numpy.inf).max(-2, keepdims=True)
    bias = numpy.where(bias > -numpy.inf, bias, 0)
    if not ((mask == bias) | ~seen).all():
        raise NotImplementedError("attn_mask adds numbers that differ between the rows of one key, as position biases do: fovea hides "
                                  "keys (a mask of bool, or of 0 and -inf) and adds one number for each key ([..., 1, S]); torch's own "
                                  "scaled_dot_product_attention adds the others")
    return seen, numpy.asarray(bias, numpy.float32)


def _mask_axes(attn_mask: Any, shape: tuple[int, ...], keys: int) -> numpy.ndarray[Any, Any]:
    """The mask as [batch or 1, heads or 1, L, S], of bool or float32 (float16 stays)."""
    mask: Any = attn_mask if isinstance(attn_mask, numpy.ndarray) else attn_mask.detach() if is_torch(attn_mask) else numpy.from_dlpack(attn_mask)
    if is_torch(mask):
        mask = mask.numpy() if str(mask.dtype) in ("torch.bool", "torch.float16") else mask.float().numpy()
    wanted = shape[:-1] + (keys,)
    if mask.ndim > len(wanted) or any(size not in (1, wide) for size, wide in zip(mask.shape[::-1], wanted[::-1])):
        raise ValueError("attn_mask is %s, which does not broadcast to %s" % (tuple(mask.shape), wanted))
    mask = mask.reshape((1,) * (max(len(wanted), 4) - mask.ndim) + mask.shape)
    lead = mask.shape[:-3] if mask.shape[:-3] == (1,) * (mask.ndim - 3) else shape[:-3]
    whole: numpy.ndarray[Any, Any] = numpy.broadcast_to(mask, lead + (mask.shape[-3],) + wanted[-2:])
    return whole.reshape((-1,) + whole.shape[-3:])


def _with_bias(q: Array, k: Array, v: Array, bias: numpy.ndarray[Any, Any], scale: float) -> tuple[Array, Array, Array]:
    """Keys with what is added to their scores as one channel more; all in f32."""
    q, k, v = (as_numpy(one) for one in (q, k, v))
    if q.shape[-1] >= 1024:
        raise NotImplementedError("attn_mask adds numbers to keys, which takes one element more of a head: head_dim is at most 1023 then")
    more = numpy.broadcast_to((bias / numpy.float32(scale))[..., 0, :, None], k.shape[:-1] + (1,))
    return (numpy.concatenate([q, numpy.ones_like(q[..., :1])], -1), numpy.concatenate([k, more], -1),
            numpy.concatenate([v, numpy.zeros_like(v[..., :1])], -1))


def _masked(query: Array, key: Array, value: Array, mask: numpy.ndarray[Any, Any], scale: float | None, policy: str | Policy) -> Array:
    """All of four axes, [batch, heads, tokens, head_dim]. A row that sees nothing gives zeros, as torch's."""
    seen, bias = (mask, None) if mask.dtype == bool else _split(mask)
    out = empty(query, query.shape)
    out[...] = 0
    group = query.shape[1] // key.shape[1]
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    for b, h in numpy.ndindex(*seen.shape[:2]):
        batch = slice(b, b + 1) if len(seen) > 1 else slice(None)
        heads, kv_heads = (slice(h, h + 1), slice(h // group, h // group + 1)) if seen.shape[1] > 1 else (slice(None),) * 2
        q, k, v = query[batch, heads], key[batch, kv_heads], value[batch, kv_heads]
        into = out[batch, heads]
        if bias is not None:
            q, k, v = _with_bias(q, k, v, bias[b if len(bias) > 1 else 0, h if bias.shape[1] > 1 else 0], scale)
            into = numpy.zeros_like(q)
        attend(into, None, q, k, v, runs_of(seen[b, h]), policy, scale, layout="HND")
        if bias is not None:
            into = numpy.ascontiguousarray(into[..., :-1])
            out[batch, heads] = sys.modules["torch"].from_numpy(into).to(query.dtype) if is_torch(query) else into
    return out


def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Any = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False, *,
                                 policy: str | Policy = "dense") -> Array:
    """As torch.nn.functional.scaled_dot_product_attention, on a CPU, for NumPy, torch and DLPack; inference only.

    query [..., heads, L, E], key and value [..., KV heads, S, E]; f32, f16 or bf16. `is_causal` is torch's: row i reads keys 0 to i,
    also where L and S differ (aligned top-left; `fovea.attention` aligns bottom-right). `policy`, which torch has not, says
    which keys are read; those that choose need `is_causal` or a mask whose rows see keys up to their own.

    attn_mask broadcasts to [..., heads, L, S]: bool, True where a row sees a key, or numbers that are added to scores. Causal
    masks, sliding windows, padding, packed documents and prefixes are taken apart into a few calls; rows that see keys with gaps
    are gathered, those that see the same together (each different row is a call: slow, and exact). Numbers other than 0
    must be the same in all rows of a key ([..., 1, S]).

    What torch does and this does not is refused: other numbers in `attn_mask` and `dropout_p` (NotImplementedError), values of
    another size than keys, heads that differ without `enable_gqa`, a mask beside `is_causal` (ValueError).

    >>> import numpy as np
    >>> q = np.ones((1, 2, 3, 8), np.float32)
    >>> scaled_dot_product_attention(q, q, q, np.array([[True, False, True]])).shape
    (1, 2, 3, 8)
    """
    if dropout_p != 0.0:
        raise NotImplementedError("dropout_p is %r: fovea is for inference only and drops nothing" % (dropout_p,))
    if len(query.shape) < 2 or len(key.shape) != len(query.shape):
        raise ValueError("query, key and value have the axes [..., heads, L, E]; found %s and %s"
                         % (tuple(query.shape), tuple(key.shape)))
    if len(query.shape) > 2 and query.shape[-3] != key.shape[-3] and not enable_gqa:
        raise ValueError("query has %d heads, key %d: enable_gqa=True lets them share" % (query.shape[-3], key.shape[-3]))
    if attn_mask is not None and is_causal:
        raise ValueError("attn_mask and is_causal are both given: torch takes one of them")
    shape, length, keys = tuple(query.shape), query.shape[-2], key.shape[-2]
    if 0 in shape:
        return empty(query, shape)
    if len(shape) != 4:
        query, key, value = (one.reshape((-1,) + (1,) * (3 - min(3, len(shape))) + tuple(one.shape[-3:])) for one in (query, key, value))
    if attn_mask is not None:
        parts = [_masked(*_same(query, key, value), _mask_axes(attn_mask, shape, keys), scale, policy)]
    elif not is_causal:
        parts = [attention(query, key, value, policy, False, scale, layout="HND")]
    elif length <= keys:
        parts = [attention(query, key[:, :, :length], value[:, :, :length], policy, True, scale, layout="HND")]
    else:  # rows after the last key see all
        parts = [attention(query[:, :, :keys], key, value, policy, True, scale, layout="HND"),
                 attention(query[:, :, keys:], key, value, policy, False, scale, layout="HND")]
    return _joined(parts).reshape(shape)


def _same(query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
    """What a mask's calls index: arrays of NumPy's or torch's, of sizes that fit."""
    if tuple(key.shape) != tuple(value.shape) or query.shape[0] != key.shape[0] or query.shape[-1] != key.shape[-1] or \
            query.shape[1] % key.shape[1]:
        raise ValueError("query %s, key %s and value %s: batches and head_dim are the same, heads of query a multiple of those of key"
                         % (tuple(query.shape), tuple(key.shape), tuple(value.shape)))
    if is_torch(query):
        return query, key, value
    return tuple(one if isinstance(one, numpy.ndarray) else numpy.from_dlpack(one) for one in (query, key, value))  # type: ignore[return-value]
