"""flash-attn's functions by their names and arguments, on a CPU: `from fovea.flash_attn import flash_attn_func`.

Layout is [batch, tokens, heads, head_dim], causal attention is aligned bottom-right, a row that sees nothing gives zeros: as
there. f32 besides f16 and bf16; NumPy and DLPack besides torch. What they do and these do not is refused with
NotImplementedError: dropout, ALiBi, rotary embedding, backward. `policy`, which they have not, says which
keys are read. Log-sum-exps are natural, -infinity in a row that sees nothing. `deterministic` and `num_splits` change nothing:
the bits are the same for any number of threads.
"""
from __future__ import annotations

import sys
from typing import Any

import numpy

from ._arrays import Array, attention, empty, is_torch
from ._mask import attend, window_spans
from ._policy import Policy

__all__ = ["flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache"]


def _refuse(dropout_p: float = 0.0, alibi_slopes: Any = None, rotary: Any = None) -> None:
    if dropout_p != 0.0:
        raise NotImplementedError("dropout_p is %r: fovea is for inference only and drops nothing" % (dropout_p,))
    if alibi_slopes is not None:
        raise NotImplementedError("alibi_slopes: fovea has no ALiBi")
    if rotary is not None:
        raise NotImplementedError("rotary_cos, rotary_sin: rotate q and k before the call")


def _zeros(like: Array, shape: Any) -> Array:
    out = empty(like, shape)
    out[...] = 0
    return out


def _attend(q: Array, k: Array, v: Array, causal: bool, scale: float | None, window_size: tuple[int, int], softcap: float,
            policy: str | Policy) -> tuple[Array, Array]:
    """One or more sequences of one length: [..., tokens, heads, head_dim]. Also the log-sum-exps, [..., tokens, heads]."""
    left, right = window_size
    rows, keys = q.shape[-3], k.shape[-3]
    runs = window_spans(rows, keys, left, 0 if causal else right)
    if len(runs) == 1 and isinstance(runs[0].keys, slice) and (runs[0].rows, runs[0].keys) == (slice(0, rows), slice(0, keys)):
        done: tuple[Array, Array] = attention(q, k, v, policy, runs[0].causal, scale, True, softcap=softcap, window=runs[0].window)
        return done
    out, lse = _zeros(q, q.shape), numpy.full(tuple(q.shape[:-1]), -numpy.inf, numpy.float32)
    if is_torch(q):
        lse = sys.modules["torch"].from_numpy(lse)
    if 0 not in tuple(q.shape):
        attend(out, lse, q, k, v, runs, policy, scale, softcap)  # rows that see nothing are in no run
    return out, lse


def _axes(name: str, array: Array, count: int, said: str) -> None:
    if len(array.shape) != count:
        raise ValueError("%s has the axes %s; found %s" % (name, said, tuple(array.shape)))


def flash_attn_func(q: Array, k: Array, v: Array, dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
                    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, alibi_slopes: Any = None,
                    deterministic: bool = False, return_attn_probs: bool = False, *, policy: str | Policy = "dense") -> Any:
    """q [batch, tokens, heads, head_dim], k and v [batch, keys, KV heads, head_dim] -> out, the shape of q. With
    `return_attn_probs` (out, log-sum-exps [batch, heads, tokens], None): there are no probabilities without dropout.

    >>> import numpy as np
    >>> q, k = np.ones((1, 3, 4, 8), np.float32), np.ones((1, 5, 2, 8), np.float32)
    >>> flash_attn_func(q, k, k, causal=True).shape
    (1, 3, 4, 8)
    """
    _refuse(dropout_p, alibi_slopes)
    for name, array in (("q", q), ("k", k), ("v", v)):
        _axes(name, array, 4, "[batch, tokens, heads, head_dim]")
    out, lse = _attend(q, k, v, causal, softmax_scale, window_size, softcap, policy)
    return (out, lse.swapaxes(1, 2), None) if return_attn_probs else out


def _integers(values: Any) -> list[int]:
    return [int(one) for one in (values.tolist() if hasattr(values, "tolist") else values)]


