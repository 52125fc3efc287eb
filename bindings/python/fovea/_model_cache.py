"""The cache that transformers' models append to: a `fovea.Cache` for each layer and sequence, packed once, never concatenated."""
from __future__ import annotations

import os
import tempfile
import weakref
from typing import Any, NamedTuple

import numpy
import torch
from transformers.cache_utils import Cache as ModelCache, CacheLayerMixin

from ._cache import Cache as TokenCache
from ._mask import Run, attend, runs_of
from ._policy import Policy

_TYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
Kept = Any  # NumPy's bool [columns]: which tokens of transformers' are held; None: all


class Plan(NamedTuple):
    """What one mask asks of one sequence: which new tokens are held, and the calls for the rows, over what is held then."""

    fresh: Kept
    kept: Kept
    runs: list[Run]


def _plan(mask: Any, kept: Kept, fresh: int) -> Plan:
    """`mask`, bool [rows, columns], for a sequence whose last `fresh` columns are new. A token that no row sees is never held."""
    columns, old = mask.shape[1], mask.shape[1] - fresh
    seen = mask.any(0)
    before = numpy.ones(old, bool) if kept is None else kept
    if len(before) != old:
        raise NotImplementedError("attention_mask: it is for %d tokens; the cache has had %d and %d are new" % (columns, len(before), fresh))
    if (seen[:old] & ~before).any():
        raise NotImplementedError("attention_mask: it shows tokens that an earlier one hid: the cache has not kept them")
    held = numpy.concatenate([before, seen[old:]])
    return Plan(None if seen[old:].all() else seen[old:], None if held.all() else held, runs_of(mask if held.all() else mask[:, held]))


