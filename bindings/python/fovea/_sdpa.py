"""torch's scaled_dot_product_attention, by its name and arguments."""
from __future__ import annotations

import sys
from typing import Any

import numpy

from ._arrays import Array, attention, empty, is_torch
from ._policy import Policy


def _joined(parts: list[Array]) -> Array:
    """Rows of several calls, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return sys.modules["torch"].cat(parts, -2) if is_torch(parts[0]) else numpy.concatenate(parts, -2)


def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Any = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False, *,
                                 policy: str | Policy = "dense") -> Array:
    """As torch.nn.functional.scaled_dot_product_attention, on a CPU, for NumPy, torch and DLPack; inference only.

    query [..., heads, L, E], key and value [..., KV heads, S, E]; f32, f16 or bf16. `is_causal` is torch's: row i reads keys 0 to i,
    also where L and S differ (aligned top-left; `fovea.attention` aligns bottom-right). `policy`, which torch has not, says
    which keys are read; those that choose need `is_causal`.

    What torch does and this does not is refused: an `attn_mask` and `dropout_p` (NotImplementedError), values of another
    size than keys, heads that differ without `enable_gqa` (ValueError).
    """
    if attn_mask is not None:
        raise NotImplementedError("attn_mask: fovea has no free masks. Causal attention is is_causal=True, a sliding window is "
                                  "fovea.attention(..., window=); sequences of different lengths go one by one, or through "
                                  "fovea.flash_attn.flash_attn_varlen_func")
    if dropout_p != 0.0:
        raise NotImplementedError("dropout_p is %r: fovea is for inference only and drops nothing" % (dropout_p,))
    if len(query.shape) < 2 or len(key.shape) != len(query.shape):
        raise ValueError("query, key and value have the axes [..., heads, L, E]; found %s and %s"
                         % (tuple(query.shape), tuple(key.shape)))
    if len(query.shape) > 2 and query.shape[-3] != key.shape[-3] and not enable_gqa:
        raise ValueError("query has %d heads, key %d: enable_gqa=True lets them share" % (query.shape[-3], key.shape[-3]))
    shape, length, keys = tuple(query.shape), query.shape[-2], key.shape[-2]
    if 0 in shape:
        return empty(query, shape)
    if len(shape) != 4:
        query, key, value = (one.reshape((-1,) + (1,) * (3 - min(3, len(shape))) + tuple(one.shape[-3:])) for one in (query, key, value))
    if not is_causal:
        parts = [attention(query, key, value, policy, False, scale, layout="HND")]
    elif length <= keys:
        parts = [attention(query, key[:, :, :length], value[:, :, :length], policy, True, scale, layout="HND")]
    else:  # rows after the last key see all
        parts = [attention(query[:, :, :keys], key, value, policy, True, scale, layout="HND"),
                 attention(query[:, :, keys:], key, value, policy, False, scale, layout="HND")]
    return _joined(parts).reshape(shape)