def flash_attn_varlen_func(q: Array, k: Array, v: Array, cu_seqlens_q: Any, cu_seqlens_k: Any, max_seqlen_q: int, max_seqlen_k: int,
                           dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
                           window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, alibi_slopes: Any = None,
                           deterministic: bool = False, return_attn_probs: bool = False, block_table: Any = None, *,
                           policy: str | Policy = "dense") -> Any:
    """Sequences of different lengths end to end: q [all tokens, heads, head_dim]; sequence i is rows cu_seqlens_q[i] to
    cu_seqlens_q[i + 1] and keys likewise. With `return_attn_probs` (out, log-sum-exps [heads, all tokens], None). With
    `block_table`, [sequences, blocks of a sequence], k and v are [blocks, block tokens, KV heads, head_dim]."""
    _refuse(dropout_p, alibi_slopes)
    for name, array in (("q", q),) if block_table is not None else (("q", q), ("k", k), ("v", v)):
        _axes(name, array, 3, "[all tokens, heads, head_dim]")
    rows, keys = _integers(cu_seqlens_q), _integers(cu_seqlens_k)
    pages = None if block_table is None else _pages(k, v, block_table, rows, keys)
    for name, ends, total in (("cu_seqlens_q", rows, q.shape[0]), ("cu_seqlens_k", keys, k.shape[0] if pages is None else keys[-1])):
        if not ends or ends[0] != 0 or ends != sorted(ends) or ends[-1] > total or len(ends) != len(rows):
            raise ValueError("%s rises from 0 to at most %d, and both are of one length; found %s" % (name, total, ends))
    out, lse = _zeros(q, q.shape), numpy.full(tuple(q.shape[:-1]), -numpy.inf, numpy.float32)
    lse = sys.modules["torch"].from_numpy(lse) if is_torch(q) else lse
    for i in range(len(rows) - 1):
        if rows[i] < rows[i + 1]:
            row, key = slice(rows[i], rows[i + 1]), slice(keys[i], keys[i + 1])
            held = (k[key], v[key]) if pages is None else tuple(one.read(i, 0, keys[i + 1] - keys[i]) for one in pages)
            out[row], lse[row] = _attend(q[row], held[0], held[1], causal, softmax_scale, window_size, softcap, policy)
    return (out, lse.swapaxes(0, 1), None) if return_attn_probs else out