class Layer(CacheLayerMixin):
    """One layer of `Cache`. `update` notes new tokens; attention, which knows the mask, has them appended and attends."""

    is_sliding = False
    is_croppable = True
    supports_early_init = False
    caches: list[TokenCache]
    kept: list[Kept]
    pending: tuple[Any, Any] | None
    length: int
    batch_size: int

    def __init__(self, dtype: str | None = None, policies: tuple[str, ...] = ("dense",), plans: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.given_dtype, self.policies, self.plans = dtype, policies, plans if plans is not None else {}
        self.reset()

    def lazy_initialization(self, key_states: Any, value_states: Any = None) -> None:
        batch, heads, _, width = key_states.shape
        dtype = self.given_dtype or _TYPES.get(key_states.dtype)
        if dtype is None or key_states.device.type != "cpu":
            raise TypeError("fovea's cache holds float32, float16 and bfloat16 of the CPU, not %s of %s" % (key_states.dtype, key_states.device))
        self.caches = [TokenCache(heads, width, dtype=dtype, policy=self.policies) for _ in range(batch)]
        self.kept = [None] * batch
        self.batch_size, self.is_initialized = batch, True

    def update(self, key_states: Any, value_states: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        if self.pending is not None:
            raise RuntimeError("fovea's cache holds tokens that no attention has taken: the model must have attn_implementation='fovea'")
        if not self.is_initialized:
            self.lazy_initialization(key_states)
        if key_states.shape[0] != len(self.caches) or value_states.shape != key_states.shape:
            raise ValueError("the cache has %d sequences, with values of the size of keys; found keys %s and values %s"
                             % (len(self.caches), tuple(key_states.shape), tuple(value_states.shape)))
        self.pending = (key_states, value_states)
        self.length += key_states.shape[-2]
        key_states.fovea_layer = self  # attention finds its way back by it
        return key_states, value_states

    def _append(self, i: int, fresh: Kept) -> None:
        keys, values = (one[i] if fresh is None else one[i][:, torch.from_numpy(fresh)] for one in self.pending or ())
        if keys.shape[1]:
            self.caches[i].append(keys, values, layout="HND")

    def _planned(self, mask: Any, i: int, fresh: int) -> Plan:
        """The plan for sequence `i`; layers that share a mask, and have held the same, share it."""
        row = i if mask.shape[0] > 1 else 0
        known: Any = self.plans.get("of")
        name = (row, id(self.kept[i]), fresh)
        if known is None or known[0]() is not mask or known[1] != mask._version:
            if mask.is_inference():
                return _plan(mask[row, 0].numpy(), self.kept[i], fresh)
            known = self.plans["of"] = (weakref.ref(mask), mask._version, {})
        if name not in known[2]:  # with what its name is about, which must live as long
            known[2][name] = (_plan(mask[row, 0].numpy(), self.kept[i], fresh), self.kept[i])
        plan: Plan = known[2][name][0]
        return plan

    def attend(self, query: Any, mask: Any, causal: bool, scale: float | None, softcap: float, policy: str | Policy | None) -> tuple[Any, Any]:
        """Appends what is pending; query [batch, tokens, heads, head_dim] -> the same, and log-sum-exps [batch, tokens, heads]."""
        try:
            return self._attend(query, mask, causal, scale, softcap, policy or self.policies[0])
        finally:
            self.pending = None

    def _attend(self, query: Any, mask: Any, causal: bool, scale: float | None, softcap: float, policy: str | Policy) -> tuple[Any, Any]:
        assert self.pending is not None
        fresh = self.pending[0].shape[-2]
        outs, lses = [], []
        for i, cache in enumerate(self.caches):
            if mask is None:
                if self.kept[i] is not None:
                    raise NotImplementedError("attention_mask: earlier ones hid tokens, this call has none: hand it on")
                self._append(i, None)
                causal = causal or query.shape[1] == 1
                out, lse = cache.attend(query[i], policy if causal else "dense", causal=causal, scale=scale, softcap=softcap, return_lse=True)
            else:
                plan = self._planned(mask, i, fresh)
                self._append(i, plan.fresh)
                self.kept[i] = plan.kept
                out, lse = _run(cache, query[i], plan.runs, scale, softcap, policy)
            outs.append(out)
            lses.append(lse)
        return (outs[0][None], lses[0][None]) if len(outs) == 1 else (torch.stack(outs), torch.stack(lses))

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        return self.length + (query_length if isinstance(query_length, int) else len(query_length)), 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length

    def reset(self) -> None:
        """Forgets all, sizes included."""
        self.caches, self.kept, self.pending = [], [], None
        self.length = self.batch_size = 0
        self.keys = self.values = None
        self.is_initialized = False

    def crop(self, tokens_to_remove: int) -> None:
        """Takes the last tokens back; their number comes as transformers has it, negative."""
        if tokens_to_remove > 0 or -tokens_to_remove > self.length:
            raise ValueError("crop: minus the number of tokens to take back, of %d" % self.length)
        self.length += tokens_to_remove
        for i, cache in enumerate(self.caches):
            kept = self.kept[i]
            cache.truncate(self.length if kept is None else int(kept[:self.length].sum()))
            self.kept[i] = None if kept is None or kept[:self.length].all() else kept[:self.length]

    def reorder_cache(self, beam_idx: Any) -> None:
        """Sequence i becomes a copy of the one of number beam_idx[i]."""
        places = [int(one) for one in beam_idx]
        used: set[int] = set()
        caches = []
        for place in places:
            caches.append(_copy(self.caches[place]) if place in used else self.caches[place])
            used.add(place)
        self.caches, self.kept, self.batch_size = caches, [self.kept[place] for place in places], len(places)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.reorder_cache([i for i in range(len(self.caches)) for _ in range(repeats)])

    def batch_select_indices(self, indices: Any) -> None:
        self.reorder_cache(torch.arange(len(self.caches))[indices])


def _run(cache: TokenCache, query: Any, runs: list[Run], scale: float | None, softcap: float, policy: str | Policy) -> tuple[Any, Any]:
    """Attention by `runs` over a cache: where they end at their own rows; else over what is read back from it."""
    out, lse = torch.zeros(query.shape, dtype=query.dtype), torch.full(query.shape[:2], -torch.inf)
    for run in runs:
        if isinstance(run.rows, slice) and isinstance(run.keys, slice):
            first, end, count = run.keys.start, run.keys.stop, run.rows.stop - run.rows.start
            window = run.window or (end - first if count == 1 and first else None)
            if (run.causal and (window or not first)) or (not first and end == len(cache)):
                out[run.rows], lse[run.rows] = cache.attend(query[run.rows], policy if run.causal else "dense", causal=run.causal,
                                                            first=end - count if run.causal else None, window=window, scale=scale,
                                                            softcap=softcap, return_lse=True)
                continue
        keys, values = (torch.from_numpy(one).to(query.dtype) for one in cache.read())
        attend(out, lse, query, keys, values, [run], "dense", scale, softcap)
    return out, lse


def _copy(cache: TokenCache) -> TokenCache:
    """The same bits in memory of their own."""
    if cache.dtype in _TYPES.values():
        copy = TokenCache(cache.kv_heads, cache.head_dim, cache.max_tokens, cache.dtype, cache.policies)
        if len(cache):
            copy.append(*cache.read())
        return copy
    with tempfile.TemporaryDirectory(prefix="fovea-") as folder:
        path = os.path.join(folder, "copy")
        cache.save(path)
        return TokenCache.wake(path, cache.policies, cache.max_tokens)


class Cache(ModelCache):
    """What `model.generate(..., cache=...)` and `model(..., cache=...)` take (past_key_values in older releases) instead of a DynamicCache.

    policy : policy, its text, or a tuple of those that calls will name (`fovea_policy=`); the first one is the default
    dtype  : how keys and values are stored, "f32", "f16", "bf16", "q8_0" or "q4_0"; None: as the model computes them

    Each token is packed once. Batches may be padded on either side: padding is not held. Sliding windows are kept to by attention,
    not by memory: all tokens are held. `crop`, `reorder_cache` (beams), `batch_*` and `reset` are as transformers has them.
    Needs attn_implementation="fovea"; another one is a RuntimeError in the second call. After a call that raised, layers may hold
    different numbers of tokens, as with transformers' own: `reset`.
    """

    def __init__(self, policy: str | Policy | tuple[str | Policy, ...] = "dense", dtype: str | None = None) -> None:
        policies = tuple(str(Policy(one)) for one in (policy if isinstance(policy, tuple) else (policy,)))
        plans: dict[str, Any] = {}
        super().__init__(layer_class_to_replicate=lambda: Layer(dtype, policies, plans))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that tokens take now."""
        return sum(cache.nbytes for layer in self.layers for cache in layer.caches)
