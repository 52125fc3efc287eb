"""transformers: `import fovea.transformers` registers attn_implementation="fovea", for inference on a CPU.

    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="fovea")
    model.config.fovea_policy = "fovea:budget=0.12"     # "dense" if it is not set; model(..., fovea_policy=...) for one call

Works: causal attention and all-to-all, batches with padding on either side (rows of padding give zeros), sliding windows (read as the
model says, whatever the policy), soft caps, shared KV heads, dynamic and static caches, `generate`. Refused with
NotImplementedError: dropout, sinks (`s_aux`), position biases, masks of any other form. Each call packs all keys, so prompts gain
and single tokens do not: decoding fast wants a `fovea.Cache`. Registers a mask function, too, without which transformers would
hand over no mask and causality would be lost.
"""
from __future__ import annotations

import weakref
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from ._arrays import attention

__all__ = ["fovea_attention"]


def _part(mask: Any) -> tuple[int, int, int, int, bool, int | None]:
    """What a mask [rows, keys] of one sequence says: rows and keys from, to; causal; window. Other rows see nothing."""
    rows, keys = mask.shape
    if bool(mask.all()) and rows != 1:
        return 0, rows, 0, keys, False, None
    seeing = mask.any(1).nonzero()
    if not len(seeing):
        return 0, 0, 0, 0, True, None
    row = int(seeing[0])
    seen = mask[row].nonzero()
    begin, place, end = int(seen[0]), int(seen[-1]), int(mask.any(0).nonzero()[-1]) + 1
    to = min(rows, row + end - place)  # rows after that are padding on the right
    edge = int(mask[to - 1].nonzero()[0]) if bool(mask[to - 1].any()) else begin
    window = end - edge if edge > begin else None
    key, at = torch.arange(keys)[None], torch.arange(rows)[:, None] - row + place
    wanted = (key >= begin) & (key <= at) & (key < end) & (at >= place)
    wanted &= key > at - (window or keys + rows)
    if not torch.equal(wanted[:to], mask[:to]):
        raise NotImplementedError("attention_mask: fovea has causal masks, with a window and padding at the ends, and masks that hide "
                                  "nothing; this one has another form (attn_implementation='sdpa' takes it)")
    return row, to, begin, end, True, window


_known: tuple[Any, int, list[tuple[int, int, int, int, bool, int | None]]] | None = None


def _parts(mask: Any, batch: int) -> list[tuple[int, int, int, int, bool, int | None]]:
    """For each sequence; layers that share a mask share the answer."""
    global _known
    known = _known
    if known is not None and known[0]() is mask and known[1] == mask._version:
        parts = known[2]
    else:
        if mask.shape[1] != 1:
            raise NotImplementedError("attention_mask: one that differs between heads; attn_implementation='sdpa' takes it")
        parts = [_part((one[0] if one.dtype == torch.bool else one[0] == 0).cpu()) for one in mask]
        _known = None if mask.is_inference() else (weakref.ref(mask), mask._version, parts)
    return parts * (batch // len(parts))


def _refuse(dropout: float, keywords: dict[str, Any]) -> None:
    if dropout:
        raise NotImplementedError("dropout is %r: fovea is for inference only: model.eval()" % (dropout,))
    for name in ("s_aux", "position_bias"):
        if keywords.get(name) is not None:
            raise NotImplementedError("%s: fovea has none; attn_implementation='eager' has" % name)


def fovea_attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0,
                    scaling: float | None = None, is_causal: bool | None = None, **keywords: Any) -> tuple[Any, None]:
    """What transformers calls: query [batch, heads, tokens, head_dim] -> ([batch, tokens, heads, head_dim], None)."""
    _refuse(dropout, keywords)
    policy = keywords.get("fovea_policy") or getattr(getattr(module, "config", None), "fovea_policy", None) or "dense"
    softcap = keywords.get("softcap") or 0.0
    q, k, v = (one.transpose(1, 2) for one in (query, key, value))
    if attention_mask is None:
        causal = bool(is_causal if is_causal is not None else getattr(module, "is_causal", True))
        if causal and q.shape[1] > 1:  # an empty static cache has room for more: aligned top-left
            k, v = k[:, :q.shape[1]], v[:, :q.shape[1]]
        causal = causal or q.shape[1] == 1
        return attention(q, k, v, policy if causal else "dense", causal, scaling, softcap=softcap), None
    out = torch.zeros(q.shape, dtype=q.dtype)
    for i, (row, to, begin, end, causal, window) in enumerate(_parts(attention_mask, q.shape[0])):
        if row < to:
            out[i, row:to] = attention(q[i, row:to], k[i, begin:end], v[i, begin:end], policy if causal else "dense", causal, scaling,
                                       softcap=softcap, window=window)
    return out, None


AttentionInterface.register("fovea", fovea_attention)
AttentionMaskInterface.register("fovea", sdpa_mask)