class _Rows:
    """The keys or values of a batch in flash-attn's cache: [batch, tokens, ...], or [blocks, block tokens, ...] with a table."""

    def __init__(self, cache: Array, table: list[list[int]] | None, batch_index: list[int]) -> None:
        self.cache, self.table, self.batch_index = cache, table, batch_index
        self.block = int(cache.shape[1])
        if table and any(not 0 <= one < cache.shape[0] for line in table for one in line):
            raise ValueError("block_table: blocks are 0 to %d" % (cache.shape[0] - 1))

    def room(self, i: int) -> int:
        return self.block * (len(self.table[i]) if self.table is not None else 1)

    def write(self, i: int, first: int, rows: Array) -> None:
        if self.table is None:
            self.cache[self.batch_index[i], first:first + len(rows)] = rows
            return
        for j in range(len(rows)):
            block, place = divmod(first + j, self.block)
            self.cache[self.table[i][block], place] = rows[j]

    def read(self, i: int, first: int, end: int) -> Array:
        if self.table is None:
            return self.cache[self.batch_index[i], first:end]
        blocks = self.table[i][:(end + self.block - 1) // self.block]
        gathered = self.cache[blocks]
        return gathered.reshape((-1,) + tuple(gathered.shape[2:]))[first:end]


def _pages(k: Array, v: Array, block_table: Any, rows: list[int], keys: list[int]) -> tuple[_Rows, _Rows]:
    """Keys and values of sequences that lie in blocks, with room for all that `keys` says."""
    _axes("k", k, 4, "[blocks, block tokens, KV heads, head_dim] with a block_table")
    if tuple(v.shape) != tuple(k.shape):
        raise ValueError("k is %s, v %s" % (tuple(k.shape), tuple(v.shape)))
    table = [_integers(line) for line in block_table]
    pages = _Rows(k, table, []), _Rows(v, table, [])
    for i in range(len(keys) - 1):
        if len(table) != len(rows) - 1 or keys[i + 1] - keys[i] > pages[0].room(i):
            raise ValueError("block_table has %d lines; each of %d sequences needs one, with blocks for all of its keys"
                             % (len(table), len(rows) - 1))
    return pages


def _lengths(cache_seqlens: Any, batch: int, whole: int) -> list[int]:
    if cache_seqlens is None:
        return [whole] * batch
    lengths = [int(cache_seqlens)] * batch if isinstance(cache_seqlens, (int, numpy.integer)) else _integers(cache_seqlens)
    if len(lengths) != batch or min(lengths, default=0) < 0:
        raise ValueError("cache_seqlens: %d lengths, 0 or more; found %s" % (batch, lengths))
    return lengths


def _check_new(q: Array, k: Array | None, v: Array | None, k_cache: Array, v_cache: Array, cache_seqlens: Any) -> None:
    _axes("q", q, 4, "[batch, tokens, heads, head_dim]")
    _axes("k_cache", k_cache, 4, "[batch, tokens, KV heads, head_dim], or blocks of tokens with a block_table")
    if tuple(v_cache.shape) != tuple(k_cache.shape):
        raise ValueError("k_cache is %s, v_cache %s" % (tuple(k_cache.shape), tuple(v_cache.shape)))
    if (k is None) != (v is None):
        raise ValueError("k and v are both given, or neither")
    if k is not None and v is not None:
        if cache_seqlens is None:
            raise ValueError("with k and v, cache_seqlens must say where they go")
        if tuple(k.shape) != tuple(v.shape) or len(k.shape) != 4 or k.shape[0] != q.shape[0] or k.shape[2:] != k_cache.shape[2:]:
            raise ValueError("k and v have the axes [batch, tokens, KV heads, head_dim] of q and the cache; found %s and %s"
                             % (tuple(k.shape), tuple(v.shape)))


def flash_attn_with_kvcache(q: Array, k_cache: Array, v_cache: Array, k: Array | None = None, v: Array | None = None,
                            rotary_cos: Any = None, rotary_sin: Any = None, cache_seqlens: Any = None, cache_batch_idx: Any = None,
                            cache_leftpad: Any = None, block_table: Any = None, softmax_scale: float | None = None,
                            causal: bool = False, window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0,
                            rotary_interleaved: bool = True, alibi_slopes: Any = None, num_splits: int = 0,
                            return_softmax_lse: bool = False, *, policy: str | Policy = "dense") -> Any:
    """q [batch, tokens, heads, head_dim] over a cache of flash-attn's shape, which `k` and `v` are written into first, in place.

    k_cache, v_cache : [batch, tokens, KV heads, head_dim], or [blocks, block tokens, KV heads, head_dim] with `block_table`
    k, v             : [batch, new tokens, KV heads, head_dim], written at `cache_seqlens` on; None: nothing is written
    cache_seqlens    : tokens that each sequence holds before that, one number or [batch]; None: all of the cache
    cache_batch_idx  : [batch], which row of the cache is whose
    cache_leftpad    : [batch], where each sequence begins in its row
    block_table      : [batch, blocks of a sequence]

    Returns out, the shape of q, or (out, log-sum-exps [batch, heads, tokens]) with `return_softmax_lse`. ValueError where new
    tokens do not fit: nothing is written then. Each call reads the whole cache to pack it; a `fovea.Cache`
    packs each token once.
    """
    _refuse(alibi_slopes=alibi_slopes, rotary=rotary_cos if rotary_cos is not None else rotary_sin)
    _check_new(q, k, v, k_cache, v_cache, cache_seqlens)
    batch = q.shape[0]
    table = None if block_table is None else [_integers(line) for line in block_table]
    places = list(range(batch)) if cache_batch_idx is None else _integers(cache_batch_idx)
    pads = [0] * batch if cache_leftpad is None else _integers(cache_leftpad)
    named = len(table) if table is not None else len(places)
    if named != batch or len(pads) != batch or (table is None and any(not 0 <= one < k_cache.shape[0] for one in places)):
        raise ValueError("the batch is %d, the cache has %d rows: each sequence needs a row, or a line of block_table" %
                         (batch, k_cache.shape[0]))
    keys, values = _Rows(k_cache, table, places), _Rows(v_cache, table, places)
    lengths = _lengths(cache_seqlens, batch, keys.room(0) if batch else 0)
    ends = [length + (0 if k is None else k.shape[1]) for length in lengths]
    for i in range(batch):
        if ends[i] > keys.room(i) or not 0 <= pads[i] <= ends[i]:
            raise ValueError("sequence %d: tokens %d to %d of a row of %d" % (i, pads[i], ends[i], keys.room(i)))
    out, lse = _zeros(q, q.shape), numpy.full(tuple(q.shape[:-1]), -numpy.inf, numpy.float32)
    lse = sys.modules["torch"].from_numpy(lse) if is_torch(q) else lse
    for i in range(batch):
        if k is not None and v is not None:
            keys.write(i, lengths[i], k[i])
            values.write(i, lengths[i], v[i])
        out[i], lse[i] = _attend(q[i], keys.read(i, pads[i], ends[i]), values.read(i, pads[i], ends[i]), causal, softmax_scale,
                                 window_size, softcap, policy)
    return (out, lse.swapaxes(1, 2)) if return_softmax_lse else out
