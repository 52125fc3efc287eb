"""A cache of keys and values that is kept from call to call: what decoding token by token wants."""
from __future__ import annotations

import os
from typing import Any, Iterable

import numpy

from . import _fovea
from ._arrays import Array, empty, heads_first, lse_for, lse_out, plain, results, scale_of, window_of
from ._policy import Policy


def _texts(policy: str | Policy | tuple[str | Policy, ...]) -> tuple[str, ...]:
    return tuple(str(one) for one in (policy if isinstance(policy, tuple) else (policy,)))


class Cache(_fovea.Cache):
    """Keys and values of one sequence and one layer, packed as the kernels read them.

    Parameters
    ----------
    kv_heads, head_dim : int
        1 to 1024 each.
    max_tokens : int
        1 to 2^30. Memory comes as tokens come, 1,024 at a time: a large number costs next to nothing.
    dtype, value_dtype : "f32", "f16", "bf16", "q8_0" or "q4_0"
        How keys (and values, if they differ) are stored.
    policy : Policy, its text, or a tuple of them
        Those that `attend` will be given; what they need besides keys and values is kept beside them. The first one is its
        default.

    One call at a time: a second thread's raises RuntimeError. Threads with caches of their own run side by side, for the GIL is
    let go. C: include/fovea/cache.h, include/fovea/attention.h.

    >>> import numpy as np
    >>> cache = Cache(kv_heads=2, head_dim=8)
    >>> cache.append(np.ones((5, 2, 8), np.float32), np.ones((5, 2, 8), np.float32))
    >>> cache.attend(np.ones((4, 8), np.float32)).shape
    (4, 8)
    >>> len(cache)
    5
    """

    _policies: tuple[str, ...] = ("dense",)

    def __init__(self, kv_heads: int, head_dim: int, max_tokens: int = 1 << 20, dtype: str = "f16",
                 policy: str | Policy | tuple[str | Policy, ...] = "fovea", *, value_dtype: str | None = None) -> None:
        policies = _texts(policy)
        super().__init__(kv_heads, head_dim, max_tokens, dtype, value_dtype or dtype, policies)
        self._policies = policies

    @classmethod
    def wake(cls, path: str | os.PathLike[str], policy: str | Policy | tuple[str | Policy, ...] = "fovea",
             max_tokens: int = 1 << 20) -> Cache:
        """The cache that `save` wrote to `path`: the same bits, on any machine.

        Raises FileError, CorruptError (damaged, cut short, another kind of file), UnsupportedError (of a newer version),
        ArgumentError (more tokens than `max_tokens`). O(bytes).
        """
        cache = cls.__new__(cls)
        cache._policies = _texts(policy)
        cache._wake(path, max_tokens, cache._policies)
        return cache

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all tokens to `path`, in the place of what is there: whole or not at all. Raises FileError. O(bytes)."""
        self._save(path)

    def append(self, k: Array, v: Array, *, layout: str = "NHD") -> None:
        """Appends tokens: `k` and `v` [tokens, kv_heads, head_dim], or [kv_heads, head_dim] of one token; f32, f16 or bf16.

        Raises ValueError: shapes, no room (FullError), NaN or infinity (NotFiniteError), a magnitude that `dtype` can't hold
        (RangeError: take bf16 or f32). Nothing is appended then. O(elements).
        """
        self._append(plain(k), plain(v), False if layout == "NHD" else heads_first(layout))

    def attend(self, q: Array, policy: str | Policy | None = None, *, causal: bool = True, scale: float | None = None,
               first: int | None = None, softcap: float = 0.0, window: int | None = None, layout: str = "NHD",
               return_lse: bool = False, return_report: bool = False) -> Any:
        """Attention of `q`, [tokens, heads, head_dim] or [heads, head_dim], over the tokens that are held.

        Rows are the last ones, whose keys have been appended already, or those of the tokens from `first` on. All else, and
        what is returned and raised, is as in `fovea.attention`. A policy that the cache was not made for is a PolicyError.
        """
        is_heads_first = False if layout == "NHD" else heads_first(layout)
        q = plain(q)
        out = empty(q, q.shape)
        lse = lse_for(q, is_heads_first) if return_lse else None
        text = self._policies[0] if policy is None else policy if type(policy) is str else str(policy)
        if first is not None and first < 0:
            raise ValueError("first is the number of a token: 0 or more, not %d" % first)
        said = self._attend(q, out, lse, -1 if first is None else first, text, causal, scale_of(scale), softcap, window_of(window),
                            is_heads_first, return_report)
        if lse is None and said is None:
            return out
        return results(out, None if lse is None else lse_out(lse, q, is_heads_first), said)

    def truncate(self, tokens: int) -> None:
        """Forgets all tokens after the first `tokens`. ValueError if there are fewer."""
        if tokens < 0:
            raise ValueError("tokens to keep: 0 or more, not %d" % tokens)
        self._truncate(tokens)

    def evict(self, tokens: int | Iterable[int]) -> None:
        """Takes the tokens of these numbers (0 is the first) out; those after them move up. What positions were encoded into the
        keys stays as it was. ValueError if there is no such token: nothing is taken out then. O(tokens after each)."""
        numbers = sorted({int(tokens)} if isinstance(tokens, (int, numpy.integer)) else {int(one) for one in tokens}, reverse=True)
        if numbers and (numbers[0] >= len(self) or numbers[-1] < 0):
            raise ValueError("evict: tokens are 0 to %d, not %d" % (len(self) - 1, numbers[0] if numbers[0] >= len(self) else numbers[-1]))
        self._evict(numbers)

    def read(self, first: int = 0, count: int | None = None) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """Keys and values of tokens `first` and on as they are stored, f32 [tokens, kv_heads, head_dim]."""
        count = len(self) - first if count is None else count
        if first < 0 or count < 1 or first + count > len(self):
            raise ValueError("read: tokens %d to %d of a cache of %d" % (first, first + count - 1, len(self)))
        kv_heads, head_dim = self._shape[:2]
        k, v = (numpy.empty((kv_heads, count, head_dim), numpy.float32) for _ in range(2))
        self._read(first, k, v)
        return k.swapaxes(0, 1), v.swapaxes(0, 1)

    def __len__(self) -> int:
        """Tokens held."""
        return self._tokens

    @property
    def nbytes(self) -> int:
        """Bytes of memory that tokens take now; it comes 1,024 tokens at a time."""
        return self._bytes

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self._shape[0]

    @property
    def head_dim(self) -> int:
        """Elements of a head."""
        return self._shape[1]

    @property
    def max_tokens(self) -> int:
        """Tokens that there is room for."""
        return self._shape[2]

    @property
    def dtype(self) -> str:
        """How keys are stored."""
        return self._shape[3]

    @property
    def policies(self) -> tuple[str, ...]:
        """What it was made for; the first one is the default of `attend`."""
        return self._policies

    def __repr__(self) -> str:
        return "<fovea.Cache: %d tokens of %d heads of %d, %s>" % (len(self), self.kv_heads, self.head_dim, self.dtype)
