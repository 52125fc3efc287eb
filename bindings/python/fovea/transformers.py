"""transformers: `import fovea.transformers` registers attn_implementation="fovea", for inference on a CPU.

    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="fovea")
    cache = fovea.transformers.Cache("fovea:budget=0.12")
    model.generate(**inputs, cache=cache)

The policy is that of the call, `model(..., fovea_policy="dense")`, or `model.config.fovea_policy`, or the cache's; "dense" if none is
set. With `Cache` each token is packed once; without it, or with a cache of transformers', each call packs all keys: prompts gain then,
single tokens do not.

Works: causal attention and all-to-all, batches with padding on either side (rows of padding give zeros), masks of bool of any form,
sliding windows (read as the model says, whatever the policy), soft caps, sinks, shared KV heads, dynamic and static caches, `generate`.
Refused with NotImplementedError: dropout, position biases, masks that differ between heads or add other numbers. Registers a mask
function, too, without which transformers would hand over no mask and causality would be lost.
"""
from __future__ import annotations

import weakref
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from ._arrays import attention
from ._mask import Run, attend, runs_of
from ._model_cache import Cache

__all__ = ["Cache", "fovea_attention"]


_known: tuple[Any, int, list[list[Run]]] | None = None


def _runs(mask: Any) -> list[list[Run]]:
    """The calls for each sequence of a mask; layers that share a mask share the answer."""
    global _known
    known = _known
    if known is not None and known[0]() is mask and known[1] == mask._version:
        return known[2]
    runs = [runs_of(one[0].numpy()) for one in mask]
    _known = None if mask.is_inference() else (weakref.ref(mask), mask._version, runs)
    return runs


def _bool(mask: Any) -> Any:
    """A mask of bool, one for all heads; those that are added must hide or leave."""
    if mask.shape[1] != 1:
        raise NotImplementedError("attention_mask: one that differs between heads; attn_implementation='sdpa' takes it")
    if mask.dtype == torch.bool:
        return mask
    if not ((mask == 0) | (mask <= torch.finfo(mask.dtype).min)).all():
        raise NotImplementedError("attention_mask: it adds other numbers than 0 and the least one; attn_implementation='sdpa' takes it")
    return mask == 0


def _refuse(dropout: float, keywords: dict[str, Any]) -> None:
    if dropout:
        raise NotImplementedError("dropout is %r: fovea is for inference only: model.eval()" % (dropout,))
    if keywords.get("position_bias") is not None:
        raise NotImplementedError("position_bias: fovea has none; attn_implementation='eager' has")


def _policy(module: Any, keywords: dict[str, Any]) -> Any:
    return keywords.get("fovea_policy") or getattr(getattr(module, "config", None), "fovea_policy", None)


def _over_arrays(q: Any, k: Any, v: Any, mask: Any, causal: bool, policy: Any, scale: float | None, softcap: float) -> tuple[Any, Any]:
    """Attention where keys and values come whole, [batch, tokens, heads, head_dim], and its log-sum-exps [batch, tokens, heads]."""
    if mask is None:
        if causal and q.shape[1] > 1:  # an empty static cache has room for more: aligned top-left
            k, v = k[:, :q.shape[1]], v[:, :q.shape[1]]
        causal = causal or q.shape[1] == 1
        done: tuple[Any, Any] = attention(q, k, v, policy if causal else "dense", causal, scale, True, softcap=softcap)
        return done
    out, lse = torch.zeros(q.shape, dtype=q.dtype), torch.full(q.shape[:3], -torch.inf)
    every = _runs(mask)
    for i in range(q.shape[0]):
        for run in every[i if len(every) > 1 else 0]:
            chosen = policy if run.causal and isinstance(run.keys, slice) else "dense"
            attend(out[i], lse[i], q[i], k[i], v[i], [run], chosen, scale, softcap)
    return out, lse


def fovea_attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0,
                    scaling: float | None = None, is_causal: bool | None = None, **keywords: Any) -> tuple[Any, None]:
    """What transformers calls: query [batch, heads, tokens, head_dim] -> ([batch, tokens, heads, head_dim], None)."""
    _refuse(dropout, keywords)
    policy, softcap, sinks = _policy(module, keywords), keywords.get("softcap") or 0.0, keywords.get("s_aux")
    causal = bool(is_causal if is_causal is not None else getattr(module, "is_causal", True))
    mask = None if attention_mask is None else _bool(attention_mask)
    layer = getattr(key, "fovea_layer", None)
    q = query.transpose(1, 2)
    if layer is not None:
        out, lse = layer.attend(q, mask, causal, scaling, softcap, policy)
    else:
        out, lse = _over_arrays(q, key.transpose(1, 2), value.transpose(1, 2), mask, causal, policy or "dense", scaling, softcap)
    if sinks is not None:  # one more score in each row, which has no value
        out = out * torch.sigmoid(lse - sinks.float())[..., None].to(out.dtype)
    return out, None


AttentionInterface.register("fovea", fovea_attention)
AttentionMaskInterface.register("fovea", sdpa_mask)
